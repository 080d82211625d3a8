"""Other processes of the same container, as /proc shows them."""

from __future__ import annotations

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
