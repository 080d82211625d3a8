"""Requirements as pip reads them: what a file includes, what it names of the project's own files, and its encoding."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.environment.dependencies.found import (
    FOREIGN_DISTRIBUTION,
    OWN_DISTRIBUTION,
    Dependencies,
    ReadAs,
    foreign_distribution_error,
    inside,
    normalize_name,
    read_folder,
    read_input,
    read_place,
)
from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.build.environment.dependencies.declared import Declared

# These are not compiled when the module is imported: most builds need none of them, and compiling them takes longer than all
# imports of a build.
_INCLUDE = r"^(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^\s-]))(.+)$"
_EDITABLE = r"^(?:-e|--editable)(?:\s*=\s*|\s+|(?<=-e)(?=[^\s=]))(.+)$"
_FIND_LINKS = r"^(?:-f|--find-links)(?:\s*=\s*|\s+|(?<=-f)(?=[^\s=]))(.+)$"
_NAME = r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_LOCAL = r"^(?:\.{0,2}/|\.\s*(?:$|[\[;])|file:|(?!-|[^;]*(?:://|@)).*\.(?:whl|tar\.gz|zip)(?:\s|;|\[|$))"
_AT_FILE = r"^[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*@\s*(file:\S+)"
_VCS = r"(?:git|hg|svn|bzr)\+"
_VARIABLE = r"\$\{([A-Z0-9_]+)\}"
_PINNED = r"^[A-Za-z0-9._-]+(?:\[[^\]]*\])?\s*===?\s*[^\s;*]+\s*(?:;.*?)?(?:\s+--hash[= ]\S+)*$"
_CODING = rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)"
_BOMS = (
    # UTF-32 first, because its marks begin with those of UTF-16.
    (codecs.BOM_UTF32, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF16_LE, "utf-16"),
)


def read_requirements(root: Path, name: str) -> Dependencies:
    """A file of requirements, with all that it includes and all of the project's files that it names.

    The project itself (``.``, ``-e .``) is replaced by what it depends on: its code is in the image anyhow.

    Args:
        root: the folder in which pip would be called. Local paths of requirements are relative to it, as for pip.

    Raises:
        BadInput: a line names what must not be installed, what is not there, or what lies outside of the project.
    """
    reader = _Reader(root)
    found = reader.read(name)
    if reader.computed is not None:
        return replace(found, computed=reader.computed)
    return found


def read_lines(root: Path, name: str, text: str, shown: str) -> Dependencies:
    """As :func:`read_requirements`, of lines that another file holds.

    Args:
        name: the path that they are installed from. shown: the file that holds them, for messages.
    """
    reader = _Reader(root, {name: (text.encode(), shown)})
    found = reader.read(name)
    if reader.computed is not None:
        raise BadInput(
            f"{reader.computed.dynamic} ({reader.computed.file}), which only a build of the project tells: name in place of "
            "the project what it depends on",
            shown,
        )
    return found


class _Reader:
    def __init__(self, root: Path, given: dict[str, tuple[bytes, str]] | None = None) -> None:
        self._root = root
        self._given = given or {}
        self._files: dict[str, bytes] = {}
        self._hashes = False
        self._exact = True
        self._variables: set[str] = set()
        self._git = False
        self._computed: Declared | None = None
        self._forms: dict[str, str] = {}

    @property
    def computed(self) -> Declared | None:
        """What the project itself declares, where a line names it and only its build backend knows what it depends on."""
        return self._computed

    def read(self, name: str) -> Dependencies:
        unread = [(name, name)]
        while unread:
            current, referrer = unread.pop()
            if current not in self._files:
                unread += self._read_one(current, referrer)
        options = {"REQUIREMENTS": name, "INSTALLER": "pip"}
        if self._hashes:
            options["PIP_OPTIONS"] = "--require-hashes"
        if self._git:
            options["GIT"] = "1"
        if self._exact and not self._variables:
            # Nothing is left to choose, so uv gives what pip gives, in a fraction of its time.
            options["INSTALLER"] = "uv"
        reading = ReadAs(self._forms)
        return Dependencies("pip", name, self._files, options, tuple(sorted(self._variables)), reading=reading)

    def _read_one(self, current: str, referrer: str) -> list[tuple[str, str]]:
        """Reads one file; returns those that it includes, each with the line that does."""
        content, shown = self._given.get(current) or (read_input(self._root, current, referrer), "")
        text, encoding = _decode(content, current)
        kept: list[str] = []
        includes: list[tuple[str, str]] = []
        changed = False
        for number, raw, line in logical_lines(text):
            where = shown or f"{current}:{number}"
            replaced = self._line(current, line, where, includes)
            changed = changed or replaced is not None
            kept.append(raw if replaced is None else replaced)
        self._forms[current] = "requirements"
        self._files[current] = "".join(kept).encode(encoding) if changed else content
        return includes

    def _line(self, current: str, line: str, where: str, includes: list[tuple[str, str]]) -> str | None:
        """Takes in one line. Returns what stands in its place; None where it stays as it is."""
        if not line:
            return None
        self._variables.update(re.findall(_VARIABLE, line))
        self._hashes = self._hashes or "--hash=" in line or line.startswith("--require-hashes")
        self._exact = self._exact and bool(re.match(_PINNED, line) or re.match(_INCLUDE, line))
        include = re.match(_INCLUDE, line)
        if include:
            target = _unquoted(include[1])
            if "://" not in target:
                includes.append((_resolve_include(current, target, where), where))
            return None
        links = re.match(_FIND_LINKS, line)
        if links:
            self._find_links(current, _unquoted(links[1]), where)
            return None
        editable = re.match(_EDITABLE, line)
        requirement = _unquoted(_without_spaces(editable[1])) if editable else line
        if re.match(_VCS, requirement) or re.search(rf"@\s*{_VCS}", requirement):
            self._git = True
            # What is editable lies in a folder of the build, which the image does not have. The same commit is installed.
            return f"{requirement}\n" if editable else None
        local = re.match(_AT_FILE, requirement)
        if local or editable or re.match(_LOCAL, requirement) or self._is_folder(requirement):
            return self._local(local[1] if local else requirement, where)
        distribution = re.match(_NAME, line)
        if distribution and normalize_name(distribution[1]) == FOREIGN_DISTRIBUTION:
            raise foreign_distribution_error(where)
        return "" if distribution and normalize_name(distribution[1]) == OWN_DISTRIBUTION else None

    def _find_links(self, current: str, target: str, where: str) -> None:
        if "://" in target and not target.startswith("file:"):
            return
        # pip looks beside the file first, then in its own folder.
        beside = os.path.normpath(os.path.join(os.path.dirname(current), target))
        path = beside if (self._root / beside).exists() else os.path.normpath(target)
        path = inside(path, where)
        if not (self._root / path).exists():
            raise BadInput(f"{target} is no folder of this project, so no package can be taken from it", where)
        self._files.update(read_place(self._root, path, where))

    def _is_folder(self, requirement: str) -> bool:
        """Whether a requirement without a leading ``./`` is a folder: pip takes what has a slash and is there as one."""
        path = re.split(r"[\[;\s]", requirement)[0]
        return "/" in path and "@" not in path and "://" not in path and (self._root / path).is_dir()

    def _local(self, requirement: str, where: str) -> str | None:
        """A requirement that is a file or a folder."""
        requirement = _without_spaces(requirement)
        given, _, marker = (part.strip() for part in requirement.partition(" ;" if " ;" in requirement else ";"))
        target, bracket, extras = shlex.split(given)[0].removeprefix("file://").removeprefix("file:").partition("[")
        path = os.path.normpath(target)
        if os.path.isabs(path) and (self._root / path).is_relative_to(self._root):
            path = os.path.relpath(path, self._root)
        path = inside(path, where)
        full = self._root / path
        if not full.exists():
            raise BadInput(f"{target} is no file or folder of this project", where)
        if full.is_file():
            self._files[path] = read_input(self._root, path, where)
            return None
        # A folder's own dependencies, which a build of it would find.
        from toolkit.build.environment.dependencies.declared import declared_requirements

        if path != ".":
            # Never as an editable one: the folder of the build is not in the image.
            self._files.update(read_folder(self._root, path, where))
            return f"./{path}{bracket}{extras}{f' ; {marker}' if marker else ''}\n"
        declared = declared_requirements(self._root, tuple(filter(None, extras.rstrip("]").split(","))), where)
        self._files.update(declared.files)
        if not declared.dynamic:
            # What they declare stands in this line's place. uv reads its own settings there, and an old pip a setup.cfg.
            self._forms |= {"pyproject.toml": "uv-settings", "setup.py": "unread"}
        if declared.dynamic:
            # Only its build backend knows what stands in this line's place.
            self._computed = declared
            return f".{bracket}{extras}{f' ; {marker}' if marker else ''}\n"
        return "".join(f"{line}\n" for line in declared.lines)


def decoded(content: bytes, name: str) -> str:
    """The text of a file of requirements, in the encoding that pip reads it in."""
    return _decode(content, name)[0]


def _decode(content: bytes, name: str) -> tuple[str, str]:
    """The text, and its encoding."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding), encoding
    encoding = "utf-8"
    for line in content.split(b"\n")[:2]:
        named = re.match(_CODING, line)
        if named:
            encoding = named[1].decode("ascii")
            break
    try:
        return content.decode(encoding), encoding
    except (UnicodeDecodeError, LookupError):
        pass
    raise BadInput(f"it is not {encoding.upper()}: save it as UTF-8, or name its encoding in the first line", name)


def _without_spaces(requirement: str) -> str:
    """A requirement without the spaces between its extras."""
    return re.sub(r"\[[^\]]*\]", lambda found: re.sub(r"\s", "", found[0]), requirement)


def _unquoted(text: str) -> str:
    words = shlex.split(text)
    return words[0] if words else ""


def _resolve_include(current: str, include: str, location: str) -> str:
    """The path, relative to the root, of a file that the file ``current`` includes."""
    if os.path.isabs(include):
        raise BadInput(
            f"{include} is an absolute path, so no other checkout has it: name it relative to this file", location
        )
    return inside(os.path.join(os.path.dirname(current), include), location, shown=include)


def logical_lines(text: str) -> list[tuple[int, str, str]]:
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
