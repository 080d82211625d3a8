"""The catalog: content-addressed objects on the volume, and the step's files that go into it and come out of it."""

from __future__ import annotations

import hashlib
import os

from .layout import object_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Optional

_CHUNK = 1 << 20
_GLOB = frozenset("*?[")


class BadKey(Exception):
    """A catalog key that names nothing, or something outside the step's folder; the message says which."""


class StoreFault(Exception):
    """The store itself failed: a full or broken disk, an object that is missing or damaged."""


class FileStore:
    """Objects at ``objects/ab/SHA256`` below a folder, each stored once whatever step or run puts it.

    This is the one interface that the runtime has to a store: put and get, of bytes and of files.

    Args:
        location: the absolute folder; None stores nothing (the ``do-nothing`` catalog).
    """

    def __init__(self, location: Optional[str]) -> None:
        self._location = location

    def _path(self, digest: str) -> str:
        assert self._location is not None
        return object_path(self._location, digest)

    def put_bytes(self, data: bytes) -> dict[str, Any]:
        """Stores ``data``; returns its ``sha256`` and ``size`` in bytes."""
        digest = hashlib.sha256(data).hexdigest()
        return self._put(digest, len(data), iter([data]))

    def put_file(self, path: str, copy: bool) -> dict[str, Any]:
        """Stores a file's content, or only tells its hash when ``copy`` is false."""
        if not copy or self._location is None:
            with open(path, "rb") as file:
                digest, size = _digest(_chunks(file))
            return {"sha256": digest, "size": size}
        # Hashed while it is copied: a file that changes in between would be stored under another's hash.
        with open(path, "rb") as file:
            return self._put(None, None, _chunks(file))

    def _put(self, digest: Optional[str], size: Optional[int], chunks: Iterator[bytes]) -> dict[str, Any]:
        if digest is not None and size is not None and (self._location is None or os.path.exists(self._path(digest))):
            return {"sha256": digest, "size": size}
        assert self._location is not None
        incoming = os.path.join(self._location, "incoming")
        temporary = os.path.join(incoming, f"{os.uname().nodename}-{os.getpid()}-{os.urandom(6).hex()}")
        try:
            os.makedirs(incoming, exist_ok=True)
            hasher, written = hashlib.sha256(), 0
            with open(temporary, "wb") as file:
                for chunk in chunks:
                    hasher.update(chunk)
                    written += len(chunk)
                    file.write(chunk)
            digest = hasher.hexdigest()
            target = self._path(digest)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.exists(target):
                os.unlink(temporary)
            else:
                os.rename(temporary, target)
        except OSError as error:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            raise StoreFault(f"the catalog at {self._location} can't be written: {error.strerror}") from None
        return {"sha256": digest, "size": written}

    def get_bytes(self, digest: str) -> bytes:
        """An object's content.

        Raises:
            StoreFault: it is not there, or its content is not what its name says.
        """
        data = b"".join(self._get(digest))
        return data

    def get_file(self, digest: str, target: str) -> None:
        """Writes an object to ``target``, which is replaced and never written through."""
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb") as file:
                for chunk in self._get(digest):
                    file.write(chunk)
            os.rename(temporary, target)
        except OSError as error:
            raise StoreFault(f"{target} can't be written: {error.strerror}") from None
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)

    def _get(self, digest: str) -> Iterator[bytes]:
        if self._location is None:
            raise StoreFault("this catalog stores nothing (its type is do-nothing), so nothing can be got from it")
        hasher = hashlib.sha256()
        try:
            with open(self._path(digest), "rb") as file:
                for chunk in _chunks(file):
                    hasher.update(chunk)
                    yield chunk
        except FileNotFoundError:
            raise StoreFault(
                f"the object {digest} is not in the catalog (was it put with store_copy: false?)"
            ) from None
        except OSError as error:
            raise StoreFault(f"the object {digest} can't be read: {error.strerror}") from None
        if hasher.hexdigest() != digest:
            raise StoreFault(f"the object {digest} in the catalog is damaged: its content has another hash")


def executed_name(notebook: str) -> str:
    """The key under which a notebook is put as it was executed."""
    stem, suffix = os.path.splitext(os.path.basename(notebook))
    return f"{stem}_out{suffix}"


def _chunks(file: Any) -> Iterator[bytes]:
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
    """Refuses a key that is not a relative path inside the step's folder.

    Raises:
        BadKey: it is empty, absolute, or leads out of the folder.
    """
    if not key or "\0" in key:
        raise BadKey("a catalog key is empty")
    if key.startswith(("/", "~")):
        raise BadKey(f"the catalog key {key!r} is absolute: keys are relative to the step's folder")
    if ".." in key.split("/"):
        raise BadKey(f"the catalog key {key!r} leads out of the step's folder")


def is_pattern(key: str) -> bool:
    """Whether a key is a pattern (``*``, ``?``, ``[…]``, ``**``) and not a name."""
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
    """The files of one step: where catalog keys lead.

    Args:
        folder: the folder that keys are relative to.
        inside: the folders that a file may really lie in; a link to anywhere else is not followed.
    """

    def __init__(self, folder: str, inside: Iterable[str]) -> None:
        self._folder = folder
        self._inside = [os.path.realpath(one) for one in inside]

    def to_put(self, key: str) -> list[tuple[str, str]]:
        """The files that ``key`` (a name, a folder or a pattern) stands for now, as pairs of name and path, sorted.

        Raises:
            BadKey: it stands for nothing, or leads out of the folder.
        """
        check_key(key)
        name = os.path.normpath(key)
        path = os.path.join(self._folder, name)
        if os.path.lexists(path):
            found = [(name, path)] if not os.path.isdir(path) else list(self._below(name))
        elif is_pattern(key):
            found = [pair for pair in self._below("") if matches(name, pair[0])]
        else:
            raise BadKey(f"the step did not write {key}, which it puts into the catalog")
        if not found:
            raise BadKey(f"nothing that the step wrote matches {key}, which it puts into the catalog")
        for one, where in found:
            self._check_inside(one, where)
            if not os.path.isfile(where):
                raise BadKey(f"{one} is not a regular file and can't be put into the catalog")
        return sorted(found)

    def _below(self, name: str) -> Iterator[tuple[str, str]]:
        """The files below a folder; a linked folder is one of them unless it leads outside, or back to where it lies."""
        top = os.path.join(self._folder, name)
        for folder, folders, files in os.walk(top, followlinks=True):
            here = os.path.realpath(folder)
            for link in [one for one in folders if os.path.islink(os.path.join(folder, one))]:
                real = os.path.realpath(os.path.join(folder, link))
                if not self._is_inside(real):
                    # Named as a file is, so that putting it is refused and not passed over in silence.
                    folders.remove(link)
                    files.append(link)
                elif _lies_in(here, real):
                    folders.remove(link)
            folders.sort()
            for file in sorted(files):
                path = os.path.join(folder, file)
                yield os.path.relpath(path, self._folder), path

    def _is_inside(self, real: str) -> bool:
        return any(_lies_in(real, folder) for folder in self._inside)

    def _check_inside(self, name: str, path: str) -> None:
        if not self._is_inside(os.path.realpath(path)):
            raise BadKey(f"{name} is a link that leads out of the step's folder, and is not followed")

    def target(self, key: str) -> str:
        """The path to write a got file to; its folders are made, and what was there is left to be replaced.

        Raises:
            BadKey: the key leads out of the folder, or a folder is in the way.
        """
        check_key(key)
        path = os.path.join(self._folder, os.path.normpath(key))
        # Before anything is made: a folder on the way may be a link.
        self._check_inside(key, os.path.dirname(path))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise BadKey(f"{key} can't be written: {error.strerror}") from None
        if os.path.isdir(path):
            raise BadKey(f"{key} can't be got from the catalog: a folder of that name is in the way")
        return path


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
