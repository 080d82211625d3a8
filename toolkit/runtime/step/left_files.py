"""The files that a step left in its folder and nobody put: they end with the step, and its record names them.

A file is the step's own when its change time is not before a mark that is made just before the step's code begins. Both times are
the file system's, so no clock of another machine counts. Only names and times are read, and no link is followed.
"""

from __future__ import annotations

import json
import os
import stat
import time

from ..shared.catalog import matches
from ..shared.termination import LONGEST_MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Optional

    from ..shared.documents import LeftFile, LeftRecord

MOST_NAMED = 20
"""Files that a record names: first those of the project, then the largest."""
MOST_ENTRIES = 1_000_000
"""Entries of folders after which the look ends, and its record says so."""
MOST_SECONDS = 5.0
MOST_SECONDS_STOPPED = 0.5
"""The same by time, and of a step that has to stop: its engine waits no longer than the grace period."""
_ONE_TICK = 0.05
"""Seconds within which the clock of file times has moved on, on a file system whose times are finer than a second."""
_MANY = 1000
_MOST_IN_MESSAGE = 5
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

CACHES = {
    "__pycache__": "Python's bytecode",
    ".cache": "the cache of many tools, among them pip, fontconfig and Hugging Face",
    ".config": "settings that tools write at their first start, among them matplotlib",
    ".local": "state and history of many tools",
    ".npm": "npm",
    ".ipynb_checkpoints": "Jupyter's copies of notebooks",
    ".virtual_documents": "Jupyter's language servers",
    ".ipython": "IPython's profile and history",
    ".jupyter": "Jupyter's settings",
    ".matplotlib": "matplotlib's list of fonts",
    ".numba_cache": "numba's compiled functions",
    ".nv": "compiled kernels of CUDA",
    ".triton": "compiled kernels of Triton",
    ".pytest_cache": "pytest",
    ".hypothesis": "hypothesis",
    ".mypy_cache": "mypy",
    ".ruff_cache": "ruff",
    ".tox": "environments of tox",
    ".nox": "environments of nox",
    ".venv": "a virtual environment",
    "node_modules": "packages of npm",
    ".git": "git",
    ".hg": "Mercurial",
    ".svn": "Subversion",
    ".DS_Store": "the Finder of macOS",
    ".bash_history": "a shell's history",
    ".python_history": "Python's history",
    ".wget-hsts": "wget",
}
"""Files and folders of tools by their names, with whose they are. Nothing in such a folder is looked at."""
_BYTECODE = (".pyc", ".pyo")


def make_mark(folder: str, after_own_files: bool) -> Optional[int]:
    """The file system's time, in nanoseconds, before which the step has changed nothing in ``folder``; None if it can't be told.

    Args:
        after_own_files: whether the runtime has just written there what has the time of now. A file's time moves on in
            ticks of some milliseconds, so the next one is waited for.
    """
    path = os.path.join(folder, f".toolkit-{os.urandom(8).hex()}")
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            first = mark = os.fstat(file).st_ctime_ns
            until = time.monotonic() + _ONE_TICK
            while after_own_files and mark == first:
                if time.monotonic() > until:
                    # This file system's times are too coarse to wait for.
                    return mark + 1
                time.sleep(0.0005)
                os.fchmod(file, 0o600)
                mark = os.fstat(file).st_ctime_ns
            return mark
        finally:
            os.close(file)
            os.unlink(path)
    except OSError:
        return None


def is_layered(folder: str) -> bool:
    """Whether a folder of a container lies on the layers of its image, of which the lower ones are never written to."""
    kind, longest = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                place, _, source = line.partition(" - ")
                point = place.split()[4]
                if len(point) >= len(longest) and f"{folder}/".startswith(point.rstrip("/") + "/"):
                    kind, longest = source.split()[0], point
    except (OSError, IndexError):
        return False
    return kind == "overlay"


def names_below(folder: str) -> set[str]:
    """The names of the files and links below a folder, relative to it, without those of caches; of very many, not all."""
    walk = _Walk(folder, (), (), MOST_SECONDS)
    return {inside + entry.name for inside, entry in walk.entries(0)}


def left_files(
    folder: str,
    mark: int,
    own: Collection[str],
    got: Collection[str],
    put: Collection[tuple[int, int]],
    without: Iterable[str] = (),
    ignore: Iterable[str] = (),
    seconds: float = MOST_SECONDS,
    layered: bool = False,
) -> Optional[LeftRecord]:
    """The record of what a step left in its folder; None where there is nothing to say.

    Args:
        folder: the step's, absolute. mark: as :func:`make_mark` gave it. own: the names of the project's files.
        got: the names of files from the catalog. put: device and inode of each file that was put, under whatever name.
        without: absolute folders that are not looked into. ignore: the configuration's patterns. seconds: for all of it.
        layered: whether the project's files lie in a layer below, as :func:`is_layered` tells, and got files alone above it.
    """
    walk = _Walk(folder, without, ignore, seconds)
    found: list[tuple[bool, int, str]] = []
    count = size = 0
    for inside, entry in walk.entries(mark, got if layered else None):
        name = inside + entry.name
        # The walk has asked for it, and the entry has kept it.
        status = entry.stat(follow_symlinks=False)
        is_known = name in own or name in got
        if stat.S_ISREG(status.st_mode):
            bytes_left = status.st_size
            if is_known and status.st_mtime_ns < mark:
                # Its mode or its owner is another one, and its content is what it was.
                continue
        elif stat.S_ISDIR(status.st_mode):
            name, bytes_left = name + "/", 0
        else:
            continue
        if (status.st_dev, status.st_ino) not in put and not walk.leaves_out(name):
            count += 1
            size += bytes_left
            found.append((name not in own, -bytes_left, name))
            if len(found) > _MANY:
                found = sorted(found)[:MOST_NAMED]
    if not count and not walk.is_cut:
        return None
    record: LeftRecord = {"files": [], "count": count, "size": size}
    for is_new, negative_size, name in sorted(found)[:MOST_NAMED]:
        file: LeftFile = {"name": name, "size": -negative_size}
        if not is_new:
            file["project"] = True
        record["files"].append(file)
    if walk.is_cut:
        record["incomplete"] = True
    return record


def left_message(records: Sequence[LeftRecord]) -> str:
    """What a container that has succeeded says of the files that its steps left, for a client that does not see the volume.

    Args:
        records: one, or those of the items of a map that shared the container, whose files of one name are one here.
    """
    merged: dict[str, LeftFile] = {}
    for record in records:
        for file in record["files"]:
            known = merged.setdefault(file["name"], {**file, "size": 0, "items": 0})
            known["size"] += file["size"]
            known["items"] += 1
    files = sorted(merged.values(), key=lambda file: (not file.get("project"), -file["size"], file["name"]))
    left: LeftRecord = {
        "files": files[:_MOST_IN_MESSAGE],
        "count": sum(record["count"] for record in records),
        "size": sum(record["size"] for record in records),
    }
    while left["files"] and len(json.dumps({"left": left})) > LONGEST_MESSAGE:
        left["files"].pop()
    return json.dumps({"left": left}, separators=(",", ":"))


class _Walk:
    """The files below a folder.

    Args:
        without: absolute folders that are left out. ignore: patterns. seconds: after which it ends.

    Attributes:
        is_cut: whether it has ended before it had seen everything.
    """

    def __init__(self, folder: str, without: Iterable[str], ignore: Iterable[str], seconds: float) -> None:
        self._top = folder.rstrip("/") + "/"
        self._without = {os.path.normpath(path) for path in without}
        self._ignore = tuple(ignore)
        self._until = time.monotonic() + seconds
        self.is_cut = False

    def entries(self, mark: int, upper: Optional[Collection[str]] = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """What is no folder, each with the name of its folder, which ends in ``/``; also folders that can't be opened.

        Args:
            mark: what has not changed since is left out; 0 is for everything.
            upper: the names of files that can change without a change of their folder, on layers; None is all of them.
        """
        seen = 0
        folders: list[tuple[str, Optional[tuple[str, os.DirEntry[str]]]]] = [("", None)]
        is_top_new = upper is not None and os.stat(self._top).st_ctime_ns >= mark
        while folders:
            inside, itself = folders.pop()
            # A file of a layer below is copied into its folder before it is written, which changes the folder. The first look at
            # a file in a container costs several times as much as the name alone.
            skips_files = upper is not None and itself is None and (inside != "" or not is_top_new)
            descriptor = -1
            try:
                # Not by its path: another process of the step may still run, and put a link in its place.
                descriptor = os.open(self._top + inside, _FOLDER)
                with os.scandir(descriptor) as entries:
                    # As little as possible is done for each: there may be very many.
                    for entry in entries:
                        seen += 1
                        if not seen % _MANY and (seen >= MOST_ENTRIES or time.monotonic() > self._until):
                            self.is_cut = True
                            return
                        try:
                            is_folder = entry.is_dir(follow_symlinks=False)
                            if skips_files and not is_folder and (not upper or inside + entry.name not in upper):
                                continue
                            is_new = not mark or entry.stat(follow_symlinks=False).st_ctime_ns >= mark
                        except OSError:
                            # It has gone meanwhile.
                            continue
                        if is_folder:
                            name = f"{inside}{entry.name}/"
                            if not self.leaves_out(name):
                                folders.append((name, (inside, entry) if is_new else None))
                        elif is_new:
                            yield inside, entry
            except PermissionError:
                if itself is not None and mark:
                    yield itself
            except OSError:
                # The folder has.
                continue
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def leaves_out(self, name: str) -> bool:
        """Whether a file or a folder is a tool's, or ignored; a folder's name ends in ``/``."""
        path = name.rstrip("/")
        last = path.rpartition("/")[2]
        if last in CACHES or last.endswith(_BYTECODE) or self._top + path in self._without:
            return True
        return any(is_ignored(pattern, path, name.endswith("/")) for pattern in self._ignore)


def is_ignored(pattern: str, name: str, is_folder: bool = False) -> bool:
    """Whether a pattern of ``catalog.config.ignore`` is about this file or folder; what lies in such a folder is left out with it.

    A pattern without ``/`` is about names at any depth. One that ends in ``/`` is about folders alone.
    """
    if pattern.endswith("/") and not is_folder:
        return False
    pattern = os.path.normpath(pattern)
    return matches(pattern, name if "/" in pattern else name.rpartition("/")[2])
