"""What an image holds, as its own Python finds it. It runs there: standard library alone, Python 3.9, nothing of toolkit's."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable
from typing import Any

_HEADERS = ("Name", "Version", "License", "License-Expression", "Classifier", "Requires-Dist")
_LARGEST = 10


def site_folders() -> dict[str, bool]:
    """The folders in which distributions are installed; whether this Python imports from them."""
    found: dict[str, bool] = {}
    for path in sys.path:
        if os.path.basename(path) in ("site-packages", "dist-packages") and os.path.isdir(path):
            found.setdefault(os.path.realpath(path), True)
    for kind in ("purelib", "platlib"):
        path = sysconfig.get_path(kind, vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
        found.setdefault(os.path.realpath(path), False)
    found.setdefault("/usr/lib/python3/dist-packages", False)
    return {path: imported for path, imported in found.items() if os.path.isdir(path)}


def distributions(folder: str, imported: bool, owned: set[str]) -> Iterable[dict[str, Any]]:
    """The distributions in a folder.

    Args:
        owned: the files that packages of conda own. A distribution of theirs is theirs.
    """
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".dist-info"):
            metadata = os.path.join(path, "METADATA")
        elif name.endswith(".egg-info"):
            metadata = os.path.join(path, "PKG-INFO") if os.path.isdir(path) else path
        else:
            continue
        if not os.path.isfile(metadata) or metadata in owned:
            continue
        headers = _headers(_text(metadata))
        direct = _text(os.path.join(path, "direct_url.json"))
        yield {
            "headers": headers,
            "tags": _headers(_text(os.path.join(path, "WHEEL")), ("Tag",)).get("Tag", []),
            "installer": _text(os.path.join(path, "INSTALLER")).strip(),
            "direct": json.loads(direct) if direct else None,
            "size": _size(folder, path),
            "imported": imported,
        }


def _headers(text: str, wanted: Iterable[str] = _HEADERS) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, colon, value = line.partition(":")
        if colon and name in wanted:
            found.setdefault(name, []).append(value.strip())
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _size(folder: str, path: str) -> int:
    """The bytes of the files that an installation recorded, without links: of its RECORD, else of installed-files.txt."""
    record = _text(os.path.join(path, "RECORD"))
    names = [row[0] for row in csv.reader(record.splitlines()) if row]
    if not record:
        names = [os.path.join(path, name) for name in _text(os.path.join(path, "installed-files.txt")).splitlines()]
    return sum(_size_of(os.path.join(folder, name)) for name in set(names))


def _size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def conda_packages(prefix: str) -> Iterable[dict[str, Any]]:
    """The packages that are recorded in a prefix of conda."""
    folder = os.path.join(prefix, "conda-meta")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if not name.endswith(".json"):
            continue
        try:
            record = json.loads(_text(os.path.join(folder, name)))
            files = [str(one) for one in record.get("files") or []]
            yield {
                **{
                    key: str(record.get(key) or "")
                    for key in ("name", "version", "build", "url", "sha256", "license", "subdir")
                },
                "files": [os.path.join(prefix, one) for one in files],
                "size": sum(_size_of(os.path.join(prefix, one)) for one in files),
            }
        except (ValueError, AttributeError):
            continue


def files_below(folder: str) -> dict[str, Any]:
    """How many files there are, and the largest."""
    count, sizes = 0, []
    for above, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            count += 1
            sizes.append((_size_of(path), os.path.relpath(path, folder)))
    sizes.sort(key=lambda row: (-row[0], row[1]))
    return {
        "files": count,
        "size": sum(size for size, _ in sizes),
        "largest": [[path, size] for size, path in sizes[:_LARGEST]],
    }


def everything(workspace: str) -> dict[str, Any]:
    """All of it, as JSON can hold it."""
    conda = list(conda_packages(sys.prefix))
    owned = {
        os.path.realpath(path)
        for one in conda
        for path in one.pop("files")
        if path.endswith(("/METADATA", "/PKG-INFO"))
    }
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "distributions": [
            one for path, imported in site_folders().items() for one in distributions(path, imported, owned)
        ],
        "conda": conda,
        "code": files_below(workspace) if os.path.isdir(workspace) else None,
    }


if __name__ == "__main__":
    print("\n" + json.dumps(everything(sys.argv[1])))
