"""The program in the reader pod: it answers a client that can't see the volume itself.

``main.py --serve PROTOCOL SECONDS`` is the pod's container: it waits, and stops SECONDS after the last request.
``main.py --store PROTOCOL`` answers one request. It is an exec in that container, with the request as one line on standard input
and the answer (``answer.py``) on standard output.

The request is a JSON object, or its zlib form in base64 when it is long. Its ``do`` names one of:

- ``runs`` (run_log, have): all runs except those that the client has (``have``: the mark of the end by run id).
- ``records`` (run_log, run, identity, have, logs, steps): the files of a run that the client lacks (``have``: sizes by path).
- ``objects`` (catalog, objects): objects of the catalog by their SHA-256.
- ``write`` (run_log, run, identity, files): publishes records of the client's that are not there yet; nothing is replaced.
- ``lacking``, ``put``, ``arrival`` and ``bring``: a run that a client pushes to the volume, see ``upload.py``.

A request that can't be answered gets an item with ``error``. A fault in the middle of an answer is reported on standard error,
with the exit code FAULT and no END.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import zlib

from ..shared import layout
from ..shared.layout import object_folders
from ..shared.processes import command_line
from ..shared.protocol import (
    CONTINUED_FOLDER,
    END_RECORD,
    ENGINE_RECORD,
    FAULT,
    MOVED_RECORD,
    OUTPUT_FILE,
    PROTOCOL,
    RUN_RECORD,
    STEPS_FOLDER,
)
from ..shared.run_files import (
    DEEPEST,
    DIGEST,
    FOLDER,
    RUN_ID,
    STEP_FILES,
    is_file_of_run,
    part_record_path,
    publication_order,
    run_identity,
)
from ..shared.termination import give_up
from ..shared.volume_files import open_file, open_folder, size_of
from ..shared.volume_protocol import BLOCK, LONGEST_REQUEST, NO_RUN
from .answer import AnswerWriter
from .volume import (
    RequestRefusal,
    check_run_id,
    make_folder,
    make_root,
    open_part,
    open_root,
    open_run,
    parts_of,
    publish,
    read_run,
    read_run_end,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn, Optional

    from ..shared.documents import ListedRun, VolumeRequest


class ServerFault(Exception):
    """The answer can't be finished; the message says why."""


def main(argv: list[str]) -> NoReturn:
    """``main.py --serve PROTOCOL SECONDS`` and ``main.py --store PROTOCOL``."""
    try:
        if argv[2:3] != [str(PROTOCOL)]:
            spoken = argv[2] if len(argv) > 2 else "none"
            raise ServerFault(
                f"it speaks protocol {PROTOCOL} and was called with protocol {spoken}: use the image of this version"
            )
        if argv[1] == "--serve":
            _serve(float(argv[3]))
        else:
            _answer(sys.stdin.buffer.readline(LONGEST_REQUEST + 1))
        code = 0
    except ServerFault as error:
        code = give_up(str(error), os.getpid() == 1)
    except BrokenPipeError:
        # The client is gone.
        code = FAULT
    except OSError as error:
        code = give_up(f"{error.filename or 'the volume'}: {error.strerror}", os.getpid() == 1)
    except MemoryError:
        code = give_up("it ran out of memory", os.getpid() == 1)
    os._exit(code)


# --- waiting --------------------------------------------------------------------------------------------------------


def _serve(seconds: float) -> None:
    """Waits until no request has come for ``seconds``. The client that made the pod may be gone, and then nobody removes it."""
    # sigtimedwait takes signals that are blocked. For process 1 the kernel drops others that have no handler.
    ending = {signal.SIGTERM, signal.SIGINT}
    waited = ending | {signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    until = time.monotonic() + seconds
    while True:
        received = signal.sigtimedwait(waited, max(0.0, until - time.monotonic()))
        if received is not None and received.si_signo in ending:
            return
        if received is None and not _is_answering():
            return
        until = time.monotonic() + seconds


def _is_answering() -> bool:
    """Whether a request is being answered now: a large object may take longer than the pod waits."""
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return any(b"--store" in command_line(pid) for pid in others)


def _restart_wait() -> None:
    """Makes the container's first process begin its wait anew."""
    if b"--serve" in command_line(1):
        try:
            os.kill(1, signal.SIGUSR1)
        except OSError:
            pass


# --- a request --------------------------------------------------------------------------------------------------------


def _answer(line: bytes) -> None:
    _restart_wait()
    # The steps may write into the folders that are made here: their group is the same.
    os.umask(0o002)
    answer = AnswerWriter(1)
    try:
        request = _parse_request(line)
        _REQUESTS[request["do"]](request, answer)
    except RequestRefusal as error:
        answer.item(error=str(error))
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        answer.item(error=f"the request can't be understood ({type(error).__name__}: {error})")
    answer.end()
    _restart_wait()


def _parse_request(line: bytes) -> VolumeRequest:
    """The request, whose shape the functions that answer it check: a wrong type of a value is their error.

    Raises:
        RequestRefusal, ValueError, zlib.error: it is no request.
    """
    if not line.endswith(b"\n"):
        raise RequestRefusal("the request is cut off, or longer than 64 MB")
    if not line.startswith(b"{"):
        import base64

        line = zlib.decompress(base64.b64decode(line))
    request: VolumeRequest = json.loads(line)
    return request


# --- reading --------------------------------------------------------------------------------------------------------


def _runs(request: VolumeRequest, answer: AnswerWriter) -> None:
    have = request.get("have") or {}
    try:
        top = open_root(request["run_log"])
    except FileNotFoundError:
        names = []
    else:
        names = sorted(name for name in os.listdir(top) if RUN_ID.fullmatch(name))
    for name in names:
        answer.alive()
        folder = open_folder(top, [name])
        if folder is None:
            continue
        try:
            number = parts_of(folder)[-1]
            part = open_part(folder, number)
        finally:
            os.close(folder)
        try:
            end_size = size_of(END_RECORD, part)
            # The part's number too, because the ends of two parts may have the same size.
            mark = None if end_size is None else f"{number}:{end_size}"
            if mark is not None and have.get(name) == mark:
                answer.item(item="run", run=name, kept=True)
                continue
            # The end is read first. If there is one, everything else of the run is there, too.
            end = read_run_end(part) if mark is not None else None
            record = read_run(part)
        finally:
            os.close(part)
        if record is not None:
            record.pop("plan", None)
            listed: ListedRun = {"run": record, "end": end, "mark": mark}
            answer.item(json.dumps(listed).encode("ascii"), item="run", run=name)


def _records(request: VolumeRequest, answer: AnswerWriter) -> None:
    folder = open_run(request["run_log"], request["run"])
    record = read_run(folder) if folder is not None else None
    if folder is None or record is None:
        raise RequestRefusal(NO_RUN)
    sizes = request.get("have") or {}
    have = {path: size for path, size in sizes.items() if isinstance(size, int)}
    same = run_identity(record) == request.get("identity")
    if not same:
        # Another run had this id when the client asked last, or it asks for the first time.
        have = {}
    *earlier, newest = parts_of(folder)
    # The end is opened before the steps are read and sent after them, so that a client that has it has all of the run.
    part = open_part(folder, newest)
    end = open_file(END_RECORD, part)
    moved = size_of(MOVED_RECORD, folder) is not None
    answer.item(item="records", new=not same, part=newest, ended=end is not None, moved=moved)
    if not same:
        _send_file(answer, folder, RUN_RECORD, RUN_RECORD, 0)
    if moved:
        # Also if the client has one, because the mark of another place may have the same size.
        _send_file(answer, folder, MOVED_RECORD, MOVED_RECORD, 0)
    if newest:
        _send_record(answer, part, newest, RUN_RECORD, have)
    for number in earlier:
        # After the beginning of the newest part: without that the run would seem to have ended.
        earlier_part = open_part(folder, number)
        if number:
            _send_record(answer, earlier_part, number, RUN_RECORD, have)
        _send_record(answer, earlier_part, number, END_RECORD, have)
        os.close(earlier_part)
    sender = _Sender(answer, have, bool(request.get("logs", True)))
    for parts in _step_folders(request.get("steps")):
        inner = open_folder(folder, [STEPS_FOLDER, *parts])
        if inner is not None:
            sender.folder(inner, "/".join([STEPS_FOLDER, *parts]))
    if end is not None:
        path = part_record_path(newest, END_RECORD)
        if have.get(path) == os.fstat(end).st_size:
            os.close(end)
        else:
            _send_open(answer, end, path, 0)


def _send_record(answer: AnswerWriter, part: int, number: int, name: str, have: dict[str, int]) -> None:
    """Sends a record of a part unless the client has it, by its size. The volume's counts, also where the client wrote one."""
    path = part_record_path(number, name)
    size = size_of(name, part)
    if size is not None and have.get(path) != size:
        _send_file(answer, part, name, path, 0)


def _step_folders(paths: Optional[list[str]]) -> Iterator[list[str]]:
    if paths is None:
        yield []
        return
    for path in paths:
        parts = [layout.folder_name(part) for part in path.split("/")]
        if not all(parts):
            raise RequestRefusal(f"{path!r} is no step's path")
        yield parts


class _Sender:
    """Sends the files of steps that the client lacks."""

    def __init__(self, answer: AnswerWriter, have: dict[str, int], logs: bool) -> None:
        self._answer = answer
        self._have = have
        self._logs = logs

    def folder(self, folder: int, path: str, depth: int = 0) -> None:
        """Sends the files in a folder and below it; closes the folder."""
        self._answer.alive()
        try:
            with os.scandir(folder) as entries:
                is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            self._files(folder, path, is_folder)
            for name in sorted(is_folder):
                if is_folder[name] and FOLDER.fullmatch(name) and depth < DEEPEST:
                    inner = open_folder(folder, [name])
                    if inner is not None:
                        self.folder(inner, f"{path}/{name}", depth + 1)
        finally:
            os.close(folder)

    def _files(self, folder: int, path: str, names: Iterable[str]) -> None:
        """Sends the files of an attempt, as far as ``names`` has them."""
        paths = {name: f"{path}/{name}" for name in STEP_FILES if name in names}
        missing = [name for name in paths if name != OUTPUT_FILE and paths[name] not in self._have]
        # They are opened in reverse order, so that all that a verdict is about is there and sent before it.
        opened = {name: open_file(name, folder) for name in reversed(missing) if is_file_of_run(paths[name])}
        for name in STEP_FILES:
            if name == OUTPUT_FILE and name in paths and self._logs and is_file_of_run(paths[name]):
                had = self._have.get(paths[name])
                size = size_of(name, folder)
                if size is not None and size != had:
                    # A log that has become shorter is another log.
                    start = had if had is not None and had < size else 0
                    _send_file(self._answer, folder, name, paths[name], start)
            file = opened.get(name)
            if file is not None:
                _send_open(self._answer, file, paths[name], 0)


def _send_file(answer: AnswerWriter, folder: int, name: str, path: str, start: int) -> None:
    file = open_file(name, folder)
    if file is not None:
        _send_open(answer, file, path, start)


def _send_open(answer: AnswerWriter, file: int, path: str, start: int) -> None:
    """Sends a file from ``start`` to its present end, and closes it."""
    try:
        size = os.fstat(file).st_size - start
        answer.item(item="file", path=path, offset=start, size=size)
        os.lseek(file, start, os.SEEK_SET)
        _copy(answer, file, size, path)
    finally:
        os.close(file)


def _copy(answer: AnswerWriter, file: int, size: int, name: str) -> None:
    while size > 0:
        data = os.read(file, min(size, BLOCK))
        if not data:
            raise ServerFault(f"{name} became shorter while it was read")
        answer.add(data)
        size -= len(data)


def _objects(request: VolumeRequest, answer: AnswerWriter) -> None:
    try:
        top = open_root(request["catalog"])
    except FileNotFoundError:
        top = -1
    for digest in request["objects"]:
        if not DIGEST.fullmatch(digest):
            raise RequestRefusal(f"{digest!r} is no object's hash")
        file = None
        folder = open_folder(top, object_folders(digest)) if top >= 0 else None
        if folder is not None:
            file = open_file(digest, folder)
            os.close(folder)
        if file is None:
            answer.item(item="object", sha256=digest, missing=True)
            continue
        try:
            size = os.fstat(file).st_size
            answer.item(item="object", sha256=digest, size=size)
            _copy(answer, file, size, f"the object {digest}")
        finally:
            os.close(file)


# --- writing --------------------------------------------------------------------------------------------------------


def _write(request: VolumeRequest, answer: AnswerWriter) -> None:
    files = request["files"]
    for path in files:
        if not is_file_of_run(path) or not _is_written_by_client(path):
            raise RequestRefusal(f"{path!r} is no record that a client writes")
    if RUN_RECORD in files:
        _make_run_folder(request)
    folder = open_run(request["run_log"], request["run"])
    if folder is None:
        raise RequestRefusal(NO_RUN)
    record = read_run(folder)
    if record is not None and run_identity(record) != request["identity"]:
        raise RequestRefusal(f"the volume has another run {request['run']}")
    if record is None and RUN_RECORD not in files and any(path.startswith(CONTINUED_FOLDER) for path in files):
        raise RequestRefusal(NO_RUN)
    written = []
    # The run's beginning first and its end last, because a reader that sees one file may look for those before it.
    for path in sorted(files, key=publication_order):
        answer.alive()
        *parts, name = path.split("/")
        inner = make_folder(folder, parts)
        if publish(inner, name, files[path].encode("utf-8")):
            written.append(path)
        os.close(inner)
    answer.item(json.dumps(written).encode("ascii"), item="written")


def _is_written_by_client(path: str) -> bool:
    """Whether clients write this file of a run; the runtime writes the others."""
    return not path.startswith(STEPS_FOLDER + "/") or path.endswith("/" + ENGINE_RECORD)


def _make_run_folder(request: VolumeRequest) -> None:
    top = make_root(request["run_log"])
    try:
        os.close(make_folder(top, [check_run_id(request["run"])]))
    finally:
        os.close(top)


def _upload(request: VolumeRequest, answer: AnswerWriter) -> None:
    # Imported here, because it is seldom needed and each request is a process of its own.
    from .upload import REQUESTS

    REQUESTS[request["do"]](request, answer)


_REQUESTS = {
    "runs": _runs,
    "records": _records,
    "objects": _objects,
    "write": _write,
    "lacking": _upload,
    "put": _upload,
    "arrival": _upload,
    "bring": _upload,
}
