"""Whether an overlay on a project can be a step's folder, in place of a copy, and how it then differs from the project."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from toolkit.runtime.shared.processes import is_foreign, read_mounts

Changes = tuple[list[tuple[str, bool]], list[str]]
"""What is a copy in the overlay, each path with whether it is a folder, and which paths are hidden."""
_MOST_CHANGES = 1000
"""How many entries each step's overlay may have from the beginning: they take the time that it saves."""
_FICLONE = 0x40049409
"""The request of Linux to share the blocks of two files, as most machines number it."""


def overlay_changes(code: str, files: Iterable[tuple[str, bool]], most: int) -> Changes | None:
    """How an overlay on the project differs from it, to hold what ``make_work_folder`` copies: what is a copy, what is hidden.

    What that function changes while it copies is a copy here too: links, which would lead into the project itself or beside the
    overlay, and what its user may read and not write, or not in an overlay.

    Args:
        files: as of ``make_work_folder``; so is the first part of what is returned. most: bytes of all those copies.

    Returns:
        None where it can't hold the same, or not without many copies.
    """
    kept: dict[str, set[str]] = {"": set()}
    copied: list[tuple[str, bool]] = []
    for path, is_folder in files:
        folder, name = os.path.split(path)
        if folder not in kept:
            # Nothing but what .dockerignore takes back in is in it.
            _add_folder(kept, folder)
        kept[folder].add(name)
        source = os.path.join(code, path)
        if is_folder:
            kept.setdefault(path, set())
            if not os.access(source, os.R_OK | os.W_OK | os.X_OK) or is_foreign(source):
                copied.append((path, True))
        elif os.path.islink(source):
            copied.append((path, False))
        elif os.access(source, os.R_OK) and (not os.access(source, os.W_OK) or is_foreign(source)):
            copied.append((path, False))
            most -= os.lstat(source).st_size
    hidden: list[str] = []
    for folder, names in kept.items():
        # Bytecode stays, as it is copied with its source.
        seen = names | {"__pycache__"}
        try:
            hidden += [
                os.path.join(folder, name) for name in os.listdir(os.path.join(code, folder)) if name not in seen
            ]
        except FileNotFoundError:
            # It was removed after the files were listed.
            continue
        except OSError:
            return None
    if most < 0 or len(copied) + len(hidden) > _MOST_CHANGES:
        return None
    if any(path in kept or _holds(kept, path) for path in _mounts_below(code)):
        return None
    return copied, hidden


def _add_folder(kept: dict[str, set[str]], folder: str) -> None:
    above, name = os.path.split(folder)
    if above not in kept:
        _add_folder(kept, above)
    kept[above].add(name)
    kept[folder] = set()


def _holds(kept: dict[str, set[str]], path: str) -> bool:
    folder, name = os.path.split(path)
    return name in kept.get(folder, ())


def _mounts_below(code: str) -> list[str]:
    """Paths, relative to the project, where something is mounted: an overlay on the project does not show it."""
    root = os.path.realpath(code).rstrip("/") + "/"
    return [path[len(root) :] for path in read_mounts() if path.startswith(root)]


def shares_blocks(source: str, folder: Path) -> bool:
    """Whether a copy of a file takes neither time nor space of its own in this folder."""
    if sys.platform == "darwin":
        # Its own file system does so.
        return True
    target = folder / "shared-copy"
    try:
        with open(source, "rb") as reader, open(target, "wb") as writer:
            fcntl.ioctl(writer, _FICLONE, reader.fileno())
        return True
    except OSError:
        return False
    finally:
        target.unlink(missing_ok=True)
