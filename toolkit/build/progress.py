"""Progress of what takes long because it is large: one live line on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

_SILENT = 2.0
"""Seconds before anything is shown."""
_LIVE = 0.2
"""Seconds between two states of the live line."""
_LINES = 5.0
"""Seconds between two lines."""
_QUICK = 10_000_000
"""Bytes that never take long enough to show anything."""


@contextmanager
def progress(
    size: int | None, what: str, where: str, report: Callable[[str], None]
) -> Iterator[Callable[[Iterable[bytes]], Iterator[bytes]]]:
    """Shows progress until the end of the block, such as ``  sending 300 MB to the engine: 40 %``.

    It yields a function that counts the chunks that go through it. What is at work may go on after the last chunk: an engine
    that unpacks what it was sent.

    Args:
        size: bytes of all chunks; None where they are not known, which shows what is done so far.
        what: is done (``sending``); ``where``: with what (``to the engine``).
        report: gets the lines, where standard error is no terminal. It is called by another thread.
    """
    if size is not None and size < _QUICK:
        yield iter
        return
    done = 0
    ended = threading.Event()

    def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal done
        for chunk in chunks:
            yield chunk
            done += len(chunk)

    def show() -> None:
        is_live = sys.stderr.isatty()
        pause = _SILENT
        while not ended.wait(pause):
            if size is None:
                line = f"  {what}: {shown_size(done)}{where and f' {where}'}"
            else:
                line = f"  {what} {shown_size(size)} {where}: {min(100 * done // size, 100)} %"
            with suppress(Exception):  # nothing that fails here reaches the build
                if is_live:
                    print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
                else:
                    report(line)
            pause = _LIVE if is_live else _LINES
        if is_live and pause != _SILENT:
            with suppress(Exception):
                print("\r\033[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        ended.set()
        thread.join()


def shown_size(size: int) -> str:
    """A number of bytes with a unit that makes it short."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
