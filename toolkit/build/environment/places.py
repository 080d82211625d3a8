"""Where what is wrong stands: the line of a setting, or of a requirement, for an error that names it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.build.environment.apt_file import find_apt_file
from toolkit.errors import BadInput
from toolkit.project import Project


class FaultyRequirement(BadInput):
    """A package that can't be installed.

    Attributes:
        package: as the tool names it, with or without its version; "" where it does not say.
        needed_by: what needs it, where the tool says so.
    """

    def __init__(self, message: str, where: str, package: str, needed_by: str = "") -> None:
        super().__init__(message, where)
        self.package = package
        self.needed_by = needed_by


@contextmanager
def placed(project: Project) -> Iterator[None]:
    """Adds the place to an error of the block: a sentence about a setting begins with its name (``build.lock names …``)."""
    try:
        yield
    except FaultyRequirement as error:
        file = error.where or ""
        named = (error.package, error.needed_by)
        lines = (line_of_requirement(project.root, file, one) for one in named if one)
        message = _with_its_base(project, error.message)
        raise BadInput(message, next((line for line in lines if line), file)) from error
    except BadInput as error:
        message = _with_its_base(project, error.message)
        if message != error.message:
            raise BadInput(message, error.where or project.config.build.dockerfile) from error
        setting = re.match(r"build\.(\w+)", error.message)
        if setting and setting[1] == "system_packages" and error.where is None:
            _raise_of_apt_file(project.root, error)
        place = project.config.build_places.get(setting[1]) if setting and error.where is None else None
        if place is None:
            raise
        raise BadInput(error.message, place) from error


def _with_its_base(project: Project, message: str) -> str:
    """A sentence with a remedy that the project can follow: the base of its own Dockerfile is no setting."""
    dockerfile = project.config.build.dockerfile
    if not dockerfile:
        return message
    message = message.removeprefix("build.base_image: ")
    return re.sub(r"\bin build\.base_image(?: or build\.python)?", f"in the FROM of {dockerfile}", message)


def _raise_of_apt_file(root: Path, error: BadInput) -> None:
    """Raises the error at the line of apt.txt, where it is about a package that stands there."""
    found = find_apt_file(root)
    for name, line in found.packages.items() if found else ():
        bare = re.escape(re.split("[:=]", name)[0])
        if re.search(rf"(?<![\w.+-]){bare}(?![\w+-])", error.message.partition(": ")[2].partition(" (")[0]):
            raise BadInput(error.message.partition(": ")[2], f"{found.file}:{line}" if found else None) from error


def line_of_requirement(root: Path, file: str, package: str, _seen: frozenset[str] = frozenset()) -> str | None:
    """The line that names a package, as ``file:line``, in a declaring file or in what it includes; None where none does."""
    name = re.match(r"[A-Za-z0-9][\w.-]*", package)
    path = root / file
    if file in _seen or not path.is_file():
        return None
    wanted = re.escape(package) if name is None or "/" in package else re.sub(r"[-_.]+", "[-_.]+", name[0])
    in_list = file.endswith((".txt", ".in", ".lock")) and file not in (
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "pixi.lock",
    )
    before = r"^\s*(?:-e\s+)?" if in_list else r"(?:^\s*(?:- )?|[\"'])"
    pattern = re.compile(rf"{before}{wanted}(?![\w-]|\.\w)", re.IGNORECASE)
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            return f"{file}:{number}"
        included = re.match(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", line) if in_list else None
        if included:
            inner = os.path.normpath(Path(file).parent / included[1])
            found = line_of_requirement(root, inner, package, _seen | {file})
            if found:
                return found
    return None
