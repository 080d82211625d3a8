"""Copies what a run put into the catalog to a folder of the user's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import BadInput, Infrastructure
from toolkit.runs.find import RunHandle
from toolkit.runtime.shared.catalog import FileStore, StoreFault, is_empty_folder, is_pattern, matches

if TYPE_CHECKING:
    from toolkit.report.contract import CatalogFile


def copy_files(handle: RunHandle, rows: Sequence[CatalogFile], keys: Sequence[str], folder: Path) -> list[CatalogFile]:
    """Copies the newest file of each name; returns the rows of what was copied.

    Args:
        rows: what the run put, in plan order. keys: names, folders or patterns, also ``step:name``; none is all.

    Raises:
        BadInput: the run did not put such a file, or put only its hash. Infrastructure: cluster or disk.
    """
    chosen: dict[str, CatalogFile] = {}
    for key in keys or [""]:
        matching = [row for row in rows if _matches_key(key, row)]
        if not matching and key:
            raise BadInput(f"the run put nothing under {key!r}: `toolkit catalog {handle.run.id}` lists what it put")
        chosen.update((row["name"], row) for row in matching)
    location = handle.catalog(row["sha256"] for row in chosen.values())
    store = FileStore(str(location) if location is not None else None)
    for name, row in chosen.items():
        target = folder / name
        _check_inside(folder, target)
        try:
            if is_empty_folder(name):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(row["sha256"], str(target), row.get("executable", False))
        except StoreFault as error:
            raise BadInput(f"{name}: {error}") from None
        except OSError as error:
            raise Infrastructure(f"{target} can't be written: {error.strerror}") from None
    return list(chosen.values())


def _matches_key(key: str, row: CatalogFile) -> bool:
    names = (row["name"], f"{row['step']}:{row['name']}")
    return (
        not key
        or key in names
        or row["name"].startswith(key.rstrip("/") + "/")
        or (is_pattern(key) and any(matches(key, name) for name in names))
    )


def _check_inside(folder: Path, target: Path) -> None:
    """Refuses a name that leads out of the folder. Names come from a volume that the steps' code can write on.

    Raises:
        BadInput: it does.
    """
    inside = os.path.realpath(folder)
    if not os.path.realpath(target).startswith(inside + os.sep):
        raise BadInput(f"the name {target.relative_to(folder)} leads out of {folder}")
