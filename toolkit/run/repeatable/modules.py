"""Finds the modules of a project's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from toolkit.build import left_out

_NEVER_CODE = frozenset({".git", ".toolkit", ".venv", "__pycache__"})
_ALWAYS_PYTHONS = frozenset({"sys", "builtins", "os", "io", "abc", "codecs", "site", "stat", "posixpath"}) | frozenset(
    sys.builtin_module_names
)
"""Modules that are imported before any of the project's, or that none of the project's can replace."""


class ProjectModules:
    """Finds the modules of a project's own by their dotted names.

    Args:
        root: the project's. roots: the folders, relative to it, that modules are imported from.
    """

    def __init__(self, root: Path, roots: Iterable[str]) -> None:
        self._root = root
        self._roots = [root / folder for folder in roots]
        self._elsewhere: dict[str, Path] | None = None

    def find(self, dotted: str) -> Path | None:
        """The file of a module, or its folder where a package has none; None where the project has no such module."""
        first, *rest = dotted.split(".")
        if first in _ALWAYS_PYTHONS:
            return None
        found = self._top(first)
        for name in rest:
            if found is None or not (found.is_dir() or found.name == "__init__.py"):
                return None
            found = _in_folder(found if found.is_dir() else found.parent, name)
        return found

    def _top(self, name: str) -> Path | None:
        candidates = [found for folder in self._roots if (found := _in_folder(folder, name)) is not None]
        for found in candidates:
            if not found.is_dir():
                return found
        if candidates:
            return candidates[0]
        if name in sys.stdlib_module_names:
            return None
        # An environment may make further folders of the project importable, such as those of a workspace's members.
        if self._elsewhere is None:
            self._elsewhere = dict(_all_modules(self._root))
        return self._elsewhere.get(name)


def _in_folder(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name / "__init__.py", folder / f"{name}.py"):
        if candidate.is_file():
            return candidate
    return folder / name if (folder / name).is_dir() else None


def _all_modules(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules and packages in all folders, by their names; those further up come last, and so win."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = left_out.others([name for name in folders if name not in _NEVER_CODE], str(root), folder)
        found.append((folder, files))
    for folder, files in reversed(found):
        for name in files:
            if name == "__init__.py":
                yield Path(folder).name, Path(folder, name)
            elif name.endswith(".py"):
                yield name[:-3], Path(folder, name)
