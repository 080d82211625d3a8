"""The files of a project that are the user's code: all below its root, except what .dockerignore and safety leave out.

It needs neither Docker nor docker-py, because the `process` environment takes its files from here as well.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from toolkit.build import left_out
from toolkit.build.code.links import warn_of_links
from toolkit.build.code.own_outputs import OwnOutput, holds_still, known_outputs, redirected
from toolkit.build.credentials import (
    FOLDERS,
    LARGEST,
    credential_in,
    keeps_credential,
    may_hold_credential,
    named_credential,
    warn_of_credentials,
)
from toolkit.build.dockerignore import Patterns, read_patterns
from toolkit.errors import BadInput, ChangedFile, VanishedFile

EntryKind = Literal["file", "dir", "symlink"]

COMPOSE_TOP = b"# Printed by `toolkit compose`."
"""The beginning of a file that `toolkit compose` printed."""
BILL_TOP = b'{"metadata":{"properties":[{"name":"dev.toolkit.'
"""How a bill of materials of ours begins, without its white space. It names the image, too."""
BILL_NAMES = (".cdx.json", "bom.json")
"""The ends of the names by which a bill of materials is recognized, as CycloneDX recommends them."""
FETCHED = ".toolkit-fetched"
"""A file that marks its folder as what `toolkit fetch` made: nothing in it is code. In the project's root it means nothing."""
_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"
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


@dataclass(frozen=True)
class Folder:
    """What one folder holds of the code, without what the folders in it hold.

    Attributes:
        files: its files and links that are code.
        below: the names of the folders in it that may hold code.
        is_ignored: whether it is left out itself, so that it is code only where an exception keeps something in it.
        is_machines_own: whether it lies in what tools keep for themselves, which an exception brings back.
        unsettled: the names of entries about which more decides than what :func:`os.lstat` says of them, or about which something
            is said each time.
        credentials: the names of entries that are left out because they name credentials.
    """

    files: list[CodeFile]
    below: list[str]
    is_ignored: bool
    is_machines_own: bool
    unsettled: set[str]
    credentials: list[str]


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
    patterns = read_patterns(root)
    path = os.path.relpath(inside, top)
    verdict = _verdict(top, path, patterns, is_folder=True)
    return verdict == "never" or (verdict == "ignored" and not patterns.may_keep_below(path))


def _verdict(
    root: str, path: str, patterns: Patterns, *, is_folder: bool = False
) -> Literal["code", "ignored", "never"]:
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
    if patterns.verdict(matched, is_machines_own):
        return "ignored"
    folder, _, name = path.rpartition("/")
    is_credential = named_credential(name, is_folder) or _is_below_credentials(folder)
    return "ignored" if is_credential and not keeps_credential(patterns, path) else "code"


def _is_below_credentials(folder: str) -> bool:
    """Whether a folder, by its path, is one of credentials or lies in one."""
    return not FOLDERS.isdisjoint(folder.split("/"))


def project_files(
    root: Path,
    *,
    without: Collection[Path] = (),
    outputs: Path | None = None,
    warn: Callable[[str], None] | None = None,
    judge: Callable[[CodeFile], str] | None = None,
) -> list[CodeFile]:
    """The user's code below ``root``, sorted by the bytes of the path.

    Args:
        without: absolute paths of further files that must not leave this machine (a secrets file of another name).
        outputs: the folder in which is recorded what commands have written (:func:`outputs_folder`).
        warn: gets a sentence for each entry that is left out or may not work elsewhere; None prints them.
        judge: says what the content of a small file is, as :func:`credential_of`; None reads each of them.

    Raises:
        BadInput: the root or an entry cannot be read, or a name is not UTF-8.
    """
    walk = walk_of(root, without=without, outputs=outputs, warn=warn)
    folders: dict[str, Folder] = {}
    credentials: dict[str, str] = {}
    todo = [("", False)]
    while todo:
        prefix, is_below_machines_own = todo.pop()
        try:
            entries = walk.listing(prefix)
        except VanishedFile:
            if not prefix:
                raise
            continue  # it was removed just now
        found = walk.folder(prefix, entries, is_below_machines_own)
        if found is not None:
            credentials |= {prefix + name: "" for name in found.credentials}
            credentials |= _without_credentials(found, walk.patterns, judge or credential_of)
            folders[prefix] = found
            todo += [(f"{prefix}{name}/", found.is_machines_own) for name in found.below]
    shown = with_content((prefix, found.is_ignored, bool(found.files)) for prefix, found in folders.items())
    files = [CodeFile(prefix[:-1], "dir", walk.source(prefix[:-1])) for prefix in shown if prefix]
    files += [file for prefix in shown for file in folders[prefix].files]
    files.sort(key=lambda file: file.path.encode("utf-8"))
    if links := [file for file in files if file.kind == "symlink"]:
        warn_of_links(links, {file.path for file in files}, walk.warn)
    warn_of_credentials(credentials, walk.warn)
    return files


def _without_credentials(folder: Folder, patterns: Patterns, judge: Callable[[CodeFile], str]) -> dict[str, str]:
    """Takes the files out of a folder whose content is a credential; returns what each of them is, by its path."""
    found = {}
    for file in folder.files:
        name = file.path.rpartition("/")[2]
        if file.kind == "file" and may_hold_credential(name, file.size):
            kind = judge(file)
            if kind and not keeps_credential(patterns, file.path):
                found[file.path] = kind
    if found:
        folder.files[:] = [file for file in folder.files if file.path not in found]
    return found


def credential_of(file: CodeFile) -> str:
    """What the content of a file is; empty where it is no credential, or can't be read: who needs it says so."""
    try:
        descriptor = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError:
        return ""
    return credential_in(file.path.rpartition("/")[2], content)


def walk_of(
    root: Path,
    *,
    without: Collection[Path] = (),
    outputs: Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Walk:
    """A walk through a project. Arguments and errors as of :func:`project_files`."""
    private = frozenset(os.path.abspath(path) for path in without)
    own = frozenset((file.device, file.inode) for file in redirected())
    known = known_outputs(outputs) if outputs is not None else {}
    return Walk(str(root), os.path.realpath(root), read_patterns(root), private, warn or _print, own, known)


def with_content(folders: Iterable[tuple[str, bool, bool]]) -> set[str]:
    """Those of the folders that are code: an ignored one is only where an exception keeps something in it or below it.

    Args:
        folders: each one's path with a slash at its end ("" for the root), whether it is ignored, and whether it has files.
    """
    shown = {""}
    for prefix, is_ignored, has_files in folders:
        if is_ignored and not has_files:
            continue
        while prefix not in shown:
            shown.add(prefix)
            prefix = prefix[: prefix.rfind("/", 0, -1) + 1]
    return shown


def is_project_file(root: Path, path: str, *, without: Collection[Path] = (), outputs: Path | None = None) -> bool:
    """Whether a file below ``root``, by its relative path, is among :func:`project_files`. Of one that is gone, its name tells it.

    Raises:
        BadInput: .dockerignore cannot be read.
    """
    private = {os.path.abspath(each) for each in without}
    whole = os.path.abspath(root / path)
    if any(whole == each or whole.startswith(each + os.sep) for each in private):
        return False
    patterns = read_patterns(root)
    if _verdict(str(root), path, patterns) != "code":
        return False
    try:
        status = os.lstat(whole)
    except OSError:
        return True
    if (status.st_dev, status.st_ino) in {(file.device, file.inode) for file in redirected()}:
        return False
    if stat.S_ISREG(status.st_mode) and path.endswith((".yaml", ".yml")) and _is_compose_file(whole):
        return False
    if stat.S_ISREG(status.st_mode) and path.endswith(BILL_NAMES) and _is_bill_of_materials(whole):
        return False
    output = known_outputs(outputs).get(path) if outputs is not None else None
    if output is not None and not patterns.names(path) and holds_still(output, whole, status):
        return False
    is_judged = stat.S_ISREG(status.st_mode) and may_hold_credential(path.rpartition("/")[2], status.st_size)
    return not is_judged or not credential_of(CodeFile(path, "file", whole)) or keeps_credential(patterns, path)


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
class Walk:
    """One walk through a project, folder by folder.

    ``without``, ``own_output`` and ``outputs`` that are as they were written are left out. A folder is named by its path below
    the root with a slash at its end, and the root by "".
    """

    root: str
    real_root: str
    patterns: Patterns
    without: frozenset[str]
    warn: Callable[[str], None]
    own_output: frozenset[tuple[int, int]]
    outputs: Mapping[str, OwnOutput] = field(default_factory=dict)

    def source(self, path: str) -> str:
        """Where a path below the root lies on this machine."""
        return source_below(self.root, path)

    def folder_source(self, prefix: str) -> str:
        """The same for a folder."""
        return self.source(prefix[:-1]) if prefix else self.root

    def listing(self, prefix: str) -> list[os.DirEntry[str]]:
        """The entries of a folder.

        Raises:
            BadInput: it cannot be read.
        """
        folder = self.folder_source(prefix)
        try:
            return list(os.scandir(folder))
        except OSError as error:
            raise unreadable(error, folder, "the folder") from error

    def folder(self, prefix: str, entries: list[os.DirEntry[str]], is_below_machines_own: bool) -> Folder | None:
        """What a folder with these entries holds of the code; None where nothing in it or below it is code.

        Args:
            is_below_machines_own: :attr:`Folder.is_machines_own` of the folder above it.

        Raises:
            BadInput: an entry cannot be read, or its name is not UTF-8.
        """
        above = self.patterns.above(prefix)
        is_machines_own = is_below_machines_own
        is_ignored = False
        if prefix:
            names = {entry.name for entry in entries}
            if FETCHED in names:
                return None
            outer, _, name = prefix[:-1].rpartition("/")
            is_machines_own = (
                is_below_machines_own
                or left_out.is_machines_own(name, f"{outer}/" if outer else "")
                or left_out.is_environment(names)
            )
            is_ignored = self.patterns.verdict(above, is_machines_own) or (
                _is_below_credentials(prefix) and not keeps_credential(self.patterns, prefix[:-1])
            )
            if is_ignored and not self.patterns.may_keep_below(prefix[:-1]):
                return None
        is_below_credentials = _is_below_credentials(prefix)
        found = Folder([], [], is_ignored, is_machines_own, set(), [])
        for entry in entries:
            name = os.fsencode(entry.name).decode("utf-8", "surrogateescape")
            if is_never_code(entry.name) or (self.without and os.path.abspath(entry.path) in self.without):
                continue
            path = prefix + name
            matched = self.patterns.matches(path, above)
            is_ignored = self.patterns.verdict(matched, is_machines_own or left_out.is_machines_own(entry.name, prefix))
            if not is_ignored:
                _check_utf8(path, entry.path)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                found.unsettled.add(entry.name)
                continue  # it was removed just now, such as an editor's temporary file
            except OSError as error:
                raise BadInput(f"it cannot be read: {error.strerror}", entry.path) from error
            is_folder = stat.S_ISDIR(status.st_mode)
            is_credential = not is_ignored and (is_below_credentials or named_credential(name, is_folder))
            if is_credential and not keeps_credential(self.patterns, path):
                is_ignored = True
                if not is_folder or not self.patterns.may_keep_below(path):
                    found.credentials.append(name)
            if is_folder:
                if not is_ignored or self.patterns.may_keep_below(path):
                    found.below.append(name)
            elif not is_ignored:
                self._file_or_link(entry, path, status, found)
        return found

    def _file_or_link(self, entry: os.DirEntry[str], path: str, status: os.stat_result, found: Folder) -> None:
        if stat.S_ISREG(status.st_mode):
            output = self.outputs.get(path)
            if (status.st_dev, status.st_ino) in self.own_output:
                found.unsettled.add(entry.name)
                return
            if output is not None:
                found.unsettled.add(entry.name)
                if not self.patterns.names(path) and holds_still(output, entry.path, status):
                    return
            if path.endswith((".yaml", ".yml")) and _is_compose_file(entry.path):
                return
            if path.endswith(BILL_NAMES) and _is_bill_of_materials(entry.path):
                return
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            executable = bool(status.st_mode & stat.S_IXUSR)
            found.files.append(CodeFile(path, "file", entry.path, executable, "", status.st_size, stamp))
            return
        # Where a link leads depends on what is there.
        found.unsettled.add(entry.name)
        if stat.S_ISLNK(status.st_mode):
            try:
                target = os.fsencode(os.readlink(entry.path)).decode("utf-8", "surrogateescape")
            except OSError:
                return  # it was removed or replaced just now
            _check_utf8(target, entry.path)
            target = self._link_target(entry.path, path, target)
            found.files.append(CodeFile(path, "symlink", entry.path, target=target))
        else:
            self.warn(f"{path} is a socket, a pipe or a device, so it is left out of the code")

    def _link_target(self, source: str, path: str, target: str) -> str:
        """Where a link leads in a container. One that comes back to the project from outside leads there directly.

        The project has another path there: a link to its absolute path would lead to nothing.
        """
        real = os.path.realpath(source)
        if real != self.real_root and not real.startswith(self.real_root + os.sep):
            return target
        if os.path.isabs(target) or os.path.normpath(os.path.join(os.path.dirname(path), target)).startswith(".."):
            relative = os.path.relpath(real, os.path.join(self.real_root, os.path.dirname(path)))
            return os.fsencode(relative).decode("utf-8", "surrogateescape")
        return target


def source_below(root: str, path: str) -> str:
    """Where a path below the project's root lies on this machine."""
    return os.path.join(root, path if _IS_UTF8 else os.fsdecode(path.encode("utf-8", "surrogateescape")))


OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a file of the code is opened: a link is not followed, and no writer is waited for, where one has replaced it by a pipe."""


def open_file(source: str) -> BinaryIO:
    """A file of the code, opened. A link that has replaced it is not followed.

    Raises:
        BadInput, ChangedFile: as of :func:`unreadable`.
    """
    try:
        return open(os.open(source, OPENED), "rb")
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
