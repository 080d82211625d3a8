"""The records that the client writes: a run's beginning and end, and what the engine said of an attempt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import END_RECORD, ENGINE_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.store.reader import newest_number, part_folder


class RunExists(Exception):
    """A run of this id exists already."""


def create_run(run_log: Path, run_id: str, record: Mapping[str, object], make_folder: Callable[[Path], None]) -> Path:
    """Takes a run id by creating its folder exclusively, and publishes run.json.

    Args:
        make_folder: makes a shared folder (owner and mode); called for the steps' folder too.

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


def create_continuation(run_folder: Path, record: Mapping[str, object], make_folder: Callable[[Path], None]) -> Path:
    """Begins another part of a run that has ended, by creating its folder exclusively; returns the folder.

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


def write_end(run_folder: Path, record: dict[str, Any]) -> None:
    """Publishes the run's end, unless another client that saw it did so before."""
    if not (run_folder / END_RECORD).exists():
        records.write(str(run_folder / END_RECORD), record)


def write_engine(run_folder: Path, path: str, attempt: int, record: dict[str, Any]) -> None:
    """Publishes what the engine said of an attempt."""
    folder = layout.attempt_folder(str(run_folder), path, attempt)
    os.makedirs(folder, exist_ok=True)
    records.write(os.path.join(folder, ENGINE_RECORD), record)
