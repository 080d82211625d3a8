"""How a project locks its dependencies: which file does it, what else belongs to it, and whether it may be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import BadInput

OWN_DISTRIBUTION = "samerun"
"""This project's distribution: its SDK is put into the image by the build, so it is never installed from an index."""
FOREIGN_DISTRIBUTION = "toolkit"
"""A distribution that is not ours but has our import name: installed, it would stand in for the SDK."""

_SUPPORTED = ("uv.lock", "requirements.txt")
_DETECTED: dict[str, str] = {
    # In the order in which they are looked for; the value says how to get a supported one.
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
    """What the environment's packages are installed from.

    Attributes:
        file: the lock's path relative to the project's root, POSIX; None when there is none.
        files: what the environment's build gets, by path relative to the root; their bytes decide whether it is built.
        hashes: whether requirements come with hashes, which all of them must then.
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
        accepted: what an earlier build was made from (its parts); to read a large uv.lock again takes longer than all
            the rest of an unchanged build.

    Raises:
        BadInput: it is missing, of a kind that is not supported, unreadable, or names what must not be installed.
    """
    name = chosen or _detect(root, report)
    if name is None or name == "none":
        return Lock("none")
    path = root / name
    if not path.is_file():
        raise BadInput(f"build.lock names {name!r}, which is no file below {root}")
    if path.name == "uv.lock":
        return _uv(root, name, (accepted or {}).get(f"lock {name}"))
    if path.suffix in (".txt", ".in"):
        return _requirements(root, name)
    raise BadInput(_unsupported(path.name), name)


def _detect(root: Path, report: Callable[[str], None]) -> str | None:
    found = [name for name in _DETECTED if (root / name).is_file()]
    usable = [name for name in found if name in _SUPPORTED]
    if usable:
        if len(found) > 1:
            others = ", ".join(name for name in found if name != usable[0])
            report(
                f"warning: dependencies are installed from {usable[0]}, and {others} is not used (build.lock chooses)"
            )
        return usable[0]
    if found:
        raise BadInput(_unsupported(found[0]), found[0])
    for name in _UNLOCKED:
        if (root / name).is_file():
            report(f"note: nothing is installed from {name}, since there is no lock beside it: `uv lock` writes one")
            break
    return None


def _unsupported(name: str) -> str:
    way = _DETECTED.get(name) or "write a requirements.txt, or `uv lock`"
    return (
        f"this way of locking is not supported yet ({' and '.join(_SUPPORTED)} are): {way}; "
        "`build: {lock: none}` builds without dependencies"
    )


def read_input(root: Path, name: str, wanted_by: str) -> bytes:
    """A file that a lock needs.

    Raises:
        BadInput: it is missing, unreadable or outside of the project.
    """
    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadInput(
                f"{name} lies outside of the project, so no other checkout has it: move it inside", wanted_by
            )
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror}", wanted_by) from error


def normalize_name(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def refuse_foreign_distribution(where: str) -> BadInput:
    return BadInput(
        f"the distribution {FOREIGN_DISTRIBUTION!r} is a stranger's on the package index and would stand in for this project's "
        f"SDK, which the build puts into the image anyhow: remove it (this project's distribution is {OWN_DISTRIBUTION!r})",
        where,
    )


# uv.lock


def _uv(root: Path, name: str, accepted: str | None) -> Lock:
    project = (Path(name).parent / "pyproject.toml").as_posix()
    content = read_input(root, name, name)
    files = {name: content, project: read_input(root, project, name)}
    unchanged = hashlib.sha256(content).hexdigest() == accepted
    for package in [] if unchanged else _parse_uv(content, name):
        source = package.get("source", {})
        if normalize_name(str(package.get("name", ""))) == FOREIGN_DISTRIBUTION and "registry" in source:
            line = _line_of(content.decode("utf-8", "replace"), f'name = "{package["name"]}"')
            raise refuse_foreign_distribution(f"{name}:{line}")
        local = next(
            (str(source[kind]) for kind in ("editable", "directory", "virtual", "path") if kind in source), "."
        )
        if local != ".":
            line = _line_of(content.decode("utf-8", "replace"), f'name = "{package["name"]}"')
            raise BadInput(
                f"the package {package['name']!r} is the folder {local!r}, which the environment cannot hold yet: its "
                "code is in the image with the rest of the project, so add its dependencies to the project's own",
                f"{name}:{line}",
            )
    return Lock("uv", name, files)


def _parse_uv(content: bytes, name: str) -> list[dict[str, Any]]:
    import tomli

    try:
        found = tomli.loads(content.decode("utf-8"))
        return [package for package in found.get("package", []) if isinstance(package, dict)]
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"it is not a lock that uv wrote ({error}): run `uv lock`", name) from error


def _line_of(text: str, needle: str) -> int:
    return text[: max(text.find(needle), 0)].count("\n") + 1


# requirements.txt

# Not compiled here: most builds need none of them, and to compile them takes longer than to import all the rest.
_INCLUDE = r"^(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^\s-]))(\S+)"
_LOCAL = r"^(?:-e\b|--editable\b|\.{0,2}/|\.$|\.\[|file:)|\s@\s*file:"
_NAME = r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"


def _requirements(root: Path, name: str) -> Lock:
    files: dict[str, bytes] = {}
    hashes = False
    waiting = [(name, name)]
    while waiting:
        current, wanted_by = waiting.pop()
        if current in files:
            continue
        text = _decode(read_input(root, current, wanted_by), current)
        kept: list[str] = []
        for number, raw, line in _logical_lines(text):
            where = f"{current}:{number}"
            hashes = hashes or "--hash=" in line or line.startswith("--require-hashes")
            include = re.match(_INCLUDE, line)
            if include and "://" not in include[1]:
                waiting.append((_beside(current, include[1], where), where))
            if re.search(_LOCAL, line):
                raise BadInput(
                    f"{line.split()[-1]!r} is a local path, which the environment cannot hold: the project's code is "
                    "in the image anyhow, so name its dependencies instead",
                    where,
                )
            distribution = re.match(_NAME, line)
            if distribution and normalize_name(distribution[1]) == FOREIGN_DISTRIBUTION:
                raise refuse_foreign_distribution(where)
            if not (distribution and normalize_name(distribution[1]) == OWN_DISTRIBUTION):
                kept.append(raw)
        files[current] = "".join(kept).encode()
    return Lock("requirements", name, files, hashes)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("it is not UTF-8: save it as UTF-8", name) from error


def _beside(current: str, named: str, where: str) -> str:
    path = Path(current).parent / named
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                raise BadInput(
                    f"{named} lies outside of the project, so no other checkout has it: move it inside", where
                )
            parts.pop()
        else:
            parts.append(part)
    if path.is_absolute():
        raise BadInput(
            f"{named} is an absolute path, so no other checkout has it: name it relative to this file", where
        )
    return "/".join(parts)


def _logical_lines(text: str) -> list[tuple[int, str, str]]:
    """(first line's number, raw text, content without comment) of each line, those ending with a backslash joined."""
    found: list[tuple[int, str, str]] = []
    raw, content, first = "", "", 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        first = number if not raw else first
        raw += line
        stripped = re.sub(r"(^|\s)#.*$", "", line.rstrip("\r\n"))
        if stripped.endswith("\\"):
            content += stripped[:-1]
            continue
        found.append((first, raw, (content + stripped).strip()))
        raw, content = "", ""
    if raw:
        found.append((first, raw, content.strip()))
    return found
