"""Writes the client's records: a run's beginning and end, and the engine's record of an attempt.

What is written below a run's folder gets the folder's owner, group and mode. So steps of the run can write and read there, whatever
user the client has, and in a mirror it stays private. No link below the run's folder is followed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import END_RECORD, ENGINE_RECORD, MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.shared.run_files import part_path
from toolkit.runtime.shared.volume_files import make_folder, open_file, open_folder, size_of
from toolkit.runtime.shared.whole_files import WholeFile, temporary_beside, write_whole
from toolkit.store.reader import newest_number

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord, MovedRecord, RunEnd, RunRecord

_CHUNK = 1 << 20


class RunExists(Exception):
    """A run of this id exists already."""


def create_run(run_log: Path, run_id: str, record: RunRecord, share: Callable[[Path], None]) -> Path:
    """Takes a run id by making its folder, which has run.json from the beginning.

    Args:
        share: gives the folder the owner and the mode of what steps share.

    Raises:
        RunExists: the folder is there already. OSError: the volume can't be written.
    """
    folder = run_log / run_id
    temporary = Path(temporary_beside(str(folder)))
    os.mkdir(temporary)
    try:
        share(temporary)
        with _folder_below(temporary, [STEPS_FOLDER], os.O_NOFOLLOW):
            pass
        _write(temporary, [], RUN_RECORD, record)
        # It replaces an empty folder, which a client that was killed may have left, and no other.
        os.rename(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise RunExists(run_id) from None
        raise
    return folder


def write_run(run_folder: Path, record: RunRecord) -> None:
    """Publishes the run.json of a run whose folder has lost it.

    Raises:
        OSError: the volume can't be written.
    """
    _write(run_folder, [], RUN_RECORD, record, replace=False)


def create_continuation(run_folder: Path, record: RunRecord) -> int:
    """Begins a continuation of a run that has ended; returns its number.

    Raises:
        RunExists: another client has just begun it. OSError: the volume can't be written.
    """
    number = newest_number(run_folder) + 1
    _share_folders(run_folder)
    if not _write(run_folder, part_path(number).split("/"), RUN_RECORD, record, replace=False):
        raise RunExists(run_folder.name)
    return number


def write_end(run_folder: Path, record: RunEnd, part: int = 0, replace: bool = False) -> None:
    """Publishes the end of a run, or of a part of it.

    Args:
        replace: whether it counts although there is one: that of another client, or of a step that writes on the volume.

    Raises:
        OSError: the volume can't be written.
    """
    _write(run_folder, part_path(part).split("/") if part else [], END_RECORD, record, replace)


def write_engine(run_folder: Path, path: str, attempt: int, record: EngineRecord) -> None:
    """Publishes the engine's record of an attempt.

    Raises:
        OSError: the volume can't be written.
    """
    # In a mirror the run may not be there yet.
    run_folder.mkdir(parents=True, exist_ok=True)
    _write(run_folder, layout.attempt_parts(path, attempt), ENGINE_RECORD, record)


def mark_moved(run_folder: Path, record: MovedRecord) -> bool:
    """Marks a run as moved, unless it is marked; returns whether it did.

    Raises:
        OSError: the volume can't be written.
    """
    return _write(run_folder, [], MOVED_RECORD, record, replace=False)


def remove_mark(run_folder: Path) -> None:
    """Removes the mark of a run that was moved, if it has one.

    Raises:
        OSError: the volume can't be written.
    """
    with _folder_below(run_folder, [], os.O_NOFOLLOW) as folder:
        try:
            os.unlink(MOVED_RECORD, dir_fd=folder)
        except FileNotFoundError:
            pass


def copy_file(source: Path, top: Path, path: str) -> None:
    """Copies a file whole to a path below a folder, unless there is one; a link is not copied.

    Args:
        top: the run log or the catalog. It may be a link; of what is below it none is followed.

    Raises:
        OSError: it can't be read or written.
    """
    *parts, name = path.split("/")
    descriptor = open_file(str(source))
    if descriptor is None:
        return
    with open(descriptor, "rb") as original, _folder_below(top, parts) as folder:
        if size_of(name, folder) is None:
            with WholeFile(name, folder=folder) as copy:
                shutil.copyfileobj(original, copy, _CHUNK)
                copy.publish(replace=False, prepare=partial(_share_as, folder))


def _write(
    run_folder: Path, parts: Sequence[str], name: str, record: Mapping[str, object], replace: bool = True
) -> bool:
    """Writes a record into a folder below a run's, which is made where it is missing; returns whether it did."""
    with _folder_below(run_folder, parts, os.O_NOFOLLOW) as folder:
        return write_whole(name, records.encode(record), replace, partial(_share_as, folder), folder)


@contextmanager
def _folder_below(top: Path, parts: Sequence[str], flags: int = 0) -> Iterator[int]:
    """The descriptor of a folder below another. It is made where it is missing, and no link below ``top`` is followed.

    Args:
        flags: O_NOFOLLOW where ``top`` may be no link either.
    """
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    try:
        folder = make_folder(root, parts, lambda new, around: _share_as(around, new))
    finally:
        os.close(root)
    try:
        yield folder
    finally:
        os.close(folder)


def _share_as(folder: int, new: int) -> None:
    """Gives what was made in a folder the folder's owner and group, and its mode as far as it fits."""
    around, own = os.fstat(folder), os.fstat(new)
    if os.geteuid() == 0:
        os.fchown(new, around.st_uid, around.st_gid)
    mode = stat.S_IMODE(around.st_mode)
    os.fchmod(new, mode if stat.S_ISDIR(own.st_mode) else mode & 0o666)


def _share_folders(run_folder: Path) -> None:
    """Shares folders that root has made for itself alone: a client that was killed may leave one, in which no step can write."""
    if os.geteuid() != 0:
        return
    for _, names, _, folder in os.fwalk(run_folder):
        if os.fstat(folder).st_uid == 0:
            # The steps of this run are root's themselves.
            continue
        for name in names:
            inner = open_folder(folder, [name])
            if inner is not None:
                if os.fstat(inner).st_uid == 0:
                    _share_as(folder, inner)
                os.close(inner)
