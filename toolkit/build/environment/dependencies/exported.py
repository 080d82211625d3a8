"""What a tool exported of its lock: compared with that lock, and written so that uv installs exactly this."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from toolkit.build.environment.dependencies.found import (
    FOREIGN_DISTRIBUTION,
    OWN_DISTRIBUTION,
    Dependencies,
    ReadAs,
    foreign_distribution_error,
    normalize_name,
    read_place,
)
from toolkit.errors import BadInput

BUILD_FOLDER = "/build"
"""Where the project's files lie while a tool is asked, and while its answer is installed."""
ANSWER = "requirements.txt"

_DEFAULT_INDEX = r"https://pypi\.org/simple/?"
_INDEX = r"(?:-i|--index-url|--extra-index-url)[ =](\S+)"
_OPTION = r"(?:-i|--index-url|--extra-index-url)"
_FIND_LINKS = r"(?:-f|--find-links)[ =](\S+)"
_TRUSTED = r"--trusted-host[ =]([A-Za-z0-9._:\[\]-]+)"
_EXACT = r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*===?\s*([^\s;]+)$"
_NAMED = r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*@\s*(\S+)$"


class Locked(NamedTuple):
    """A package of a lock.

    Attributes:
        version: empty where the lock does not tell it.
        hashes: as ``sha256:…``; of any of its files.
        source: the path of its file or folder, relative to the lock, or the address of its file or repository; empty where it
            comes from an index.
        revision: the commit, where the source is a repository.
        wanted: whether an export of what was chosen has to have it. None where only the tool can say it.
    """

    name: str
    version: str
    hashes: frozenset[str] = frozenset()
    source: str = ""
    revision: str = ""
    wanted: bool | None = None


class _Line(NamedTuple):
    """A requirement of an export: a version of an index's package, or a ``target``, which is a path or an address."""

    name: str
    extras: str
    version: str
    target: str
    marker: str
    hashes: frozenset[str]


def compared(exported: str, locked: Iterable[Locked], tool: str, lock: str) -> str:
    """The requirements that a tool exported, one on a line, with all hashes that its lock has for them.

    Args:
        tool, lock: the tool's name and the lock's file, for messages.

    Raises:
        BadInput: the export has what the lock does not have, or lacks what it has; or it can't be installed.
    """
    packages = list(locked)
    found: set[Locked] = set()
    kept: list[str] = []
    for text in _logical_lines(exported):
        option = _option(text)
        if option is not None:
            kept += [option] if option else []
            continue
        line = _parsed(text, tool, lock)
        package = _locked(line, packages, tool, lock)
        if package.wanted is False:
            raise BadInput(f"{tool} exports {package.name}, which is in none of the groups that were chosen", lock)
        found.add(package)
        name = normalize_name(package.name)
        if name == FOREIGN_DISTRIBUTION and line.version:
            raise foreign_distribution_error(lock)
        if name != OWN_DISTRIBUTION:
            kept.append(_written(line, package))
    missing = sorted(
        f"{one.name} {one.version}".strip()
        for one in packages
        if one.wanted and one not in found and normalize_name(one.name) != OWN_DISTRIBUTION
    )
    if missing:
        raise BadInput(
            f"{tool} does not export {', '.join(missing)}, which the lock has: the image would lack it; write the lock again",
            lock,
        )
    return "".join(f"{line}\n" for line in kept)


def installation(root: Path, lock: str, unlocked: str, answer: bytes) -> Dependencies:
    """How what :func:`compared` wrote is installed: by ``uv pip sync``, with each hash verified.

    Args:
        root: the folder of the lock. unlocked: as of :class:`Dependencies`.

    Raises:
        BadInput: a file or folder that the lock names is missing.
    """
    text = answer.decode()
    packages = [line for line in text.splitlines() if not line.startswith("-")]
    hashed = [line for line in packages if " --hash=" in line]
    options = []
    if packages and len(hashed) == len(packages):
        options.append("--require-hashes")
    if "--extra-index-url" in text and all(" --hash=" in line or " @ " in line for line in packages):
        # A hash says which file is meant, so it may come from any of the indexes, as it does for the tool itself.
        options.append("--index-strategy=unsafe-best-match")
    for host in re.findall(rf"(?m)^{_TRUSTED}$", text):
        # As an option for uv, which does not read it in a file.
        options.append(f"--allow-insecure-host={host}")
    files = {ANSWER: re.sub(rf"(?m)^{_TRUSTED}\n", "", text).encode()}
    for path in re.findall(rf"(?m)^[^\s#]+ @ file://{BUILD_FOLDER}/(\S+)|^--find-links \./(\S+)$", text):
        name = path[0] or path[1]
        files.update(read_place(root, name, lock))
    sync = {"LOCK": ANSWER, "SYNC_OPTIONS": " ".join(options)}
    if " @ git+" in text:
        sync["GIT"] = "1"
    if any(name.startswith("POETRY_HTTP_BASIC_") for name in os.environ) and lock.endswith("poetry.lock"):
        text = _with_logins(root, text)
        files[ANSWER] = re.sub(rf"(?m)^{_TRUSTED}\n", "", text).encode()
    variables = tuple(sorted(set(re.findall(r"\$\{([A-Z0-9_]+)\}", text))))
    return Dependencies("sync", lock, files, sync, variables, unlocked, reading=ReadAs({ANSWER: "requirements"}))


def _with_logins(root: Path, text: str) -> str:
    """The requirements, with Poetry's own variables in the addresses of its sources, which name a login for each by its name."""
    import tomli

    try:
        document = tomli.loads((root / "pyproject.toml").read_text("utf-8"))
        sources = document["tool"]["poetry"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return text
    for source in sources if isinstance(sources, list) else ():
        name = re.sub(r"[-.]", "_", str(source.get("name", ""))).upper()
        login = [f"POETRY_HTTP_BASIC_{name}_{one}" for one in ("USERNAME", "PASSWORD")]
        scheme, _, rest = str(source.get("url", "")).rstrip("/").partition("://")
        if re.fullmatch(r"[A-Z0-9_]+", name) and all(one in os.environ for one in login) and "@" not in rest:
            written = f"{scheme}://${{{login[0]}}}:${{{login[1]}}}@{rest}"
            plain = re.escape(f"{scheme}://{rest}")
            text = re.sub(rf"(?m)^({_OPTION} ){plain}(?=/?$)", rf"\g<1>{written}", text)
    return text


def _logical_lines(text: str) -> Iterator[str]:
    """The lines that say something, with those joined that end with a backslash."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        stripped = re.sub(r"(^|\s)#.*$", "", line).strip()
        if stripped:
            yield re.sub(r"\s+", " ", stripped)


def _option(line: str) -> str | None:
    """An option's line as uv reads it; empty where it is the default; None where the line is no option."""
    index = re.fullmatch(_INDEX, line)
    if index:
        # The default index is left to the machine, which may have a mirror of it.
        return "" if re.fullmatch(_DEFAULT_INDEX, index[1]) and not line.startswith("--extra") else line
    links = re.fullmatch(_FIND_LINKS, line)
    if links:
        local = _path(links[1])
        return f"--find-links ./{local}" if local is not None else f"--find-links {links[1]}"
    trusted = re.fullmatch(_TRUSTED, line)
    return f"--trusted-host {trusted[1]}" if trusted else None


def _path(target: str) -> str | None:
    """The path below the project's folder, of a target that is a local file or folder; None for an address."""
    if target.startswith("file:"):
        path = re.sub(r"^file:(//)?", "", target).replace("${PROJECT_ROOT}", BUILD_FOLDER.lstrip("/"))
        path = "/" + path.lstrip("/") if path.startswith(("/", BUILD_FOLDER.lstrip("/"))) else path
    elif "://" in target:
        return None
    else:
        path = target
    return path.removeprefix(f"{BUILD_FOLDER}/").removeprefix("./")


def _parsed(text: str, tool: str, lock: str) -> _Line:
    hashes = frozenset(re.findall(r"--hash[= ](\S+)", text))
    rest = re.sub(r"\s*--hash[= ]\S+", "", text)
    editable = re.match(r"(?:-e|--editable)[ =](.*)", rest)
    rest = editable[1] if editable else rest
    # In an address a semicolon that begins a marker has a space before it.
    requirement, _, marker = rest.partition(" ;" if "://" in rest or rest.startswith((".", "/")) else ";")
    requirement, marker = requirement.strip(), marker.strip()
    exact = re.match(_EXACT, requirement)
    if exact:
        return _Line(exact[1], exact[2] or "", exact[3], "", marker, hashes)
    named = re.match(_NAMED, requirement)
    if named:
        return _Line(named[1], named[2] or "", "", named[3], marker, hashes)
    if requirement.startswith("-") or not ("/" in requirement or requirement.startswith(".")):
        raise BadInput(f"{tool} exports {text!r}, which names no exact version: write the lock again", lock)
    return _Line("", "", "", requirement, marker, hashes)


def _locked(line: _Line, packages: list[Locked], tool: str, lock: str) -> Locked:
    """The lock's package that a line of the export is."""
    shown = f"{line.name} {line.version}".strip() if line.version else line.target
    named = [one for one in packages if not line.name or normalize_name(one.name) == normalize_name(line.name)]
    same = [
        one
        for one in named
        if (_same_version(one.version, line.version) if line.version else _same_source(one, line.target))
    ]
    if not same:
        has = ", ".join(sorted(f"{one.name} {one.version or one.source}" for one in named)) if line.name else ""
        raise BadInput(
            f"{tool} exports {shown}, which the lock does not have{f' (it has {has})' if has else ''}: write the lock again",
            lock,
        )
    for one in same:
        if line.hashes <= one.hashes:
            return one
    wrong = min(line.hashes - same[0].hashes)
    raise BadInput(
        f"{tool} exports {shown} with the hash {wrong}, which the lock does not have: write the lock again", lock
    )


def _same_version(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return one == other or Version(one) == Version(other)
    except InvalidVersion:
        return False


def _same_source(package: Locked, target: str) -> bool:
    if not package.source:
        return False
    if target.startswith("git+"):
        address, _, revision = target.removeprefix("git+").partition("#")[0].rpartition("@")
        return _repository(address) == _repository(package.source) and revision == package.revision
    path = _path(target.partition("#")[0])
    if path is None:
        return target.partition("#")[0] == package.source.partition("#")[0]
    return path.rstrip("/") == (_path(package.source) or "").rstrip("/")


def _repository(address: str) -> str:
    """An address of a repository in one form: ``git@host:a/b`` is ``ssh://git@host/a/b``."""
    address = address.removeprefix("git+")
    if "://" not in address:
        address = "ssh://" + address.replace(":", "/", 1)
    return address.removesuffix(".git")


def _written(line: _Line, package: Locked) -> str:
    """The requirement as uv reads it, never editable: the image has no folder that it could be edited in."""
    if line.version:
        requirement = f"{line.name}{line.extras}=={line.version}"
    else:
        target, _, fragment = line.target.partition("#")
        path = None if target.startswith("git+") else _path(target)
        if path is not None:
            target = f"file://{BUILD_FOLDER}/{path}"
        kept = [part for part in fragment.split("&") if part.startswith("subdirectory=")]
        requirement = f"{package.name}{line.extras} @ {target}{'#' + kept[0] if kept else ''}"
    marker = f" ; {line.marker}" if line.marker else ""
    return f"{requirement}{marker}{''.join(f' --hash={one}' for one in sorted(line.hashes or package.hashes))}"
