"""A copy of the project's files for one attempt alone, where the code itself must not be written to.

Modules are imported from it, so that ``Path(__file__).resolve().parent`` is the step's folder here as it is elsewhere.
"""

from __future__ import annotations

import os
import stat
import sys

from ..shared.whole_files import temporary_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGE = 1 << 20
"""Bytes. In a container, a larger file that is not Python's is a link where nobody can write to it, because /tmp may be small."""

UPPER = ".upper"
"""The end of the name of an overlay's upper folder, which lies beside the overlay, as does the kernel's own."""


def make_work_folder(folder: str, code: str, files: Iterable[tuple[str, bool]], in_container: bool) -> None:
    """Makes the copy.

    Args:
        folder: where it is made. code: the project's root, absolute.
        files: relative paths, each with whether it is a folder; a folder comes before what it holds.
        in_container: whether the code lies in an image; else it is the user's own, with the bytecode of earlier imports.
    """
    os.makedirs(folder, exist_ok=True)
    for path, is_folder in files:
        source, target = os.path.join(code, path), os.path.join(folder, path)
        if is_folder:
            os.makedirs(target, exist_ok=True)
            continue
        try:
            status = os.lstat(source)
            if stat.S_ISLNK(status.st_mode):
                os.symlink(_link_target(source, code, path), target)
            elif (
                in_container and status.st_size > _LARGE and not path.endswith(".py") and not os.access(source, os.W_OK)
            ):
                os.symlink(source, target)
            elif stat.S_ISREG(status.st_mode):
                _copy(source, target, status)
                if path.endswith(".py") and not in_container:
                    _copy_bytecode(source, target)
        except FileNotFoundError:
            # It was removed after the files were listed.
            continue
        except PermissionError:
            # Who can't read a file can't read what a link leads to either, and the step is told of it when it opens it.
            os.symlink(source, target)


def list_code(code: str) -> list[tuple[str, bool]]:
    """All that lies below ``code``, as :func:`make_work_folder` takes it."""
    paths = []
    for folder, folders, files in os.walk(code):
        relative = os.path.relpath(folder, code)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in links)
        paths += [(os.path.normpath(os.path.join(relative, name)), True) for name in folders]
        paths += [(os.path.normpath(os.path.join(relative, name)), False) for name in sorted(files + links)]
    return paths


def make_upper(upper: str, code: str, copied: Iterable[tuple[str, bool]], hidden: Iterable[str]) -> None:
    """Makes the upper folder of an overlay on the project, with copies of ``copied`` in it, and without what ``hidden`` names.

    Args:
        copied: as the files of :func:`make_work_folder`. hidden: relative paths.
    """
    os.makedirs(upper)
    for path in hidden:
        os.makedirs(os.path.join(upper, os.path.dirname(path)), exist_ok=True)
        # The kernel's mark of what is not there. Anybody may make it.
        os.mknod(os.path.join(upper, path), stat.S_IFCHR, os.makedev(0, 0))
    copied = list(copied)
    for path, is_folder in copied:
        os.makedirs(os.path.join(upper, path if is_folder else os.path.dirname(path)), exist_ok=True)
    make_work_folder(upper, code, copied, False)


def _clone(source: str, target: str) -> bool:
    """Makes a copy that shares its blocks, where macOS can do that."""
    try:
        import ctypes

        failed: int = ctypes.CDLL(None).clonefile(os.fsencode(source), os.fsencode(target), 0)
        return failed == 0
    except (ImportError, AttributeError, OSError):
        return False


def replace_link(path: str) -> None:
    """Replaces a link to a file by a copy of the file."""
    source = os.path.realpath(path)
    temporary = temporary_beside(path)
    _copy(source, temporary, os.stat(source))
    os.rename(temporary, path)


def write_file(folder: str, path: str, text: str) -> None:
    """Writes a file of a step's folder anew. What it may be a link to stays as it is.

    Args:
        path: relative to the folder.
    """
    target = os.path.join(folder, path)
    try:
        os.unlink(target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(text.encode("utf-8"))


def _link_target(source: str, code: str, path: str) -> str:
    """Where the copy of one of the project's own links leads: to what is copied, or to the same place outside of the project."""
    real, root = os.path.realpath(source), os.path.realpath(code)
    if real == root or real.startswith(root + "/"):
        return os.path.relpath(os.path.relpath(real, root), os.path.dirname(path) or ".")
    return real


def _copy(source: str, target: str, status: os.stat_result) -> None:
    """Copies content, time and executable bit. A file system that can share the blocks of two files does so."""
    mode = 0o777 if status.st_mode & stat.S_IXUSR else 0o666
    if sys.platform == "darwin" and status.st_size > _LARGE and _clone(source, target):
        umask = os.umask(0o077)
        os.umask(umask)
        os.chmod(target, mode & ~umask)
        return
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            _copy_content(reader, writer)
            # Bytecode is valid for the source's time.
            os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_content(reader: int, writer: int) -> None:
    try:
        while os.copy_file_range(reader, writer, 1 << 30):
            pass
    except (OSError, AttributeError):
        # Not between these file systems, or not on this one. What is left is copied as anywhere else.
        pass
    while chunk := os.read(reader, 1 << 20):
        view = memoryview(chunk)
        while view:
            view = view[os.write(writer, view) :]


def _copy_bytecode(source: str, target: str) -> None:
    """Copies what an earlier import has compiled. Python compares the source's time and size, and compiles it anew where needed."""
    optimization = f".opt-{sys.flags.optimize}" if sys.flags.optimize else ""
    stem = os.path.splitext(os.path.basename(source))[0]
    name = os.path.join("__pycache__", f"{stem}.{sys.implementation.cache_tag}{optimization}.pyc")
    compiled = os.path.join(os.path.dirname(source), name)
    copy = os.path.join(os.path.dirname(target), name)
    try:
        status = os.stat(compiled)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        _copy(compiled, copy, status)
    except OSError:
        return
