"""The locks of Poetry, PDM and Pipenv: what their own tool is asked, and which packages they lock."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.build.environment.dependencies.declared import parsed_toml
from toolkit.build.environment.dependencies.exported import ANSWER, Locked, compared, installation
from toolkit.build.environment.dependencies.found import (
    Export,
    ReadAs,
    Tool,
    inside,
    line_of,
    normalize_name,
    read_input,
    unknown_name,
)
from toolkit.build.environment.dependencies.remedies import command, writing_again
from toolkit.errors import BadInput

_PYTHON = "3.10"
"""The lowest Python of the tools in dockerfiles/tools."""
_SETTINGS = {
    "poetry": "POETRY_VIRTUALENVS_CREATE=false",
    "pdm": "PDM_USE_VENV=0 PDM_IGNORE_SAVED_PYTHON=1 PDM_CHECK_UPDATE=0",
    "pipenv": "PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VERBOSITY=-1 PIPENV_YES=1",
}
"""Without them, a tool would make an environment of its own."""
_LOCAL = {
    "poetry": r'(?m)^type = "(?:directory|file)"\nurl = "([^"]+)"',
    "pdm": r'(?m)^path = "([^"]+)"',
    "pipenv": r'"(?:path|file)": "((?!\w+://)[^"]+)"',
}
"""How a lock names a file or folder of the project."""
_PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py")


_FORMS = {"poetry": ("tool-lock", "locking"), "pdm": ("tool-lock", "locking"), "pipenv": ("pipfile-lock", "pipfile")}
"""How the lock is read, and the file that declares what it locks."""


class _Chosen(NamedTuple):
    """What is installed beside the main dependencies."""

    extras: tuple[str, ...]
    groups: tuple[str, ...]


def read_tool_lock(root: Path, name: str, tool: Tool, extras: tuple[str, ...], groups: tuple[str, ...]) -> Export:
    """What has to be asked of the tool that wrote a lock.

    Args:
        root: the project's root. name: the lock's path relative to it.
        extras, groups: of the project, by their names; for Pipenv, the groups are the categories of packages.

    Raises:
        BadInput: a file is missing or broken, or there is no such extra or group.
    """
    declaring = os.path.join(os.path.dirname(name), "Pipfile" if tool == "pipenv" else "pyproject.toml")
    if not (root / declaring).is_file():
        raise BadInput(
            f"it locks what {declaring} declares, and there is none: without it {tool} can't read the lock", name
        )
    content, declared = read_input(root, name, name), read_input(root, declaring, name)
    for where, text in ((name, content), (declaring, declared)):
        if re.search(rb"(?m)^(<<<<<<<|>>>>>>>) ", text):
            raise BadInput(
                "it has the marks of a merge that is not finished: finish it, and write the lock again",
                f"{where}:{line_of(text, '<<<<<<<')}",
            )
    base = root / os.path.dirname(name)
    chosen = _Chosen(extras, groups)
    command, read = {"poetry": _poetry, "pdm": _pdm, "pipenv": _pipenv}[tool](
        os.path.basename(name), content, declared, chosen, declaring
    )
    if tool == "poetry":
        declared = _for_any_poetry(declared)
    files = {os.path.basename(name): content, os.path.basename(declaring): declared}
    for path in re.findall(_LOCAL[tool], content.decode("utf-8", "replace")):
        # To read the lock, the tool looks at the folder's own declaration. The rest counts when it is installed.
        folder = inside(path, name)
        for one in _PROJECT_FILES:
            if (base / folder / one).is_file():
                files[os.path.join(folder, one)] = read_input(base, os.path.join(folder, one), name)
        if not (base / folder).exists():
            raise BadInput(f"it names {path!r}, which is not in this project", name)
    return Export(
        tool,
        name,
        files,
        os.path.basename(name),
        f"export {_SETTINGS[tool]}; {command}",
        answer=ANSWER,
        python=_PYTHON,
        checked=partial(_checked, read, tool, name),
        installed=partial(installation, base, name, ""),
        reading=ReadAs({os.path.basename(name): _FORMS[tool][0], os.path.basename(declaring): _FORMS[tool][1]}),
    )


def _checked(read: Callable[[], list[Locked]], tool: Tool, name: str, answer: bytes) -> bytes:
    return compared(answer.decode(), read(), tool, name).encode()


def _wanted(groups: set[str], chosen: set[str], depends: bool) -> bool | None:
    """Whether an export has to have a package of these groups, as :class:`Locked` has it."""
    if not groups:
        return None
    if not groups & chosen:
        return False
    return None if depends else True


def _joined(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words if word)


def _parsed(content: bytes, name: str, remedy: str) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(content.decode("utf-8"))
    except ValueError as error:
        raise BadInput(f"it can't be read ({error}): {remedy}", name) from None


# --- Poetry -----------------------------------------------------------------------------------------------------------


def _poetry(
    lock: str, content: bytes, _declared: bytes, chosen: _Chosen, _declaring: str
) -> tuple[str, Callable[[], list[Locked]]]:
    # It exports no lock that is not current, and no group or extra that is not there.
    words = ["poetry", "export", "--no-interaction", "--format=requirements.txt", f"--output={ANSWER}"]
    words += ["--only", ",".join(("main", *chosen.groups)), *(f"--extras={extra}" for extra in chosen.extras)]
    return _joined(*words), partial(poetry_packages, content, lock, chosen.groups)


def _for_any_poetry(declared: bytes) -> bytes:
    """A pyproject.toml without what it says about Poetry itself: another version reads the same lock, without plugins."""
    text = re.sub(rb"(?m)^requires-poetry\s*=.*\n?", b"", declared)
    return re.sub(rb"(?ms)^\[tool\.poetry\.requires-plugins\]\s*$.*?(?=^\[|\Z)", b"", text)


def poetry_packages(content: bytes, lock: str, groups: tuple[str, ...]) -> list[Locked]:
    """The packages of a poetry.lock of Poetry 1 or 2.

    Raises:
        BadInput: it can't be read.
    """
    document = _parsed(content, lock, f"run {writing_again(lock)}")
    # Poetry before 1.3 keeps the hashes of all packages in one table.
    elsewhere = (document.get("metadata") or {}).get("files") or {}
    packages = []
    for package in document.get("package") or ():
        source = package.get("source") or {}
        files = package.get("files") or elsewhere.get(package["name"]) or ()
        has = set(package.get("groups") or ([package["category"]] if "category" in package else ()))
        packages.append(
            Locked(
                str(package["name"]),
                str(package["version"]),
                frozenset(str(one["hash"]) for one in files),
                "" if source.get("type") in (None, "legacy") else str(source.get("url", "")),
                str(source.get("resolved_reference", "")),
                # What an extra or a marker wants need not be there.
                _wanted(has, {"main", *groups}, bool(package.get("optional") or package.get("markers"))),
            )
        )
    return packages


# --- PDM --------------------------------------------------------------------------------------------------------------


def _pdm(
    lock: str, content: bytes, declared: bytes, chosen: _Chosen, declaring: str
) -> tuple[str, Callable[[], list[Locked]]]:
    document = parsed_toml(declared, declaring)
    project, pdm = document.get("project") or {}, (document.get("tool") or {}).get("pdm") or {}
    extras = {normalize_name(one): one for one in project.get("optional-dependencies") or ()}
    groups = {
        normalize_name(one): one
        for one in [*(document.get("dependency-groups") or ()), *(pdm.get("dev-dependencies") or ())]
    }
    _check_names("extra", chosen.extras, extras)
    _check_names("dependency group", chosen.groups, groups)
    # Only the head of the lock is parsed, because parsing a large one takes longer than the rest of an unchanged build.
    head = _parsed(content.partition(b"[[package]]")[0], lock, f"run {writing_again(lock)}")
    locked = {normalize_name(one) for one in (head.get("metadata") or {}).get("groups") or ()}
    wanted = (*chosen.extras, *chosen.groups)
    missing = [one for one in wanted if locked and normalize_name(one) not in locked]
    if missing:
        written = [f"--lockfile {lock}"] if lock != "pdm.lock" else []
        run = command("pdm lock {groups}", groups=" ".join([*written, *(f"-G {one}" for one in missing)]))
        raise BadInput(f"it does not lock the group {', '.join(missing)}: run {run}", lock)
    # PDM says nothing of a name that it does not know, and all that the lock has is chosen unless it is excluded.
    taken = {normalize_name(one) for one in wanted}
    excluded = [name for key, name in {**extras, **groups}.items() if key not in taken]
    words = ["pdm", "export", "--lockfile", lock, "--format=requirements", f"--output={ANSWER}"]
    words += [f"--group={one}" for one in wanted] + [f"--without={one}" for one in excluded]
    if re.search(rb"(?m)^(?:path|git|url|hg|svn) = ", content) or b"hash = " not in content:
        # It refuses to export hashes where a package has none. They are added from the lock.
        words.append("--no-hashes")
    check = _joined("pdm", "lock", "--lockfile", lock, "--check")
    return f"{check}; {_joined(*words)}", partial(pdm_packages, content, lock, wanted)


def pdm_packages(content: bytes, lock: str, groups: tuple[str, ...]) -> list[Locked]:
    """The packages of a pdm.lock.

    Args:
        groups: those that are exported beside the default one.

    Raises:
        BadInput: it can't be read.
    """
    document = _parsed(content, lock, f"run {writing_again(lock)}")
    elsewhere = (document.get("metadata") or {}).get("files") or {}
    chosen = {"default", *map(normalize_name, groups)}
    packages: list[Locked] = []
    for package in document.get("package") or ():
        name, version = str(package["name"]), str(package.get("version", ""))
        files = package.get("files") or elsewhere.get(f"{name} {version}") or ()
        has = {normalize_name(one) for one in package.get("groups") or ()}
        packages.append(
            Locked(
                name,
                version,
                frozenset(str(one["hash"]) for one in files if "hash" in one),
                str(package.get("path") or package.get("git") or package.get("url") or ""),
                str(package.get("revision", "")),
                # A package with an extra is an entry of its own, beside the one without.
                _wanted(has, chosen, bool(package.get("extras") or package.get("marker"))),
            )
        )
    return packages


def _check_names(kind: str, names: tuple[str, ...], there: dict[str, str]) -> None:
    for name in names:
        if normalize_name(name) not in there:
            raise unknown_name(kind, name, there.values())


# --- Pipenv -----------------------------------------------------------------------------------------------------------

_CATEGORIES = {"packages": "default", "dev-packages": "develop", "dev": "develop", "develop": "develop"}
_NO_CATEGORIES = {"source", "sources", "requires", "scripts", "pipenv", "pipfile"}


def _pipenv(
    lock: str, content: bytes, declared: bytes, chosen: _Chosen, declaring: str
) -> tuple[str, Callable[[], list[Locked]]]:
    if chosen.extras:
        raise BadInput(
            f"a Pipfile has no extras, and build.extras names {', '.join(chosen.extras)}: use build.groups", declaring
        )
    there = [name for name in parsed_toml(declared, declaring) if name not in _NO_CATEGORIES]
    names = ["packages"]
    for group in chosen.groups:
        name = "dev-packages" if _CATEGORIES.get(group) == "develop" else group
        _check_names("category of packages", (name,), {normalize_name(one): one for one in there})
        names.append(name)
    words = ["pipenv", "requirements", "--hash", f"--categories={','.join(names)}"]
    sections = tuple(_CATEGORIES.get(name, name) for name in names)
    return f"pipenv verify; {_joined(*words)} > {ANSWER}", partial(pipenv_packages, content, lock, sections)


def pipenv_packages(content: bytes, lock: str, sections: tuple[str, ...]) -> list[Locked]:
    """The packages of some sections of a Pipfile.lock.

    Raises:
        BadInput: it can't be read.
    """
    try:
        document = json.loads(content)
        packages = []
        for section in sections:
            for name, package in document.get(section, {}).items():
                packages.append(
                    Locked(
                        name,
                        str(package.get("version", "")).lstrip("="),
                        frozenset(package.get("hashes") or ()),
                        str(package.get("path") or package.get("file") or package.get("git") or ""),
                        str(package.get("ref", "")) if "git" in package else "",
                        True,
                    )
                )
        return packages
    except (ValueError, AttributeError) as error:
        raise BadInput(f"it can't be read ({error}): run `pipenv lock`", lock) from None
