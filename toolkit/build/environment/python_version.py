"""The version of Python that a project asks for, compared with the one that the base image has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolkit.build.environment.dockerfile import REPOSITORY
from toolkit.errors import BadInput

_REPOSITORY = "python"
_VARIANT = "slim-bookworm"


def base_for(version: str) -> str:
    """The official image with a version of Python (``3.12``), as a base."""
    return f"{_REPOSITORY}:{version}-{_VARIANT}"


def check_python(root: Path, base: str, version: str, report: Callable[[str], None]) -> None:
    """Compares what the project's files ask for with the base image's Python.

    Args:
        root: the project's root. base: the base image's reference, and ``version`` that of its Python.
        report: is given a warning for each file that merely names another version (.python-version, runtime.txt).

    Raises:
        BadInput: the project declares that it does not work with this version.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    for where, specifier in _declared(root):
        try:
            fits = SpecifierSet(specifier).contains(version, prereleases=True)
        except InvalidSpecifier:
            # The tool that reads the file says what is wrong with it.
            continue
        if not fits:
            wanted = _lowest(specifier)
            remedy = f"name a base image that has it in build.base_image{f' ({base_for(wanted)})' if wanted else ''}"
            raise BadInput(
                f"the project needs Python {specifier}, and the base image {base} has Python {version}: {remedy}", where
            )
    for where, pinned in _pinned(root):
        if not (version + ".").startswith(pinned + "."):
            chooses = f"build.python: '{'.'.join(pinned.split('.')[:2])}' chooses another base"
            if base.startswith(f"{REPOSITORY}:"):
                chooses = "the FROM of the Dockerfile chooses it"
            report(
                f"warning: {where} names Python {pinned}, and the base image {base} has Python {version} ({chooses})"
            )


def _declared(root: Path) -> Iterator[tuple[str, str]]:
    """The specifiers of the project's files, each with the file and line."""
    document = _toml(root / "pyproject.toml")
    project = document.get("project")
    if isinstance(project, dict) and isinstance(project.get("requires-python"), str):
        yield _line(root / "pyproject.toml", "requires-python"), project["requires-python"]
    poetry = (document.get("tool") or {}).get("poetry")
    if isinstance(poetry, dict) and isinstance((poetry.get("dependencies") or {}).get("python"), str):
        from toolkit.build.environment.dependencies.declared import poetry_specifier

        try:
            yield _line(root / "pyproject.toml", "python"), poetry_specifier(poetry["dependencies"]["python"])
        except BadInput:
            # Alternatives, which Poetry itself compares.
            pass
    if isinstance(_toml(root / "Pipfile").get("requires"), dict):
        requires = _toml(root / "Pipfile")["requires"]
        asked = str(requires.get("python_full_version") or requires.get("python_version") or "")
        if asked:
            yield _line(root / "Pipfile", "python_"), f"=={asked}" if asked.count(".") > 1 else f"=={asked}.*"


def _pinned(root: Path) -> Iterator[tuple[str, str]]:
    """The versions that files name for tools which install a Python, each with the file."""
    for name, pattern in (
        (".python-version", r"(?:cpython[-@])?(3(?:\.\d+)*)\s*$"),
        ("runtime.txt", r"python-(3(?:\.\d+)*)"),
    ):
        try:
            lines = (root / name).read_text("utf-8").splitlines()
        except (OSError, ValueError):
            continue
        found = next((match for line in lines if (match := re.match(pattern, line.strip()))), None)
        if found:
            yield name, found[1]


def _lowest(specifier: str) -> str:
    """The lowest minor version that a specifier names, as ``3.12``; empty where it names none."""
    found = re.findall(r"(?:>=|==|~=|>)\s*(3\.\d+)", specifier)
    return min(found, key=lambda one: int(one.split(".")[1])) if found else ""


def _toml(path: Path) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _line(path: Path, words: str) -> str:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip().startswith(words):
            return f"{path.name}:{number}"
    return path.name
