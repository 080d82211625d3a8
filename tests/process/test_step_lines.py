"""What steps write, shown as it comes: whole lines, each after the name of its step; and the items of a map by their values."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.scratch import LIMIT, Scratch

FILES = {
    "pipeline.py": """\
import os, sys, time
from toolkit import Map, Pipeline, PythonTask

def genres():
    return ["Comedy", "Sci Fi", "x" * 100]

def fit(genre):
    for part in ("fit", "ting ", genre[:6]):
        sys.stdout.write(part)
        sys.stdout.flush()
        time.sleep(0.05)
    print("\\n10 %\\r100 %", file=sys.stderr)
    if genre == os.environ.get("BAD"):
        raise ValueError(genre)
    return "no end of line"

def waits():
    print("begun", flush=True)
    while not os.path.exists(os.environ["GO_ON"]):
        time.sleep(0.05)
    os.write(1, b"done")

fits = Pipeline(steps=[PythonTask(fit, returns=["n"])])
m = Pipeline(steps=[
    PythonTask(genres, returns=["genres"]), Map(name="m", branch=fits, iterate_on="genres", iterate_as="genre")])
two = Pipeline(steps=[PythonTask(waits), PythonTask(waits, name="again")])
"""
}


@pytest.fixture
def project(tmp_path: Path) -> Scratch:
    project = Scratch(tmp_path, {"TOOLKIT_ENV": "process", "GO_ON": str(tmp_path / "go-on"), "TERM": "xterm"})
    project.write(FILES)
    return project


def on_terminal(project: Scratch, *arguments: str) -> tuple[int, str]:
    """The exit code of a command on a terminal, and the lines that stay there."""
    code, shown = project.on_terminal(*arguments)
    # What the live line shows is erased: a line is what was written after that.
    text = re.sub(r"\x1b\[[0-9;?]*[A-JL-Za-z]", "", shown.decode())
    lines = [line.rpartition("\x1b[2K")[2] for line in text.replace("\r", "").split("\n")]
    return code, "\n".join(lines)


def test_a_run_prints_whole_lines_after_the_names_of_their_steps(project: Scratch) -> None:
    ran = project.toolkit("run", "pipeline.py:m", "--logs")
    assert ran.code == 0 and ran.out == "", ran.err
    lines = [line for line in ran.err.splitlines() if " | " in line]
    assert sorted(lines) == [
        "m/0/fit genre=Comedy | 100 %",
        "m/0/fit genre=Comedy | fitting Comedy",
        "m/1/fit genre=Sci Fi | 100 %",
        "m/1/fit genre=Sci Fi | fitting Sci Fi",
        "m/2/fit | 100 %",
        "m/2/fit | fitting xxxxxx",
    ]


def test_a_failure_is_printed_once(project: Scratch) -> None:
    project.environ["BAD"] = "Comedy"
    ran = project.toolkit("run", "pipeline.py:m", "--logs")
    assert ran.code == 1
    assert ran.err.count("Traceback") == 1 and "m/0/fit genre=Comedy | ValueError: Comedy\n" in ran.err


def test_whoever_follows_a_run_gets_each_line_as_it_comes(project: Scratch) -> None:
    client = project.start("run", "pipeline.py:two")
    project.wait_for_output("begun")
    follower = project.start("logs", "-f")
    assert follower.stdout is not None
    # Before the step has ended, from its beginning,
    assert follower.stdout.readline() == "waits | begun\n"
    (project.root / "go-on").touch()
    out, err = follower.communicate(timeout=LIMIT)
    # and a last line without an end is one.
    assert (follower.returncode, out) == (0, "waits | done\nagain | begun\nagain | done\n"), err
    assert client.wait(LIMIT) == 0


def test_the_items_of_a_map_share_a_line_on_a_terminal(project: Scratch) -> None:
    code, shown = on_terminal(project, "run", "pipeline.py:m")
    assert code == 0 and "3 of 3 items done" in shown and "m/0/fit " not in shown, shown
    project.environ["BAD"] = "Sci Fi"
    code, shown = on_terminal(project, "run", "pipeline.py:m")
    # Only what failed has a line of its own, which names the item.
    assert code == 1 and "2 of 3 items done, 1 failed" in shown, shown
    assert "genre=Sci Fi  ValueError" in shown and "m/0/fit " not in shown
    code, shown = on_terminal(project, "run", "pipeline.py:m", "--logs")
    assert "m/0/fit genre=Comedy | fitting Comedy" in shown, shown


def test_lines_are_not_for_a_run_that_nobody_waits_for(project: Scratch) -> None:
    refused = project.toolkit("run", "pipeline.py:m", "--logs", "--detach", "--env", "argo")
    assert refused.code == 2 and "--detach" in refused.err


def test_a_bar_in_a_failed_steps_output_is_one_line(project: Scratch) -> None:
    command = r"printf 'first\r\n\r1 of 2\r2 of 2\nlast'; exit 3"
    step = {"command_type": "shell", "command": command, "retries": 1}
    project.write({"bar.yaml": json.dumps({"dag": {"start_at": "s", "steps": {"s": step}}})})
    result = project.toolkit("run", "bar.yaml")
    assert result.code == 1
    assert "\n    first\n    2 of 2\n    last\n  s: attempt 2 follows\n" in result.err
