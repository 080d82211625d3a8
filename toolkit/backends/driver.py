"""Who drives a run: enough to tell, later and from another process, whether it still does."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from toolkit.project import Project


def identity() -> dict[str, Any]:
    """This process: its id, and when it was started, since ids are used again."""
    return {"pid": os.getpid(), "started": _start_of(os.getpid())}


def labels(project: Project) -> dict[str, str]:
    """What every container carries, so that a later command can tell whose it was."""
    known = identity()
    return {
        "dev.toolkit.project": str(project.home),
        "dev.toolkit.driver-host": socket.gethostname(),
        "dev.toolkit.driver-pid": str(known["pid"]),
        "dev.toolkit.driver-started": known["started"],
    }


def is_driven(record: dict[str, Any]) -> bool:
    """Whether the driver that a run's record names still runs; a run without one (of compose) may always go on."""
    known = record["driver"]
    return known is None or is_alive(known["host"], known["pid"], known["started"])


def is_alive(host: str, pid: int, started: str) -> bool:
    """Whether a driver still runs; one of another machine is taken to."""
    return host != socket.gethostname() or _start_of(pid) == started


def _start_of(pid: int) -> str:
    """The kernel's start time of a process, in ticks since boot; where there is no /proc, whether it exists."""
    try:
        # The name, in parentheses, may hold spaces.
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
