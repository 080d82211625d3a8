"""The SHA-256 of the code's files. They are remembered, so that an unchanged build of a large project reads none of the files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from toolkit.build.code.checkout import LARGEST_POINTER, missing_size
from toolkit.build.code.files import CodeFile, open_file, unreadable
from toolkit.build.credentials import credential_in, may_hold_credential
from toolkit.errors import ChangedFile
from toolkit.runtime.shared.whole_files import write_whole

RACY_NS = 2_000_000_000
"""Nanoseconds. A file that changed more recently may change again within one tick of its clock, which its times do not show."""
_VERSION = 2
_CHUNK = 1 << 20


_Entry = list[int | str]
"""Size, mtime, ctime, inode and SHA-256 of a file, and of a Git LFS pointer the size that is missing, as JSON holds them. An object
for each would slow down a large project."""


class FileContent(NamedTuple):
    """What is known of a file's content.

    Attributes:
        digest: its SHA-256, in hex.
        missing: of a Git LFS pointer, the size that is missing, in bytes.
        credential: of a credential, what it is.
    """

    digest: str
    missing: int | None
    credential: str


class FileHashes:
    """Remembered hashes, by path; to be used under the build's lock.

    An entry holds for one (size, mtime, ctime, inode). A file whose time is close to now gets no entry, and its old one is not
    used: this is Git's "racy" problem, which a file system with coarse times makes real.

    Attributes:
        pointers: of the files that were asked for, those that are Git LFS pointers, with the size that is missing, in bytes.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known = _load(store)
        self._used: dict[str, _Entry] = {}
        self._is_changed = False
        self.pointers: dict[str, int] = {}

    def of(self, file: CodeFile) -> str:
        """The SHA-256 of the file's content, in hex.

        Raises:
            BadInput: the file cannot be read.
            ChangedFile: it has another size than when it was looked at, or is gone.
        """
        # Looked at before the file is read: a write during or after the reading then shows in the times, or no entry is kept.
        is_racy = _is_racy(file)
        known = self._known.get(file.path)
        state: _Entry = [file.size, *file.stamp]
        if known is not None and known[:4] == state and not is_racy:
            self._used[file.path] = known
            if len(known) > 5:
                self.pointers[file.path] = int(known[5])
            return str(known[4])
        digest, missing, _ = read_hash(file)
        entry: _Entry = [*state, digest]
        if missing is not None:
            self.pointers[file.path] = missing
            entry.append(missing)
        if not is_racy:
            self._used[file.path] = entry
            self._is_changed = True
        return digest

    def save(self) -> None:
        """Writes the hashes that were asked for since the start, and forgets the others."""
        if self._is_changed or len(self._used) != len(self._known):
            write_whole(str(self._store), json.dumps({"version": _VERSION, "files": self._used}).encode())


def _is_racy(file: CodeFile) -> bool:
    return max(file.stamp[0], file.stamp[1]) > time.time_ns() - RACY_NS


def read_hash(file: CodeFile, count: Callable[[Iterable[bytes]], Iterable[bytes]] = iter) -> FileContent:
    """What a file holds, read once.

    Args:
        count: what is read goes through it, so that progress can be shown.

    Raises:
        BadInput: the file cannot be read.
        ChangedFile: it changed since it was looked at.
    """
    digest, size, beginning = hashlib.sha256(), 0, b""
    with open_file(file.source) as stream:
        try:
            for chunk in count(iter(partial(stream.read, _CHUNK), b"")):
                digest.update(chunk)
                beginning = beginning or chunk
                size += len(chunk)
                if size > file.size:
                    break  # one that is written faster than it is read would have no end
        except OSError as error:
            raise unreadable(error, file.source) from error
    if size != file.size:
        raise ChangedFile(
            "it changed while it was read: name it in .dockerignore if it changes all the time", file.source
        )
    name = file.path.rpartition("/")[2]
    return FileContent(
        digest.hexdigest(),
        missing_size(beginning) if file.size < LARGEST_POINTER else None,
        credential_in(name, beginning) if may_hold_credential(name, file.size) else "",
    )


def _load(store: Path) -> dict[str, _Entry]:
    try:
        content = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return {}
    files = content["files"]
    return files if isinstance(files, dict) else {}
