"""A debugger in a step: pdb gets the user's terminal while it takes commands, or the step ends with a sentence that says why not.

This is imported when the step's code imports pdb, which ``breakpoint()`` does too, so other steps don't pay for it.
"""

from __future__ import annotations

import os
import sys

from ..shared.whole_files import write_all
from .child import flush_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any, Optional

    Channel = tuple[int, int]
    """What the child writes its requests to, and where it reads the answers (see ``step/terminal.py``)."""


class DebuggerEnded(BaseException):
    """The step ends because of its debugger. The message is the reason. No ``except Exception`` of the user's catches it."""


_REMEDY = (
    "run the step with `--env process` from a terminal, or with PYTHONBREAKPOINT=0 in its environment, with which breakpoint() "
    "does nothing"
)
_LEFT = "it was left in the debugger (quit)"


class Debugger:
    """Gives pdb the terminal for as long as the user goes step by step, and takes it back when the program goes on.

    Args:
        channel: to the supervisor; None where there is no terminal.
    """

    def __init__(self, channel: Optional[Channel]) -> None:
        self._channel = channel
        self._process = os.getpid()
        self._terminal: Optional[int] = None
        self._saved: list[int] = []
        self._goes_on = False

    def take_over(self, pdb: ModuleType) -> None:
        """Changes the debugger's class, so that those which are made of it have the terminal as well."""
        cls: Any = getattr(pdb, "Pdb", None)
        if cls is None:
            # A module of the user's own.
            return
        interaction, set_continue, set_quit = cls.interaction, cls.set_continue, cls.set_quit

        def interact(pdb_self: Any, *arguments: Any, **named: Any) -> Any:
            if pdb_self.stdin not in (sys.stdin, sys.__stdin__):
                # It has a terminal of its own, for example one that is reached by the network.
                return interaction(pdb_self, *arguments, **named)
            frame = arguments[0] if arguments else named.get("frame")
            if frame is not None and _is_ours(frame):
                # The user's code has ended, step by step.
                pdb_self.set_continue()
                self.release()
                return None
            self._goes_on = frame is None
            self._acquire(frame)
            try:
                return interaction(pdb_self, *arguments, **named)
            except SystemExit:
                # How newer versions of pdb leave.
                raise DebuggerEnded(_LEFT) from None
            finally:
                if self._goes_on:
                    self.release()

        def on_continue(pdb_self: Any) -> None:
            self._goes_on = True
            set_continue(pdb_self)

        def on_quit(pdb_self: Any) -> None:
            self._goes_on = True
            set_quit(pdb_self)

        cls.interaction, cls.set_continue, cls.set_quit = interact, on_continue, on_quit

    def _acquire(self, frame: Optional[FrameType]) -> None:
        if self._saved:
            return
        if os.getpid() != self._process:
            raise DebuggerEnded(f"the debugger{_place(frame)} has no terminal in a process that the step has started")
        if self._channel is None:
            raise DebuggerEnded(f"the debugger{_place(frame)} has no terminal: {_REMEDY}")
        flush_streams()
        asked, answers = self._channel
        try:
            write_all(asked, b"?")
            path = os.read(answers, 4096)
            if not path:
                raise DebuggerEnded(f"the debugger{_place(frame)} has no terminal any more")
            if self._terminal is None:
                # The first terminal that the leader of a session opens becomes its own: Ctrl-C there interrupts the step.
                self._terminal = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise DebuggerEnded(f"the debugger's terminal can't be opened: {error.strerror}") from None
        import fcntl

        self._saved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in (0, 1, 2)]
        for number in (0, 1, 2):
            os.dup2(self._terminal, number)

    def release(self) -> None:
        """Gives the terminal back, if the step has it."""
        if not self._saved or os.getpid() != self._process:
            return
        flush_streams()
        saved, self._saved = self._saved, []
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
            os.close(descriptor)
        assert self._channel is not None
        try:
            write_all(self._channel[0], b".")
            os.read(self._channel[1], 1)
        except OSError:
            pass


def reason_of(error: BaseException) -> Optional[str]:
    """The reason of a step that its debugger ended; None where something else did."""
    if isinstance(error, DebuggerEnded):
        return str(error)
    bdb = sys.modules.get("bdb")
    if bdb is not None and isinstance(error, bdb.BdbQuit):
        return _LEFT
    return None


def _place(frame: Optional[FrameType]) -> str:
    return f" at {os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}," if frame is not None else ""


def _is_ours(frame: FrameType) -> bool:
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.abspath(frame.f_code.co_filename).startswith(runtime + os.sep)
