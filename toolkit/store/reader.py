"""The one reader of a run log: everything that shows, follows or compares runs goes through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from toolkit.runtime.shared import records
from toolkit.runtime.shared.protocol import CONTINUED_FOLDER, END_RECORD, MOVED_RECORD, OUTPUT_FILE, RUN_RECORD
from toolkit.store.verdict import Attempt, merge_all


class NoRun(Exception):
    """There is no run of this id in this run log."""


@dataclass(frozen=True)
class Run:
    """A run's own records.

    Attributes:
        folder: where they lie. record: run.json. end: the run's end record, None while there is none; of a run that went on
            after its end both are those of the last time.
        active: whether something still drives the run.
    """

    folder: Path
    record: dict[str, Any]
    end: Optional[dict[str, Any]]
    active: bool

    @property
    def id(self) -> str:
        return str(self.record["run_id"])

    @property
    def is_open(self) -> bool:
        """Whether nobody drives the run: its steps are run singly, in any order and again, and it has no end."""
        return self.record["driver"] is None


class RunLog:
    """A run log in a folder.

    Args:
        folder: the run log's. is_driven: whether the driver that a run's record names is still there.
    """

    def __init__(self, folder: Path, is_driven: Callable[[dict[str, Any]], bool]) -> None:
        self._folder = folder
        self._is_driven = is_driven

    def runs(self) -> list[Run]:
        """All runs, the newest last. A folder that is no run (yet) is passed over."""
        found = []
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        for name in names:
            try:
                found.append(self.run(name))
            except NoRun:
                continue
        return sorted(found, key=lambda run: (run.record["started"], run.id))

    def run(self, run_id: str) -> Run:
        """One run.

        Raises:
            NoRun: there is none, or its record can't be read.
        """
        folder = self._folder / run_id
        newest = newest_part(folder)
        try:
            record = records.read(str(newest / RUN_RECORD))
            end = records.read(str(newest / END_RECORD))
        except (OSError, ValueError):
            raise NoRun(run_id) from None
        if record is None:
            raise NoRun(run_id)
        active = end is None and self._is_driven(record)
        return Run(folder, record, end, active)

    @staticmethod
    def attempts(run: Run, path: str) -> list[Attempt]:
        """The attempts of a step, in order."""
        return merge_all(run.folder, path, run.active)

    @staticmethod
    def output(attempt: Attempt) -> Path:
        """Where an attempt's output lies."""
        return Path(attempt.folder) / OUTPUT_FILE


def continuations(folder: Path) -> list[int]:
    """How often a run went on after its end, as numbers in ascending order; one without a record does not count (yet)."""
    try:
        found = os.listdir(folder / CONTINUED_FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    there = [one for one in found if one.isdigit() and (folder / CONTINUED_FOLDER / one / RUN_RECORD).exists()]
    return sorted(int(one) for one in there)


def newest_number(folder: Path) -> int:
    """Which part of a run counts: 0 is the run as it began, a higher one the last time that it went on."""
    return (continuations(folder) or [0])[-1]


def part_folder(folder: Path, number: int) -> Path:
    """Where the run.json and the end.json of a part of a run lie."""
    return folder / CONTINUED_FOLDER / str(number) if number else folder


def newest_part(folder: Path) -> Path:
    """Where the run.json and the end.json lie that count."""
    return part_folder(folder, newest_number(folder))


def moved_to(folder: Path) -> dict[str, Any] | None:
    """Where a run goes on that has been moved: host and folder, or context, namespace and claim; None for one that is here."""
    try:
        record = records.read(str(folder / MOVED_RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    to = record.get("to") if record is not None else None
    return None if record is None else to if isinstance(to, dict) else {}


def follow_file(path: Path, ended: Callable[[], bool], pause: Callable[[], None]) -> Iterator[bytes]:
    """A growing file's content until ``ended`` says that no more comes; a missing file is an empty one."""
    position = 0
    while True:
        last = ended()
        try:
            with open(path, "rb") as file:
                file.seek(position)
                while data := file.read(1 << 16):
                    position += len(data)
                    yield data
        except FileNotFoundError:
            pass
        if last:
            return
        pause()
