"""Writes the client's records: a run's beginning and end, and the engine's record of an attempt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import END_RECORD, ENGINE_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.store.reader import newest_number, part_folder

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord, RunEnd, RunRecord


class RunExists(Exception):
    """A run of this id exists already."""


def create_run(run_log: Path, run_id: str, record: RunRecord, make_folder: Callable[[Path], None]) -> Path:
    """Takes a run id by creating its folder exclusively, and publishes run.json.

    Args:
        make_folder: gives a folder the owner and the mode of what steps share.

    Raises:
        RunExists: the folder is there already. OSError: the volume can't be written.
    """
    folder = run_log / run_id
    try:
        os.mkdir(folder)
    except FileExistsError:
        raise RunExists(run_id) from None
    make_folder(folder)
    (folder / STEPS_FOLDER).mkdir()
    make_folder(folder / STEPS_FOLDER)
    records.write(str(folder / RUN_RECORD), record)
    return folder


def create_continuation(run_folder: Path, record: RunRecord, make_folder: Callable[[Path], None]) -> Path:
    """Begins a continuation of a run that has ended, by creating its folder exclusively; returns the folder.

    Args:
        make_folder: as of :func:`create_run`.

    Raises:
        RunExists: another client has just begun it. OSError: the volume can't be written.
    """
    folder = part_folder(run_folder, newest_number(run_folder) + 1)
    top = folder.parent
    if not top.is_dir():
        top.mkdir(exist_ok=True)
        make_folder(top)
    try:
        folder.mkdir()
    except FileExistsError:
        raise RunExists(run_folder.name) from None
    make_folder(folder)
    records.write(str(folder / RUN_RECORD), record)
    return folder


def write_end(run_folder: Path, record: RunEnd) -> None:
    """Publishes the run's end, unless another client has done so.

    Raises:
        OSError: the volume can't be written.
    """
    if not (run_folder / END_RECORD).exists():
        records.write(str(run_folder / END_RECORD), record)


def write_engine(run_folder: Path, path: str, attempt: int, record: EngineRecord) -> None:
    """Publishes the engine's record of an attempt.

    Raises:
        OSError: the volume can't be written.
    """
    folder = layout.attempt_folder(str(run_folder), path, attempt)
    os.makedirs(folder, exist_ok=True)
    records.write(os.path.join(folder, ENGINE_RECORD), record)
