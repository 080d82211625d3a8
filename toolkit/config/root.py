"""Finds the project's root: the folder whose files are the user's code and go into the image."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.errors import BadInput

MARKERS = ("toolkit.yaml", "toolkit.yml", "pyproject.toml", "uv.lock", "requirements.txt", "setup.py", ".git")


def find_root(home: Path | None, start: Path, context: str | None, location: str | None) -> Path:
    """The root, absolute and with links resolved.

    It is `build.context` when that is set. Otherwise it is the nearest folder with one of MARKERS, from the configuration's
    folder (or `start` when there is none) upward. A search that begins in or below the current folder does not go above it.
    Without a marker, the root is the current folder in that case, else the folder where the search began.

    Args:
        home: the configuration file's folder; None when there is no configuration.
        start: the folder of the pipeline's file, or the current folder.
        context: `build.context`, relative to `home`.
        location: where `build.context` stands, for the error.

    Raises:
        BadInput: `build.context` is no folder.
    """
    begin = (home if home is not None else start).resolve()
    if context is not None:
        try:
            root = (begin / context).resolve()
            is_folder = root.is_dir()
        except (OSError, RuntimeError, ValueError):
            is_folder = False
        if not is_folder:
            raise BadInput(f"build.context is {context!r}, which is no folder beside the configuration", location)
        return root
    current = Path(os.path.realpath(os.getcwd()))
    below = begin.is_relative_to(current)
    for folder in (begin, *begin.parents):
        if any(os.path.lexists(folder / marker) for marker in MARKERS):
            return folder
        if below and folder == current:
            break
    return current if below else begin
