"""What a client brings to the volume of a run that goes on here: the objects that its records name, and then its records.

Requests of ``service.py``. A long file comes in pieces, each with a request of its own that may be asked twice:

- ``lacking`` (catalog, objects): which of these objects the catalog has not.
- ``put`` (catalog, token, first, pieces): pieces of objects; one that is whole is checked against its hash and gets its name.
- ``arrival`` (run_log, run, identity, origin): whether the run may come, and the files of it that are here already.
- ``bring`` (run_log, run, identity, origin, token, first, last, whole, pieces): its files. They get their places at the last
  request, and all at once if the run is not here yet.

``token`` names what one client has begun; the rest of one that was killed is removed by the next.
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
from ..shared.protocol import MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from ..shared.run_files import DEEPEST, DIGEST, is_file_of_run, publication_order, run_identity
from ..shared.volume_protocol import ABSENT, ELSEWHERE, RETURNS, THERE
from .volume import (
    RequestRefusal,
    check_run_id,
    give_name,
    make_folder,
    make_root,
    open_file,
    open_folder,
    open_root,
    open_run,
    open_to_write,
    read_record,
    size_of,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .service import AnswerWriter


_TOKEN = re.compile(r"[0-9a-f]{16}")
_PUT = "brought-"
_COMING, _GONE = ".coming.", ".gone."
"""Begin the names of folders in the run log: no run id has a dot."""
_ABANDONED = 3600.0
"""Seconds after which what nobody has written to is what a killed client left."""
_CHUNK = 1 << 20


# --- objects --------------------------------------------------------------------------------------------------------


def _missing_objects(request: dict[str, Any], answer: AnswerWriter) -> None:
    digests = [_digest(one) for one in request["objects"]]
    try:
        top = open_root(request["catalog"])
    except FileNotFoundError:
        lacking = digests
    else:
        lacking = []
        for digest in digests:
            answer.alive()
            folder = open_folder(top, object_folders(digest))
            if folder is None or size_of(folder, digest) is None:
                lacking.append(digest)
            if folder is not None:
                os.close(folder)
    answer.item(json.dumps(lacking).encode("ascii"), item="lacking")


def _put(request: dict[str, Any], answer: AnswerWriter) -> None:
    token = _token(request)
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
        # What is begun would only fill the disk further.
        for piece in request["pieces"] if incoming >= 0 else []:
            _discard(incoming, f"{_PUT}{token}-{_digest(piece['name'])}")
        raise RequestRefusal(f"the catalog {request['catalog']} can't be written: {error.strerror}") from None
    answer.item(item="put")


def _put_piece(top: int, incoming: int, token: str, piece: dict[str, Any], answer: AnswerWriter) -> None:
    digest = _digest(piece["name"])
    temporary = f"{_PUT}{token}-{digest}"
    folder = make_folder(top, object_folders(digest))
    try:
        if size_of(folder, digest) is not None:
            # Another client, or this one with an answer that it did not hear.
            _discard(incoming, temporary)
            return
        written = _write_piece(incoming, temporary, piece)
        if written < piece["size"]:
            return
        if _hash(incoming, temporary, answer) != digest:
            _discard(incoming, temporary)
            raise RequestRefusal(
                f"the object {digest} has another content than its hash says: is it damaged where it is from?"
            )
        os.rename(temporary, digest, src_dir_fd=incoming, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _hash(folder: int, name: str, answer: AnswerWriter) -> str:
    file = open_file(folder, name)
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


def _arrival(request: dict[str, Any], answer: AnswerWriter) -> None:
    folder = open_run(request["run_log"], request["run"])
    state = _state(folder, request)
    have: dict[str, int] = {}
    to = None
    if folder is not None and state == RETURNS:
        have = {path: size for path, size in _files_below(folder, "") if is_file_of_run(path)}
    elif folder is not None and state == ELSEWHERE:
        to = (read_record(folder, MOVED_RECORD) or {}).get("to")
    answer.item(json.dumps({"have": have, "to": to}).encode("ascii"), item="arrival", state=state)


def _state(folder: int | None, request: dict[str, Any]) -> str:
    """What a run's coming would meet.

    Raises:
        RequestRefusal: another run has the id.
    """
    run = request["run"]
    if folder is None or not os.listdir(folder):
        return ABSENT
    record = read_record(folder, RUN_RECORD)
    if record is None:
        raise RequestRefusal(
            f"the volume has a folder of the run {run} with no record of it: is one of this id beginning there?"
        )
    if run_identity(record) != request["identity"]:
        raise RequestRefusal(f"the volume has another run {run}, so this one can't go on there under its id")
    if size_of(folder, MOVED_RECORD) is None:
        return THERE
    moved = read_record(folder, MOVED_RECORD) or {}
    return RETURNS if moved.get("to") == request["origin"] else ELSEWHERE


def _receive_files(request: dict[str, Any], answer: AnswerWriter) -> None:
    run = check_run_id(request["run"])
    name = f"{_COMING}{run}.{_token(request)}"
    try:
        top = make_root(request["run_log"])
        if request["first"]:
            _sweep_runs(request["run_log"], top, run)
            os.close(make_folder(top, [name]))
        coming = open_folder(top, [name])
        if coming is None:
            # Its last request may have been answered without being heard.
            if not request["last"] or _state(open_folder(top, [run]), request) != THERE:
                raise RequestRefusal(f"another client brings the run {run} here at the same time: try again")
        else:
            os.utime(coming)
            for piece in request["pieces"]:
                answer.alive()
                _receive_piece(coming, piece)
            if request["last"]:
                _arrive(request, top, coming, name, answer)
    except OSError as error:
        _remove(request["run_log"], name)
        raise RequestRefusal(f"the run log {request['run_log']} can't be written: {error.strerror}") from None
    answer.item(item="brought")


def _receive_piece(coming: int, piece: dict[str, Any]) -> None:
    path: str = piece["name"]
    if not is_file_of_run(path) or path == MOVED_RECORD:
        raise RequestRefusal(f"{path!r} is no file of a run's")
    *parts, name = path.split("/")
    folder = make_folder(coming, parts)
    try:
        _write_piece(folder, name, piece)
    finally:
        os.close(folder)


def _arrive(request: dict[str, Any], top: int, coming: int, name: str, answer: AnswerWriter) -> None:
    run = request["run"]
    folder = open_folder(top, [run])
    state = _state(folder, request)
    if folder is None or state == ABSENT:
        record = read_record(coming, RUN_RECORD)
        if not request["whole"] or record is None or run_identity(record) != request["identity"]:
            raise RequestRefusal(f"the run {run} has gone from the volume meanwhile: try again")
        os.close(make_folder(coming, [STEPS_FOLDER]))
        try:
            # Takes the place of an empty folder, and of no other.
            os.rename(name, run, src_dir_fd=top, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise RequestRefusal(f"a run {run} has just begun on the volume") from None
        return
    if state != RETURNS:
        _remove(request["run_log"], name)
        raise RequestRefusal(f"the run {run} is on the volume already")
    for path in sorted((path for path, _ in _files_below(coming, "") if is_file_of_run(path)), key=publication_order):
        answer.alive()
        *parts, file = path.split("/")
        source, target = open_folder(coming, parts), make_folder(folder, parts)
        if source is not None:
            give_name(source, file, target, file)
            os.close(source)
        os.close(target)
    # Last: from now on the run is this volume's again.
    os.unlink(MOVED_RECORD, dir_fd=folder)
    _remove(request["run_log"], name)


def _files_below(folder: int, path: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    """The regular files below a folder with their sizes."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in found:
        if is_folder:
            inner = open_folder(folder, [name]) if depth < DEEPEST else None
            if inner is not None:
                yield from _files_below(inner, f"{path}{name}/", depth + 1)
                os.close(inner)
        else:
            size = size_of(folder, name)
            if size is not None:
                yield path + name, size


def _sweep_runs(run_log: str, top: int, run: str) -> None:
    """Removes what killed clients left: of this run, which one client at a time brings, and of others after a while."""
    for name in os.listdir(top):
        if name.startswith((f"{_COMING}{run}.", _GONE)) or (name.startswith(_COMING) and _is_abandoned(top, name)):
            _remove(run_log, name)


def _remove(run_log: str, name: str) -> None:
    """Removes a folder in the run log under another name: who still writes in it finds that it has gone, and not half of it."""
    gone = os.path.join(run_log, f"{_GONE}{os.urandom(8).hex()}")
    try:
        os.rename(os.path.join(run_log, name), gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


# --- pieces ---------------------------------------------------------------------------------------------------------


def _write_piece(folder: int, name: str, piece: dict[str, Any]) -> int:
    """Writes a piece where it belongs in its file; returns how long that is now."""
    data, offset = base64.b64decode(piece["data"], validate=True), int(piece["offset"])
    file = open_to_write(folder, name)
    try:
        if not 0 <= offset <= os.fstat(file).st_size:
            raise RequestRefusal(f"what came before of {piece['name']} has gone from the volume: try again")
        # The same piece comes again when its answer was lost.
        os.ftruncate(file, offset)
        os.lseek(file, offset, os.SEEK_SET)
        write_all(file, data)
    finally:
        # A network file system may tell of a full disk only now.
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


def _token(request: dict[str, Any]) -> str:
    token: str = request["token"]
    if not _TOKEN.fullmatch(token):
        raise RequestRefusal(f"{token!r} is no token")
    return token


def _digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise RequestRefusal(f"{digest!r} is no object's hash")
    return digest


REQUESTS = {"lacking": _missing_objects, "put": _put, "arrival": _arrival, "bring": _receive_files}
