"""`breakpoint()` in a step that is a plain process: on a terminal it works as in a script, elsewhere a sentence says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scratch import Scratch

PROMPT = b"(Pdb) "
FILES = {
    "functions.py": """\
import os, time

def fit():
    x = 41
    print("token", os.environ["TOKEN"])
    breakpoint()
    x += 1
    print("x is", x)
    return x

def old():
    import pdb
    pdb.set_trace()
    return os.environ["TOKEN"] and None

def wide():
    try:
        breakpoint()
    except Exception:
        pass
""",
    "pipeline.py": """\
import functions
from toolkit import Parallel, Pipeline, PythonTask, ShellTask

def fit(name):
    return PythonTask(functions.fit, name=name, returns=["x"], secrets=["TOKEN"])

def old(name):
    return PythonTask(functions.old, name=name, secrets=["TOKEN"])

one = Pipeline(steps=[fit("fit")])
two = Pipeline(steps=[fit("fit"), old("old")])
both = Pipeline(steps=[Parallel(name="p", branches={
    "a": Pipeline(steps=[old("old")]), "b": Pipeline(steps=[old("old")])})])
wide = Pipeline(steps=[PythonTask(functions.wide)])
shell = Pipeline(steps=[ShellTask(name="shell", command="python3 -c 'breakpoint()'")])
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Scratch:
    project = Scratch(
        tmp_path, {"TOOLKIT_ENV": "process", "TOKEN": "s3cr3t-w0rd", "TERM": "xterm", "PYTHONBREAKPOINT": None}
    )
    project.write(FILES)
    return project


def talk(project: Scratch, name: str, *said: tuple[bytes, bytes]) -> tuple[int, bytes]:
    return project.on_terminal("run", f"pipeline.py:{name}", said=said)


def test_a_debugger_has_the_terminal_while_its_user_goes_step_by_step(project: Scratch) -> None:
    # Given a prompt, at which Ctrl-C and the keys that correct a line have their meaning,
    code, shown = talk(
        project,
        "two",
        (PROMPT, b"p 'xyz'\x7f\x7f'\n"),
        # Python loses a Ctrl-C that comes between its prompt and its wait for input, so it comes while a command runs.
        (b"'xy'\r\n" + PROMPT, b"!print('as' + 'leep') or time.sleep(60)\n"),
        (b"asleep\r\n", b"\x03"),
        (PROMPT, b"n\n"),
        (PROMPT, b"n\n"),
        (b"x is 42\r\n", b""),
        (PROMPT, b"c\n"),
        (b"old: at a breakpoint", b""),
        (PROMPT, b"c\n"),
    )
    # then the steps go on from there, and their records are those of any run.
    assert code == 0, shown
    run = project.show()
    assert run["status"] == "succeeded" and run["parameters"]["x"] == 42
    log = (project.volume() / "run_log_store" / run["run_id"] / "steps/fit/1/output.log").read_bytes()
    assert b"-> x += 1\n" in log and b"x is 42\n" in log
    assert b"s3cr3t-w0rd" not in log and b"\r" not in log and b"\x1b" not in log


def test_the_end_of_a_function_ends_the_steps_of_the_debugger(project: Scratch) -> None:
    code, shown = talk(project, "one", *[(PROMPT, b"n\n")] * 4)
    assert code == 0 and b"child.py" not in shown, shown


@pytest.mark.parametrize("keys", [b"q\n", b"\x04"])
def test_whoever_leaves_the_debugger_ends_the_step(project: Scratch, keys: bytes) -> None:
    code, shown = talk(project, "one", (PROMPT, keys))
    assert code == 1 and b"left in the debugger" in shown and b"Traceback" not in shown, shown


def test_nobody_is_hurried_at_a_prompt(project: Scratch) -> None:
    project.write({"functions.py": FILES["functions.py"].replace("x = 41", "x = 41; began = time.monotonic()")})
    project.write({"toolkit.yaml": "executor: {config: {max_step_duration_in_seconds: 3}}\n"})
    # Given a prompt that is left alone until the time limit has long passed,
    wait = b"time.sleep(4)\n"
    code, shown = talk(
        project, "one", (PROMPT, wait), (PROMPT, b"p 'waited', time.monotonic() - began > 3\n"), (b"True)", b"c\n")
    )
    # then the step succeeds.
    assert code == 0, shown


def test_one_step_at_a_time_has_the_terminal(project: Scratch) -> None:
    code, shown = talk(project, "both", (PROMPT, b"p 1\n"), (b"1\r\n" + PROMPT, b"c\n"), (PROMPT, b"c\n"))
    assert code == 0 and shown.count(b"at a breakpoint") == 2, shown


def test_what_is_typed_cannot_bring_a_secret_into_the_records(project: Scratch) -> None:
    code, shown = talk(project, "one", (PROMPT, b"p os.environ['TOKEN']\n"), (b"s3cr3t-w0rd'", b"c\n"))
    assert code == 0, shown
    assert not any(b"s3cr3t-w0rd" in file.read_bytes() for file in project.volume().rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["wide", "shell"])
def test_without_a_terminal_a_sentence_says_so(project: Scratch, name: str) -> None:
    result = project.toolkit("run", f"pipeline.py:{name}")
    assert result.code == 1 and "has no terminal" in project.show()["reason"], result.err
    # It is not there where its user does not want it.
    project.environ["PYTHONBREAKPOINT"] = "0"
    assert project.toolkit("run", f"pipeline.py:{name}").code == 0


def test_a_run_that_is_cancelled_at_a_prompt_gives_the_terminal_back(project: Scratch) -> None:
    project.write({"functions.py": FILES["functions.py"].replace("x = 41", "x = 41; above = os.getppid()")})
    # The supervisor's parent is the client.
    ask = b"os.kill(int(open(f'/proc/{above}/stat').read().rpartition(')')[2].split()[1]), 15)\n"
    code, shown = talk(project, "one", (PROMPT, ask))
    assert code == 130 and b"cancelled" in shown, shown
    assert project.show()["status"] == "cancelled"


def test_an_item_at_a_breakpoint_is_named_by_its_value(project: Scratch) -> None:
    project.write(
        {
            "items.py": "def genres():\n    return ['Comedy']\n\ndef stop(genre):\n    breakpoint()\n    return 1\n",
            "pipeline.py": "import items\nfrom toolkit import Map, Pipeline, PythonTask\n"
            "branch = PythonTask(items.stop).as_pipeline()\n"
            "genres = PythonTask(items.genres, returns=['genres'])\n"
            "each = Pipeline(steps=[genres, Map('m', branch, iterate_on='genres', iterate_as='genre')])\n",
        }
    )
    code, shown = talk(project, "each", (PROMPT, b"c\n"))
    assert code == 0 and b"m/0/stop genre=Comedy: at a breakpoint" in shown, shown
