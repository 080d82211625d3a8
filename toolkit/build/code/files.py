"""The files of a project that are the user's code: all below its root, except what .dockerignore and safety leave out.

It needs neither Docker nor docker-py, because the `process` environment takes its files from here as well.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from toolkit.build import left_out
from toolkit.build.code.dockerignore import NAME, Patterns, parse
from toolkit.build.code.links import warn_of_links
from toolkit.build.code.own_outputs import Output, holds_still, known_outputs, redirected
from toolkit.errors import BadInput, ChangedFile, VanishedFile

EntryKind = Literal["file", "dir", "symlink"]

COMPOSE_TOP = b"# Printed by `toolkit compose`."
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
    """Whether nothing that is in a folder or comes into it is code: it lies elsewhere, or is left out as a whole.

    Raises:
        BadInput: .dockerignore can't be read.
    """
    top, inside = os.path.realpath(root), os.path.realpath(folder)
    if inside == top:
        return False
    if not inside.startswith(top.rstrip(os.sep) + os.sep):
        return True
    patterns = _patterns(root)
    path = os.path.relpath(inside, top)
    verdict = _verdict(top, path, patterns)
    return verdict == "never" or (verdict == "ignored" and not patterns.may_keep_below(path))


def _verdict(root: str, path: str, patterns: Patterns) -> Literal["code", "ignored", "never"]:
    """What the rules say of one path, relative to the root; "ignored" is what an exception may bring back."""
    so_far, matched, is_machines_own = "", (), False  # type: tuple[str, tuple[bool, ...], bool]
    for name in path.split("/"):
        is_machines_own = is_machines_own or left_out.is_machines_own(name, so_far)
        so_far += name
        folder = os.path.join(root, so_far)
        if is_never_code(name) or os.path.lexists(os.path.join(folder, FETCHED)):
            return "never"
        is_machines_own = is_machines_own or any(
            os.path.lexists(os.path.join(folder, mark)) for mark in left_out.ENVIRONMENT_MARKS
        )
        matched = patterns.matches(so_far, matched)
        so_far += "/"
    return "ignored" if patterns.verdict(matched, is_machines_own) else "code"


def _patterns(root: Path) -> Patterns:
    ignore = root / NAME
    try:
        return parse(ignore.read_bytes(), NAME) if ignore.is_file() else Patterns()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", str(ignore)) from error


def project_files(
    root: Path,
    *,
    without: Collection[Path] = (),
    outputs: Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[CodeFile]:
    """The user's code below ``root``, sorted by the bytes of the path.

    Args:
        without: absolute paths of further files that must not leave this machine (a secrets file of another name).
        outputs: the folder in which is recorded what commands have written (:func:`outputs_folder`).
        warn: gets a sentence for each entry that is left out or may not work elsewhere; None prints them.

    Raises:
        BadInput: the root or an entry cannot be read, or a name is not UTF-8.
    """
    patterns = _patterns(root)
    private = frozenset(os.path.abspath(path) for path in without)
    own = frozenset((file.device, file.inode) for file in redirected())
    known = known_outputs(outputs) if outputs is not None else {}
    walk = _Walk(os.path.realpath(root), patterns, private, warn or _print, own, known)
    files = list(walk.below(str(root), "", ()))
    files.sort(key=lambda file: file.path.encode("utf-8"))
    warn_of_links(files, walk.warn)
    return files


def is_project_file(root: Path, path: str, *, without: Collection[Path] = (), outputs: Path | None = None) -> bool:
    """Whether a file below ``root``, by its relative path, is among :func:`project_files`. It must exist.

    Raises:
        BadInput: .dockerignore cannot be read.
    """
    private = {os.path.abspath(each) for each in without}
    whole = os.path.abspath(root / path)
    if any(whole == each or whole.startswith(each + os.sep) for each in private):
        return False
    patterns = _patterns(root)
    if _verdict(str(root), path, patterns) != "code":
        return False
    status = os.lstat(whole)
    if (status.st_dev, status.st_ino) in {(file.device, file.inode) for file in redirected()}:
        return False
    if stat.S_ISREG(status.st_mode) and path.endswith((".yaml", ".yml")) and _is_compose_file(whole):
        return False
    output = known_outputs(outputs).get(path) if outputs is not None else None
    return output is None or patterns.names(path) or not holds_still(output, whole, status)


def _is_compose_file(source: str) -> bool:
    """Whether `toolkit compose` printed the file. It names the image, so the image can't hold it."""
    try:
        with open(source, "rb") as file:
            return file.read(len(COMPOSE_TOP)) == COMPOSE_TOP
    except OSError:
        return False


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr)


@dataclass(frozen=True)
class _Walk:
    """One walk through a project; ``without``, ``own_output`` and ``outputs`` that are as they were written are left out."""

    root: str
    patterns: Patterns
    without: frozenset[str]
    warn: Callable[[str], None]
    own_output: frozenset[tuple[int, int]]
    outputs: Mapping[str, Output] = field(default_factory=dict)

    def below(self, folder: str, prefix: str, above: tuple[bool, ...]) -> Iterator[CodeFile]:
        """The entries below a folder. Below an ignored one, only those that an exception keeps, with the folders above them."""
        return self._of(self._entries(folder), prefix, above, False)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            return list(os.scandir(folder))
        except OSError as error:
            raise unreadable(error, folder, "the folder") from error

    def _of(
        self, entries: list[os.DirEntry[str]], prefix: str, above: tuple[bool, ...], below_machines_own: bool
    ) -> Iterator[CodeFile]:
        for entry in entries:
            path = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")
            if is_never_code(entry.name) or (self.without and os.path.abspath(entry.path) in self.without):
                continue
            matched = self.patterns.matches(path, above)
            is_machines_own = below_machines_own or left_out.is_machines_own(entry.name, prefix)
            is_ignored = self.patterns.verdict(matched, is_machines_own)
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
                try:
                    inside = self._entries(entry.path)
                except VanishedFile:
                    continue
                names = {one.name for one in inside}
                if FETCHED in names:
                    continue
                if not is_machines_own and left_out.is_environment(names):
                    is_machines_own = True
                    is_ignored = self.patterns.verdict(matched, True)
                    if is_ignored and not self.patterns.may_keep_below(path):
                        continue
                folder_entry = CodeFile(path, "dir", entry.path)
                if not is_ignored:
                    yield folder_entry
                    yield from self._of(inside, path + "/", matched, is_machines_own)
                else:
                    kept = list(self._of(inside, path + "/", matched, is_machines_own))
                    if kept:
                        yield folder_entry
                        yield from kept
            elif not is_ignored:
                yield from self._file_or_link(entry, path, status)

    def _file_or_link(self, entry: os.DirEntry[str], path: str, status: os.stat_result) -> Iterator[CodeFile]:
        if stat.S_ISLNK(status.st_mode):
            try:
                target = os.fsencode(os.readlink(entry.path)).decode("utf-8", "surrogateescape")
            except OSError:
                return  # it was removed or replaced just now
            _check_utf8(target, entry.path)
            yield CodeFile(path, "symlink", entry.path, target=self._link_target(entry.path, path, target))
        elif stat.S_ISREG(status.st_mode):
            if (status.st_dev, status.st_ino) in self.own_output:
                return
            output = self.outputs.get(path)
            if output is not None and not self.patterns.names(path) and holds_still(output, entry.path, status):
                return
            if path.endswith((".yaml", ".yml")) and _is_compose_file(entry.path):
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
            return target
        if os.path.isabs(target) or os.path.normpath(os.path.join(os.path.dirname(path), target)).startswith(".."):
            relative = os.path.relpath(real, os.path.join(self.root, os.path.dirname(path)))
            return os.fsencode(relative).decode("utf-8", "surrogateescape")
        return target


def open_file(source: str) -> BinaryIO:
    """A file of the code, opened. A link that has replaced it is not followed.

    Raises:
        BadInput, ChangedFile: as of :func:`unreadable`.
    """
    try:
        # Without waiting for a writer, where a pipe has replaced it.
        return open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise unreadable(error, source) from error


def unreadable(error: OSError, source: str, what: str = "it") -> BadInput:
    """The error for a file or folder that was there when the project was looked at, and can't be read now."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return VanishedFile(f"{what} vanished while it was read: name it in .dockerignore if no step needs it", source)
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return ChangedFile(
            f"{what} was replaced while it was read: name it in .dockerignore if it changes all the time", source
        )
    return BadInput(f"{what} cannot be read: {error.strerror}", source)


def _check_utf8(name: str, source: str) -> None:
    """Checks a name, which goes into JSON and into a tar: they hold Unicode only."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(source).decode("utf-8", "backslashreplace")
        raise BadInput(
            "the name is not UTF-8: rename it, or exclude it by a pattern in .dockerignore", shown
        ) from error
