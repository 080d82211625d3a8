"""What a build is doing now: a live line on a terminal, elsewhere a line now and then where nothing else was printed."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

_REDRAWN = 0.5
"""Seconds between two drawings of the live line."""
_QUIET = 10.0
"""Seconds without a line, where there is no terminal, after which there is one."""


_QUICK = 10_000_000
"""Bytes that this machine alone never takes long for."""


class LiveLine:
    """Shows what is being done until the block ends. All that is printed meanwhile goes through :meth:`say`.

    The live line is of ASCII, no wider than the terminal, on standard error, and gone when the block ends.

    Args:
        report: gets the sentences. doing: what is done, as ``pulling x``.
    """

    def __init__(self, report: Callable[[str], None], doing: str) -> None:
        self._report = report
        self._doing = doing
        self._detail = ""
        self._began = self._printed = time.monotonic()
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> LiveLine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._erase()

    def say(self, sentence: str) -> None:
        """Reports a sentence, above the live line."""
        with self._lock:
            self._erase()
            self._report(sentence)
            self._printed = time.monotonic()

    def begin(self, doing: str) -> None:
        """Says what is done from now on, which takes its own time."""
        self.say(f"  {doing}")
        self._doing, self._detail, self._began = doing, "", time.monotonic()

    def detail(self, detail: str) -> None:
        """Says what of it is done just now: ``downloading torch (760 MB)``."""
        self._detail = detail

    def line(self) -> str:
        """What is done, and since how many seconds."""
        detail = f": {self._detail}" if self._detail else ""
        return f"  {self._doing}{detail}, {time.monotonic() - self._began:.0f} s"

    def _tick(self) -> None:
        while not self._over.wait(_REDRAWN):
            with self._lock:
                if self._live:
                    self._draw(self.line())
                elif time.monotonic() - self._printed >= _QUIET:
                    self._printed = time.monotonic()
                    with suppress(Exception):  # a line that can't be printed ends nothing
                        self._report(self.line())

    def _draw(self, text: str) -> None:
        width = max(shutil.get_terminal_size().columns - 1, 1)
        text = text.encode("ascii", "replace").decode()[:width]
        self._write("\r" + text.ljust(min(self._drawn, width)))
        self._drawn = len(text)

    def _erase(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._live = False  # the terminal is gone, which is no reason to stop


@contextmanager
def byte_progress(
    size: int | None, doing: str, report: Callable[[str], None], *, elsewhere: bool = False
) -> Iterator[Callable[[Iterable[bytes]], Iterable[bytes]]]:
    """Shows how much of something large is done until the end of the block: ``sending 300 MB to the engine: 40 %, 3 s``.

    It yields a function that counts the chunks that go through it. What is at work may go on after the last chunk: an engine
    that unpacks what it was sent.

    Args:
        size: bytes of all chunks; None where they are not known, which shows what is done so far.
        doing: what is done; ``{}`` in it is the size.
        report: as of :class:`LiveLine`.
        elsewhere: whether somebody else works on it, so that a few bytes may take long as well.
    """
    if size is not None and size < _QUICK and not elsewhere:
        yield iter
        return
    done = 0
    with LiveLine(report, doing.format(shown_size(size or 0))) as shown:

        def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal done
            for chunk in chunks:
                yield chunk
                done += len(chunk)
                shown.detail(f"{min(100 * done // max(size, 1), 100)} %" if size is not None else shown_size(done))

        yield counted


def shown_size(size: int) -> str:
    """A number of bytes with a unit that makes it short."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


_DETAILS: tuple[tuple[str, str], ...] = (
    # pip names the file, uv and apt the package.
    (r"\s*Downloading (?P<file>[\w.]+?)-\d\S* \((?P<size>[^)]+)\)", "downloading {file} ({size})"),
    (r"\s*Downloading (?P<file>[^\s/]+) \((?P<size>[^)]+)\)", "downloading {file} ({size})"),
    (r"Get:\d+ \S+ \S+ \S+ (?P<file>\S+) \S+ \S+ \[(?P<size>[^\]]+)\]", "downloading {file} ({size})"),
    (r"\s*Building wheel for (?P<file>\S+) .*started", "building {file}"),
    (r"\s*Building (?P<file>[\w.-]+)(?: @ .*|==.*)?$", "building {file}"),
    (r"\s*(?:Cloning|Updating) (?:\w+\+)?\w+://(?:[^@\s/]*@)?(?P<file>[^\s]+)", "fetching {file}"),
    (r"\s*Collecting (?P<file>[\w.-]+)", "looking for {file}"),
    (r"(?:Installing collected packages|Prepared \d+ packages?)", "installing what was downloaded"),
    (r"(?:Unpacking|Setting up) (?P<file>[\w.+-]+)", "unpacking {file}"),
)
_ENDED = r"\s*(?:Downloaded|Built) (?P<file>[\w.-]+)"


class Doing:
    """What the tools of a build are doing, from the lines that they print, in BuildKit's plain output."""

    def __init__(self) -> None:
        self._at_once: dict[str, str] = {}

    def read(self, line: str) -> str | None:
        """What is done from this line on; None where the line does not say."""
        pulled = re.match(r"#\d+ sha256:\S+ (?P<done>[\d.]+[kMG]?B) / (?P<all>[\d.]+[kMG]?B)", line)
        if pulled:
            return f"pulling the base image ({pulled['done']} of {pulled['all']})"
        if re.match(r"#\d+ (?:exporting|writing image|preparing layers)", line):
            return "writing the image"
        words = re.sub(r"^#\d+ [\d.]+ ", "", line)
        if words == line:
            return None
        ended = re.match(_ENDED, words)
        if ended:
            # uv downloads and builds several at once.
            self._at_once.pop(ended["file"], None)
            return next(reversed(self._at_once.values()), "")
        for pattern, shown in _DETAILS:
            match = re.match(pattern, words)
            if match:
                detail = shown.format(**{name: value or "" for name, value in match.groupdict().items()})
                if not words.startswith(("Collecting", "Get:")):
                    self._at_once[match.groupdict().get("file", "")] = detail
                return detail
        return None
