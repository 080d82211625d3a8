"""The command ``--signal``: it passes a signal on to the runtime of its container, and to no other process.

Argo's controller ends a step by a command in its container, and may do so several times. Argo's own command signals the first
process. That one passes SIGTERM on to all processes, so the user's code would be asked to stop each time. SIGKILL would have no
effect, because a container's first process can't be killed from inside.
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
        print(
            f"toolkit runtime: the runtime speaks protocol {PROTOCOL} and was called with {argv[2:]}", file=sys.stderr
        )
        os._exit(FAULT)
    send(int(argv[3]))
    os._exit(0)


def send(number: int) -> None:
    """Signals the runtime, or the first process where no runtime has started yet. SIGKILL goes to all processes as well."""
    main_file = os.path.abspath(sys.argv[0]).encode()
    runtimes = [pid for pid in _children_of_first() if main_file in command_line(pid)]
    for pid in runtimes or [1]:
        _kill(pid, number)
    if number == signal.SIGKILL:
        _kill(-1, number)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _children_of_first() -> list[int]:
    """The processes that the container's first process has started."""
    children = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in parentheses may hold anything; the parent's id is the second field after it.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == 1:
                children.append(int(name))
    return children
