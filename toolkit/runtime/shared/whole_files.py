"""Writes files whole: under a temporary name first, and then renamed. So a reader finds all of a file or no file.

The data is not flushed to the disk itself (fsync). After a power cut a file may be missing or empty; readers take an empty record
for a damaged one.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Optional


def temporary_beside(path: str) -> str:
    """A name in the folder of ``path`` that no other writer takes, for a file or folder that is to be renamed to ``path``.

    It does not contain the final name, which may have any length, nor the process id, which is the same in many containers.
    """
    return os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}.tmp")


def write_whole(
    path: str,
    data: bytes,
    replace: bool = True,
    prepare: Optional[Callable[[int], object]] = None,
    folder: Optional[int] = None,
) -> bool:
    """Writes a file whole; returns whether it did.

    Args:
        replace: whether a file that exists is replaced. If not, it stays and the result is False.
        prepare: is called with the file's descriptor when all is written, to set mode and owner.
        folder: the descriptor of the folder that ``path`` is relative to.

    Raises:
        OSError: the disk is full, the folder is missing or not writable. A file that existed is unchanged.
    """
    with WholeFile(path, folder=folder) as file:
        file.write(data)
        return file.publish(replace=replace, prepare=prepare)


class WholeFile:
    """A file that is written piece by piece. :meth:`publish` gives it its name; without that it is removed at the end.

    Args:
        path: its name. temporary: the name under which it is written, on the same file system; None is one beside it.
        folder: the descriptor of the folder that both are relative to.

    Raises:
        OSError: it can't be created.
    """

    def __init__(self, path: str, temporary: Optional[str] = None, folder: Optional[int] = None) -> None:
        self._path = path
        self._folder = folder
        self.temporary = temporary if temporary is not None else temporary_beside(path)
        self._file: BinaryIO = open(self.temporary, "xb", opener=self._open)  # noqa: SIM115
        self._is_left = True
        self.write = self._file.write

    def __enter__(self) -> WholeFile:
        return self

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, 0o666, dir_fd=self._folder)

    def publish(
        self, path: Optional[str] = None, replace: bool = True, prepare: Optional[Callable[[int], object]] = None
    ) -> bool:
        """Gives the file its name; returns whether it did.

        Args:
            path: the name, where it was not known before. replace, prepare: as of :func:`write_whole`.

        Raises:
            OSError
        """
        if prepare is not None:
            prepare(self._file.fileno())
        # A network file system may report a full disk only now.
        self._file.close()
        path = path if path is not None else self._path
        if replace:
            os.rename(self.temporary, path, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._is_left = False
            return True
        return give_name(self.temporary, path, self._folder, self._folder)

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:
            # The disk is full. The error that led here says so already.
            pass
        if self._is_left:
            try:
                os.unlink(self.temporary, dir_fd=self._folder)
            except OSError:
                pass


def give_name(temporary: str, name: str, folder: Optional[int] = None, target: Optional[int] = None) -> bool:
    """Gives a file that is whole the name ``name``, unless there is a file of that name; returns whether it did.

    The temporary name may still exist afterwards; the caller removes it.

    Args:
        folder, target: descriptors of the folders that the temporary name and the name are relative to.

    Raises:
        OSError
    """
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        # The file system has no hard links, like some network ones. Of two writers at the same instant the second one's file stays.
        try:
            os.stat(name, dir_fd=target, follow_symlinks=False)
            return False
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=target)
    return True


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of ``data`` to a descriptor, however many writes that takes.

    Raises:
        OSError
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
