"""The client that drives a run, as run.json and the labels of containers name it, and whether it still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from toolkit.project import Project

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DriverRecord, RunRecord


class Identity(NamedTuple):
    """A process, by its id and by when it was started, because ids are used again (see :func:`is_alive`)."""

    pid: int
    started: str


def identity() -> Identity:
    """This process."""
    return Identity(os.getpid(), _start_of(os.getpid()))


def labels(project: Project) -> dict[str, str]:
    """The labels of every container of a project: a later command sees from them which client had started it."""
    driver = identity()
    return {
        "dev.toolkit.project": str(project.home),
        "dev.toolkit.driver-host": socket.gethostname(),
        "dev.toolkit.driver-pid": str(driver.pid),
        "dev.toolkit.driver-started": driver.started,
    }


def is_driven(record: RunRecord) -> bool:
    """Whether the client that a run's record names still runs. A run of docker-compose names none, and may always continue."""
    nobody: DriverRecord = {}
    driver = record.get("driver", nobody)
    if driver is None:
        return True
    # A record that names no process is of another version, or of a run on a cluster that was moved here.
    named = "host" in driver and "pid" in driver and "started" in driver
    return named and is_alive(driver["host"], driver["pid"], driver["started"])


def is_alive(host: str, pid: int, started: str) -> bool:
    """Whether a client still runs; of one on another machine this can't be known, and it is taken to run."""
    return host != socket.gethostname() or _start_of(pid) == started


def _start_of(pid: int) -> str:
    """The kernel's start time of a process, in ticks since boot; empty where there is no such process.

    Without /proc it is ``running`` for every process that there is.
    """
    try:
        # The name of the program, in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
