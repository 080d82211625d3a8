"""The command ``--signal``: it tells the runtime of its container to stop, and no other process.

Argo's controller ends a step by a command in its container, and may do so several times. Argo's own command signals the first
process. That one passes SIGTERM on to all processes, so the user's code would be asked to stop each time. SIGKILL would have no
effect, because a container's first process can't be killed from inside. Kubernetes runs a command before it stops a container
whose pod is removed. Only by these commands does the runtime know who ends the step (``stop_requests.py``).
"""

from __future__ import annotations

import os
import signal
import sys

from ..shared.processes import command_line, parent_and_session, status
from ..shared.protocol import FAULT, PROTOCOL, REMOVED
from .stop_requests import ASKED_SIGNAL, REMOVED_SIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """``main.py --signal PROTOCOL NUMBER`` or, before Kubernetes stops the container, ``main.py --signal PROTOCOL removed``."""
    if len(argv) != 4 or argv[2] != str(PROTOCOL) or not (argv[3].isdigit() or argv[3] == REMOVED):
        print(
            f"toolkit runtime: the runtime speaks protocol {PROTOCOL} and was called with {argv[2:]}", file=sys.stderr
        )
        os._exit(FAULT)
    if argv[3] == REMOVED:
        announce_removal()
    else:
        send(int(argv[3]))
    os._exit(0)


def send(number: int) -> None:
    """Signals the runtime, or the first process where no runtime has started yet. SIGKILL goes to all processes as well."""
    for pid in _runtimes() or [1]:
        asks = number == signal.SIGTERM and _takes(pid, ASKED_SIGNAL)
        _kill(pid, ASKED_SIGNAL if asks else number)
    if number == signal.SIGKILL:
        _kill(-1, number)


def announce_removal() -> None:
    """Tells the runtime that the SIGTERM which follows comes with the removal of the pod."""
    for pid in _runtimes():
        if _takes(pid, REMOVED_SIGNAL):
            _kill(pid, REMOVED_SIGNAL)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _runtimes() -> list[int]:
    """The runtime: what the container's first process has started of our main file."""
    main_file = os.path.abspath(sys.argv[0]).encode()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (parent_and_session(pid) or (0, 0))[0] == 1 and main_file in command_line(pid)]


def _takes(pid: int, number: int) -> bool:
    """Whether a process handles a signal, or takes it in another way. One that has only just started would end of it."""
    fields = status(pid)
    if fields is None or number == 0:
        return False
    taken = int(fields[b"SigBlk"], 16) | int(fields[b"SigCgt"], 16)
    return bool(taken >> (number - 1) & 1)
