"""Files that hold what a command of toolkit wrote to its standard output or error (``toolkit build > image.txt``).

Such a file is no code: it follows from the code, and the next command would find other code because of it. It is known by a
record in the project's private state, and only while it holds exactly what was written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.build.state import make_state
from toolkit.project import Project

_VERSION = 1
_MOST = 50
"""Outputs that are remembered; of more, those that were written last."""
_READ_ALWAYS = 1 << 20
"""Bytes. A larger file is not read again while its times are those that were recorded."""
_LONGEST_WAIT = 5.0
"""Seconds."""
_RECORD, _LIVE = ".json", ".live"


@dataclass(frozen=True)
class Redirected:
    """A regular file that standard output or error goes to, as it was when the command began."""

    descriptor: int
    device: int
    inode: int
    size: int


@dataclass(frozen=True)
class OwnOutput:
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


def known_outputs(folder: Path, *, live: bool = True) -> dict[str, OwnOutput]:
    """The outputs by their paths relative to the project's root. What can't be read is unknown.

    Args:
        live: whether those that are written to right now are told as such.
    """
    import json

    found: dict[str, OwnOutput] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        place = folder / name
        try:
            if name.endswith(_LIVE):
                if live and _is_locked(place):
                    found[os.fsdecode(place.read_bytes())] = OwnOutput(is_live=True)
            elif name.endswith(_RECORD):
                record = json.loads(place.read_bytes())
                if record["version"] == _VERSION and not found.get(record["path"], OwnOutput()).is_live:
                    mtime, ctime, inode = record["stamp"]
                    found[record["path"]] = OwnOutput(record["size"], (mtime, ctime, inode), record["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def holds_still(output: OwnOutput, source: str, status: os.stat_result) -> bool:
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
        self._root: Path | None = None
        self._state = Path()
        self._live: list[tuple[int, Path]] = []

    def announce(self, project: Project) -> None:
        """Says to other commands what is written to, until this process ends, however that is.

        Args:
            project: the one that this command is about.
        """
        import fcntl

        if self._root == project.root:
            return
        self._root, self._state = project.root, project.state
        for path, _ in _below(self._root, self._files):
            folder = _made_folder(self._state, anew=False)
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
                self._live.append((descriptor, place))
            except OSError:
                continue

    def record(self, *, anew: bool) -> None:
        """Remembers what the files hold now. Where that can't be written, they are code like others.

        A file that held something before, because the command appends to it (``>>``), counts if commands wrote that too.

        Args:
            anew: whether a project that has no private state gets one.
        """
        if self._root is None:
            # It has failed before it came to a project.
            here = Path.cwd()
            self._root = next((each for each in (here, *here.parents) if (each / ".toolkit").is_dir()), here)
            self._state, anew = self._root / ".toolkit", False
        for path, file in _below(self._root, self._files):
            folder = _made_folder(self._state, anew=anew)
            if folder is None:
                return
            try:
                with _one_at_a_time(folder):
                    self._record(folder, path, file)
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

    def _record(self, folder: Path, path: str, file: Redirected) -> None:
        status = os.fstat(file.descriptor)
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        before = known_outputs(folder, live=False).get(path, OwnOutput()) if file.size else OwnOutput()
        beginning, whole = _sha256(os.path.join(self._root or "", path), [before.size, status.st_size])
        if not file.size or (before.size >= file.size and beginning == before.sha256):
            _write(folder, path, OwnOutput(status.st_size, stamp, whole))


def record_output(project: Project, path: str, source: Path, size: int, sha256: str) -> None:
    """Remembers a file that a command wrote by its name (``--output image.tar``), by its path relative to the project's root.

    Where that can't be written, it is code like others.

    Args:
        source: where the content lies now. size: of all of it, in bytes. sha256: in hex.
    """
    folder = _made_folder(project.state, anew=True)
    if folder is None:
        return
    try:
        status = source.stat()
        with _one_at_a_time(folder):
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            _write(folder, path, OwnOutput(size, stamp, sha256))
            _remove_old(folder)
    except OSError:
        pass


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps a command that looked at a file earlier from writing later what it saw. One that takes long is not waited for."""
    import fcntl
    import time

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break  # this file system has no locks
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, path: str, output: OwnOutput) -> None:
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


def _below(root: Path, files: list[Redirected]) -> list[tuple[str, Redirected]]:
    """Those that lie below the project's root, with their paths relative to it."""
    top = os.path.realpath(root).rstrip(os.sep) + os.sep
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


def _made_folder(state: Path, *, anew: bool) -> Path | None:
    if not anew and not state.is_dir():
        return None
    folder = outputs_folder(state)
    try:
        make_state(state)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError:
        return None


def _is_locked(place: Path) -> bool:
    import fcntl

    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _remove_old(folder: Path) -> None:
    """Removes what killed commands left, and the oldest of too many."""
    from toolkit.build.state import remove_stale

    remove_stale(folder, ".*.tmp")
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
