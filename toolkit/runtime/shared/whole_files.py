"""Writing a file whole: it is written under a temporary name, and gets its own name when nothing is missing.

So whoever reads the file finds all of it or none. Nothing is synchronised to the disk: after a power cut a file may be missing
or empty, and a reader takes it for a damaged one.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Optional


def temporary_beside(path: str) -> str:
    """A name in the folder of ``path`` that no other writer takes, for what is to get the name ``path``.

    It is not made of the name, which may have any length, nor of the process id, which is the same in many containers.
    """
    return os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}.tmp")


def write_whole(
    path: str, data: bytes, replace: bool = True, prepare: Optional[Callable[[str], object]] = None
) -> bool:
    """Writes a file whole; whether it did, which it does not where ``replace`` is false and the file exists.

    Args:
        prepare: sets mode and owner of the file, by its temporary name, before it gets its own.

    Raises:
        OSError: the disk is full, the folder is missing or not writable. What was there is still there, and nothing else.
    """
    with WholeFile(path) as file:
        file.write(data)
        return file.publish(replace=replace, prepare=prepare)


class WholeFile:
    """A file that is written piece by piece and gets its name by :meth:`publish`; without that it is removed.

    Args:
        path: its name. temporary: where it is written, on the same file system; None is beside it.

    Raises:
        OSError: it can't be created.
    """

    def __init__(self, path: str, temporary: Optional[str] = None) -> None:
        self._path = path
        self.temporary = temporary if temporary is not None else temporary_beside(path)
        self._file: BinaryIO = open(self.temporary, "xb")  # noqa: SIM115
        self._is_left = True
        self.write = self._file.write

    def __enter__(self) -> WholeFile:
        return self

    def publish(
        self, path: Optional[str] = None, replace: bool = True, prepare: Optional[Callable[[str], object]] = None
    ) -> bool:
        """Gives the file its name; whether it did.

        Args:
            path: the name, where it was not known before. replace: whether a file of that name is replaced.
            prepare: as of :func:`write_whole`.

        Raises:
            OSError
        """
        # A network file system may tell of a full disk only now.
        self._file.close()
        if prepare is not None:
            prepare(self.temporary)
        path = path if path is not None else self._path
        if replace:
            os.rename(self.temporary, path)
            self._is_left = False
            return True
        return give_name(self.temporary, path)

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:
            # Of a full disk: whoever wrote has been told, or had given up.
            pass
        if self._is_left:
            try:
                os.unlink(self.temporary)
            except OSError:
                pass


def give_name(temporary: str, name: str, folder: Optional[int] = None, target: Optional[int] = None) -> bool:
    """Gives a file that is whole the name ``name``, unless there is one of that name; whether it did.

    The temporary name may be left over, for the caller to remove.

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
        # A file system without hard links, as some network ones are: of two writers in one instant the second one's stays.
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
