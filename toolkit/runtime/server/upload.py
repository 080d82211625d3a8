"""A run that a client pushes to the volume: first the objects that its records name, and then its records.

These are requests of ``service.py``. A long file comes in pieces, each with a request of its own that may be sent twice:

- ``lacking`` (catalog, objects): which of these objects the catalog lacks.
- ``put`` (catalog, token, first, pieces): pieces of objects. An object that is whole is checked against its hash and gets its name.
- ``arrival`` (run_log, run, identity, origin): whether the run may come, and which of its files are on the volume already.
- ``bring`` (run_log, run, identity, origin, token, first, last, whole, pieces): its files. They get their places at the last
  request, and all at once if the run is not on the volume yet.

``token`` is the name of one client's upload. What a killed client has left is removed by the next one.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import shutil
import time

from ..shared.layout import object_folders
from ..shared.protocol import MOVED_RECORD, STEPS_FOLDER
from ..shared.run_files import DEEPEST, DIGEST, is_file_of_run, publication_order, run_identity
from ..shared.volume_files import open_file, open_folder, size_of
from ..shared.volume_protocol import ABSENT, ELSEWHERE, RETURNS, THERE
from ..shared.whole_files import give_name, write_all
from .volume import (
    RequestRefusal,
    check_run_id,
    make_folder,
    make_root,
    open_root,
    open_run,
    open_to_write,
    read_moved,
    read_run,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from ..shared.documents import PieceDocument, VolumeRequest
    from .answer import AnswerWriter


_TOKEN = re.compile(r"[0-9a-f]{16}")
_PUT = "brought-"
_COMING, _GONE = ".coming.", ".gone."
"""The beginnings of the names of folders in the run log that are no runs': no run id has a dot."""
_ABANDONED = 3600.0
"""Seconds without a write after which an upload counts as left by a killed client."""
_CHUNK = 1 << 20


# --- objects --------------------------------------------------------------------------------------------------------


def _missing_objects(request: VolumeRequest, answer: AnswerWriter) -> None:
    digests = [_check_digest(digest) for digest in request["objects"]]
    try:
        top = open_root(request["catalog"])
    except FileNotFoundError:
        lacking = digests
    else:
        lacking = []
        for digest in digests:
            answer.alive()
            folder = open_folder(top, object_folders(digest))
            if folder is None or size_of(digest, folder) is None:
                lacking.append(digest)
            if folder is not None:
                os.close(folder)
    answer.item(json.dumps(lacking).encode("ascii"), item="lacking")


def _put(request: VolumeRequest, answer: AnswerWriter) -> None:
    token = _check_token(request)
    incoming = -1
    try:
        top = make_root(request["catalog"])
        incoming = make_folder(top, ["incoming"])
        if request["first"]:
            _sweep_objects(incoming)
        for piece in request["pieces"]:
            answer.alive()
            _put_piece(top, incoming, token, piece, answer)
    except OSError as error:
        # What has come so far would only fill the disk.
        for piece in request["pieces"] if incoming >= 0 else []:
            _discard(incoming, f"{_PUT}{token}-{_check_digest(piece['name'])}")
        raise RequestRefusal(f"the catalog {request['catalog']} can't be written: {error.strerror}") from None
    answer.item(item="put")


def _put_piece(top: int, incoming: int, token: str, piece: PieceDocument, answer: AnswerWriter) -> None:
    digest = _check_digest(piece["name"])
    temporary = f"{_PUT}{token}-{digest}"
    folder = make_folder(top, object_folders(digest))
    try:
        if size_of(digest, folder) is not None:
            # Another client has put it, or this one whose answer was lost.
            _discard(incoming, temporary)
            return
        written = _write_piece(incoming, temporary, piece)
        if written < piece["size"]:
            return
        if _hash(incoming, temporary, answer) != digest:
            _discard(incoming, temporary)
            raise RequestRefusal(
                f"the content of the object {digest} has another hash: is the object damaged on this machine?"
            )
        os.rename(temporary, digest, src_dir_fd=incoming, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _hash(folder: int, name: str, answer: AnswerWriter) -> str:
    file = open_file(name, folder)
    hasher = hashlib.sha256()
    if file is not None:
        with open(file, "rb", buffering=0) as opened:
            while True:
                data = opened.read(_CHUNK)
                if not data:
                    break
                hasher.update(data)
                answer.alive()
    return hasher.hexdigest()


def _sweep_objects(incoming: int) -> None:
    for name in os.listdir(incoming):
        if name.startswith(_PUT) and _is_abandoned(incoming, name):
            _discard(incoming, name)


# --- a run ----------------------------------------------------------------------------------------------------------


def _arrival(request: VolumeRequest, answer: AnswerWriter) -> None:
    folder = open_run(request["run_log"], request["run"])
    state = _state(folder, request)
    have: dict[str, int] = {}
    to = None
    if folder is not None and state == RETURNS:
        have = {path: size for path, size in _files_below(folder, "") if is_file_of_run(path)}
    elif folder is not None and state == ELSEWHERE:
        moved = read_moved(folder)
        to = moved.get("to") if moved is not None else None
    answer.item(json.dumps({"have": have, "to": to}).encode("ascii"), item="arrival", state=state)


def _state(folder: Optional[int], request: VolumeRequest) -> str:
    """The state on the volume of a run that would be pushed (see ``volume_protocol.py``).

    Raises:
        RequestRefusal: another run has the id.
    """
    run = request["run"]
    if folder is None or not os.listdir(folder):
        return ABSENT
    record = read_run(folder)
    if record is None:
        raise RequestRefusal(
            f"the volume has a folder of the run {run} without its record: is a run of this id starting there?"
        )
    if run_identity(record) != request["identity"]:
        raise RequestRefusal(f"the volume has another run {run}, so this one can't resume there")
    if size_of(MOVED_RECORD, folder) is None:
        return THERE
    moved = read_moved(folder)
    return RETURNS if moved is not None and moved.get("to") == request["origin"] else ELSEWHERE


def _receive_files(request: VolumeRequest, answer: AnswerWriter) -> None:
    run = check_run_id(request["run"])
    name = f"{_COMING}{run}.{_check_token(request)}"
    try:
        top = make_root(request["run_log"])
        if request["first"]:
            _sweep_runs(request["run_log"], top, run)
            os.close(make_folder(top, [name]))
        coming = open_folder(top, [name])
        if coming is None:
            # The answer to its last request may have been lost.
            if not request["last"] or _state(open_folder(top, [run]), request) != THERE:
                raise RequestRefusal(f"another client pushes the run {run} at the same time: try again")
        else:
            os.utime(coming)
            for piece in request["pieces"]:
                answer.alive()
                _receive_piece(coming, piece)
            if request["last"]:
                _place_run(request, top, coming, name, answer)
    except OSError as error:
        _remove(request["run_log"], name)
        raise RequestRefusal(f"the run log {request['run_log']} can't be written: {error.strerror}") from None
    answer.item(item="brought")


def _receive_piece(coming: int, piece: PieceDocument) -> None:
    path: str = piece["name"]
    if not is_file_of_run(path) or path == MOVED_RECORD:
        raise RequestRefusal(f"{path!r} is no file of a run's")
    *parts, name = path.split("/")
    folder = make_folder(coming, parts)
    try:
        _write_piece(folder, name, piece)
    finally:
        os.close(folder)


def _place_run(request: VolumeRequest, top: int, coming: int, name: str, answer: AnswerWriter) -> None:
    """Gives the files of a run their places, when all of them have come."""
    run = request["run"]
    folder = open_folder(top, [run])
    state = _state(folder, request)
    if folder is None or state == ABSENT:
        record = read_run(coming)
        if not request["whole"] or record is None or run_identity(record) != request["identity"]:
            raise RequestRefusal(f"the run {run} was removed from the volume while it was pushed: try again")
        os.close(make_folder(coming, [STEPS_FOLDER]))
        try:
            # It replaces an empty folder, and no other.
            os.rename(name, run, src_dir_fd=top, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise RequestRefusal(f"a run of the id {run} began on the volume at the same time") from None
        return
    if state != RETURNS:
        _remove(request["run_log"], name)
        raise RequestRefusal(f"the run {run} is on the volume already")
    for path in sorted((path for path, _ in _files_below(coming, "") if is_file_of_run(path)), key=publication_order):
        answer.alive()
        *parts, file = path.split("/")
        source, target = open_folder(coming, parts), make_folder(folder, parts)
        if source is not None:
            give_name(file, file, source, target)
            os.close(source)
        os.close(target)
    # Last: from now on the run is this volume's again.
    os.unlink(MOVED_RECORD, dir_fd=folder)
    _remove(request["run_log"], name)


def _files_below(folder: int, path: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    """The regular files below a folder with their sizes."""
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in names:
        if is_folder:
            inner = open_folder(folder, [name]) if depth < DEEPEST else None
            if inner is not None:
                yield from _files_below(inner, f"{path}{name}/", depth + 1)
                os.close(inner)
        else:
            size = size_of(name, folder)
            if size is not None:
                yield path + name, size


def _sweep_runs(run_log: str, top: int, run: str) -> None:
    """Removes what killed clients left: of this run, which only one client at a time pushes, and of others after a while."""
    for name in os.listdir(top):
        if name.startswith((f"{_COMING}{run}.", _GONE)) or (name.startswith(_COMING) and _is_abandoned(top, name)):
            _remove(run_log, name)


def _remove(run_log: str, name: str) -> None:
    """Removes a folder in the run log, renamed first: a client that still writes in it finds no folder, and never half of one."""
    gone = os.path.join(run_log, f"{_GONE}{os.urandom(8).hex()}")
    try:
        os.rename(os.path.join(run_log, name), gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


# --- pieces ---------------------------------------------------------------------------------------------------------


def _write_piece(folder: int, name: str, piece: PieceDocument) -> int:
    """Writes a piece at its place in its file; returns the file's size."""
    data, offset = base64.b64decode(piece["data"], validate=True), int(piece["offset"])
    file = open_to_write(folder, name)
    try:
        if not 0 <= offset <= os.fstat(file).st_size:
            raise RequestRefusal(f"the earlier pieces of {piece['name']} are no longer on the volume: try again")
        # The same piece comes again when the answer to it was lost.
        os.ftruncate(file, offset)
        os.lseek(file, offset, os.SEEK_SET)
        write_all(file, data)
    finally:
        # A network file system may report a full disk only now.
        os.close(file)
    return offset + len(data)


def _is_abandoned(folder: int, name: str) -> bool:
    try:
        return time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _ABANDONED
    except FileNotFoundError:
        return False


def _discard(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _check_token(request: VolumeRequest) -> str:
    token: str = request["token"]
    if not _TOKEN.fullmatch(token):
        raise RequestRefusal(f"{token!r} is no token")
    return token


def _check_digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise RequestRefusal(f"{digest!r} is no object's hash")
    return digest


REQUESTS = {"lacking": _missing_objects, "put": _put, "arrival": _arrival, "bring": _receive_files}
