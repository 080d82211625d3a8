"""Other processes of the same container, and the mounts of this one, as /proc shows them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


def command_line(pid: int) -> list[bytes]:
    """The arguments of a process, its program first; empty where it has ended or may not be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def status(pid: int) -> Optional[dict[bytes, bytes]]:
    """The fields of a process's status; None where it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
    except OSError:
        return None


def parent_and_session(pid: int) -> Optional[tuple[int, int]]:
    """The ids of a process's parent and of its session; None where it has ended. A parent outside of the container is 0."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[3])


def read_mounts() -> dict[str, bool]:
    """Whether each mount is read-only, by its path. Of several mounts on one path the last one counts: it lies on top."""
    read_only = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ", 6)
            read_only[_unescape(fields[4])] = "ro" in fields[5].split(",")
    return read_only


def is_foreign(path: str) -> bool:
    """Whether it names users or groups that a plain user's namespace does not have, so that no overlay there copies it."""
    if os.geteuid() == 0:
        return False
    try:
        status = os.stat(path)
        named = (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid())
        return named or any(name.startswith("system.posix_acl") for name in os.listxattr(path))
    except OSError:
        return False


def _unescape(path: str) -> str:
    """A path of mountinfo, where the kernel writes a character that would end the field as its octal number."""
    if "\\" not in path:
        return path
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escape, character)
    return path
