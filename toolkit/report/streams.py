"""Standard output and standard error of this process: whatever a command prints goes through them, by whatever way it prints.

What a command writes to standard output is its result: where that can't be written, the command has failed. Standard error
tells a person what happens: where that can't be written, nothing else changes. So a run goes on to its own end, whoever reads.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from toolkit.errors import Infrastructure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PIECE = 4096
"""Bytes that are written at once: a pipe that has any room has room for as many."""
_LOOK_AGAIN = 500
"""Milliseconds after which a note that waits for its reader is given up, if the run is being cancelled."""


class ReaderLeft(Exception):
    """Whoever read standard output has left, as ``head`` does when it has its lines."""


class _Result(io.FileIO):
    """Standard output. It raises once that it can't be written; what is written after that is dropped.

    Attributes:
        failed: whether it has raised.
    """

    failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self.failed:
            return len(memoryview(data))
        try:
            while True:
                written: int | None = super().write(data)
                if written is not None:
                    return written
                # Whoever shares it has made it non-blocking, and it is full.
                _can_write(self.fileno())
        except OSError as error:
            self.failed = True
            if isinstance(error, ConnectionError):
                raise ReaderLeft from None
            raise Infrastructure(f"standard output can't be written: {error.strerror}") from None


class _Notes(io.FileIO):
    """Standard error. It never raises: what can't be written is dropped.

    A reader that stays, but does not read, is waited for, as by any program. It does not keep a run from being cancelled.
    """

    waits = True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        rest = view
        try:
            while rest and self._has_room():
                written: int | None = super().write(rest[:_PIECE])
                rest = rest[written or 0 :]
        except OSError:
            pass
        return len(view)

    def _has_room(self) -> bool:
        while not _can_write(self.fileno(), _LOOK_AGAIN if _Notes.waits else 0):
            if not _Notes.waits:
                return False
        return True


def _can_write(descriptor: int, milliseconds: int | None = None) -> bool:
    """Waits until a write would not wait, be it that it fails; returns whether that is so in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))


def take_over() -> None:
    """Has everything that this process prints, libraries included, go through this module."""
    _open_closed_ones()
    _Notes.waits = True
    sys.stdout = _as_text(_Result(1, "w", closefd=False), sys.stdout)
    sys.stderr = _as_text(_Notes(2, "w", closefd=False), sys.stderr)


def goes_to_files() -> bool:
    """Whether standard output or standard error is a regular file."""
    for descriptor in (1, 2):
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return True
        except OSError:
            continue
    return False


@contextmanager
def within_a_script() -> Iterator[None]:
    """The same for standard error, in a process that is the user's own program. Standard output remains the program's."""
    _open_closed_ones()
    _Notes.waits = True
    reason = _flush_output_of_the_script()
    own = sys.stderr
    if own is None or own is sys.__stderr__:
        sys.stderr = _as_text(_Notes(2, "w", closefd=False), own)
    try:
        if reason:
            print(f"toolkit: what the script has printed can't be written: {reason}", file=sys.stderr)
        yield
    finally:
        sys.stderr = own


def _open_closed_ones() -> None:
    """Keeps 0, 1 and 2 from becoming the numbers of other files, where this process was started with one of them closed.

    They are opened the wrong way round, so that using them fails as before.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if descriptor else os.O_WRONLY)
            os.set_inheritable(opened, True)


def _flush_output_of_the_script() -> str:
    """Writes what the user's program has printed, before the run prints; returns why that failed, if its reader is still there."""
    own = sys.stdout
    try:
        if own is not None:
            own.flush()
        return ""
    except (OSError, ValueError) as error:
        if isinstance(own, io.TextIOWrapper) and own is sys.__stdout__:
            # Python would try again at its end, and then end with 120, whatever the run's exit code is.
            sys.stdout = io.TextIOWrapper(
                io.BufferedWriter(io.FileIO(1, "w", closefd=False)),
                own.encoding,
                own.errors,
                line_buffering=own.line_buffering,
            )
        return "" if isinstance(error, ConnectionError) else str(getattr(error, "strerror", None) or error)


def _as_text(raw: io.FileIO, instead_of: TextIO | None) -> TextIO:
    """A text stream that can print any text, in the encoding of the one that it replaces."""
    encoding = instead_of.encoding if instead_of is not None else "utf-8"
    is_read_at_once = raw.isatty() or raw.fileno() == 2
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=is_read_at_once)


def wait_no_longer() -> None:
    """Has no note wait for its reader any more: the run is being cancelled. Safe to call from a signal handler."""
    _Notes.waits = False


def last_words(sentence: str) -> None:
    """Tells a sentence right before the process is ended by a signal handler: without a lock, and without waiting."""
    try:
        if _can_write(2, 0):
            os.write(2, f"{sentence}\n".encode(errors="backslashreplace")[:_PIECE])
    except OSError:
        pass


@contextmanager
def ended_by_its_reader() -> Iterator[None]:
    """Raises :class:`ReaderLeft` in the ``with`` block when the reader leaves while there is nothing to be written."""
    import signal
    import threading

    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Result):
        yield
        return
    output: _Result = raw
    has_left = threading.Event()
    main = threading.get_ident()

    def watch() -> None:
        poll = select.poll()
        # That it is broken is told of every descriptor that is asked about.
        poll.register(output.fileno(), 0)
        poll.poll()
        has_left.set()
        signal.pthread_kill(main, signal.SIGPIPE)

    def on_signal(*_: object) -> None:
        # A connection that breaks sends this signal as well, and a write may have found out at the same time.
        if has_left.is_set() and not output.failed:
            output.failed = True
            raise ReaderLeft

    before = signal.signal(signal.SIGPIPE, on_signal)
    threading.Thread(target=watch, daemon=True, name="reader").start()
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)
