"""Folders and files of a volume, opened by one name after the other and without following a link.

The code of steps writes on the volume as well: a link there, or a folder that is renamed meanwhile, must not lead whoever reads or
writes to another file. So each name is relative to the descriptor of its folder, and a link counts as absent.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(folder: int, parts: Iterable[str]) -> Optional[int]:
    """A folder below another; None where there is none, or a link in its place.

    Raises:
        OSError
    """
    inner = os.dup(folder)
    for part in parts:
        try:
            following = os.open(part, _AS_FOLDER, dir_fd=inner)
        except OSError as error:
            if _is_absent(error):
                return None
            raise
        finally:
            os.close(inner)
        inner = following
    return inner


def open_file(name: str, folder: Optional[int] = None) -> Optional[int]:
    """A regular file, opened to read; None where there is none, or something else in its place.

    Args:
        folder: the descriptor of the folder that ``name`` is relative to.

    Raises:
        OSError
    """
    try:
        # Not blocking, because a reader of a named pipe would wait for its writer.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if _is_absent(error):
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def size_of(name: str, folder: Optional[int] = None) -> Optional[int]:
    """A regular file's size in bytes; None where there is none, or something else in its place.

    Raises:
        OSError
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if _is_absent(error):
            return None
        raise
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def make_folder(folder: int, parts: Iterable[str], prepare: Callable[[int, int], object]) -> int:
    """The folder below another, made where it is missing.

    Args:
        prepare: is called with the descriptors of a new folder and of the folder around it, to set owner and mode.

    Raises:
        OSError: it can't be made, or a link or a file has its name.
    """
    inner = os.dup(folder)
    for part in parts:
        is_new = True
        try:
            os.mkdir(part, dir_fd=inner)
        except FileExistsError:
            is_new = False
        except BaseException:
            os.close(inner)
            raise
        try:
            following = os.open(part, _AS_FOLDER, dir_fd=inner)
            if is_new:
                prepare(following, inner)
        finally:
            os.close(inner)
        inner = following
    return inner


def _is_absent(error: OSError) -> bool:
    import errno

    # A socket can't be opened at all (ENXIO).
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO)
