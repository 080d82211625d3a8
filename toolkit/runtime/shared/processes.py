"""Other processes of the same container, as /proc shows them."""

from __future__ import annotations


def command_line(pid: int) -> list[bytes]:
    """The arguments of a process, its program first; empty where it has ended or may not be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
