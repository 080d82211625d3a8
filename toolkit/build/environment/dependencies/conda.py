"""environment.yml, pixi.lock and conda-lock.yml: what of the project's files the build needs to install them."""

from __future__ import annotations

import os
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.build.environment.dependencies.exported import BUILD_FOLDER
from toolkit.build.environment.dependencies.found import (
    Dependencies,
    Export,
    ReadAs,
    inside,
    normalize_name,
    read_folder,
    read_input,
    read_place,
)
from toolkit.errors import BadInput

_ANSWER = "solved.lock"
_REQUIREMENTS = "requirements-of-conda.txt"
_PREFIX = {"CONDA_PREFIX": "/opt/venv"}
"""What the packages of an environment ask for to find their own files."""
_KEYS = {"name", "prefix", "channels", "dependencies", "variables", "platforms", "category"}


def read_conda_lock(root: Path, name: str, groups: tuple[str, ...]) -> Dependencies:
    """A conda-lock.yml. Its packages of the category ``main`` are installed, and those of ``groups``.

    Raises:
        BadInput: it can't be read.
    """
    files = _locked_files(root, name)
    options = {"LOCK": name, "CATEGORIES": _words(groups), **_git(files[name])}
    reading = ReadAs({name: "conda-lock"}, groups=groups)
    return Dependencies("conda", name, files, options, _variables(files[name]), environment=_PREFIX, reading=reading)


def read_pixi_lock(root: Path, name: str, extras: tuple[str, ...], groups: tuple[str, ...]) -> Dependencies:
    """A pixi.lock. Its environment ``default`` is installed.

    Raises:
        BadInput: it can't be read, or lacks what pixi.toml or pyproject.toml names.
    """
    if extras or groups:
        raise BadInput(
            "of a pixi.lock the environment 'default' is installed, so build.extras and build.groups do not apply", name
        )
    files = _locked_files(root, name)
    _check_pixi(root, name, files[name])
    options = {"LOCK": name, **_git(files[name])}
    reading = ReadAs({name: "pixi-lock"})
    return Dependencies("conda", name, files, options, _variables(files[name]), environment=_PREFIX, reading=reading)


def read_environment(root: Path, name: str) -> Export:
    """An environment.yml, which py-rattler solves in a build. What it names under ``pip`` uv installs into the same prefix.

    Raises:
        BadInput: it is broken, or names what is not in the project.
    """
    content = read_input(root, name, name)
    document = _parsed(content, name)
    unknown = sorted(set(document) - _KEYS)
    if unknown:
        raise BadInput(f"conda knows no {', '.join(map(repr, unknown))} there: remove it", name)
    files = {name: content}
    for channel in document.get("channels") or ():
        local = _local_channel(root, str(channel), name)
        if local is not None:
            files.update(read_folder(root, local, name))
    files[name] = _inside_the_build(root, content)
    lines: list[str] = []
    for dependency in document.get("dependencies") or ():
        if isinstance(dependency, dict):
            if set(dependency) != {"pip"}:
                raise BadInput(
                    f"dependencies: {_listed(dependency)} is no way of installing that conda knows (pip is)", name
                )
            lines += [str(line) for line in dependency["pip"] or ()]
    variables = {str(key): str(value) for key, value in (document.get("variables") or {}).items()}
    for key, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "\n" in value:
            raise BadInput(f"variables: {key} can't be a variable of the image", name)
    # The packages, and what the tool is asked, do not depend on the variables.
    command = f"python3 /tool/conda.py solve {shlex.quote(name)} {_ANSWER}"
    return Export(
        "conda",
        name,
        files,
        name,
        command,
        unlocked=(
            f"nothing is locked: {name} only names what it needs, and the newest versions are installed; "
            f"`conda-lock lock -f {name} -p linux-64` or `pixi init --import {name}` locks it"
        ),
        answer=_ANSWER,
        installed=partial(_installation, root, name, tuple(lines), variables),
        reading=ReadAs({name: "environment"}),
    )


def _installation(
    root: Path, name: str, lines: tuple[str, ...], variables: dict[str, str], answer: bytes
) -> Dependencies:
    files = _locked_files(root, name, answer)
    options = {"LOCK": _ANSWER}
    forms = {_ANSWER: "pixi-lock"}
    names: set[str] = set(_variables(answer))
    if lines:
        from toolkit.build.environment.dependencies.requirements import read_lines

        # Paths are relative to the file that names them.
        beside = os.path.join(os.path.dirname(name), _REQUIREMENTS)
        read = read_lines(root, beside, "".join(f"{line}\n" for line in lines), name)
        files.update(read.files)
        forms |= read.reading.forms
        names.update(read.variables)
        options["REQUIREMENTS"] = beside
        if "GIT" in read.options:
            options["GIT"] = "1"
    set_there = {**_PREFIX, **variables}
    return Dependencies(
        "conda", name, files, options, tuple(sorted(names)), environment=set_there, reading=ReadAs(forms)
    )


def _locked_files(root: Path, name: str, answer: bytes | None = None) -> dict[str, bytes]:
    """A lock, and the files of the project that it names."""
    content = read_input(root, name, name) if answer is None else answer
    content = _inside_the_build(root, content)
    # rattler reads no path that is relative.
    folder = os.path.join(BUILD_FOLDER, os.path.dirname(name))
    content = re.sub(
        rb"(?m)^(\s*- conda: )(?!/|[a-z]+:)(?:\./)?",
        lambda found: found[1] + f"{folder.rstrip('/')}/".encode(),
        content,
    )
    files = {name if answer is None else _ANSWER: content}
    text = content.decode("utf-8", "replace")
    for target in re.findall(rf"(?m)^\s*(?:- (?:conda|pypi)|url): (?:file://)?(?:{BUILD_FOLDER}/|(?=\.))(\S+)$", text):
        path = inside(re.sub(r"[#?].*", "", target), name)
        if path == ".":
            continue  # the project itself, whose code is in the image
        files.update(read_place(root, path, name))
    return files


def _inside_the_build(root: Path, content: bytes) -> bytes:
    """Addresses of the project's own files, which lie in another folder there."""
    return content.replace(f"{root.resolve()}/".encode(), f"{BUILD_FOLDER}/".encode())


def _local_channel(root: Path, channel: str, name: str) -> str | None:
    """The path of a channel that is a folder of the project; None for one that has a name or an address."""
    if channel.startswith("file:"):
        path = re.sub(r"^file:(//)?", "", channel)
        if not Path(path).resolve().is_relative_to(root.resolve()):
            raise BadInput(
                f"the channel {channel} lies outside of the project, so no other checkout has it: move it inside", name
            )
        return os.path.relpath(Path(path).resolve(), root.resolve())
    if channel.startswith((".", "/")):
        if not (root / inside(channel, name)).is_dir():
            raise BadInput(f"the channel {channel} is no folder of this project", name)
        return inside(channel, name)
    return None


def _check_pixi(root: Path, name: str, lock: bytes) -> None:
    """Compares the names that the project declares with those in the lock: only pixi itself can compare more."""
    from toolkit.build.environment.dependencies.declared import parsed_toml

    folder = os.path.dirname(name)
    declared: dict[str, Any] = {}
    where = ""
    for where in (os.path.join(folder, "pixi.toml"), os.path.join(folder, "pyproject.toml")):
        if (root / where).is_file():
            document = parsed_toml(read_input(root, where, name), where)
            declared = document if where.endswith("pixi.toml") else (document.get("tool") or {}).get("pixi") or {}
            break
    text = lock.decode("utf-8", "replace")
    has = {normalize_name(one) for one in re.findall(r"/([^/\s]+)-[^-/\s]+-[^-/\s]+\.(?:conda|tar\.bz2)\b", text)}
    has |= {normalize_name(one) for one in re.findall(r"(?m)^\s+name: (\S+)$", text)}
    missing = sorted(one for one in declared.get("dependencies") or {} if normalize_name(one) not in has)
    if missing:
        raise BadInput(f"{where} names {', '.join(missing)}, which the lock does not have: run `pixi lock`", name)


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise BadInput(f"it is no YAML: {getattr(error, 'problem', None) or error}", where) from None
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        raise BadInput("it names no dependencies, so there is nothing to install", name)
    return document


def _variables(content: bytes) -> tuple[str, ...]:
    return tuple(sorted(set(re.findall(r"\$\{([A-Z0-9_]+)\}", content.decode("utf-8", "replace")))))


def _git(content: bytes) -> dict[str, str]:
    """What the build is told where a package comes from a repository."""
    return {"GIT": "1"} if b"git+" in content else {}


def _words(names: tuple[str, ...]) -> str:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise BadInput(f"build.groups: {name!r} is not the name of a category")
    return " ".join(names)


def _listed(table: dict[str, Any]) -> str:
    return ", ".join(sorted(map(str, table)))
