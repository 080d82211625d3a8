"""begin.json: what the container is like from inside. Environments are compared by this, and not by what was asked for."""

from __future__ import annotations

import os
import sys

from ..shared import records
from ..shared.processes import read_mounts
from ..shared.protocol import RECORD_VERSION
from . import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from ..shared.documents import BeginRecord, FunctionRow, MountRecord, PrivilegesRecord
    from ..shared.locations import Locations

_KERNEL = ("/proc/", "/sys/", "/dev/")
"""Folders in which every engine mounts its own. Of them only /dev/shm is recorded, because user code depends on its size."""
_SIZED = ("/tmp", "/dev/shm")


def begin_record(
    started: str, locations: Locations, command: Union[str, FunctionRow, None], environment: dict[str, str]
) -> BeginRecord:
    """The record. Its keys are the same in all environments; those that a plain process has no value for are None.

    Args:
        started: when the attempt began. command: the step's command or function, as the plan has it.
        environment: what user code will see; only the names are recorded.
    """
    inside = locations.in_container
    read_only = read_mounts() if inside else {}
    machine = os.uname()
    return {
        "version": RECORD_VERSION,
        "started": started,
        "image": records.read(locations.image_file) if inside else None,
        "argv": ["python3", *sys.argv],
        "command": command,
        "environment": sorted(environment),
        "user": {"uid": os.getuid(), "gid": os.getgid(), "groups": sorted(os.getgroups())},
        "umask": 0o002,
        "working_folder": locations.work,
        "limits": cgroup.limits() if inside else None,
        "mounts": _mounts(read_only) if inside else _folders(locations.volumes),
        "read_only_root": read_only.get("/") if inside else None,
        "privileges": _privileges() if inside else None,
        "python": sys.version.split()[0],
        "machine": machine.machine,
        "hostname": machine.nodename,
    }


def _mounts(mounted: dict[str, bool]) -> list[MountRecord]:
    """All mounts but those of the kernel's folders, also those that nobody asked for; with the size where it matters."""
    mounts: list[MountRecord] = []
    for path, read_only in sorted(mounted.items()):
        if path in _SIZED:
            sizes = os.statvfs(path)
            mounts.append({"path": path, "read_only": read_only, "size": sizes.f_frsize * sizes.f_blocks})
        elif path != "/" and not f"{path}/".startswith(_KERNEL):
            mounts.append({"path": path, "read_only": read_only})
    return mounts


def _folders(volumes: dict[str, str]) -> list[MountRecord]:
    return [{"path": path, "folder": folder} for path, folder in sorted(volumes.items())]


def _privileges() -> PrivilegesRecord:
    """Capabilities as the kernel's hexadecimal masks, and whether a process may gain any."""
    status = {}
    with open("/proc/self/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            status[name] = value.strip()
    return {
        "effective": status.get("CapEff"),
        "bounding": status.get("CapBnd"),
        "no_new_privileges": status.get("NoNewPrivs") == "1",
        "seccomp": status.get("Seccomp"),
    }
