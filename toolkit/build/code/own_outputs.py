"""Files that hold what a command of toolkit wrote to its standard output or error (``toolkit build > image.txt``).

Such a file is no code: it follows from the code, and the next command would find other code because of it. It is known by a
record in the project's private state, and only while it holds exactly what was written.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import ToolkitError
from toolkit.project import Project

_VERSION = 1
_MOST = 200
"""Outputs that are remembered; of more, those that were written last."""
_READ_ALWAYS = 1 << 20
"""Bytes. A larger file is not read again while its times are those that were recorded."""
_RECORD, _LIVE = ".json", ".live"


@dataclass(frozen=True)
class Redirected:
    """A regular file that standard output or error goes to, as it was when the command began."""

    descriptor: int
    device: int
    inode: int
    size: int


@dataclass(frozen=True)
class Output:
    """What is known of one file.

    Attributes:
        size: bytes. stamp: as of :class:`CodeFile`. sha256: in hex.
        is_live: whether a command that goes on writes to it; then nothing else counts.
    """

    size: int = 0
    stamp: tuple[int, int, int] = (0, 0, 0)
    sha256: str = ""
    is_live: bool = False


def redirected() -> list[Redirected]:
    """The regular files that standard output and error go to; none where they are terminals or pipes."""
    found: dict[tuple[int, int], Redirected] = {}
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            file = Redirected(descriptor, status.st_dev, status.st_ino, status.st_size)
            found.setdefault((file.device, file.inode), file)
    return list(found.values())


def outputs_folder(state: Path) -> Path:
    """Where a project's private state keeps what is known of its outputs: a file for each, so no writer waits for another."""
    return state / "build" / "outputs"


def known_outputs(folder: Path, *, live: bool = True) -> dict[str, Output]:
    """The outputs by their paths relative to the project's root. What can't be read is unknown.

    Args:
        live: whether those that are written to right now are told as such.
    """
    import json

    found: dict[str, Output] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        place = folder / name
        try:
            if name.endswith(_LIVE):
                if live and _is_locked(place):
                    found[os.fsdecode(place.read_bytes())] = Output(is_live=True)
            elif name.endswith(_RECORD):
                record = json.loads(place.read_bytes())
                if record["version"] == _VERSION and not found.get(record["path"], Output()).is_live:
                    mtime, ctime, inode = record["stamp"]
                    found[record["path"]] = Output(record["size"], (mtime, ctime, inode), record["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def holds_still(output: Output, source: str, status: os.stat_result) -> bool:
    """Whether a file holds what was recorded of it, and nothing else."""
    if output.is_live:
        return True
    if status.st_size != output.size:
        return False
    if output.size > _READ_ALWAYS and output.stamp == (status.st_mtime_ns, status.st_ctime_ns, status.st_ino):
        return True
    return _sha256(source, [output.size])[0] == output.sha256


class CommandOutputs:
    """What this command writes to its standard output and error, where these are files; made before it writes anything."""

    def __init__(self) -> None:
        self._files = redirected()
        self._project: Project | None = None
        self._live: list[tuple[int, Path]] = []

    def announce(self, project: Project) -> None:
        """Says to other commands what is written to, until this process ends, however that is.

        Args:
            project: the one that this command is about.
        """
        import fcntl

        if self._project is not None:
            return
        self._project = project
        for path, _ in _in_project(self._files, project):
            folder = _made_folder(project, anew=False)
            if folder is None:
                return
            name = os.urandom(8).hex()
            temporary, place = folder / f".{name}.tmp", folder / f"{name}{_LIVE}"
            try:
                descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                # Locked before others see it: what they find without a lock is left from a command that was killed.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(descriptor, os.fsencode(path))
                temporary.rename(place)
            except OSError:
                return
            self._live.append((descriptor, place))

    def record(self, *, anew: bool) -> None:
        """Remembers what the files hold now. Where that can't be written, they are code like others.

        A file that held something before, because the command appends to it (``>>``), counts if commands wrote that too.

        Args:
            anew: whether a project that has no private state gets one.
        """
        if self._project is None:
            return
        for path, file in _in_project(self._files, self._project):
            folder = _made_folder(self._project, anew=anew)
            if folder is None:
                return
            try:
                status = os.fstat(file.descriptor)
                stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
                before = known_outputs(folder, live=False).get(path, Output()) if file.size else Output()
                source = os.path.join(self._project.root, path)
                beginning, whole = _sha256(source, [before.size, status.st_size])
                if not file.size or (before.size >= file.size and beginning == before.sha256):
                    _write(folder, path, Output(status.st_size, stamp, whole))
                _remove_old(folder)
            except OSError:
                continue
        for descriptor, place in self._live:
            try:
                place.unlink(missing_ok=True)
            except OSError:
                pass
            os.close(descriptor)
        self._live.clear()


def _write(folder: Path, path: str, output: Output) -> None:
    import hashlib
    import json

    from toolkit.runtime.shared.whole_files import write_whole

    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    content = {
        "version": _VERSION,
        "path": path,
        "size": output.size,
        "stamp": list(output.stamp),
        "sha256": output.sha256,
    }
    write_whole(str(folder / f"{name}{_RECORD}"), json.dumps(content).encode())


def _in_project(files: list[Redirected], project: Project) -> list[tuple[str, Redirected]]:
    """Those that lie below the project's root, with their paths relative to it."""
    top = os.path.realpath(project.root).rstrip(os.sep) + os.sep
    found = []
    for file in files:
        path = _path_of(file)
        if path is not None and path.startswith(top):
            found.append((path[len(top) :], file))
    return found


def _path_of(file: Redirected) -> str | None:
    """The path under which a file was opened; None where it can't be told, or is another file's by now."""
    try:
        path = os.readlink(f"/proc/self/fd/{file.descriptor}")
    except OSError:
        try:
            import fcntl

            path = os.fsdecode(fcntl.fcntl(file.descriptor, _F_GETPATH, bytes(1024)).rstrip(b"\0"))
        except OSError:
            return None
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return path if (status.st_dev, status.st_ino) == (file.device, file.inode) else None


_F_GETPATH = 50
"""The request of macOS for an open file's path."""


def _made_folder(project: Project, *, anew: bool) -> Path | None:
    from toolkit.build.state import build_folder

    if not anew and not project.state.is_dir():
        return None
    try:
        build_folder(project)
        folder = outputs_folder(project.state)
        folder.mkdir(exist_ok=True)
        return folder
    except (OSError, ToolkitError):
        return None


def _is_locked(place: Path) -> bool:
    import fcntl

    descriptor = os.open(place, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _remove_old(folder: Path) -> None:
    """Removes what killed commands left, and the oldest of too many."""
    records: list[tuple[int, Path]] = []
    for place in folder.iterdir():
        try:
            if place.name.endswith(_LIVE) and not _is_locked(place):
                place.unlink()
            elif place.name.endswith(_RECORD):
                records.append((place.stat().st_mtime_ns, place))
        except OSError:
            continue
    for _, place in sorted(records, reverse=True)[_MOST:]:
        place.unlink(missing_ok=True)


def _sha256(source: str, ends: list[int]) -> list[str]:
    """The SHA-256, in hex, of the file's content up to each of these sizes; "" where it has not as much.

    Args:
        ends: bytes, ascending.
    """
    import hashlib

    digest, at = hashlib.sha256(), 0
    found: list[str] = []
    try:
        with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            for end in ends:
                while at < end and (chunk := stream.read(min(1 << 20, end - at))):
                    digest.update(chunk)
                    at += len(chunk)
                found.append(digest.hexdigest() if at == end else "")
    except OSError:
        pass
    return found + [""] * (len(ends) - len(found))
