"""Lends the user's terminal to the debugger of one step at a time; the steps are plain processes (``runtime/step/terminal.py``)."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from toolkit.errors import Infrastructure

_CHUNK = 1 << 16
_RESIZED = 500
"""Milliseconds after which a new size of the terminal is passed on."""
_IN, _OUT = 0, 1


class DebugTerminal:
    """The user's terminal.

    Args:
        hold: called with the path of a step before it gets the terminal: nothing else is printed from then on.
        resume: called when the terminal is back.
    """

    def __init__(self, hold: Callable[[str], None], resume: Callable[[], None]) -> None:
        self._hold = hold
        self._resume = resume
        self._turn = threading.Lock()
        self._before = 0.0
        self._since: float | None = None
        self._mode: list[Any] | None = None

    def held(self) -> float:
        """The seconds for which steps had the terminal, which count for no time limit of the client's own."""
        since = self._since
        return self._before + (time.monotonic() - since if since is not None else 0.0)

    def restore(self) -> None:
        """Gives the terminal its mode back, before this process is ended at once."""
        if self._mode is not None:
            import termios

            termios.tcsetattr(_IN, termios.TCSADRAIN, self._mode)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The two ends of a step's link: the client's and the step's."""
        try:
            return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise Infrastructure(f"no sockets for a step's debugger: {error.strerror}") from None

    def serve(self, link: socket.socket, path: str) -> None:
        """Serves a step in the background until it has ended."""
        threading.Thread(target=self._serve, args=(link, path), daemon=True, name=f"terminal of {path}").start()

    def _serve(self, link: socket.socket, path: str) -> None:
        with link:
            try:
                while link.recv(_CHUNK):
                    with self._turn:
                        self._lend(link, path)
            except OSError:
                # The step has ended.
                pass

    def _lend(self, link: socket.socket, path: str) -> None:
        import termios
        import tty

        self._hold(path)
        self._since = time.monotonic()
        try:
            self._mode = termios.tcgetattr(_IN)
            # What is a special key is for the step's own terminal to say. What was typed before is not lost.
            tty.setraw(_IN, termios.TCSADRAIN)
            self._pass_on(link)
        except termios.error as error:
            raise OSError(*error.args) from None
        finally:
            try:
                self.restore()
            except termios.error:
                # It has hung up.
                pass
            self._mode = None
            self._before, self._since = self.held(), None
            self._resume()

    def _pass_on(self, link: socket.socket) -> None:
        size = _size()
        link.send(b"s" + size)
        poll = select.poll()
        poll.register(_IN, select.POLLIN)
        poll.register(link, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(_RESIZED):
                if descriptor == _IN:
                    typed = os.read(_IN, 1024)
                    if not typed:
                        poll.unregister(_IN)
                    link.send(b"i" + (typed or b"\x04"))
                    continue
                message = link.recv(_CHUNK)
                if message[:1] != b"d":
                    return
                rest = memoryview(message)[1:]
                while rest:
                    rest = rest[os.write(_OUT, rest) :]
            if (now := _size()) != size:
                size = now
                link.send(b"s" + size)


def _size() -> bytes:
    import fcntl
    import termios

    return fcntl.ioctl(_OUT, termios.TIOCGWINSZ, bytes(8))
