"""The hashes that a project's locks have: of the files that an installer could take for a package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from toolkit.build.inventory.packages import Package, normalized, without_credentials

_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz")
_PINNED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*===?\s*([^\s;\\#]+)")
_HASH = re.compile(r"--hash[= ]\s*sha256:([0-9a-fA-F]{64})")


class LockedFile(NamedTuple):
    """A file of a package, as a lock has it. Name and address are "" where the lock has the hash alone."""

    name: str
    url: str
    sha256: str


Locked = dict[tuple[str, str], tuple[LockedFile, ...]]
"""By the package's normalized name and its version."""


def locked_files(files: Mapping[str, bytes]) -> Locked:
    """What the locks among these files say.

    Args:
        files: what an environment is installed from, by their paths: locks, requirements, wheels.
    """
    found: dict[tuple[str, str], set[LockedFile]] = {}
    for path, content in sorted(files.items()):
        for name, version, file in _of(path.rpartition("/")[2], content):
            found.setdefault((normalized(name), version), set()).add(file)
    return {key: tuple(sorted(of_package)) for key, of_package in found.items()}


def files_of(package: Package, locked: Locked) -> tuple[LockedFile, ...]:
    """The files that a package may have been installed from: the one, where its wheel's tags tell; else all of them."""
    known = locked.get((normalized(package.name), package.version), ())
    wheels = [file for file in known if file.name.endswith(".whl") and _tags(file.name) & set(package.tags)]
    return (wheels[0],) if len(wheels) == 1 else known


def _tags(name: str) -> set[str]:
    """The tags in a wheel's name; ``cp311-abi3-linux_x86_64.manylinux1_x86_64`` is two."""
    python, abi, platform = name.removesuffix(".whl").split("-")[-3:]
    return {f"{a}-{b}-{c}" for a in python.split(".") for b in abi.split(".") for c in platform.split(".")}


def _of(name: str, content: bytes) -> Iterator[tuple[str, str, LockedFile]]:
    if name.endswith(_ARCHIVES):
        parts = re.match(r"(.+?)-(\d[^-]*?)(-.*\.whl|\.whl|\.tar\.gz|\.zip|\.tar\.bz2|\.tgz)$", name)
        if parts:
            yield parts[1], parts[2], LockedFile(name, "", hashlib.sha256(content).hexdigest())
    elif name.endswith((".lock", ".toml")) and b"[[package" in content:
        import tomli

        try:
            document = tomli.loads(content.decode("utf-8"))
        except ValueError:
            return
        for row in document.get("package") or document.get("packages") or ():
            for file in _of_row(row):
                yield str(row.get("name", "")), str(row.get("version", "")), file
    elif b"--hash" in content:
        for line in re.sub(r"\\\r?\n", " ", content.decode("utf-8", "replace")).splitlines():
            pinned = _PINNED.match(line)
            for digest in _HASH.findall(line) if pinned else ():
                assert pinned is not None
                yield pinned[1], pinned[2], LockedFile("", "", digest.lower())


def _of_row(row: Mapping[str, Any]) -> Iterator[LockedFile]:
    """The files in one package of a uv.lock, whose files have a ``hash``, or of a pylock.toml, whose have ``hashes``."""
    for file in (
        *(row.get("wheels") or ()),
        *(row[one] for one in ("sdist", "archive") if isinstance(row.get(one), dict)),
    ):
        url = without_credentials(str(file.get("url") or ""))
        sha256 = (file.get("hashes") or {}).get("sha256") or str(file.get("hash") or "").removeprefix("sha256:")
        if re.fullmatch("[0-9a-f]{64}", sha256):
            place = str(file.get("name") or file.get("filename") or file.get("path") or unquote(urlsplit(url).path))
            yield LockedFile(place.rpartition("/")[2], url if url.startswith("http") else "", sha256)
