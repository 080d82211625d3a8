"""What is left out of the code though .dockerignore does not name it: what tools keep for themselves on this machine.

It counts as if it were lines at the top of .dockerignore. So a `!` line there brings a part or all of it back, by Docker's rules.
Only what no step can need at run time is in it: `build`, `dist`, `data` and `models` are code.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

MACHINES_OWN = {
    ".pytest_cache": "pytest's last results",
    ".mypy_cache": "mypy's cache",
    ".dmypy.json": "the daemon of mypy",
    ".pytype": "pytype's cache",
    ".pyre": "pyre's cache",
    ".ruff_cache": "ruff's cache",
    ".hypothesis": "hypothesis' examples",
    ".tox": "environments of tox",
    ".nox": "environments of nox",
    ".coverage": "coverage's data",
    ".coverage.*": "coverage's data of one process",
    "htmlcov": "coverage's report",
    ".ipynb_checkpoints": "Jupyter's copies of notebooks",
    ".virtual_documents": "Jupyter's language servers",
    ".eggs": "what setuptools fetched to build the project",
    "*.egg-info": "what setuptools wrote about the project",
    "__pypackages__": "packages of PDM, for this machine",
    ".pdm-python": "the path of PDM's Python on this machine",
    ".pixi": "environments of pixi",
    ".direnv": "environments of direnv",
    "node_modules": "packages of npm, for this machine",
    "mlruns": "runs that MLflow recorded here",
    ".dvc/cache": "DVC's copies of the data",
    ".dvc/tmp": "DVC's locks and logs",
    ".hg": "the history of Mercurial",
    ".svn": "the history of Subversion",
    ".jj": "the history of Jujutsu",
    ".idea": "settings of an editor",
    ".vscode": "settings of an editor",
    ".ropeproject": "rope's cache of an editor",
    ".#*": "an editor's lock",
    ".swp": "an editor's unsaved changes",
    ".swo": "an editor's unsaved changes",
    ".*.swp": "an editor's unsaved changes",
    ".*.swo": "an editor's unsaved changes",
    ".DS_Store": "the Finder of macOS",
    "Thumbs.db": "the Explorer of Windows",
    ".nfs*": "a file that was removed while it was open",
    ".fuse_hidden*": "a file that was removed while it was open",
}
"""Patterns of names at any depth, each with whose it is."""

ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""Names of which a virtual environment has one in its folder, and conda's the other. What it holds works on this machine alone."""

_NAMES = {
    name.rpartition("/")[2]: f"/{folder}/" if (folder := name.rpartition("/")[0]) else ""
    for name in MACHINES_OWN
    if "*" not in name
}
"""The end that the path of the folder around an entry of this name must have."""
_BEGINNINGS = tuple(name[:-1] for name in MACHINES_OWN if name.endswith("*"))
_ENDINGS = tuple(name[1:] for name in MACHINES_OWN if name.startswith("*"))
_HIDDEN_ENDINGS = tuple(name[2:] for name in MACHINES_OWN if name.startswith(".*."))


def is_machines_own(name: str, above: str) -> bool:
    """Whether an entry is one of MACHINES_OWN. What is below it is not asked about.

    Args:
        above: the path of its folder relative to the root, with a slash at its end; "" for the root.
    """
    folder = _NAMES.get(name)
    if folder is not None:
        return f"/{above}".endswith(folder)
    if name[0] == ".":
        return name.startswith(_BEGINNINGS) or name.endswith(_HIDDEN_ENDINGS) or name.endswith(_ENDINGS)
    return name.endswith(_ENDINGS)


def others(names: Iterable[str], root: str, folder: str) -> list[str]:
    """Of the names in a folder, those that are neither of MACHINES_OWN nor environments: for who looks at sources alone.

    Args:
        folder: its path, below ``root`` or that itself.
    """
    above = os.path.relpath(folder, root)
    above = "" if above == "." else f"{above}/"
    return [
        name
        for name in names
        if not is_machines_own(name, above)
        and not any(os.path.lexists(os.path.join(folder, name, mark)) for mark in ENVIRONMENT_MARKS)
    ]


def is_environment(names: Collection[str]) -> bool:
    """Whether a folder with entries of these names is an environment of this machine, whatever the folder is called."""
    return not ENVIRONMENT_MARKS.isdisjoint(names)
