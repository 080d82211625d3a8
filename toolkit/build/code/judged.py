"""What the contents of small files were judged to be, remembered for who lists the code without hashing it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from toolkit.build import credentials
from toolkit.build.code.files import CodeFile, credential_of
from toolkit.build.code.hashes import RACY_NS
from toolkit.runtime.shared.whole_files import write_whole

JUDGED = "judged.json"
"""The name of its file in the build's folder."""


class JudgedFiles:
    """Remembered verdicts, by path. One holds for one (size, mtime, ctime, inode), as a hash of :class:`FileHashes` does.

    Args:
        store: its file. One that is missing or damaged, or whose verdicts another version of toolkit gave, is as none.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        status = os.stat(str(credentials.__file__))
        self._judge = [status.st_mtime_ns, status.st_size]
        self._known: dict[str, list[int | str]] = {}
        self._used: dict[str, list[int | str]] = {}
        self._latest = time.time_ns() - RACY_NS
        self._is_changed = False
        try:
            content = json.loads(store.read_bytes())
            if content["judge"] == self._judge:
                self._known = dict(content["files"])
        except (OSError, ValueError, TypeError, KeyError):
            pass

    def of(self, file: CodeFile) -> str:
        """What the content of a file is; empty where it is no credential."""
        known = self._known.get(file.path)
        state: list[int | str] = [file.size, *file.stamp]
        is_settled = max(file.stamp[0], file.stamp[1]) <= self._latest
        if known is not None and is_settled and known[:4] == state:
            self._used[file.path] = known
            return str(known[4])
        kind = credential_of(file)
        if is_settled:
            self._used[file.path] = [*state, kind]
            self._is_changed = True
        return kind

    def save(self) -> None:
        """Writes the verdicts that were asked for, and forgets the others. Without them the next list only takes longer."""
        if self._is_changed or len(self._used) != len(self._known):
            content = {"judge": self._judge, "files": self._used}
            try:
                write_whole(str(self._store), json.dumps(content).encode("utf-8", "surrogateescape"))
            except OSError:
                pass
