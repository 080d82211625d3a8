"""The volume as the pod sees that answers a client: which files a run has, and how they are opened.

Names and paths are checked here although the client is trusted: a step's code writes on the volume too, so no link is followed.
"""

from __future__ import annotations

import os
import stat

from ..shared.layout import SHARED_MODE
from ..shared.protocol import CONTINUED_FOLDER, RUN_RECORD
from ..shared.run_files import NUMBER, RUN_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RequestRefusal(Exception):
    """The request can't be answered; the message is the answer."""


def parts_of(folder: int) -> list[int]:
    """The parts of a run: 0 for its beginning, and the times that it went on, as far as they have a record."""
    top = open_folder(folder, [CONTINUED_FOLDER])
    if top is None:
        return [0]
    try:
        found = []
        for name in os.listdir(top):
            part = open_folder(top, [name]) if NUMBER.fullmatch(name) else None
            if part is not None:
                if size_of(part, RUN_RECORD) is not None:
                    found.append(int(name))
                os.close(part)
    finally:
        os.close(top)
    return [0, *sorted(found)]


def open_part(folder: int, number: int) -> int:
    """The folder of a part's run.json and end.json."""
    part = open_folder(folder, [CONTINUED_FOLDER, str(number)] if number else [])
    if part is None:
        raise RequestRefusal("the run's records change while they are read: try again")
    return part


def read_record(folder: int, name: str) -> Optional[dict[str, Any]]:
    """A record; a damaged one is passed over here, and told of by whoever shows its run."""
    import json

    file = open_file(folder, name)
    if file is None:
        return None
    with open(file, "rb") as opened:
        try:
            record = json.loads(opened.read())
        except (ValueError, RecursionError):
            return None
    return record if isinstance(record, dict) else None


# --- reading --------------------------------------------------------------------------------------------------------


def open_root(path: str) -> int:
    """The folder of the run log or of the catalog; it is the client's configuration and may lie behind a link."""
    if not os.path.isabs(path):
        raise RequestRefusal(f"{path!r} is no absolute path")
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def check_run_id(run: str) -> str:
    """A run's id, which is the name of its folder."""
    if not RUN_ID.fullmatch(run):
        raise RequestRefusal(f"{run!r} is no run id")
    return run


def open_run(run_log: str, run: str) -> Optional[int]:
    """A run's folder; None where there is none."""
    name = check_run_id(run)
    try:
        top = open_root(run_log)
    except FileNotFoundError:
        return None
    try:
        return open_folder(top, [name])
    finally:
        os.close(top)


def open_folder(folder: int, parts: list[str]) -> Optional[int]:
    """A folder below another; None where there is none, or a link in its place."""
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


def open_file(folder: int, name: str) -> Optional[int]:
    """A regular file, opened; None where there is none, or something else in its place."""
    try:
        # Not blocking: whoever reads a named pipe waits for its writer.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if _is_absent(error):
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def size_of(folder: int, name: str) -> Optional[int]:
    """A regular file's size in bytes; None where there is none, or something else in its place."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if _is_absent(error):
            return None
        raise
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _is_absent(error: OSError) -> bool:
    import errno

    # A socket can't be opened at all (ENXIO).
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO)


# --- writing --------------------------------------------------------------------------------------------------------


def make_root(path: str) -> int:
    """The folder of the run log or of the catalog, made where it is missing."""
    if os.path.isabs(path):
        os.makedirs(path, exist_ok=True)
    return open_root(path)


def make_folder(folder: int, parts: list[str]) -> int:
    """The folder below another, made where it is missing, for all of the steps' group."""
    inner = os.dup(folder)
    for part in parts:
        made = True
        try:
            os.mkdir(part, 0o775, dir_fd=inner)
        except FileExistsError:
            made = False
        try:
            following = os.open(part, _AS_FOLDER, dir_fd=inner)
            if made:
                # Also where the volume's own folder does not say so.
                os.fchmod(following, SHARED_MODE)
        except OSError as error:
            raise RequestRefusal(f"{'/'.join(parts)} is no folder on the volume: {error.strerror}") from None
        finally:
            os.close(inner)
        inner = following
    return inner


def open_to_write(folder: int, name: str, flags: int = 0) -> int:
    """A regular file opened to write in, made where it is missing; no link is followed."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, 0o664, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise RequestRefusal(f"{name} is no file on the volume")
    return file


def write_all(descriptor: int, data: bytes) -> None:
    """All of ``data``, however many writes that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def publish(folder: int, name: str, data: bytes) -> bool:
    """Publishes a record, whole or not at all, unless one is there; whether it did.

    Not ``records.publish``: process ids are no names in two pods at once, and of two clients the first is to win.
    """
    if size_of(folder, name) is not None:
        return False
    temporary = f"{name}.{os.urandom(8).hex()}.tmp"
    file = open_to_write(folder, temporary, os.O_EXCL)
    try:
        try:
            write_all(file, data)
        finally:
            # A network file system may tell of a full disk only now.
            os.close(file)
        return give_name(folder, temporary, folder, name)
    finally:
        try:
            os.unlink(temporary, dir_fd=folder)
        except FileNotFoundError:
            pass


def give_name(folder: int, temporary: str, target: int, name: str) -> bool:
    """Gives a file that is whole its name in the folder ``target``, unless there is one; whether it did."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: of two clients in the same instant the second one's stays.
        if size_of(target, name) is not None:
            return False
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=target)
    return True
