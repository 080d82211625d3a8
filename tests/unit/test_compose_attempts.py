"""A step that is run by hand takes the next attempt number, each time, and Ctrl-C at its terminal is recorded."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from toolkit.backends.process import MAIN
from toolkit.config.settings import Build, CatalogStore, Config, Executor, RunLogStore, Secrets
from toolkit.model.pipeline import Loop, Map, Pipeline, Return, Task
from toolkit.plan.planner import plan
from toolkit.runtime.shared.protocol import (
    CODE_FILE,
    PARAMETERS_FILE,
    PLAN_FILE,
    PROCESS_VARIABLE,
    PROTOCOL,
    RUN_RECORD,
)

RUN = "compose-1"


class Run:
    """A run in a folder, without a client: of one shell step, unless a pipeline is given."""

    def __init__(
        self, root: Path, command: str, pipeline: Pipeline | None = None, parameters: dict[str, Any] | None = None
    ) -> None:
        config = Config(Executor(), RunLogStore(log_folder="/mnt/log"), CatalogStore(), Secrets(), Build())
        pipeline = pipeline or Pipeline((Task("step", "shell", command=command, returns=(Return("x"),)),))
        made = plan(pipeline, config, (".",))
        self._root = root
        self.folder = root / "mnt" / "log" / RUN
        for folder in ("plan", "code", "mnt/catalog"):
            (root / folder).mkdir(parents=True)
        self.folder.mkdir(parents=True)
        (self.folder / RUN_RECORD).write_text("{}")
        for name, data in (
            (PLAN_FILE, made.to_json()),
            (PARAMETERS_FILE, json.dumps(parameters or {}).encode()),
            (CODE_FILE, b'{"files": []}'),
        ):
            (root / "plan" / name).write_bytes(gzip.compress(data))

    def start(self, attempt: str, path: str = "step", **variables: str) -> subprocess.Popen[bytes]:
        work = self._root / f"work-{time.monotonic_ns()}"
        places = {"run": str(self._root / "plan"), "code": str(self._root / "code"), "work": str(work), "sdk": "",
                  "volumes": {"/mnt": str(self._root / "mnt")}, "hidden": [], "mounts": {}, "overlay": False}  # fmt: skip
        return subprocess.Popen(
            [sys.executable, str(MAIN), str(PROTOCOL), RUN, path, attempt],
            env={**os.environ, **variables, PROCESS_VARIABLE: json.dumps(places)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ends(self) -> dict[str, Any]:
        """end.json by the attempt's number."""
        return {file.parent.name: json.loads(file.read_text()) for file in self.folder.glob("steps/step/*/end.json")}


def test_each_time_is_an_attempt_of_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, "export x=1")
    for _ in range(3):
        process = run.start("next")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert {number: end["status"] for number, end in run.ends().items()} == dict.fromkeys("123", "succeeded")


def test_two_at_once_do_not_share_a_number(tmp_path: Path) -> None:
    run = Run(tmp_path, "export x=1")
    started = [run.start("next") for _ in range(6)]
    assert [one.wait(timeout=60) for one in started] == [0] * 6
    for one in started:
        one.communicate()
    assert sorted(run.ends()) == list("123456")


@pytest.mark.parametrize("attempt", ["", "last", "-1", "1x"])
def test_any_other_word_is_refused(tmp_path: Path, attempt: str) -> None:
    process = Run(tmp_path, "true").start(attempt)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 117 and b"wrong arguments" in said


def test_ctrl_c_is_recorded_as_cancelled(tmp_path: Path) -> None:
    run = Run(tmp_path, "echo up; sleep 60")
    process = run.start("next")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert run.ends()["1"]["status"] == "cancelled"


def shell(command: str, *returns: str) -> Pipeline:
    return Pipeline((Task("step", "shell", command=command, returns=tuple(map(Return, returns))),))


@pytest.mark.parametrize(
    ("items", "text", "position"),
    [
        (["Comedy", "Drama"], "Drama", "1"),
        (["Comedy", "Drama"], '"Drama"', "1"),
        (["1", 1, 1.0, True], "1", "0"),
        ([True, 1.0, 1], "1", "2"),
        ([{"a": 1, "b": [None]}], '{"b": [null], "a": 1}', "0"),
        (["only"], "", "0"),
    ],
)
def test_a_step_of_a_map_runs_for_the_item_that_a_variable_has(
    tmp_path: Path, items: list[Any], text: str, position: str
) -> None:
    command = 'test -z "${TOOLKIT_ITEM_x+set}" && export y="$x"'
    run = Run(tmp_path, "", Pipeline((Map("m", shell(command, "y"), "xs", "x"),)), {"xs": items})
    process = run.start("next", "m/*/step", TOOLKIT_ITEM_x=text)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    [end] = run.folder.glob("steps/m/*/step/1/end.json")
    assert end.parts[-4] == position
    assert json.loads(end.read_text())["inputs"]["x"]["from"] == "m"


@pytest.mark.parametrize(
    ("items", "text", "said"),
    [
        (["Comedy", "Drama"], "", "TOOLKIT_ITEM_x is not set: the step runs for one item, which TOOLKIT_ITEM_x holds "
         '(a text as it is, all else as JSON); the items are "Comedy", "Drama"'),
        (["Comedy"], "Horror", "TOOLKIT_ITEM_x is 'Horror', which is no item of the map m"),
        (list(range(12)), "x", "8, 9 and 2 more"),
        ([], "x", "the map has no items"),
        (None, "x", "the map m iterates on xs, which has no value: run the step that returns it first"),
    ],
)  # fmt: skip
def test_an_item_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, items: list[Any] | None, text: str, said: str
) -> None:
    parameters = {"xs": items} if items is not None else {}
    run = Run(tmp_path, "", Pipeline((Map("m", shell("true"), "xs", "x"),)), parameters)
    process = run.start("next", "m/*/step", TOOLKIT_ITEM_x=text)
    _, written = process.communicate(timeout=60)
    assert process.returncode == 117 and said in written.decode()


def test_an_iteration_of_a_loop_sees_what_the_one_before_returned(tmp_path: Path) -> None:
    pipeline = Pipeline((Loop("l", shell("export n=$((n + 1)); export done=false", "n", "done"), 3, "done", "i"),))
    run = Run(tmp_path, "", pipeline, {"n": 5})
    for iteration in ("", "1"):
        process = run.start("next", "l/*/step", TOOLKIT_ITEM_i=iteration)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    ends = {end.parts[-4]: json.loads(end.read_text()) for end in run.folder.glob("steps/l/*/step/1/end.json")}
    assert {number: end["returns"]["n"]["value"] for number, end in ends.items()} == {"0": 6, "1": 7}
    process = run.start("next", "l/*/step", TOOLKIT_ITEM_i="3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 117 and b"the loop l has the iterations 0 to 2" in said
