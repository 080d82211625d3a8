"""A project's locked dependencies: finds the lock file and the files that belong to it, and checks that it can be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from toolkit.errors import BadInput

OWN_DISTRIBUTION = "samerun"
"""This project's distribution. The build puts its SDK into the image, so it is never installed from an index."""
FOREIGN_DISTRIBUTION = "toolkit"
"""A distribution of somebody else with the import name of the SDK. Installed, it would hide the SDK."""

_SUPPORTED = ("uv.lock", "requirements.txt")
_DETECTED: dict[str, str] = {
    # In the order of the search. The value says how to get a supported lock.
    "uv.lock": "",
    "pylock.toml": "export a requirements.txt with the tool that wrote it (`uv export --format requirements-txt`)",
    "poetry.lock": "`poetry export -f requirements.txt -o requirements.txt`, or `uvx migrate-to-uv`",
    "pdm.lock": "`pdm export -f requirements -o requirements.txt`, or `uvx migrate-to-uv`",
    "Pipfile.lock": "`pipenv requirements --hash > requirements.txt`, or `uvx migrate-to-uv`",
    "pixi.lock": "`pixi list --explicit` shows what a requirements.txt has to name",
    "environment.yml": "`pip freeze > requirements.txt` in the active environment",
    "requirements.txt": "",
}
_UNLOCKED = ("pyproject.toml", "setup.py")

LockKind = Literal["uv", "requirements", "none"]


@dataclass(frozen=True)
class Lock:
    """The file that the environment's packages are installed from, and those that belong to it.

    Attributes:
        file: the lock's path relative to the project's root, POSIX; None when there is none.
        files: the content of all files that the environment's build needs, by their paths relative to the root. A change of
            any of them causes a build.
        hashes: whether requirements have hashes. Then all of them must have one.
    """

    kind: LockKind
    file: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    hashes: bool = False


def find_lock(
    root: Path, chosen: str | None, report: Callable[[str], None], accepted: Mapping[str, str] | None = None
) -> Lock:
    """The project's lock, checked.

    Args:
        chosen: the setting build.lock.
        accepted: the input hashes of the last build. A uv.lock that it used is not checked again, because parsing a large one
            takes longer than the rest of an unchanged build.

    Raises:
        BadInput: the lock is missing, not supported or unreadable, or names a package that must not be installed.
    """
    name = chosen or _detect(root, report)
    if name is None or name == "none":
        return Lock("none")
    path = root / name
    if not path.is_file():
        raise BadInput(f"build.lock names {name!r}, which is not a file below {root}")
    if path.name == "uv.lock":
        return _uv(root, name, (accepted or {}).get(f"lock {name}"))
    if path.suffix in (".txt", ".in"):
        return _requirements(root, name)
    raise BadInput(_unsupported(path.name), name)


def _detect(root: Path, report: Callable[[str], None]) -> str | None:
    locks = [name for name in _DETECTED if (root / name).is_file()]
    usable = [name for name in locks if name in _SUPPORTED]
    if usable:
        if len(locks) > 1:
            others = ", ".join(name for name in locks if name != usable[0])
            report(
                f"warning: dependencies are installed from {usable[0]}, and {others} is not used (build.lock chooses)"
            )
        return usable[0]
    if locks:
        raise BadInput(_unsupported(locks[0]), locks[0])
    for name in _UNLOCKED:
        if (root / name).is_file():
            report(f"note: nothing is installed from {name}, because there is no lock beside it: `uv lock` writes one")
            break
    return None


def _unsupported(name: str) -> str:
    remedy = _DETECTED.get(name) or "write a requirements.txt, or run `uv lock`"
    return (
        f"this kind of lock is not supported yet ({' and '.join(_SUPPORTED)} are): {remedy}; "
        "`build: {lock: none}` builds without dependencies"
    )


def read_input(root: Path, name: str, referrer: str) -> bytes:
    """The content of a file that belongs to a lock.

    Args:
        referrer: the file, or its line, that names it; for an error.

    Raises:
        BadInput: the file is missing, unreadable or outside of the project.
    """
    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadInput(f"{name} lies outside of the project, so no other checkout has it: move it inside", referrer)
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror}", referrer) from error


def normalize_name(name: str) -> str:
    """A distribution's name in the form that indexes compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def foreign_distribution_error(location: str) -> BadInput:
    return BadInput(
        f"the distribution {FOREIGN_DISTRIBUTION!r} on the package index is not this project's and would hide its SDK, which "
        f"the build puts into the image: remove it (this project's distribution is {OWN_DISTRIBUTION!r})",
        location,
    )


# uv.lock


class _UvPackage(NamedTuple):
    """A package of a uv.lock; ``source`` has one key, the kind of the source."""

    name: str
    source: dict[str, object]


def _uv(root: Path, name: str, accepted: str | None) -> Lock:
    project = (Path(name).parent / "pyproject.toml").as_posix()
    content = read_input(root, name, name)
    files = {name: content, project: read_input(root, project, name)}
    is_accepted = hashlib.sha256(content).hexdigest() == accepted
    for package in [] if is_accepted else _parse_uv(content, name):
        if normalize_name(package.name) == FOREIGN_DISTRIBUTION and "registry" in package.source:
            raise foreign_distribution_error(_location(content, name, package))
        folders = [
            package.source[kind] for kind in ("editable", "directory", "virtual", "path") if kind in package.source
        ]
        if folders and folders[0] != ".":
            raise BadInput(
                f"the package {package.name!r} is the folder {folders[0]!r}, which the environment cannot hold yet: its "
                "code is in the image with the rest of the project, so add its dependencies to the project's own",
                _location(content, name, package),
            )
    return Lock("uv", name, files)


def _parse_uv(content: bytes, name: str) -> list[_UvPackage]:
    import tomli

    try:
        packages = tomli.loads(content.decode("utf-8")).get("package", [])
        return [
            _UvPackage(str(package.get("name", "")), dict(package.get("source", {})))
            for package in packages
            if isinstance(package, dict)
        ]
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"it is not a lock that uv wrote ({error}): run `uv lock`", name) from error


def _location(content: bytes, file: str, package: _UvPackage) -> str:
    text = content.decode("utf-8", "replace")
    line = text[: max(text.find(f'name = "{package.name}"'), 0)].count("\n") + 1
    return f"{file}:{line}"


# requirements.txt

# These are not compiled when the module is imported: most builds need none of them, and compiling them takes longer than all
# imports of a build.
_INCLUDE = r"^(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^\s-]))(\S+)"
_LOCAL = r"^(?:-e\b|--editable\b|\.{0,2}/|\.$|\.\[|file:)|\s@\s*file:"
_NAME = r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"


def _requirements(root: Path, name: str) -> Lock:
    files: dict[str, bytes] = {}
    hashes = False
    unread = [(name, name)]
    while unread:
        current, referrer = unread.pop()
        if current in files:
            continue
        text = _decode(read_input(root, current, referrer), current)
        kept: list[str] = []
        for number, raw, line in _logical_lines(text):
            location = f"{current}:{number}"
            hashes = hashes or "--hash=" in line or line.startswith("--require-hashes")
            include = re.match(_INCLUDE, line)
            if include and "://" not in include[1]:
                unread.append((_resolve_include(current, include[1], location), location))
            if re.search(_LOCAL, line):
                raise BadInput(
                    f"{line.split()[-1]!r} is a local path, which the environment cannot hold: the project's code is "
                    "in the image anyhow, so name its dependencies instead",
                    location,
                )
            distribution = re.match(_NAME, line)
            if distribution and normalize_name(distribution[1]) == FOREIGN_DISTRIBUTION:
                raise foreign_distribution_error(location)
            if not (distribution and normalize_name(distribution[1]) == OWN_DISTRIBUTION):
                kept.append(raw)
        files[current] = "".join(kept).encode()
    return Lock("requirements", name, files, hashes)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("it is not UTF-8: save it as UTF-8", name) from error


def _resolve_include(current: str, include: str, location: str) -> str:
    """The path, relative to the root, of a file that the file ``current`` includes."""
    path = Path(current).parent / include
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                raise BadInput(
                    f"{include} lies outside of the project, so no other checkout has it: move it inside", location
                )
            parts.pop()
        else:
            parts.append(part)
    if path.is_absolute():
        raise BadInput(
            f"{include} is an absolute path, so no other checkout has it: name it relative to this file", location
        )
    return "/".join(parts)


def _logical_lines(text: str) -> list[tuple[int, str, str]]:
    """The lines, with those joined that end with a backslash: number of the first line, raw text, content without comment."""
    lines: list[tuple[int, str, str]] = []
    raw, content, first = "", "", 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        first = number if not raw else first
        raw += line
        stripped = re.sub(r"(^|\s)#.*$", "", line.rstrip("\r\n"))
        if stripped.endswith("\\"):
            content += stripped[:-1]
            continue
        lines.append((first, raw, (content + stripped).strip()))
        raw, content = "", ""
    if raw:
        lines.append((first, raw, content.strip()))
    return lines
