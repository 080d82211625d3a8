"""The SHA-256 of files' contents, remembered so that an unchanged build of a large project reads none of them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from toolkit.build.code.files import CodeFile
from toolkit.errors import BadInput
from toolkit.runtime.shared.whole_files import write_whole

RACY_NS = 2_000_000_000
"""A file that changed this short a time ago may change again within one tick of its clock, unseen in its times."""
_VERSION = 1


class FileHashes:
    """Known hashes by path; used under the build's lock.

    An entry holds for one (size, mtime, ctime, inode). It is neither kept nor believed for a file whose time is not
    well before now: Git's "racy" problem, which a file system with coarse times makes real.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known = _load(store)
        self._seen: dict[str, list[Any]] = {}
        self._changed = False

    def of(self, file: CodeFile) -> str:
        """The content's SHA-256 in hex.

        Raises:
            BadInput: the file cannot be read.
        """
        entry = [file.size, *file.stamp]
        known = self._known.get(file.path)
        if known is not None and known[:4] == entry and not _racy(file):
            self._seen[file.path] = known
            return str(known[4])
        # Asked before reading: a write during or after it then shows in the times, or the entry is not kept.
        racy = _racy(file)
        digest = _read(file.source)
        if not racy:
            self._seen[file.path] = [*entry, digest]
            self._changed = True
        return digest

    def keep(self) -> None:
        """Writes what was asked for since the start; what was not asked for is forgotten."""
        if self._changed or len(self._seen) != len(self._known):
            write_whole(str(self._store), json.dumps({"version": _VERSION, "files": self._seen}).encode())


def _racy(file: CodeFile) -> bool:
    return max(file.stamp[0], file.stamp[1]) > time.time_ns() - RACY_NS


def _read(source: str) -> str:
    digest = hashlib.sha256()
    try:
        # A link put in the file's place meanwhile is not followed.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", source) from error
    return digest.hexdigest()


def _load(store: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        return {}
    files = found["files"]
    return files if isinstance(files, dict) else {}
