"""Remembers what files mean, by their hashes: an unchanged build hashes a large lock and does not parse it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.environment.dependencies.found import ReadAs
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    from toolkit.build.environment.meaning.parts import Parts

VERSION = 1
"""Of what this package takes files to mean. Another one makes other keys."""
_KEPT = 40
"""Meanings that are remembered for a project."""


class Memory:
    """The meanings of a project's files.

    Args:
        folder: the build's. None, or one that is not there, remembers nothing. writes: whether it may be written to.
    """

    def __init__(self, folder: Path | None = None, writes: bool = True) -> None:
        self._folder = folder / "meanings" if folder is not None else None
        self._writes = writes

    def of(self, files: Mapping[str, bytes], reading: ReadAs) -> Parts:
        """What counts of these files, as :func:`meaning_of` says it."""
        if not files:
            return {}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        inputs = [VERSION, hashes, reading.forms, sorted(reading.extras), sorted(reading.groups)]
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        known = self._read(f"{key}.json")
        if known is not None:
            return known
        from toolkit.build.environment.meaning.files import meaning_of

        found = meaning_of(files, reading)
        self._write(f"{key}.json", found)
        return found

    def accepted(self) -> dict[str, str]:
        """The hashes of the files that the lock of the last build needs, by name; none where only the lock says which."""
        return self._read("accepted.json") or {}

    def accept(self, files: Mapping[str, bytes], reading: ReadAs) -> None:
        """Remembers which files a lock needs, where each is read by itself and not as a part of a folder."""
        is_plain = all(reading.forms.get(name) or name.endswith((".whl", ".tar.gz", ".zip")) for name in files)
        new = {f"lock {name}": hashlib.sha256(one).hexdigest() for name, one in files.items()} if is_plain else {}
        if new != self.accepted():
            self._write("accepted.json", new)

    def _read(self, name: str) -> dict[str, str] | None:
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / name).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, name: str, content: dict[str, str]) -> None:
        if self._folder is None or not self._writes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        files = sorted(self._folder.glob("????????*.json"), key=os.path.getmtime)
        for file in [one for one in files if one.name != "accepted.json"][: -_KEPT + 1]:
            file.unlink(missing_ok=True)
        write_whole(str(self._folder / name), json.dumps(content).encode())
