"""The catalog: content-addressed objects on the volume, and the files of a step that are put into it and got from it."""

from __future__ import annotations

import hashlib
import os

from .layout import object_path
from .volume_files import open_file
from .whole_files import WholeFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, Optional

    from .documents import ObjectEntry

_CHUNK = 1 << 20
_GLOB = frozenset("*?[")


class BadKey(Exception):
    """A catalog key that names nothing, or something outside the step's folder; the message says which."""


class StoreFault(Exception):
    """The store itself failed: a full or broken disk, an object that is missing or damaged."""


class FileStore:
    """Objects at ``objects/ab/SHA256`` below a folder. Each is stored once, whichever step or run puts it.

    It is all that the runtime sees of a catalog: put and get, of bytes and of files.

    Args:
        location: the absolute folder; None stores nothing (the ``do-nothing`` catalog).
    """

    def __init__(self, location: Optional[str]) -> None:
        self._location = location

    def _path(self, digest: str) -> str:
        assert self._location is not None
        return object_path(self._location, digest)

    def put_bytes(self, data: bytes) -> ObjectEntry:
        """Stores ``data``.

        Raises:
            StoreFault: the catalog can't be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        if self._location is None or os.path.exists(self._path(digest)):
            return {"sha256": digest, "size": len(data)}
        return self._put(self._location, iter([data]))

    def put_file(self, path: str, copy: bool) -> ObjectEntry:
        """Stores the content of a file, or only computes its hash when ``copy`` is false.

        Raises:
            StoreFault: the catalog can't be written. OSError: the file can't be read.
        """
        with open(path, "rb") as file:
            if not copy or self._location is None:
                digest, size = _digest(_chunks(file))
                return {"sha256": digest, "size": size}
            # Hashed while it is copied: a file that changes in between would be stored under the hash of other content.
            return self._put(self._location, _chunks(file))

    def _put(self, location: str, chunks: Iterator[bytes]) -> ObjectEntry:
        incoming = os.path.join(location, "incoming", f"{os.urandom(16).hex()}.tmp")
        hasher, size = hashlib.sha256(), 0
        try:
            os.makedirs(os.path.dirname(incoming), exist_ok=True)
            with WholeFile(incoming, incoming) as file:
                for chunk in chunks:
                    hasher.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                digest = hasher.hexdigest()
                target = self._path(digest)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if not os.path.exists(target):
                    file.publish(target)
        except OSError as error:
            raise StoreFault(f"the catalog at {location} can't be written: {error.strerror}") from None
        return {"sha256": digest, "size": size}

    def get_bytes(self, digest: str) -> bytes:
        """The content of an object.

        Raises:
            StoreFault: the object is missing, or its content has another hash.
        """
        return b"".join(self._get(digest))

    def get_file(self, digest: str, target: str, executable: bool = False) -> None:
        """Writes an object to ``target``, which is replaced: a link there is not followed.

        Args:
            executable: whether who may read the file may execute it as well.

        Raises:
            StoreFault: as of :meth:`get_bytes`, or the file can't be written.
        """
        try:
            with WholeFile(target) as file:
                for chunk in self._get(digest):
                    file.write(chunk)
                file.publish(prepare=_make_executable if executable else None)
        except OSError as error:
            raise StoreFault(f"{target} can't be written: {error.strerror}") from None

    def _get(self, digest: str) -> Iterator[bytes]:
        if self._location is None:
            raise StoreFault("this catalog stores nothing (its type is do-nothing), so nothing can be got from it")
        hasher = hashlib.sha256()
        try:
            descriptor = open_file(self._path(digest))
            if descriptor is None:
                raise StoreFault(f"the object {digest} is not in the catalog (was it put with store_copy: false?)")
            with open(descriptor, "rb") as file:
                for chunk in _chunks(file):
                    hasher.update(chunk)
                    yield chunk
        except ValueError as error:
            raise StoreFault(str(error)) from None
        except OSError as error:
            raise StoreFault(f"the object {digest} can't be read: {error.strerror}") from None
        if hasher.hexdigest() != digest:
            raise StoreFault(f"the object {digest} in the catalog is damaged: its content has another hash")


def _make_executable(file: int) -> None:
    mode = os.stat(file).st_mode & 0o777
    os.chmod(file, mode | (mode & 0o444) >> 2)


def is_empty_folder(name: str) -> bool:
    """Whether an entry of the catalog is an empty folder and no file."""
    return name.endswith("/")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while True:
        chunk = file.read(_CHUNK)
        if not chunk:
            return
        yield chunk


def _digest(chunks: Iterable[bytes]) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
    return hasher.hexdigest(), size


# --- keys -----------------------------------------------------------------------------------------------------------


def check_key(key: str) -> None:
    """Refuses a key that is no relative path inside the step's folder.

    Raises:
        BadKey: the key is empty, absolute, or leads out of the folder.
    """
    if not key or "\0" in key:
        raise BadKey("a catalog key is empty")
    if key.startswith(("/", "~")):
        raise BadKey(f"the catalog key {key!r} is absolute: keys are relative to the step's folder")
    if ".." in key.split("/"):
        raise BadKey(f"the catalog key {key!r} leads out of the step's folder")


def is_pattern(key: str) -> bool:
    """Whether a key is a glob pattern (``*``, ``?``, ``[…]``, ``**``) and no name."""
    return not _GLOB.isdisjoint(key)


def matches(pattern: str, key: str) -> bool:
    """Whether ``key`` matches ``pattern``; ``*`` stays within one folder, ``**`` crosses folders."""
    return _match(pattern.split("/"), key.split("/"))


def _match(pattern: list[str], parts: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(pattern[1:], parts[skip:]) for skip in range(len(parts) + 1))
    if not parts:
        return False
    from fnmatch import fnmatchcase

    return fnmatchcase(parts[0], pattern[0]) and _match(pattern[1:], parts[1:])


class StepFiles:
    """The files of one step, by their keys.

    Args:
        folder: the folder that keys are relative to.
        inside: the folders that a file may lie in when all links are resolved; a link to anywhere else is not followed.
    """

    def __init__(self, folder: str, inside: Iterable[str]) -> None:
        self._folder = folder
        self._inside = [os.path.realpath(path) for path in inside]

    def to_put(self, key: str, is_name: bool = False) -> list[tuple[str, str]]:
        """The files that ``key`` (a name, a folder or a pattern) stands for, as sorted pairs of name and path.

        An empty folder is one of them, too; its name ends in ``/``. A pattern stands for files alone.

        Args:
            is_name: whether it is no pattern, whatever characters it has.

        Raises:
            BadKey: there is no such file, or it lies outside the folder.
        """
        check_key(key)
        name = os.path.normpath(key)
        path = os.path.join(self._folder, name)
        if os.path.lexists(path):
            files = [(name, path)] if not os.path.isdir(path) else list(self._below(name))
        elif not is_name and is_pattern(key):
            files = [pair for pair in self._below("") if not is_empty_folder(pair[0]) and matches(name, pair[0])]
        else:
            raise BadKey(f"the step did not write {key}, which it puts into the catalog")
        if not files:
            raise BadKey(f"nothing that the step wrote matches {key}, which it puts into the catalog")
        for name, path in files:
            self._check_inside(name, path)
            if not is_empty_folder(name) and not os.path.isfile(path):
                raise BadKey(f"{name} is not a regular file and can't be put into the catalog")
        return sorted(files)

    def _below(self, name: str) -> Iterator[tuple[str, str]]:
        """The files below a folder, also in linked folders, except where a link leads outside or back to a folder around it."""
        top = os.path.join(self._folder, name)
        for folder, folders, files in os.walk(top, followlinks=True):
            real_folder = os.path.realpath(folder)
            for link in [name for name in folders if os.path.islink(os.path.join(folder, name))]:
                real = os.path.realpath(os.path.join(folder, link))
                if not self._is_inside(real):
                    # Listed among the files, so that the put is refused and the link not left out without a word.
                    folders.remove(link)
                    files.append(link)
                elif _lies_in(real_folder, real):
                    folders.remove(link)
            folders.sort()
            if not folders and not files and folder != self._folder:
                yield os.path.relpath(folder, self._folder) + "/", folder
            for file in sorted(files):
                path = os.path.join(folder, file)
                yield os.path.relpath(path, self._folder), path

    def _is_inside(self, real: str) -> bool:
        return any(_lies_in(real, folder) for folder in self._inside)

    def _check_inside(self, name: str, path: str) -> None:
        if not self._is_inside(os.path.realpath(path)):
            raise BadKey(f"{name} is a link that leads out of the step's folder, and is not followed")

    def target(self, key: str) -> str:
        """The path to which a file is got. The folders above it are made; a file that is there stays, to be replaced.

        An empty folder is made itself.

        Raises:
            BadKey: the key leads out of the folder, or what is there is no file (no folder).
        """
        check_key(key)
        path = os.path.join(self._folder, os.path.normpath(key))
        # Before any folder is made, because one on the way may be a link.
        self._check_inside(key, os.path.dirname(path))
        try:
            os.makedirs(path if is_empty_folder(key) else os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise BadKey(f"{key} can't be written: {error.strerror}") from None
        if not is_empty_folder(key) and os.path.isdir(path):
            raise BadKey(f"{key} can't be got from the catalog: a folder of that name is in the way")
        return path


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
