"""The volume as the reader pod sees it: the files of runs, and how they are opened, read and written.

No link is followed, and names and paths are checked, although the client is trusted: the code of steps writes on the volume too.
"""

from __future__ import annotations

import errno
import os
import stat

from ..shared import records, volume_files
from ..shared.layout import SHARED_MODE
from ..shared.protocol import CONTINUED_FOLDER, END_RECORD, MOVED_RECORD, RUN_RECORD
from ..shared.run_files import RUN_ID, part_numbers, part_path
from ..shared.volume_files import open_file, open_folder, size_of
from ..shared.whole_files import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional, TypeVar

    from ..shared.documents import JsonValue, MovedRecord, RunEnd, RunRecord

    Record = TypeVar("Record")


class RequestRefusal(Exception):
    """The request can't be answered; the message is the answer."""


def parts_of(folder: int) -> list[int]:
    """The numbers of the parts of a run: 0 for its beginning, and its continuations as far as they have a record."""
    top = open_folder(folder, [CONTINUED_FOLDER])
    if top is None:
        return [0]
    try:
        numbers = [0]
        for number in part_numbers(os.listdir(top)):
            part = open_folder(top, [str(number)])
            if part is not None:
                if size_of(RUN_RECORD, part) is not None:
                    numbers.append(number)
                os.close(part)
    finally:
        os.close(top)
    return numbers


def open_part(folder: int, number: int) -> int:
    """The folder of a part's run.json and end.json."""
    part = open_folder(folder, part_path(number).split("/") if number else [])
    if part is None:
        raise RequestRefusal("the run's records change while they are read: try again")
    return part


def read_run(folder: int) -> Optional[RunRecord]:
    """The run.json in a folder; None where there is none or it is damaged, as of the two below."""
    return _read_record(folder, RUN_RECORD, records.checked_run)


def read_run_end(folder: int) -> Optional[RunEnd]:
    """The end.json of a run in the folder of one of its parts."""
    return _read_record(folder, END_RECORD, records.checked_run_end)


def read_moved(folder: int) -> Optional[MovedRecord]:
    """The moved.json in a run's folder."""
    return _read_record(folder, MOVED_RECORD, records.checked_moved)


def _read_record(folder: int, name: str, checked: Callable[[dict[str, JsonValue]], Record]) -> Optional[Record]:
    file = open_file(name, folder)
    if file is None:
        return None
    with open(file, "rb") as opened:
        try:
            return checked(records.parse(opened.read()))
        except ValueError:
            return None


# --- reading --------------------------------------------------------------------------------------------------------


def open_root(path: str) -> int:
    """The folder of the run log or of the catalog. The client's configuration names it, and links in it are followed."""
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


# --- writing --------------------------------------------------------------------------------------------------------


def make_root(path: str) -> int:
    """The folder of the run log or of the catalog, made where it is missing."""
    if os.path.isabs(path):
        os.makedirs(path, exist_ok=True)
    return open_root(path)


def make_folder(folder: int, parts: list[str]) -> int:
    """The folder below another, made where it is missing, for all of the steps' group."""
    try:
        # Also where the volume's own folder does not say so.
        return volume_files.make_folder(folder, parts, lambda new, _: os.fchmod(new, SHARED_MODE))
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise RequestRefusal(f"{'/'.join(parts)} is no folder on the volume: {error.strerror}") from None


def open_to_write(folder: int, name: str, flags: int = 0) -> int:
    """A regular file opened to write in, made where it is missing; no link is followed."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, 0o664, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise RequestRefusal(f"{name} is no file on the volume")
    return file


def publish(folder: int, name: str, data: bytes) -> bool:
    """Publishes a record, whole or not at all, unless there is one; whether it did."""
    if size_of(name, folder) is not None:
        return False
    return write_whole(name, data, replace=False, prepare=lambda file: os.fchmod(file, 0o664), folder=folder)
