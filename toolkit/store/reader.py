"""The one reader of a run log: everything that shows, follows or compares runs goes through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from toolkit.errors import Infrastructure
from toolkit.runtime.shared import records
from toolkit.runtime.shared.protocol import CONTINUED_FOLDER, END_RECORD, MOVED_RECORD, OUTPUT_FILE, RUN_RECORD
from toolkit.runtime.shared.run_files import RUN_ID, part_numbers, part_path
from toolkit.runtime.shared.volume_files import open_file
from toolkit.store.completion import complete_run, complete_run_end
from toolkit.store.engine_view import EngineView
from toolkit.store.verdict import Attempt, merge_all

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DriverRecord, PlanDocument, RunEnd, RunPlace, RunRecord


class NoRun(Exception):
    """There is no run of this id in this run log."""


class DamagedRun(Infrastructure):
    """A run's record can't be read in the part that is asked for."""


@dataclass(frozen=True)
class Run:
    """A run's own records.

    Attributes:
        folder: where they lie. record: run.json. end: the run's end.json, None while there is none. Of a run that was
            retried both are those of its newest continuation.
        active: whether something still drives the run.
    """

    folder: Path
    record: RunRecord
    end: Optional[RunEnd]
    active: bool

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def is_open(self) -> bool:
        """Whether no client drives the run: a person runs single steps of it, in any order and any number of times."""
        return self.record["driver"] is None

    def plan(self) -> PlanDocument:
        """The plan that the run follows.

        Raises:
            DamagedRun: its record holds none that can be read.
        """
        try:
            plan = records.parse_plan(self.record["plan"])
            if lacking := [key for key in ("steps", "scopes", "stores") if key not in plan]:
                raise ValueError(f"it has no {', '.join(lacking)}")
            return plan
        except KeyError:
            raise DamagedRun(f"the record of the run {self.id} has no plan") from None
        except ValueError as error:
            raise DamagedRun(f"the plan of the run {self.id} can't be read: {error}") from None


class RunLog:
    """A run log in a folder.

    Args:
        folder: the run log's. is_driven: whether the client that a run's record names still drives it.
    """

    def __init__(self, folder: Path, is_driven: Callable[[RunRecord], bool]) -> None:
        self._folder = folder
        self._is_driven = is_driven

    def runs(self) -> list[Run]:
        """All runs, the newest last. A folder that is no run (yet) is left out."""
        runs = []
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        for name in names:
            try:
                runs.append(self.run(name))
            except NoRun:
                continue
        return sorted(runs, key=lambda run: (run.record["started"], run.id))

    def run(self, run_id: str) -> Run:
        """One run.

        Raises:
            NoRun: there is none, or its record can't be read, or names another run.
        """
        folder = self._folder / run_id
        if not RUN_ID.fullmatch(run_id) or folder.is_symlink():
            raise NoRun(run_id)
        newest = newest_part(folder)
        try:
            record = records.read_run(str(newest / RUN_RECORD))
            end = records.read_run_end(str(newest / END_RECORD))
            record = complete_run(record, run_id, self.driver_of(run_id)) if record is not None else None
            end = complete_run_end(end) if end is not None else None
        except (OSError, ValueError):
            raise NoRun(run_id) from None
        if record is None or record.get("run_id") != run_id:
            raise NoRun(run_id)
        active = end is None and self._is_driven(record)
        return Run(folder, record, end, active)

    def driver_of(self, run_id: str) -> DriverRecord:
        """What drives a run whose record does not say it: nothing on this machine."""
        return {}

    def engine_view(self, run: Run) -> EngineView | None:
        """What the engine says of a run whose records on a volume can't be read; None where all records are here."""
        return None

    def attempts(self, run: Run, path: str) -> list[Attempt]:
        """The attempts of a step, in order."""
        return merge_all(run.folder, path, run.active)

    @staticmethod
    def output(attempt: Attempt) -> Path:
        """Where an attempt's output lies."""
        return Path(attempt.folder) / OUTPUT_FILE


def continuations(folder: Path) -> list[int]:
    """The numbers of a run's continuations in ascending order; one without a record does not count (yet)."""
    try:
        names = os.listdir(folder / CONTINUED_FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [number for number in part_numbers(names) if (part_folder(folder, number) / RUN_RECORD).exists()]


def newest_number(folder: Path) -> int:
    """The number of the part of a run that counts: its newest continuation, or 0 for the run as it began."""
    return (continuations(folder) or [0])[-1]


def part_folder(folder: Path, number: int) -> Path:
    """The folder of the run.json and the end.json of a part of a run."""
    return folder / part_path(number)


def newest_part(folder: Path) -> Path:
    """The folder of the run.json and the end.json that count."""
    return part_folder(folder, newest_number(folder))


def moved_to(folder: Path) -> RunPlace | None:
    """The place that a run was moved to; None for a run that is here, and empty where the mark can't be read."""
    try:
        record = records.read_moved(str(folder / MOVED_RECORD))
    except (OSError, ValueError):
        return {}
    return None if record is None else record.get("to", {})


def follow_file(path: Path, ended: Callable[[], bool], pause: Callable[[], None], position: int = 0) -> Iterator[bytes]:
    """A growing file's content until ``ended`` says that no more comes; a missing file, or a link, counts as empty.

    Args:
        pause: called after the file was read to its present end; waits. position: where to begin, in bytes.
    """
    while True:
        is_last = ended()
        descriptor = open_file(str(path))
        if descriptor is not None:
            with open(descriptor, "rb") as file:
                file.seek(position)
                while data := file.read(1 << 16):
                    position += len(data)
                    yield data
        if is_last:
            return
        pause()
