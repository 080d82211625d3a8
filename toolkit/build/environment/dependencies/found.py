"""What the other modules find: the dependencies of a project, or what a tool has to be asked first."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from toolkit.build import left_out
from toolkit.build.credentials import FOLDERS, credential_in, keeps_credential, may_hold_credential, named_credential
from toolkit.build.dockerignore import read_patterns
from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.build.environment.dependencies.declared import Declared

OWN_DISTRIBUTION = "samerun"
"""This project's distribution. The build puts its SDK into the image, so it is never installed from an index."""
FOREIGN_DISTRIBUTION = "toolkit"
"""A distribution of somebody else with the import name of the SDK. Installed, it would hide the SDK."""

Kind = Literal["none", "uv", "sync", "pip", "conda"]
Tool = Literal["uv", "poetry", "pdm", "pipenv", "conda"]


@dataclass(frozen=True)
class ReadAs:
    """How files are read, so that only what they mean counts.

    Attributes:
        forms: what reads a file, by its path, as :mod:`toolkit.build.environment.meaning.files` knows it. A file without one
            counts as it is.
        extras, groups: those that are installed beside the dependencies.
    """

    forms: dict[str, str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dependencies:
    """What the environment's packages are installed from.

    Attributes:
        kind: how: ``uv`` is ``uv sync`` of a project, ``sync`` is ``uv pip sync`` of an exact list, ``pip`` is a file of
            requirements as pip reads it, and ``none`` is not at all.
        file: the file that declares them, relative to the project's root, for messages; None when there is none.
        files: the content of all files that the installation needs, by their paths relative to the folder in which the tool
            would be called. A change of what they mean causes a build.
        options: what the template is told beside them, by the names of its arguments.
        variables: the environment variables that addresses in the files name. Their values are mounted as a secret.
        unlocked: the sentence that says what is not exact, and the command that makes it so; empty where all is.
        environment: variables that the image sets, as activating an environment of conda does.
        computed: what the project declares, where a requirement is the project itself and only its build backend knows what
            it depends on: it has to be asked first.
        members: the folders, relative to the project's root, of the projects that are installed beside it: a workspace's.
        reading: how ``files`` are read.
    """

    kind: Kind
    file: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    unlocked: str = ""
    members: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    computed: Declared | None = None
    reading: ReadAs = field(default_factory=ReadAs)


@dataclass(frozen=True)
class Export:
    """What a tool has to be asked before anything can be installed: the exact list of packages.

    Attributes:
        tool: which; its own requirements are ``dockerfiles/tools/TOOL.txt``.
        file, files, variables, reading: as of :class:`Dependencies`.
        beside: further files that lie beside them while the tool runs. A change of them asks nothing again.
        source: the file among ``files`` that says what is wanted.
        command: what is run beside the files. It writes the file ``answer`` there.
        unlocked: as of :class:`Dependencies`.
        python: the lowest Python that the tool runs on, as ``3.10``, where its answer is the same on each. Empty where it has
            to run on the base image's own.
        checked: checks an answer, and gives what is kept of it; it raises BadInput. None keeps the answer as it is.
        installed: how a kept answer is installed; None where it is a pylock.toml.
    """

    tool: Tool
    file: str
    files: dict[str, bytes]
    source: str
    command: str
    options: dict[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    unlocked: str = ""
    beside: dict[str, bytes] = field(default_factory=dict)
    answer: str = "pylock.toml"
    python: str = ""
    checked: Callable[[bytes], bytes] | None = None
    installed: Callable[[bytes], Dependencies] | None = None
    reading: ReadAs = field(default_factory=ReadAs)

    def key(self, meaning: Mapping[str, str], *others: str) -> str:
        """What the answer depends on: the ``meaning`` of the files, how the tool is called, and ``others``."""
        inputs = [self.tool, dict(meaning), self.command, self.options, *others]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def answered(self, answer: bytes) -> Dependencies:
        """The dependencies that a tool's answer holds."""
        if self.installed is not None:
            return self.installed(answer)
        # What the answer names of the project's own files lies beside it.
        files = {name: content for name, content in self.files.items() if name != self.source}
        options = {"LOCK": "pylock.toml", **self.options}
        reading = ReadAs({**self._forms_beside(answer, files), "pylock.toml": "pylock"})
        files["pylock.toml"] = answer
        return Dependencies("sync", self.file, files, options, self.variables, self.unlocked, reading=reading)

    def _forms_beside(self, answer: bytes, files: Mapping[str, bytes]) -> dict[str, str]:
        """How the question's files are read beside a pylock.toml that answers it.

        uv reads its settings once more, and the files and folders that the answer names. What a build backend was asked with
        does not count any more.
        """
        forms = {name: "unread" for name in self.reading.forms if name in files}
        if self.beside and b"file:" not in answer:
            places = [os.path.normpath(place) for place in re.findall(r'path = "([^"]+)"', answer.decode())]
            named = [name for name in files if any(f"{name}/".startswith(f"{place}/") for place in places)]
            forms |= {name: "unread" for name in files if name not in named and "." not in places}
        return forms | {name: "uv-settings" for name in ("pyproject.toml", "uv.toml") if name in files}


def read_input(root: Path, name: str, referrer: str) -> bytes:
    """The content of a file that belongs to a lock.

    Args:
        root: the folder that the build's context begins at. name: relative to it.
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
        what = "it" if name == referrer else name
        raise BadInput(f"{what} cannot be read: {error.strerror}", referrer) from error


def read_folder(root: Path, name: str, referrer: str) -> dict[str, bytes]:
    """The content of all files below a folder, without what no build reads: caches, environments, Git's own.

    What looks like a credential is left out as it is of the code: it would be in the environment with the package's data.

    Raises:
        BadInput: as of :func:`read_input`.
    """
    files: dict[str, bytes] = {}
    patterns = read_patterns(root)
    for folder, folders, names in os.walk(root / name):
        kept = left_out.others(folders, str(root), folder)
        folders[:] = sorted(one for one in kept if one not in _LEFT_OUT and not one.startswith(".git"))
        for one in sorted(left_out.others(names, str(root), folder)):
            if not one.endswith((".pyc", ".pyo")):
                path = os.path.normpath(os.path.join(os.path.relpath(folder, root), one))
                is_credential = named_credential(one) or not FOLDERS.isdisjoint(path.split("/")[:-1])
                if not is_credential or keeps_credential(patterns, path):
                    content = read_input(root, path, referrer)
                    is_credential = may_hold_credential(one, len(content)) and credential_in(one, content) != ""
                    if not is_credential or keeps_credential(patterns, path):
                        files[path] = content
    return files


def read_place(root: Path, name: str, referrer: str) -> dict[str, bytes]:
    """The content of a file, or of all files below a folder, by their paths.

    Raises:
        BadInput: as of :func:`read_input`.
    """
    return read_folder(root, name, referrer) if (root / name).is_dir() else {name: read_input(root, name, referrer)}


def inside(path: str, referrer: str, shown: str = "") -> str:
    """A path relative to the project's root, normalized.

    Args:
        referrer: what names it, and ``shown`` how it is spelled there, for an error.

    Raises:
        BadInput: it lies outside of the project.
    """
    normalized = os.path.normpath(path)
    if os.path.isabs(normalized) or normalized.split("/")[0] == "..":
        raise BadInput(
            f"{shown or path} lies outside of the project, so no other checkout has it: move it inside", referrer
        )
    return normalized


_LEFT_OUT = frozenset({"__pycache__", ".venv", ".toolkit"})


def normalize_name(name: str) -> str:
    """A distribution's name in the form that indexes compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def foreign_distribution_error(location: str) -> BadInput:
    return BadInput(
        f"the distribution {FOREIGN_DISTRIBUTION!r} on the package index is not this project's and would hide its SDK, which "
        f"the build puts into the image: remove it (this project's distribution is {OWN_DISTRIBUTION!r})",
        location,
    )


def unknown_name(kind: str, name: str, there: Iterable[str]) -> BadInput:
    """The error of a setting that names an extra or a group which the project does not have.

    Args:
        kind: ``extra``, or what the declaring file calls a group. there: the names that it has.
    """
    setting = "build.extras" if kind == "extra" else "build.groups"
    return BadInput(f"{setting}: the project has no {kind} {name!r} (it has: {', '.join(sorted(there)) or 'none'})")


def line_of(content: bytes, words: str) -> int:
    """The number of the first line that holds ``words``; 1 when none does."""
    text = content.decode("utf-8", "replace")
    return text[: max(text.find(words), 0)].count("\n") + 1
