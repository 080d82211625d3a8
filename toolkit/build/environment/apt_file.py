"""Binder's ``apt.txt``: system packages, one to a line, which are installed beside those of ``build.system_packages``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import BadInput
from toolkit.project import Project

_FILES = ("binder/apt.txt", ".binder/apt.txt", "apt.txt")
"""In the order in which Binder looks for it."""


class AptFile(NamedTuple):
    """An apt.txt.

    Attributes:
        file: its path, relative to the project's root.
        packages: its packages, each with the number of its line.
    """

    file: str
    packages: dict[str, int]


def find_apt_file(root: Path, report: Callable[[str], None] = lambda _: None) -> AptFile | None:
    """The project's apt.txt, where it has one that names a package.

    Args:
        report: gets a line where there is another one, which is not read.

    Raises:
        BadInput: it can't be read.
    """
    there = [name for name in _FILES if (root / name).is_file()]
    if not there:
        return None
    try:
        lines = (root / there[0]).read_text("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", there[0]) from error
    packages: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        for name in line.partition("#")[0].split():
            packages.setdefault(name, number)
    if not packages:
        return None
    others = f", and {' and '.join(there[1:])} is not read" if len(there) > 1 else ""
    report(f"note: system packages are installed from {there[0]}{others}")
    return AptFile(there[0], packages)


def with_apt_packages(project: Project, report: Callable[[str], None]) -> Project:
    """The project with the packages of its apt.txt among ``build.system_packages``.

    Raises:
        BadInput: as of :func:`find_apt_file`.
    """
    found = find_apt_file(project.root, report)
    if found is None:
        return project
    build = project.config.build
    packages = (*build.system_packages, *(name for name in found.packages if name not in build.system_packages))
    return replace(project, config=project.config._replace(build=build._replace(system_packages=packages)))
