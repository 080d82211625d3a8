"""The terminal of a step whose debugger waits for commands: a pty, of which the client passes on what its user types and reads.

The child asks through a pipe. The supervisor asks the client, which lets one step at a time have the user's terminal. What is
written to the pty goes to the step's output as well. Messages on the client's socket are a letter and its data:

| from the supervisor | | from the client | |
| --- | --- | --- | --- |
| ``?`` | asks for the user's terminal | ``s`` | rows and columns; the first one grants it |
| ``d`` | what was written to it | ``i`` | what was typed |
| ``.`` | gives it back | | |
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from .output import Output

_CHUNK = 1 << 14
_LATE = 20
"""Milliseconds in which what was written to the pty arrives at its other end."""


class Terminal:
    """The terminal of one step.

    Args:
        client: the socket of the client. output: takes what is said as well.

    Attributes:
        is_held: whether the step has it, or waits for it.
    """

    def __init__(self, client: int, output: Output) -> None:
        os.set_inheritable(client, False)
        self._client = client
        self._output = output
        self._requests, self._asked = os.pipe()
        self._answers, self._answered = os.pipe()
        self._pty = -1
        self._other_end = -1
        self._log = b""
        self._before = 0.0
        self._since: Optional[float] = None
        self._granted = False

    @property
    def channel(self) -> tuple[int, int]:
        """The child's ends of the pipes."""
        return self._asked, self._answers

    @property
    def unneeded(self) -> list[int]:
        """What the child closes."""
        return [self._client, self._requests, self._answered]

    @property
    def descriptors(self) -> list[int]:
        """What may be read."""
        return [each for each in (self._requests, self._client, self._pty) if each >= 0]

    @property
    def is_held(self) -> bool:
        return self._since is not None

    def held(self) -> float:
        """The seconds for which the step has waited for its user. They count for no time limit."""
        return self._before + (time.monotonic() - self._since if self._since is not None else 0.0)

    def child_is_started(self) -> None:
        os.close(self._asked)
        os.close(self._answers)

    def handle(self, descriptor: int, poll: select.poll, drain: Callable[[], None]) -> bool:
        """Handles what has come on one of the descriptors; returns whether there was anything.

        Args:
            drain: passes on what the child had written before to its ordinary streams.
        """
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            # It was read meanwhile, or the child has ended, which hangs the pty up.
            return False
        except OSError:
            data = b""
        if not data:
            poll.unregister(descriptor)
            if descriptor == self._client:
                # Without it nobody answers: the child reads an empty answer.
                self._client = -1
                if self._since is not None:
                    self._hang_up()
        elif descriptor == self._pty:
            self._pass_on(data)
        elif descriptor == self._client:
            self._from_client(data)
        elif data[:1] == b"?":
            drain()
            self._open(poll)
            self._since = time.monotonic()
            if not self._tell(b"?"):
                self._hang_up()
        else:
            self._drain()
            self._give_back()
            self._answer(b".")
        return bool(data)

    def close(self) -> None:
        """After the child's end: the client has its terminal back."""
        if self._pty >= 0:
            self._drain()
        if self._log:
            self._output.feed(self._log)
            self._log = b""
        self._give_back()
        for descriptor in {self._client, self._requests, self._answered, self._pty, self._other_end}:
            if descriptor >= 0:
                os.close(descriptor)
        self._client = self._pty = self._other_end = -1

    def _open(self, poll: select.poll) -> None:
        if self._pty >= 0:
            return
        # The other end stays open, so that this one does not end before the child does.
        self._pty, self._other_end = os.openpty()
        os.set_blocking(self._pty, False)
        poll.register(self._pty, select.POLLIN)

    def _from_client(self, data: bytes) -> None:
        kind, content = data[:1], data[1:]
        if kind == b"i" and self._pty >= 0:
            try:
                os.write(self._pty, content)
            except OSError:
                # More than a terminal keeps for a program that does not read.
                pass
        elif kind == b"s" and self._pty >= 0:
            import fcntl
            import termios

            fcntl.ioctl(self._pty, termios.TIOCSWINSZ, content)
            if not self._granted and self._since is not None:
                self._granted = True
                self._answer(os.ttyname(self._other_end).encode())

    def _pass_on(self, data: bytes) -> None:
        if self._granted:
            self._tell(b"d" + data)
        self._log = _record(self._log + data, self._output)

    def _drain(self) -> None:
        poll = select.poll()
        poll.register(self._pty, select.POLLIN)
        while poll.poll(_LATE):
            try:
                data = os.read(self._pty, _CHUNK)
            except OSError:
                return
            self._pass_on(data)

    def _give_back(self) -> None:
        if self._since is not None:
            self._before = self.held()
            self._since = None
            self._granted = False
            self._tell(b".")

    def _hang_up(self) -> None:
        self._before, self._since = self.held(), None
        os.close(self._answered)
        self._answered = -1

    def _answer(self, data: bytes) -> None:
        if self._answered >= 0:
            try:
                os.write(self._answered, data)
            except OSError:
                pass

    def _tell(self, message: bytes) -> bool:
        if self._client < 0:
            return False
        try:
            os.write(self._client, message)
            return True
        except OSError:
            return False


def _record(data: bytes, output: Output) -> bytes:
    """Writes what a terminal was sent to the step's output, as text without the terminal's controls; returns what is left.

    A secret in which controls were written is whole then, and is found.
    """
    import re

    # What may go on in the next piece.
    cut = re.search(rb"(?:\r|\x1b(?:\[[0-9;?]{0,20})?)\Z", data)
    whole, rest = (data[: cut.start()], data[cut.start() :]) if cut else (data, b"")
    output.feed(re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\r(?=\n)|\a", b"", whole))
    return rest
