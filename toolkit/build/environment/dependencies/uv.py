"""uv.lock: which files ``uv sync`` needs, of the project, of the members of its workspace, and of what lies beside them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.build.environment.dependencies.found import (
    FOREIGN_DISTRIBUTION,
    Dependencies,
    ReadAs,
    foreign_distribution_error,
    line_of,
    normalize_name,
    read_input,
    read_place,
)
from toolkit.errors import BadInput

_FORMS = {"pyproject.toml": "uv-project", "uv.toml": "uv-settings"}
"""How the files are read that lie beside a lock."""


class _Package(NamedTuple):
    """A package of a uv.lock.

    Attributes:
        source: has one key, the kind of the source. files: the wheels and archives that the lock names as paths.
        needs: the names of the packages that it depends on, also by an extra or a group.
    """

    name: str
    source: dict[str, object]
    files: tuple[str, ...]
    needs: tuple[str, ...]

    def place(self, *kinds: str) -> str | None:
        """The path or address of the source, where it is of one of these kinds."""
        found = [str(self.source[kind]) for kind in kinds if kind in self.source]
        return found[0] if found else None


def read_uv_lock(
    base: Path,
    lock: str,
    member: str,
    extras: tuple[str, ...],
    groups: tuple[str, ...],
    shown: str,
    accepted: dict[str, str] | None,
) -> Dependencies:
    """The dependencies that a uv.lock locks for one project of its workspace.

    Args:
        base: the folder of the lock, which is the workspace's root. lock: its name.
        member: the folder of the project whose dependencies are installed, relative to ``base``.
        shown: the lock's path for messages.
        accepted: the hashes of the files of the last build, by name. A lock that it used is not parsed again, because
            parsing a large one takes longer than the rest of an unchanged build.

    Raises:
        BadInput: the lock is broken, names what must not be installed, or what lies outside of the workspace.
    """
    content = _without_checkout(read_input(base, lock, shown))
    # Which other members a member needs only the lock says.
    names = None if member else _known_files(base, lock, content, accepted)
    if names is None:
        names = _files(base, content, member, shown)
    files = {lock: content}
    forms = {lock: "uv-lock"}
    for name in names:
        read = read_place(base, name, shown)
        files.update(read)
        if list(read) == [name]:
            # Not of a folder that is installed from all its files.
            forms |= {name: _FORMS[os.path.basename(name)]} if os.path.basename(name) in _FORMS else {}
    folders_read = [f"{name}/" for name in names if (base / name).is_dir()]
    for folder in folders_read:
        forms = {name: form for name, form in forms.items() if not name.startswith(folder)}
    dynamic = _dynamic_members(files)
    options = {"FOLDER": member or ".", "UV_OPTIONS": " ".join(_options(extras, groups, dynamic))}
    if member and any(not _is_plain(name) for name in files):
        # The other members that this one needs lie outside of the project, so they are no part of its code.
        options["LEFT_OUT"] = "--no-install-project"
    if b"{ git = " in content:
        options["GIT"] = "1"
    version = _required_version(files)
    if version:
        options["UV_REQUIREMENT"] = f"uv{version}"
    notes = ""
    if dynamic:
        notes = (
            f"{shown} is installed as it is: the dependencies of {dynamic[0]} are dynamic, so nothing says here whether it is "
            "current (`uv lock --check` does)"
        )
    # The members' code is in the image where the lock lies in the project's own root.
    folders = [os.path.dirname(name) for name in files if os.path.basename(name) == "pyproject.toml"]
    members = tuple(sorted(folder for folder in folders if folder)) if os.path.dirname(shown) == "" else ()
    reading = ReadAs(forms, extras, groups)
    return Dependencies("uv", shown, files, options, unlocked=notes, members=members, reading=reading)


def _without_checkout(content: bytes) -> bytes:
    """The lock, as it would be where it is installed: uv writes the absolute path of an explicit index that is a folder."""
    if b'index = "file://' not in content:
        return content
    for folder in set(re.findall(rb'registry = "([^":]+)"', content)):
        for found in set(re.findall(rb'index = "file://([^"]*/)' + re.escape(folder) + b'"', content)):
            content = content.replace(b'"file://' + found + folder + b'"', b'"file:///build/' + folder + b'"')
    return content


def _known_files(base: Path, lock: str, content: bytes, accepted: dict[str, str] | None) -> list[str] | None:
    """The files of the last build, where the lock is the one that it was made of."""
    known = accepted or {}
    if known.get(f"lock {lock}") != hashlib.sha256(content).hexdigest():
        return None
    names = [name.removeprefix("lock ") for name in known if name.startswith("lock ") and name != f"lock {lock}"]
    if not all(_is_plain(name) for name in [*names, lock]):
        # A folder may have got another file, and which folders count only the lock says.
        return None
    has_settings = (base / "uv.toml").is_file()
    if has_settings != ("uv.toml" in names):
        return None
    return names if all((base / name).exists() for name in names) else None


def _is_plain(name: str) -> bool:
    """Whether a file is the lock, a setting or a package, and not one of a folder that is installed from its files."""
    base = os.path.basename(name)
    return base in ("uv.lock", "uv.toml", "pyproject.toml") or base.endswith((".whl", ".tar.gz", ".zip"))


def _needed_members(packages: list[_Package], member: str) -> set[str]:
    """The packages that the member in a folder depends on, itself left out; none for the root, whose code all members are."""
    by_name = {package.name: package for package in packages}
    own = [one for one in packages if member and one.place("editable", "directory", "virtual") == member]
    unread, found = list(own), {one.name for one in own}
    while unread:
        for name in unread.pop().needs:
            if name in by_name and name not in found:
                found.add(name)
                unread.append(by_name[name])
    return found - {one.name for one in own}


def _files(base: Path, content: bytes, member: str, shown: str) -> list[str]:
    """The files that a lock needs beside itself: relative to ``base``, and folders for whole folders."""
    names = {"pyproject.toml", os.path.normpath(os.path.join(member, "pyproject.toml"))}
    names |= {name for name in ("uv.toml",) if (base / name).is_file()}
    members, packages = _parse(content, shown)
    needed = _needed_members(packages, member)
    for package in packages:
        where = f"{shown}:{line_of(content, f'name = {chr(34)}{package.name}{chr(34)}')}"
        if normalize_name(package.name) == FOREIGN_DISTRIBUTION and "registry" in package.source:
            raise foreign_distribution_error(where)
        folder = package.place("editable", "directory", "virtual")
        file = package.place("path")
        local_index = package.place("registry")
        if folder is not None:
            is_member = (package.name in members or folder == ".") and not (
                package.name in needed and "virtual" not in package.source and folder != "."
            )
            names |= {os.path.normpath(os.path.join(folder, "pyproject.toml"))} if package.name in members else set()
            wanted = os.path.normpath(os.path.join(folder, "pyproject.toml")) if is_member else os.path.normpath(folder)
            if is_member or (base / wanted).exists():
                # What is not there belongs to a group that is not installed; else uv says that it is missing.
                names.add(_inside(wanted, package.name, where))
        elif file is not None and (base / file).exists():
            names.add(_inside(os.path.normpath(file), package.name, where))
        elif local_index is not None and "://" not in local_index:
            for wheel in package.files:
                path = os.path.normpath(wheel if (base / wheel).exists() else os.path.join(local_index, wheel))
                names.add(_inside(path, package.name, where))
    return sorted(names)


def _inside(path: str, package: str, where: str) -> str:
    if path.startswith("../") or os.path.isabs(path):
        raise BadInput(
            f"the package {package!r} is {path!r}, which lies outside of the folder of uv.lock, so no other checkout has it: "
            "move it inside",
            where,
        )
    return path


def _parse(content: bytes, shown: str) -> tuple[frozenset[str], list[_Package]]:
    """The names of the workspace's members, and all packages."""
    import tomli

    try:
        document: Any = tomli.loads(content.decode("utf-8"))
        members = frozenset(document.get("manifest", {}).get("members", []))
        packages = [
            _Package(
                str(package.get("name", "")),
                dict(package.get("source", {})),
                tuple(
                    str(one["path"])
                    for one in [*package.get("wheels", []), package.get("sdist", {})]
                    if isinstance(one, dict) and "path" in one
                ),
                tuple(
                    str(one["name"])
                    for listed in [
                        package.get("dependencies", []),
                        *package.get("optional-dependencies", {}).values(),
                        *package.get("dev-dependencies", {}).values(),
                    ]
                    for one in listed
                ),
            )
            for package in document.get("package", [])
            if isinstance(package, dict)
        ]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise BadInput(f"it is not a lock that uv wrote ({error}): run `uv lock`", shown) from error
    return members, packages


def _options(extras: tuple[str, ...], groups: tuple[str, ...], dynamic: tuple[str, ...]) -> list[str]:
    chosen = [f"--extra={name}" for name in extras] + [f"--group={name}" for name in groups]
    # uv asks the build backend for what is dynamic, and the backend wants the code, which is no part of the environment. So
    # what the lock says is taken as it is.
    return [*chosen, "--frozen" if dynamic else "--locked"]


def _dynamic_members(files: dict[str, bytes]) -> tuple[str, ...]:
    """The pyproject.toml of each member whose dependencies only its build backend knows."""
    import tomli

    found = []
    for name, content in files.items():
        if os.path.basename(name) != "pyproject.toml" or b"dynamic" not in content:
            continue
        try:
            dynamic = tomli.loads(content.decode("utf-8"))["project"]["dynamic"]
        except (ValueError, KeyError, TypeError):
            # uv says what is wrong with it.
            continue
        if {"dependencies", "optional-dependencies"} & set(dynamic):
            found.append(name)
    return tuple(found)


def _required_version(files: dict[str, bytes]) -> str:
    """The version of uv that the project asks for, as a specifier; empty where it asks for none."""
    import tomli

    for name, keys in (("uv.toml", ()), ("pyproject.toml", ("tool", "uv"))):
        try:
            table: Any = tomli.loads(files[name].decode("utf-8"))
            for key in keys:
                table = table[key]
            asked = str(table["required-version"]).strip()
        except (ValueError, KeyError, TypeError):
            continue
        return asked if re.match(r"[<>=!~]", asked) else f"=={asked}"
    return ""
