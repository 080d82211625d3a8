"""The files of the mirror: what it has of a run, and how the items of an answer become files.

What comes from the cluster is not trusted. Only names that a run's files have are written, sizes must be as announced, links are
neither followed nor made, and an object's content must have its hash.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolkit.backends.argo.volume.answer import Meter, Sink, unreadable
from toolkit.errors import Infrastructure
from toolkit.runtime.shared import layout, run_files
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import (
    CONTINUED_FOLDER,
    END_RECORD,
    MOVED_RECORD,
    OUTPUT_FILE,
    RUN_RECORD,
    STEPS_FOLDER,
)
from toolkit.runtime.shared.records import read
from toolkit.runtime.shared.volume_files import size_of
from toolkit.runtime.shared.whole_files import temporary_beside


def identity_of(folder: Path) -> str | None:
    """What tells the run in a folder from another run of its id; None when the folder holds no record of it."""
    try:
        record = read(str(folder / RUN_RECORD))
    except (OSError, ValueError, RecursionError):
        return None
    return run_files.run_identity(record) if record is not None else None


def files_of_run(folder: Path) -> Iterator[tuple[str, int]]:
    """The paths of the files of a run that are in its folder, with their sizes."""
    for name in (RUN_RECORD, END_RECORD, MOVED_RECORD):
        size = size_of(str(folder / name))
        if size is not None:
            yield name, size
    for top in (CONTINUED_FOLDER, STEPS_FOLDER):
        if (folder / top).is_symlink():
            continue
        for path, entry in _below(folder / top, top):
            if run_files.is_file_of_run(path):
                yield path, entry.stat(follow_symlinks=False).st_size


def _below(folder: Path, path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, f"{path}/{entry.name}")
        elif entry.is_file(follow_symlinks=False):
            yield f"{path}/{entry.name}", entry


def object_path(catalog: Path, digest: str) -> Path:
    """The path of an object in a catalog.

    Raises:
        StoreFault: ``digest`` is no SHA-256.
    """
    try:
        return Path(layout.object_path(str(catalog), digest))
    except ValueError as error:
        raise StoreFault(str(error)) from None


class RecordSink(Sink):
    """Writes the files of a run.

    Attributes:
        part: the number of the run's newest part on the volume. ended: whether that part has ended.
    """

    def __init__(self, folder: Path, identity: str | None, trash: Path, meter: Meter) -> None:
        self.part = 0
        self.ended = False
        self._folder = folder
        self._identity = identity
        self._trash = trash
        self._meter = meter
        self._folders: set[Path] = set()
        self._path = Path()
        self._temporary: Path | None = None
        self._file = -1
        self._position = 0
        self._ends: list[tuple[Path, Path]] = []

    def begin(self, fields: Mapping[str, object], size: int) -> None:
        if fields.get("item") == "records":
            self._begin_run(fields)
            return
        path, offset = fields.get("path"), fields.get("offset")
        if not isinstance(path, str) or not run_files.is_file_of_run(path) or not isinstance(offset, int) or offset < 0:
            raise unreadable("a file's name")
        self._meter.announce(size)
        self._path = self._folder / path
        if self._path.parent not in self._folders:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._path.name == OUTPUT_FILE and self._continues_at(offset):
            # Written at its offset and not appended: when two processes fetch it, both write the same bytes there.
            self._file, self._position = os.open(self._path, flags, 0o600), offset
            return
        if offset:
            raise unreadable("a file's beginning")
        self._temporary, self._position = Path(temporary_beside(str(self._path))), 0
        self._file = os.open(self._temporary, flags | os.O_EXCL, 0o600)

    def _begin_run(self, fields: Mapping[str, object]) -> None:
        part = fields.get("part")
        if not isinstance(part, int) or part < 0:
            raise unreadable("a part's number")
        self.part, self.ended = part, fields.get("ended") is True
        # Only the run that the request named: another process may have fetched the new one since.
        if self._identity is None or identity_of(self._folder) != self._identity:
            return
        if fields.get("new") is True:
            self._clear()
        elif fields.get("moved") is False:
            # It had been moved away and has returned.
            (self._folder / MOVED_RECORD).unlink(missing_ok=True)

    def _continues_at(self, offset: int) -> bool:
        """Whether data at this offset continues the output that is here."""
        try:
            size = os.stat(self._path, follow_symlinks=False).st_size
        except FileNotFoundError:
            size = 0
        # Data from the beginning although the file is not empty is of another run's output.
        return offset <= size and not (offset == 0 and size > 0)

    def _clear(self) -> None:
        """Removes the run that had this id before."""
        self._trash.mkdir(parents=True, exist_ok=True)
        trash = self._trash / os.urandom(8).hex()
        try:
            os.rename(self._folder, trash)
        except FileNotFoundError:
            return
        shutil.rmtree(trash, ignore_errors=True)

    def data(self, data: bytes) -> None:
        if self._file < 0:
            raise unreadable("an item's size")
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, self._position)
            self._position += written
            view = view[written:]
        self._meter.count(len(data))

    def end(self) -> None:
        if self._file < 0:
            return
        file, self._file = self._file, -1
        os.close(file)
        if self._temporary is None:
            return
        if self._path.name == END_RECORD and not self._is_of_a_step():
            # Not before the whole answer has come: the newest end says that the run was fetched whole.
            self._ends.append((self._temporary, self._path))
            self._temporary = None
            return
        os.replace(self._temporary, self._path)
        self._temporary = None

    def _is_of_a_step(self) -> bool:
        return self._path.relative_to(self._folder).parts[0] == STEPS_FOLDER

    def finish(self) -> None:
        while self._ends:
            os.replace(*self._ends[0])
            del self._ends[0]
        self._meter.report()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        for temporary in (self._temporary, *(temporary for temporary, _ in self._ends)):
            if temporary is not None:
                temporary.unlink(missing_ok=True)


class ObjectSink(Sink):
    """Writes objects of the catalog."""

    def __init__(self, catalog: Path, expected: set[str], meter: Meter) -> None:
        self._catalog = catalog
        self._expected = expected
        self._meter = meter
        self._digest = ""
        self._hasher = hashlib.sha256()
        self._problems: list[str] = []
        self._file = -1
        self._temporary: Path | None = None

    def begin(self, fields: Mapping[str, object], size: int) -> None:
        digest = fields.get("sha256")
        if digest not in self._expected:
            raise unreadable("an object")
        if fields.get("missing"):
            self._problems.append(f"the object {digest} is not in the catalog (was it put with store_copy: false?)")
            self._expected.discard(str(digest))
            return
        self._digest, self._hasher = str(digest), hashlib.sha256()
        incoming = self._catalog / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(incoming).free) < size:
            raise Infrastructure(f"{self._catalog} has {free} bytes free, and the object {digest} has {size}")
        self._meter.announce(size)
        self._temporary = incoming / os.urandom(8).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._temporary, flags, 0o600)

    def data(self, data: bytes) -> None:
        if self._file < 0:
            raise unreadable("an item's size")
        self._hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._meter.count(len(data))

    def end(self) -> None:
        if self._temporary is None:
            return
        file, self._file = self._file, -1
        os.close(file)
        self._expected.discard(self._digest)
        if self._hasher.hexdigest() != self._digest:
            self._problems.append(f"the object {self._digest} in the catalog is damaged: its content has another hash")
            self._temporary.unlink()
        else:
            path = object_path(self._catalog, self._digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._temporary, path)
        self._temporary = None

    def finish(self) -> None:
        if self._expected:
            raise unreadable("an object that was asked for is not in it")
        self._meter.report()
        if self._problems:
            # Not before the end: the other objects are fetched all the same.
            more = f" (and {len(self._problems) - 1} more)" if len(self._problems) > 1 else ""
            raise StoreFault(self._problems[0] + more)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
