"""The lock of a run: who drives it, who is signalled, and that no record and no label decides that."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.backends import driver
from toolkit.config.load import load
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project

HERE = driver.this_client()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return load(None, tmp_path)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that would have been signalled. None is: a process id of -1 would be all of them."""
    processes: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, _: processes.append(process))
    monkeypatch.setattr(os, "pidfd_open", lambda process: os.open(f"/proc/{process}", os.O_RDONLY), raising=False)
    monkeypatch.setattr(
        signal,
        "pidfd_send_signal",
        lambda process, _: processes.append(int(os.path.basename(os.readlink(f"/proc/self/fd/{process}")))),
        raising=False,
    )
    return processes


NO_CLIENTS: list[dict[str, Any]] = [
    {},
    {"host": HERE.host, "pid": -1, "started": ""},
    {"host": HERE.host, "pid": 0, "started": HERE.started},
    {"host": HERE.host, "pid": HERE.pid, "started": ""},
    {"host": HERE.host, "pid": HERE.pid},
    {"host": HERE.host, "pid": f"{HERE.pid}/../{HERE.pid}", "started": HERE.started},
    {"host": HERE.host, "pid": None, "started": "1"},
    {"host": None, "pid": HERE.pid, "started": HERE.started},
    {"workflow": "r"},
]


@pytest.mark.parametrize("named", NO_CLIENTS)
def test_what_names_no_process_names_no_client(named: dict[str, Any]) -> None:
    assert driver.client_of(named) is None
    labels = {f"dev.toolkit.driver-{key}": str(value) for key, value in named.items() if value is not None}
    if named.get("host") is not None:
        assert driver.client_of_labels(labels) is None


def test_labels_name_this_client(project: Project) -> None:
    assert driver.client_of_labels(driver.labels(project)) == HERE and driver.is_alive(HERE)
    assert not driver.is_alive(HERE._replace(started="1")) and driver.is_alive(HERE._replace(host="elsewhere", pid=1))


@pytest.mark.parametrize("named", NO_CLIENTS)
def test_cancel_signals_nobody_by_a_record(tmp_path: Path, signalled: list[int], named: dict[str, Any]) -> None:
    # Given a run without an end, of which this machine has kept nothing,
    local = LocalProject(tmp_path)
    local.write("p.yaml", "dag: {start_at: a, steps: {a: {type: stub}}}")
    assert local.run("p.yaml", "--run-id", "r") == 0, local.err
    [folder] = (tmp_path / ".toolkit" / "volumes").glob("*/run_log_store/r")
    (folder / "end.json").unlink()
    for file in (tmp_path / ".toolkit" / "clients" / "r").iterdir():
        file.unlink()
    record = json.loads((folder / "run.json").read_text())
    # when its record names a process, one that runs or none,
    for client in (named, HERE._asdict()):
        (folder / "run.json").write_text(json.dumps({**record, "driver": client}))
        # then none is signalled.
        assert local.toolkit("cancel", "r") == 2
    assert "no client of this project on this machine holds the lock of the run r" in local.err
    assert signalled == []


def test_whoever_holds_the_lock_is_signalled(project: Project, signalled: list[int]) -> None:
    assert not driver.holds_lock(project, "r") and not driver.ask_to_stop(project, "r")
    with driver.driving(project, "r"):
        assert driver.holds_lock(project, "r") and not driver.holds_lock(project, "other")
        with pytest.raises(BadInput, match="another client drives the run r"), driver.driving(project, "r"):
            pass
        assert driver.ask_to_stop(project, "r")
        assert driver.is_driven(project)({"run_id": "r", "driver": {"host": HERE.host, "pid": -1}})
    assert signalled == [HERE.pid]
    assert not driver.is_driven(project)({"run_id": "r", "driver": {**HERE._asdict()}})  # type: ignore[typeddict-item]
    folder = project.state / "clients" / "r"
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / "lock")] == [0o700, 0o700, 0o600]


def test_a_name_in_the_lock_that_is_no_longer_true_is_not_signalled(
    project: Project, signalled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_LONGEST_LOOK", 0.1)
    lock = project.state / "clients" / "r" / "lock"
    with driver.driving(project, "r"):
        # What a client that was killed had left: its process id is another's by now.
        lock.write_text(json.dumps(HERE._replace(started="1")._asdict()))
        with pytest.raises(Infrastructure, match="holds its lock, and is no process of this machine"):
            driver.ask_to_stop(project, "r")
        lock.write_text(json.dumps({**HERE._asdict(), "pid": -1}))
        with pytest.raises(Infrastructure, match="holds its lock"):
            driver.ask_to_stop(project, "r")
        lock.write_text(json.dumps(HERE._replace(host="elsewhere")._asdict()))
        with pytest.raises(BadInput, match="the client of the run r is on elsewhere: cancel the run there"):
            driver.ask_to_stop(project, "r")
    assert signalled == []


def test_a_file_system_without_locks_goes_by_the_name_of_a_process_that_runs(
    project: Project, signalled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = project.state / "clients" / "r" / "lock"
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    client = HERE._replace(pid=other.pid, started=driver._start_of(other.pid))
    with driver.driving(project, "r"):
        assert driver.holds_lock(project, "r") and driver.ask_to_stop(project, "r")
    lock.write_text(json.dumps(client._asdict()))
    with pytest.raises(BadInput, match="another client drives the run r"), driver.driving(project, "r"):
        pass
    assert driver.ask_to_stop(project, "r")
    assert signalled == [HERE.pid, other.pid]
    other.communicate(timeout=60)
    assert not driver.holds_lock(project, "r") and not driver.ask_to_stop(project, "r")
    with driver.driving(project, "r"):
        assert driver.holds_lock(project, "r")
