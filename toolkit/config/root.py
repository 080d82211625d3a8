"""Which folder is the project's root: the one whose files are the user's code and go into the image."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.errors import BadInput

MARKERS = ("toolkit.yaml", "toolkit.yml", "pyproject.toml", "uv.lock", "requirements.txt", "setup.py", ".git")


def find_root(home: Path | None, start: Path, context: str | None, place: str | None) -> Path:
    """The root, absolute and without links.

    `build.context` decides when it is set. Otherwise it is the nearest folder with one of MARKERS, from the
    configuration's folder (or `start` when there is none) upward, and never above the current folder when that search
    began in or below it. Without a marker it is the current folder in that case, else the folder where it began.

    Args:
        home: the configuration file's folder; None when there is no configuration.
        start: the folder of the pipeline's file, or the current folder.
        context: `build.context`, relative to `home`.
        place: where `build.context` stands, for the error.

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
            raise BadInput(f"build.context is {context!r}, which is no folder beside the configuration", place)
        return root
    current = Path(os.path.realpath(os.getcwd()))
    below = begin.is_relative_to(current)
    for folder in (begin, *begin.parents):
        if any(os.path.lexists(folder / marker) for marker in MARKERS):
            return folder
        if below and folder == current:
            break
    return current if below else begin
