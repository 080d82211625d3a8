"""The lines of several steps as they come: each whole, after the name of its step."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from toolkit.report.items import ItemValues
from toolkit.report.table import as_left, printable
from toolkit.runtime.shared import layout
from toolkit.runtime.shared.protocol import OUTPUT_FILE
from toolkit.runtime.shared.volume_files import open_file

_LONGEST = 64 * 1024
"""Bytes of a line that is printed as several."""
_PAUSE = 0.1
"""Seconds between two looks at what running steps have written."""
_PIECE = 1 << 16


class StepLines:
    """Makes lines of what steps write.

    Args:
        write: takes a line, without its end. items: of the run, which its steps are named by as well.
    """

    def __init__(self, write: Callable[[str], None], items: ItemValues | None) -> None:
        self._write = write
        self._rests: dict[tuple[str, int], bytes] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._items = items

    def feed(self, path: str, number: int, data: bytes) -> None:
        """Takes more of an attempt's output."""
        *lines, rest = (self._rests.pop((path, number), b"") + data).split(b"\n")
        while len(rest) > _LONGEST:
            lines.append(rest[:_LONGEST])
            rest = rest[_LONGEST:]
        if rest:
            self._rests[path, number] = rest
        for line in lines:
            self._print(path, number, line)

    def end(self, path: str, number: int) -> None:
        """The attempt writes no more."""
        if rest := self._rests.pop((path, number), b""):
            self._print(path, number, rest)
        self._names.pop((path, number), None)

    def _print(self, path: str, number: int, line: bytes) -> None:
        text = printable(as_left(line.decode("utf-8", "replace")), "\t")
        self._write(f"{self._name(path, number)} | {text}")

    def _name(self, path: str, number: int) -> str:
        key = (path, number)
        if key not in self._names:
            item = self._items.text(path) if self._items is not None else ""
            attempt = f" (attempt {number})" if number > 1 else ""
            self._names[key] = printable(path) + (f" {item}" if item else "") + attempt
        return self._names[key]


class RunningOutputs:
    """Reads what the steps of a run on this machine write, in the background.

    Args:
        run_folder: of the run's records. lines: takes what they write.
    """

    def __init__(self, run_folder: Path, lines: StepLines) -> None:
        self._run_folder = run_folder
        self._lines = lines
        self._read: dict[tuple[str, int], int] = {}
        self._held: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._follow, daemon=True, name="outputs").start()

    def begin(self, path: str, number: int) -> None:
        """The attempt has begun."""
        with self._lock:
            self._read[path, number] = 0

    def end(self, path: str, number: int) -> None:
        """The attempt has ended: prints all of its lines."""
        with self._lock:
            if (path, number) in self._read:
                self._look(path, number)
                del self._read[path, number]
                self._lines.end(path, number)

    def hold(self, path: str) -> None:
        """From now on the step shows what it writes itself."""
        with self._lock:
            for key in [key for key in self._read if key[0] == path]:
                self._look(*key)
            self._held = path

    def resume(self) -> None:
        """Leaves out what was shown."""
        with self._lock:
            path, self._held = self._held, None
            for key in [key for key in self._read if key[0] == path]:
                self._lines.end(*key)
                try:
                    self._read[key] = os.stat(self._file(*key)).st_size
                except OSError:
                    pass

    def close(self) -> None:
        self._over.set()

    def _follow(self) -> None:
        while not self._over.wait(_PAUSE):
            with self._lock:
                for path, number in list(self._read):
                    if path != self._held:
                        self._look(path, number)

    def _file(self, path: str, number: int) -> str:
        return os.path.join(layout.attempt_folder(str(self._run_folder), path, number), OUTPUT_FILE)

    def _look(self, path: str, number: int) -> None:
        try:
            descriptor = open_file(self._file(path, number))
            if descriptor is None:
                return
            with open(descriptor, "rb") as stream:
                stream.seek(self._read[path, number])
                while data := stream.read(_PIECE):
                    self._read[path, number] += len(data)
                    self._lines.feed(path, number, data)
        except OSError:
            # What can't be read now is so later, or never; the run goes on.
            pass
