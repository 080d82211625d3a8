"""What a container is like from inside, as begin.json has it: the proof of sameness compares this, not what was asked for."""

from __future__ import annotations

import os
import sys

from ..shared import records
from ..shared.protocol import RECORD_VERSION
from . import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from ..shared.locations import Locations

_KERNEL = ("/proc/", "/sys/", "/dev/")
"""What every engine mounts there says nothing; /dev/shm alone has a size that user code meets."""
_SIZED = ("/tmp", "/dev/shm")


def begin_record(started: str, locations: Locations, command: Any, environment: dict[str, str]) -> dict[str, Any]:
    """begin.json. Its keys are the same everywhere; what a plain process has no part of is None.

    Args:
        command: the step's, as the plan has it. environment: what user code will see; only the names are recorded.
    """
    inside = locations.in_container
    mounted = _read_mounts() if inside else {}
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
        "mounts": _mounts(mounted) if inside else _folders(locations.volumes),
        "read_only_root": mounted.get("/") if inside else None,
        "privileges": _privileges() if inside else None,
        "python": sys.version.split()[0],
        "machine": machine.machine,
        "hostname": machine.nodename,
    }


def _read_mounts() -> dict[str, bool]:
    """Whether each mount is read-only, by its path; of several on one path the last lies on top."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ", 6)
            found[_unescape(fields[4])] = "ro" in fields[5].split(",")
    return found


def _unescape(path: str) -> str:
    """The kernel writes what would end a field as its octal number."""
    if "\\" not in path:
        return path
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escape, character)
    return path


def _mounts(mounted: dict[str, bool]) -> list[dict[str, Any]]:
    """All that is mounted, below the kernel's own folders only what has a size; also what nobody asked for."""
    found = []
    for path, read_only in sorted(mounted.items()):
        if path in _SIZED:
            sizes = os.statvfs(path)
            found.append({"path": path, "read_only": read_only, "size": sizes.f_frsize * sizes.f_blocks})
        elif path != "/" and not f"{path}/".startswith(_KERNEL):
            found.append({"path": path, "read_only": read_only})
    return found


def _folders(volumes: dict[str, str]) -> list[dict[str, Any]]:
    return [{"path": path, "folder": folder} for path, folder in sorted(volumes.items())]


def _privileges() -> dict[str, Optional[Any]]:
    """Capabilities as the kernel's hexadecimal masks, and what else keeps a process from gaining any."""
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
