"""`toolkit cancel` of runs on this machine: it signals the process that holds the run's lock, whatever the records say."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scratch import Scratch, finish

SLOW = "print('ready', flush=True); time.sleep(1000)"


CLIENTS: list[subprocess.Popen[str]] = []
"""Those that a test began, which a test that fails would leave running."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Scratch]:
    project = Scratch(tmp_path, {"TOOLKIT_ENV": "process"})
    project.steps(slow=SLOW, never="pass")
    yield project
    while CLIENTS:
        CLIENTS.pop().terminate()


def begin(project: Scratch, run_id: str = "r") -> subprocess.Popen[str]:
    """A client whose run has a step that runs."""
    client = project.start("run", "pipeline.py", "--run-id", run_id)
    CLIENTS.append(client)
    log = project.volume() / "run_log_store" / run_id / "steps" / "slow" / "1" / "output.log"
    project.wait_for(lambda: log.exists() and b"ready" in log.read_bytes())
    return client


def rewrite(project: Scratch, **fields: Any) -> None:
    """What a step may do: it writes a record of its run anew."""
    file = project.volume() / "run_log_store" / "r" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize("option", [(), ("--kill",)])
def test_another_terminal_cancels_a_run_and_waits_for_its_end(project: Scratch, option: tuple[str, ...]) -> None:
    # Given two clients of one project,
    client, other = begin(project), begin(project, "other")
    # when the run of one is cancelled,
    told = project.toolkit("cancel", "r", *option)
    # then it has ended, and the other one runs.
    assert (told.code, told.err.strip()) == (0, "the run r is cancelled")
    assert finish(client).code == 130
    assert project.show("r")["status"] == "cancelled" and project.show("other")["status"] == "running"
    # A run that has ended, or never began, is not cancelled.
    assert (again := project.toolkit("cancel", "r")).code == 2 and "the run r has ended (cancelled)" in again.err
    assert project.toolkit("cancel", "nowhere").code == 2
    assert finish(other, signal.SIGTERM).code == 130


def test_a_client_that_was_killed_is_not_signalled_and_its_run_resumes(project: Scratch) -> None:
    client = begin(project)
    finish(client, signal.SIGKILL)
    told = project.toolkit("cancel", "r")
    assert told.code == 2 and "the run r is not running" in told.err
    assert "lost" in project.show("r")["reason"]
    # Whatever process has its id and its time by the record: the lock is free.
    sleeper = subprocess.Popen(["sleep", "1000"])
    started = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[19]
    driver = json.loads((project.volume() / "run_log_store/r/run.json").read_text())["driver"]
    rewrite(project, driver={**driver, "pid": sleeper.pid, "started": started})
    assert project.toolkit("cancel", "r").code == 2 and sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()
    project.steps(slow="pass", never="pass")
    resumed = project.toolkit("retry", "r")
    assert resumed.code == 0, resumed.err


@pytest.mark.parametrize(
    "driver",
    [
        {"host": "elsewhere", "pid": 1, "started": "1"},
        {"host": "elsewhere"},
        {"workflow": "r"},
        None,
    ],
)
def test_a_record_neither_keeps_a_run_from_being_cancelled_nor_makes_it_run(
    project: Scratch, driver: dict[str, Any] | None
) -> None:
    # Given a step that rewrites the record of its run, and says that it has ended,
    client = begin(project)
    rewrite(project, driver=driver)
    end = project.volume() / "run_log_store" / "r" / "end.json"
    end.write_text(json.dumps({"version": 1, "status": "succeeded", "ended": "2026", "reason": ""}))
    # when the run is cancelled, then the client that holds the lock ends it, and its word is the end.
    told = project.toolkit("cancel", "r")
    assert (told.code, told.err.strip()) == (0, "the run r is cancelled")
    assert finish(client).code == 130
    assert project.show("r")["status"] == "cancelled"
    # Without an end it does not seem to run.
    end.unlink()
    assert project.show("r")["status"] != "running"
    assert project.toolkit("cancel", "r").code == 2


def test_a_run_is_driven_by_one_client(project: Scratch) -> None:
    client = begin(project)
    second = project.toolkit("run", "pipeline.py", "--run-id", "r")
    assert second.code == 2 and "there is a run r already" in second.err
    retried = project.toolkit("retry", "r")
    assert retried.code == 2 and "the run r is running" in retried.err
    assert finish(client, signal.SIGTERM).code == 130


def test_a_signal_right_after_the_run_began_ends_it_as_cancelled(project: Scratch) -> None:
    """Whenever it comes: the run has an end, and resumes."""
    project.steps(slow="pass", never="pass")
    for number in range(8):
        client = project.start("run", "pipeline.py", "--run-id", f"n{number}")
        record = project.volume() / "run_log_store" / f"n{number}" / "run.json"
        project.wait_for(record.exists)
        time.sleep(number * 0.01)
        code = finish(client, signal.SIGINT).code
        run = project.show(f"n{number}")
        assert (code, run["status"], run["reason"]) in ((130, "cancelled", "cancelled"), (0, "succeeded", "")), run
        if code:
            resumed = project.toolkit("retry", f"n{number}")
            assert resumed.code == 0, resumed.err


def test_without_a_name_the_one_that_goes_on_is_cancelled(project: Scratch) -> None:
    none = project.toolkit("cancel")
    assert none.code == 2 and "no run that was started from here goes on" in none.err
    client, other = begin(project), begin(project, "other")
    # Of several none is taken. A record that a step has written hides none.
    rewrite(project, driver={"host": "elsewhere", "pid": 1, "started": ""})
    several = project.toolkit("cancel")
    assert several.code == 2 and "2 runs that were started from here go on, so name one: other, r" in several.err
    assert project.show("r")["status"] == project.show("other")["status"] == "running"
    assert project.toolkit("cancel", "r").code == 0 and finish(client).code == 130
    told = project.toolkit("cancel")
    assert (told.code, told.err.splitlines()) == (
        0,
        ["cancelling the run other, the one that goes on", "the run other is cancelled"],
    )
    assert finish(other).code == 130
    assert project.toolkit("cancel").code == 2
