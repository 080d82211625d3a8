"""Where a shell is. A step's PATH says nothing of it, because a step may set that as it likes."""

from __future__ import annotations

import os

_FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin")
STRICT = ("-euo", "pipefail")
"""The options of a strict step's bash."""


def find_shell(name: str) -> str:
    """The path of a shell; empty where there is none."""
    for folder in _FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""
