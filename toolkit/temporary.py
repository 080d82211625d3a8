"""Temporary folders that no process leaves for good, however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TemporaryFolder:
    """A new folder that only this user can enter. It is removed by :meth:`remove`, or once its process has ended.

    A process that is killed removes nothing. So a folder is locked as long as its process lives, and whoever makes the next
    folder in the same place removes those that nobody holds.

    Args:
        parent: where it is made; must exist. prefix: how the names of such folders begin, and of nothing else in ``parent``.

    Attributes:
        path: the folder.

    Raises:
        OSError: it can't be made.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        with _lock(parent):
            _remove_abandoned(parent, prefix)
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            _try_lock(self._held)

    def remove(self) -> None:
        """Removes the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A :class:`TemporaryFolder` until the end of the block."""
    folder = TemporaryFolder(parent, prefix)
    try:
        yield folder.path
    finally:
        folder.remove()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps other processes from removing what is being made in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            # The file system locks no folders. Then nobody can lock one of those in it either, and none is removed.
            pass
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for name in os.listdir(parent):
        if not name.startswith(prefix):
            continue
        try:
            descriptor = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _try_lock(descriptor):
                shutil.rmtree(parent / name, ignore_errors=True)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
