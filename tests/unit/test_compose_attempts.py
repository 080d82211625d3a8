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
from toolkit.model.pipeline import Pipeline, Return, Task
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
    """A run of one shell step in a folder, without a client."""

    def __init__(self, root: Path, command: str) -> None:
        config = Config(Executor(), RunLogStore(log_folder="/mnt/log"), CatalogStore(), Secrets(), Build())
        made = plan(Pipeline((Task("step", "shell", command=command, returns=(Return("x"),)),)), config, (".",))
        self._root = root
        self._folder = root / "mnt" / "log" / RUN
        for folder in ("plan", "code", "mnt/catalog"):
            (root / folder).mkdir(parents=True)
        self._folder.mkdir(parents=True)
        (self._folder / RUN_RECORD).write_text("{}")
        for name, data in (
            (PLAN_FILE, made.to_json()),
            (PARAMETERS_FILE, b"{}"),
            (CODE_FILE, b'{"files": []}'),
        ):
            (root / "plan" / name).write_bytes(gzip.compress(data))

    def start(self, attempt: str) -> subprocess.Popen[bytes]:
        work = self._root / f"work-{time.monotonic_ns()}"
        places = {"run": str(self._root / "plan"), "code": str(self._root / "code"), "work": str(work), "sdk": "",
                  "volumes": {"/mnt": str(self._root / "mnt")}, "hidden": [], "mounts": {}, "overlay": False}  # fmt: skip
        return subprocess.Popen(
            [sys.executable, str(MAIN), str(PROTOCOL), RUN, "step", attempt],
            env={**os.environ, PROCESS_VARIABLE: json.dumps(places)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ends(self) -> dict[str, Any]:
        """end.json by the attempt's number."""
        return {file.parent.name: json.loads(file.read_text()) for file in self._folder.glob("steps/step/*/end.json")}


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
