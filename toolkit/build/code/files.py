"""The files of a project that are the user's code: all below its root, except what .dockerignore and safety leave out.

It needs neither Docker nor docker-py, because the `process` environment takes its files from here as well.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.build.code.dockerignore import NAME, Patterns, parse
from toolkit.errors import BadInput

EntryKind = Literal["file", "dir", "symlink"]

COMPOSE_TOP = b"# Printed by `toolkit compose`."
BILL_TOP = b'{"metadata":{"properties":[{"name":"dev.toolkit.'
"""How a bill of materials of ours begins, without its white space. It names the image, too."""
BILL_NAMES = (".cdx.json", "bom.json")
"""The ends of the names by which a bill of materials is recognized, as CycloneDX recommends them."""
"""The beginning of a file that `toolkit compose` printed."""
FETCHED = ".toolkit-fetched"
"""A file that marks its folder as what `toolkit fetch` made: nothing in it is code. In the project's root it means nothing."""
_NEVER_CODE = frozenset({".toolkit", ".git", ".venv", "__pycache__"})


@dataclass(frozen=True)
class CodeFile:
    """One entry below the project's root.

    Attributes:
        path: relative to the root, POSIX.
        source: its path on this machine.
        executable: whether its owner may execute it (files only).
        target: a symbolic link's target in a container, else unresolved; "" for the others.
        size: bytes (files only, else 0).
        stamp: (mtime_ns, ctime_ns, inode), one of which changes when the content does.
    """

    path: str
    kind: EntryKind
    source: str
    executable: bool = False
    target: str = ""
    size: int = 0
    stamp: tuple[int, int, int] = (0, 0, 0)


def is_never_code(name: str) -> bool:
    """Whether an entry of this name is left out at any depth, whatever .dockerignore says.

    `.env*` holds secrets, and `.git` the history with deleted secrets. The others belong to this machine.
    """
    return name in _NEVER_CODE or name.startswith(".env")


def is_left_out(root: Path, folder: Path) -> bool:
    """Whether nothing that is in a folder or comes into it is code: it lies elsewhere, is marked, or .dockerignore names it.

    Raises:
        BadInput: .dockerignore can't be read.
    """
    top, inside = os.path.realpath(root), os.path.realpath(folder)
    if inside == top:
        return False
    if not inside.startswith(top.rstrip(os.sep) + os.sep):
        return True
    patterns = _patterns(root)
    path, is_ignored = "", False
    matched: tuple[bool, ...] = ()
    for name in os.path.relpath(inside, top).split(os.sep):
        path = f"{path}/{name}" if path else name
        matched = patterns.matches(path, matched)
        is_ignored = patterns.verdict(matched)
        if is_never_code(name) or os.path.lexists(os.path.join(top, path, FETCHED)):
            return True
    return is_ignored and not patterns.may_keep_below(path)


def _patterns(root: Path) -> Patterns:
    ignore = root / NAME
    try:
        return parse(ignore.read_bytes(), NAME) if ignore.is_file() else Patterns()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", str(ignore)) from error


def project_files(
    root: Path, *, without: Collection[Path] = (), warn: Callable[[str], None] | None = None
) -> list[CodeFile]:
    """The user's code below ``root``, sorted by the bytes of the path.

    Args:
        without: absolute paths of further files that must not leave this machine (a secrets file of another name).
        warn: gets a sentence for each entry that is left out or may not work elsewhere; None prints them.

    Raises:
        BadInput: the root or an entry cannot be read, or a name is not UTF-8.
    """
    patterns = _patterns(root)
    private = frozenset(os.path.abspath(path) for path in without)
    walk = _Walk(os.path.realpath(root), patterns, private, warn or _print, _own_output())
    files = list(walk.below(str(root), "", ()))
    files.sort(key=lambda file: file.path.encode("utf-8"))
    return files


def is_project_file(root: Path, path: str, *, without: Collection[Path] = ()) -> bool:
    """Whether a file below ``root``, by its relative path, is among :func:`project_files`. It must exist.

    Raises:
        BadInput: .dockerignore cannot be read.
    """
    private = {os.path.abspath(each) for each in without}
    whole = os.path.abspath(root / path)
    if any(map(is_never_code, path.split("/"))) or any(
        whole == each or whole.startswith(each + os.sep) for each in private
    ):
        return False
    return not _patterns(root).ignores(path)


def _own_output() -> frozenset[tuple[int, int]]:
    """The files, by device and inode, that this command's own output goes to (``toolkit run … > log``).

    They are not code, and change while the command runs.
    """
    files = set()
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            files.add((status.st_dev, status.st_ino))
    return frozenset(files)


def _is_compose_file(source: str) -> bool:
    """Whether `toolkit compose` printed the file. It names the image, so the image can't hold it."""
    try:
        with open(source, "rb") as file:
            return file.read(len(COMPOSE_TOP)) == COMPOSE_TOP
    except OSError:
        return False


def _is_bill_of_materials(source: str) -> bool:
    """Whether `toolkit build --sbom` wrote the file."""
    try:
        with open(source, "rb") as file:
            return b"".join(file.read(2 * len(BILL_TOP)).split()).startswith(BILL_TOP)
    except OSError:
        return False


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr)


@dataclass(frozen=True)
class _Walk:
    """One walk through a project; ``without`` and ``own_output`` are left out."""

    root: str
    patterns: Patterns
    without: frozenset[str]
    warn: Callable[[str], None]
    own_output: frozenset[tuple[int, int]]

    def below(self, folder: str, prefix: str, above: tuple[bool, ...]) -> Iterator[CodeFile]:
        """The entries below a folder. Below an ignored one, only those that an exception keeps, with the folders above them."""
        return self._of(self._entries(folder), prefix, above)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            return list(os.scandir(folder))
        except OSError as error:
            raise BadInput(f"the folder cannot be read: {error.strerror}", folder) from error

    def _of(self, entries: list[os.DirEntry[str]], prefix: str, above: tuple[bool, ...]) -> Iterator[CodeFile]:
        for entry in entries:
            path = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")
            if is_never_code(entry.name) or (self.without and os.path.abspath(entry.path) in self.without):
                continue
            matched = self.patterns.matches(path, above)
            is_ignored = self.patterns.verdict(matched)
            if not is_ignored:
                _check_utf8(path, entry.path)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it was removed just now, such as an editor's temporary file
            except OSError as error:
                raise BadInput(f"it cannot be read: {error.strerror}", entry.path) from error
            if stat.S_ISDIR(status.st_mode):
                if is_ignored and not self.patterns.may_keep_below(path):
                    continue
                inside = self._entries(entry.path)
                if FETCHED in [one.name for one in inside]:
                    continue
                folder_entry = CodeFile(path, "dir", entry.path)
                if not is_ignored:
                    yield folder_entry
                    yield from self._of(inside, path + "/", matched)
                else:
                    kept = list(self._of(inside, path + "/", matched))
                    if kept:
                        yield folder_entry
                        yield from kept
            elif not is_ignored:
                yield from self._file_or_link(entry, path, status)

    def _file_or_link(self, entry: os.DirEntry[str], path: str, status: os.stat_result) -> Iterator[CodeFile]:
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(entry.path)).decode("utf-8", "surrogateescape")
            _check_utf8(target, entry.path)
            yield CodeFile(path, "symlink", entry.path, target=self._link_target(entry.path, path, target))
        elif stat.S_ISREG(status.st_mode):
            if (status.st_dev, status.st_ino) in self.own_output:
                return
            if path.endswith((".yaml", ".yml")) and _is_compose_file(entry.path):
                return
            if path.endswith(BILL_NAMES) and _is_bill_of_materials(entry.path):
                return
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            yield CodeFile(path, "file", entry.path, bool(status.st_mode & stat.S_IXUSR), "", status.st_size, stamp)
        else:
            self.warn(f"{path} is a socket, a pipe or a device, so it is left out of the code")

    def _link_target(self, source: str, path: str, target: str) -> str:
        """Where a link leads in a container. One that comes back to the project from outside leads there directly.

        The project has another path there: a link to its absolute path would lead to nothing.
        """
        real = os.path.realpath(source)
        if real != self.root and not real.startswith(self.root + os.sep):
            self.warn(
                f"{path} is a link to {target}, outside of the project: in a container it may lead to another file or to none"
            )
            return target
        if os.path.isabs(target) or os.path.normpath(os.path.join(os.path.dirname(path), target)).startswith(".."):
            relative = os.path.relpath(real, os.path.join(self.root, os.path.dirname(path)))
            return os.fsencode(relative).decode("utf-8", "surrogateescape")
        return target


def _check_utf8(name: str, source: str) -> None:
    """Checks a name, which goes into JSON and into a tar: they hold Unicode only."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(source).decode("utf-8", "backslashreplace")
        raise BadInput(
            "the name is not UTF-8: rename it, or exclude it by a pattern in .dockerignore", shown
        ) from error
