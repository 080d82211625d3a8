"""The build's private folder ``.toolkit/build``: creates it, locks it, and cleans it up."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import write_whole

_STALE = 6 * 3600.0
"""Seconds. No export takes as long."""


def build_folder(project: Project) -> Path:
    """``.toolkit/build``, created when it is missing, with a .gitignore that keeps `.toolkit` out of the user's commits.

    Raises:
        Infrastructure: the folder cannot be written.
    """
    folder = project.state / "build"
    try:
        make_state(project.state)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Infrastructure(
            f"{project.state} cannot be written ({error.strerror}): the build keeps its state there"
        ) from error
    return folder


def make_state(state: Path) -> None:
    """Makes a project's private folder, which keeps itself out of the user's commits.

    Raises:
        OSError
    """
    state.mkdir(parents=True, exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        write_whole(str(ignore), b"*\n")


def unwritable(folder: Path, error: OSError) -> Infrastructure:
    """What is said where a file of the build's can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Infrastructure(
            f"there is no space left in {folder}, where the build puts what it made: free some, or move the project"
        )
    return Infrastructure(f"{folder}, where the build puts what it made, cannot be written: {error.strerror or error}")


def remove_stale(folder: Path, *patterns: str) -> None:
    """Removes what killed commands left: files and folders of these names that are hours old, so nobody writes them any more."""
    import shutil

    for pattern in patterns:
        for path in folder.glob(pattern):
            try:
                if path.stat().st_mtime < time.time() - _STALE:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError:
                pass  # another build removed it, or it stays


@contextmanager
def build_lock(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Lets one build of a project run at a time. The kernel releases the lock of a build that was killed.

    Raises:
        Infrastructure: the folder's disk is full.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            from toolkit.build.progress import LiveLine

            report("waiting for another build of this project")
            with LiveLine(report, "waiting"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(folder) from error
        raise
    finally:
        os.close(descriptor)


def no_space(folder: Path) -> Infrastructure:
    """The error of a full disk."""
    return Infrastructure(
        f"there is no space left in {folder}, where the build puts what it made: free some, or move the project"
    )
