"""A channel of conda in a folder: small packages that a test makes, because no real channel is in reach.

Its ``python`` is a stand-in: links to the base image's own interpreter, as a virtual environment has them. All else (the form of
the packages, the index, solving, hashes, linking) is what a real channel has.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


class Channel:
    """A channel that is written into a folder, package by package."""

    def __init__(self, folder: Path, subdir: str = "linux-64") -> None:
        self._folder = folder
        self._subdir = subdir
        self._index: dict[str, dict[str, Any]] = {"noarch": {}, subdir: {}}

    def python(self, version: str, executable: str) -> dict[str, Any]:
        """Adds the stand-in for Python. Returns its entry."""
        home, minor = executable.rpartition("/")[0], ".".join(version.split(".")[:2])
        return self.add(
            "python",
            version,
            {"pyvenv.cfg": f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"},
            links={"bin/python3": executable, "bin/python": "python3", f"bin/python{minor}": "python3"},
        )

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, str],
        depends: tuple[str, ...] = (),
        noarch: str | None = None,
        links: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Adds a package. Returns its entry of the index, with its hashes and the ``url`` below the channel."""
        subdir = "noarch" if noarch else self._subdir
        about: dict[str, Any] = {
            "name": name,
            "version": version,
            "build": "h0_0",
            "build_number": 0,
            "depends": list(depends),
            "subdir": subdir,
        }
        if noarch:
            about["noarch"] = noarch
        paths = [
            {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "size_in_bytes": len(text.encode()),
            }
            for path, text in files.items()
        ] + [{"_path": path, "path_type": "softlink"} for path in links or {}]
        content = {
            **files,
            "info/index.json": json.dumps(about),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
            "info/files": "".join(f"{path['_path']}\n" for path in paths),
        }
        if noarch == "python":
            content["info/link.json"] = json.dumps({"noarch": {"type": "python"}, "package_metadata_version": 1})
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:bz2") as tar:
            for path, text in content.items():
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(text.encode()), 0o755 if path.startswith("bin/") else 0o644
                tar.addfile(entry, io.BytesIO(text.encode()))
            for path, target in (links or {}).items():
                entry = tarfile.TarInfo(path)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        file = f"{name}-{version}-h0_0.tar.bz2"
        packed = archive.getvalue()
        record = {
            **about,
            "md5": hashlib.md5(packed).hexdigest(),
            "sha256": hashlib.sha256(packed).hexdigest(),
            "size": len(packed),
        }
        self._index[subdir][file] = record
        for one, packages in self._index.items():
            (self._folder / one).mkdir(parents=True, exist_ok=True)
            index = {"info": {"subdir": one}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
            (self._folder / one / "repodata.json").write_text(json.dumps(index))
        (self._folder / subdir / file).write_bytes(packed)
        return {**record, "url": f"{subdir}/{file}"}
