"""Copies what a run has in the catalog to a folder of the user's."""

from __future__ import annotations

import os
import posixpath
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.backends.volumes import make_private_state
from toolkit.build.code.files import FETCHED, is_left_out
from toolkit.errors import BadInput, Infrastructure
from toolkit.report.catalog import Entry, apart, clashing
from toolkit.report.table import counted
from toolkit.runs.find import MissingObjects, RunHandle
from toolkit.runtime.shared.catalog import FileStore, StoreFault, is_empty_folder

MARK = b"`toolkit fetch` made this folder. What is in it is no code of your project, unless you remove this file.\n"
"""The content of the file that marks a folder."""


@dataclass
class Fetched:
    """What was copied.

    Attributes:
        files: each with its path below the folder.
        hashes: what was left out, because its step put the hash alone.
        is_code: whether the folder lies among the user's code, and was there before with files of the user's own.
    """

    files: list[tuple[Entry, str]] = field(default_factory=list)
    hashes: list[Entry] = field(default_factory=list)
    is_code: bool = False


def default_folder(handle: RunHandle) -> Path:
    """Where the files of a run are copied to, where the user names no folder."""
    return handle.project.state / "fetched" / handle.run.id


def copy_files(handle: RunHandle, entries: Sequence[Entry], folder: Path, only_stored: bool) -> Fetched:
    """Copies files, and objects as their bytes. What has the same name is replaced; nothing else in the folder is touched.

    A folder that is made here among the user's code is marked, so that it is no code.

    Args:
        only_stored: whether to leave out what was put as its hash alone, unless another step put the same bytes.

    Raises:
        BadInput: names lead out of the folder or can't lie in one folder; or an object is missing, and all others are copied.
        Infrastructure: the same on a cluster; cluster or disk.
    """
    names = {entry: entry.place or entry.file_name for entry in entries}
    for name in names.values():
        _check_inside(folder, name)
    names = _apart(names, posixpath.normpath)
    missing: MissingObjects | None = None
    try:
        location = handle.catalog(entry.sha256 for entry in entries)
    except MissingObjects as error:
        location, missing = error.location, error
    fetched = Fetched()
    with _written(folder):
        fetched.is_code = _make_folder(handle, folder)
        if clashing(names, folded) and _folds_case(folder):
            names = _apart(names, folded)
    store = FileStore(str(location) if location is not None else None)
    problems: list[str] = []
    for entry, name in names.items():
        try:
            _copy(store, entry, folder / name)
        except StoreFault as error:
            if only_stored and not entry.is_stored:
                fetched.hashes.append(entry)
            else:
                problems.append(f"{name}: {error}")
        else:
            fetched.files.append((entry, name))
    if problems:
        rest = f" and {len(problems) - 1} more can't be had" if len(problems) > 1 else ""
        others = f"; {counted(len(fetched.files), 'file')} are in {folder}" if fetched.files else ""
        raise (BadInput if missing is None else Infrastructure)(problems[0] + rest + others)
    return fetched


def _copy(store: FileStore, entry: Entry, target: Path) -> None:
    """Writes an entry.

    Raises:
        StoreFault: the object is missing or damaged. Infrastructure: the disk.
    """
    with _written(target):
        if not entry.object and is_empty_folder(entry.name):
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.get_file(entry.sha256, str(target), entry.is_executable)
    except StoreFault as error:
        if isinstance(error.__context__, OSError):
            raise Infrastructure(str(error)) from None
        raise


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Infrastructure(f"{error.filename or path} can't be written: {error.strerror}") from None


def _check_inside(folder: Path, name: str) -> None:
    """Refuses a name that leads out of the folder. Names come from a volume that the steps' code can write on.

    Raises:
        BadInput: it does, or no file system takes it.
    """
    inside = os.path.realpath(folder)
    try:
        is_inside = os.path.realpath(folder / name).startswith(inside.rstrip(os.sep) + os.sep)
    except ValueError:
        # A NUL, or half of a surrogate pair.
        raise BadInput(f"{name!r} is no name that a file can have") from None
    if not is_inside:
        raise BadInput(f"the name {name} leads out of {folder}")
    if FETCHED in name.split("/"):
        raise BadInput(f"the name {name} is that of the file by which toolkit knows folders that are no code")


def _make_folder(handle: RunHandle, folder: Path) -> bool:
    """Makes the folder, and marks it where it would be code; returns whether it is code all the same.

    Raises:
        BadInput: it is a file.
    """
    if folder == default_folder(handle):
        make_private_state(handle.project)
    is_code = not is_left_out(handle.project.root, folder)
    # The topmost folder that is made here: an empty folder around a marked one would be code.
    made = folder
    while not made.parent.exists():
        made = made.parent
    for place in (made, made.parent):
        if place.exists() and not place.is_dir():
            raise BadInput(f"{place} is a file, and no folder to copy files to")
    is_own = not made.exists() or not any(made.iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    if is_code and is_own:
        (made / FETCHED).write_bytes(MARK)
    return is_code and not is_own


def _apart(names: Mapping[Entry, str], fold: Callable[[str], str]) -> dict[Entry, str]:
    """The names, where those that can't lie in one folder side by side begin with their steps' paths.

    Raises:
        BadInput: some can't all the same.
    """
    found = apart(names, fold)
    if still := clashing(found, fold):
        first, second = (f"{'the object ' if one.object else ''}{one.name} of {one.step}" for one in still[:2])
        raise BadInput(
            f"{first} and {second} can't both be {found[still[0]]} in one folder: fetch each to a folder of its own (--to)"
        )
    return found


def folded(name: str) -> str:
    """The same text for names that some file systems take for one."""
    return unicodedata.normalize("NFC", posixpath.normpath(name)).casefold()


def _folds_case(folder: Path) -> bool:
    """Whether names that differ by their case alone are one name on the file system of a folder."""
    with tempfile.NamedTemporaryFile(prefix=".toolkit-case-", dir=folder) as file:
        return os.path.lexists(folder / os.path.basename(file.name).upper())
