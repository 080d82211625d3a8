"""Passes a signal on to the runtime of the container that this is started in, and to nothing else.

Argo's controller ends a step with a command inside its container. Its own one signals its first process, which passes
SIGTERM on to all of them, so that the user's code is told to end as often as the controller thinks of it, and SIGKILL to
none, since a first process can't be killed from inside.
"""

from __future__ import annotations

import os
import signal
import sys

from ..shared.processes import command_line
from ..shared.protocol import FAULT, PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """``main.py --signal PROTOCOL NUMBER``."""
    if len(argv) != 4 or argv[2] != str(PROTOCOL) or not argv[3].isdigit():
        print(f"toolkit runtime: it speaks protocol {PROTOCOL} and was called with {argv[2:]}", file=sys.stderr)
        os._exit(FAULT)
    send(int(argv[3]))
    os._exit(0)


def send(number: int) -> None:
    """Signals the runtime; before it has started, the process that starts it. SIGKILL goes to all, so that none is left."""
    main_file = os.path.abspath(sys.argv[0]).encode()
    found = [pid for pid in _children_of_first() if main_file in command_line(pid)]
    for pid in found or [1]:
        _kill(pid, number)
    if number == signal.SIGKILL:
        _kill(-1, number)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _children_of_first() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in parentheses may hold anything; the parent's id is the second field after it.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == 1:
                found.append(int(name))
    return found
