"""Answers a client that can't see the volume: what the pod that reads the cluster's claim runs.

``main.py --serve PROTOCOL SECONDS`` is the pod's container: it waits, and ends by itself SECONDS after the last request.
``main.py --store PROTOCOL`` is one request, an exec in that container: one line on standard input, the answer on standard
output.

**The request** is a JSON object, or its zlib form in base64 when it is long; ``do`` names one of:

- ``runs`` (run_log, have): all runs but those that the client has (``have``: the mark of the end by run id).
- ``records`` (run_log, run, identity, have, logs, steps): the files of a run that the client has not (``have``: sizes by path).
- ``objects`` (catalog, objects): objects of the catalog by their SHA-256.
- ``write`` (run_log, run, identity, files): publishes records of the client's that are not there yet; nothing is replaced.
- ``lacking``, ``put``, ``arrival`` and ``bring``: a run that comes from a client's machine, see ``upload.py``.

**The answer** is MAGIC, then blocks: one letter for its kind, four bytes for its length, and its bytes. PLAIN and PACKED (zlib)
blocks are pieces of one stream, ALIVE says that the answer goes on, and END holds the stream's length and CRC: without it the
answer is cut off, which an exec's connection does now and then without saying so. The stream is a row of items: a JSON
object on a line, whose ``size`` says how many bytes follow it. An item with ``error`` is the last one. What goes wrong later
than that is told on standard error, with the exit code FAULT and no END.
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
from ..shared.volume_protocol import (
    ALIVE,
    BLOCK,
    BLOCK_END,
    BLOCK_HEAD,
    END,
    LONGEST_REQUEST,
    MAGIC,
    NO_RUN,
    PACKED,
    PLAIN,
)
from .volume import (
    RequestRefusal,
    check_run_id,
    make_folder,
    make_root,
    open_file,
    open_folder,
    open_part,
    open_root,
    open_run,
    parts_of,
    publish,
    read_record,
    size_of,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn, Optional


_PULSE = 5.0
"""Seconds after which a client hears that the answer goes on."""
_UNPACKED = 15
"""How many blocks go as they are after one that got no smaller: what is packed already does not shrink later either."""


class ServerFault(Exception):
    """The answer can't be finished."""


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
    """Waits until no request has come for ``seconds``; the client that made the pod may be gone and can't remove it."""
    # Blocked signals are kept for sigtimedwait, also of process 1, for which the kernel drops others.
    ending = {signal.SIGTERM, signal.SIGINT}
    waited = ending | {signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    until = time.monotonic() + seconds
    while True:
        got = signal.sigtimedwait(waited, max(0.0, until - time.monotonic()))
        if got is not None and got.si_signo in ending:
            return
        if got is None and not _is_answering():
            return
        until = time.monotonic() + seconds


def _is_answering() -> bool:
    """Whether a request is being answered right now: a large object may take longer than the pod would wait."""
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return any(b"--store" in command_line(pid) for pid in others)


def _tell_server() -> None:
    """Lets the container's first process begin its wait anew."""
    if b"--serve" in command_line(1):
        try:
            os.kill(1, signal.SIGUSR1)
        except OSError:
            pass


# --- requests and answers -------------------------------------------------------------------------------------------


class AnswerWriter:
    """Writes items as blocks; what shrinks is packed, since the way to the client may be long."""

    def __init__(self, descriptor: int) -> None:
        self._to = descriptor
        self._held = bytearray()
        self._total = 0
        self._crc = 0
        self._skip = 0
        self._last = time.monotonic()
        write_all(self._to, MAGIC)

    def item(self, data: bytes = b"", **fields: Any) -> None:
        """An item with all of its bytes; of more than ``data``, ``size`` among the fields says how many."""
        fields.setdefault("size", len(data))
        self.add(json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n")
        self.add(data)

    def add(self, data: bytes) -> None:
        """Bytes of the item that was begun last."""
        self._total += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._held += data
        while len(self._held) >= BLOCK:
            self._send(bytes(self._held[:BLOCK]))
            del self._held[:BLOCK]

    def alive(self) -> None:
        """Called now and then by what takes long and has nothing to say."""
        if time.monotonic() - self._last >= _PULSE:
            self._flush()
            self._block(ALIVE, b"")

    def end(self) -> None:
        self._flush()
        self._block(END, BLOCK_END.pack(self._total, self._crc))

    def _flush(self) -> None:
        if self._held:
            self._send(bytes(self._held))
            self._held.clear()

    def _send(self, data: bytes) -> None:
        if self._skip:
            self._skip -= 1
        else:
            packed = zlib.compress(data, 1)
            if len(packed) < len(data) * 0.9:
                self._block(PACKED, packed)
                return
            self._skip = _UNPACKED
        self._block(PLAIN, data)

    def _block(self, kind: bytes, data: bytes) -> None:
        write_all(self._to, BLOCK_HEAD.pack(kind, len(data)) + data)
        self._last = time.monotonic()


def _answer(line: bytes) -> None:
    _tell_server()
    # What is made here is the steps' too: their group may write it.
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
    _tell_server()


def _parse_request(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise RequestRefusal("the request is cut off, or longer than 64 MB")
    if not line.startswith(b"{"):
        import base64

        line = zlib.decompress(base64.b64decode(line))
    request: dict[str, Any] = json.loads(line)
    return request


# --- reading --------------------------------------------------------------------------------------------------------


def _runs(request: dict[str, Any], answer: AnswerWriter) -> None:
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
            end_size = size_of(part, END_RECORD)
            # Of two parts the ends may have one size.
            mark = None if end_size is None else f"{number}:{end_size}"
            if mark is not None and have.get(name) == mark:
                answer.item(item="run", run=name, kept=True)
                continue
            # The end first: a run that has one then has all else too.
            end = read_record(part, END_RECORD) if mark is not None else None
            record = read_record(part, RUN_RECORD)
        finally:
            os.close(part)
        if record is not None:
            record.pop("plan", None)
            known = {"run": record, "end": end, "mark": mark}
            answer.item(json.dumps(known).encode("ascii"), item="run", run=name)


def _records(request: dict[str, Any], answer: AnswerWriter) -> None:
    folder = open_run(request["run_log"], request["run"])
    record = read_record(folder, RUN_RECORD) if folder is not None else None
    if folder is None or record is None:
        raise RequestRefusal(NO_RUN)
    have: dict[str, int] = request.get("have") or {}
    same = run_identity(record) == request.get("identity")
    if not same:
        # Another run had this id when the client looked last, or it never looked.
        have = {}
    *earlier, newest = parts_of(folder)
    # Opened before the steps are read and sent after them: a client that has it has all of the run.
    part = open_part(folder, newest)
    end = open_file(part, END_RECORD)
    moved = size_of(folder, MOVED_RECORD) is not None
    answer.item(item="records", new=not same, part=newest, ended=end is not None, moved=moved)
    if not same:
        _send_file(answer, folder, RUN_RECORD, RUN_RECORD, 0)
    if moved:
        # Even if the client has one: by its size it can't be told from that of another place.
        _send_file(answer, folder, MOVED_RECORD, MOVED_RECORD, 0)
    if newest:
        _send_record(answer, part, newest, RUN_RECORD, have)
    for number in earlier:
        # Not before the newest part's beginning: without it the run would seem to have ended.
        one = open_part(folder, number)
        if number:
            _send_record(answer, one, number, RUN_RECORD, have)
        _send_record(answer, one, number, END_RECORD, have)
        os.close(one)
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
    """Sends a part's record unless the client has it; what is published counts, also where the client wrote its own."""
    path = part_record_path(number, name)
    size = size_of(part, name)
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
    """Walks through steps and sends what the client has not."""

    def __init__(self, answer: AnswerWriter, have: dict[str, int], logs: bool) -> None:
        self._answer = answer
        self._have = have
        self._logs = logs

    def folder(self, folder: int, path: str, depth: int = 0) -> None:
        """Sends what lies in a folder and below it; closes it."""
        self._answer.alive()
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            self._files(folder, path, found)
            for name in sorted(found):
                if found[name] and FOLDER.fullmatch(name) and depth < DEEPEST:
                    inner = open_folder(folder, [name])
                    if inner is not None:
                        self.folder(inner, f"{path}/{name}", depth + 1)
        finally:
            os.close(folder)

    def _files(self, folder: int, path: str, found: dict[str, bool]) -> None:
        paths = {name: f"{path}/{name}" for name in STEP_FILES if name in found}
        wanted = [name for name, one in paths.items() if name != OUTPUT_FILE and one not in self._have]
        # The last first, so that each verdict is about what is sent before it, and all of it.
        opened = {name: open_file(folder, name) for name in reversed(wanted) if is_file_of_run(paths[name])}
        for name in STEP_FILES:
            if name == OUTPUT_FILE and name in paths and self._logs and is_file_of_run(paths[name]):
                known = self._have.get(paths[name])
                size = size_of(folder, name)
                if size is not None and size != known:
                    # A log that has become shorter is another one.
                    start = known if known is not None and known < size else 0
                    _send_file(self._answer, folder, name, paths[name], start)
            file = opened.get(name)
            if file is not None:
                _send_open(self._answer, file, paths[name], 0)


def _send_file(answer: AnswerWriter, folder: int, name: str, path: str, start: int) -> None:
    file = open_file(folder, name)
    if file is not None:
        _send_open(answer, file, path, start)


def _send_open(answer: AnswerWriter, file: int, path: str, start: int) -> None:
    """Sends a file from ``start`` to the end that it has now, and closes it."""
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


def _objects(request: dict[str, Any], answer: AnswerWriter) -> None:
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
            file = open_file(folder, digest)
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


def _write(request: dict[str, Any], answer: AnswerWriter) -> None:
    files: dict[str, str] = request["files"]
    for path in files:
        if not is_file_of_run(path) or not _is_clients(path):
            raise RequestRefusal(f"{path!r} is no record that a client writes")
    if RUN_RECORD in files:
        _make_run_folder(request)
    folder = open_run(request["run_log"], request["run"])
    if folder is None:
        raise RequestRefusal(NO_RUN)
    record = read_record(folder, RUN_RECORD)
    if record is not None and run_identity(record) != request["identity"]:
        raise RequestRefusal(f"the run {request['run']} on the volume is another one of this id")
    if record is None and RUN_RECORD not in files and any(path.startswith(CONTINUED_FOLDER) for path in files):
        raise RequestRefusal(NO_RUN)
    written = []
    # The run's beginning first, its end last: whoever sees the one may look for the others.
    for path in sorted(files, key=publication_order):
        answer.alive()
        *parts, name = path.split("/")
        inner = make_folder(folder, parts)
        if publish(inner, name, files[path].encode("utf-8")):
            written.append(path)
        os.close(inner)
    answer.item(json.dumps(written).encode("ascii"), item="written")


def _is_clients(path: str) -> bool:
    """Whether a file of a run is one that clients write; the others are the runtime's."""
    return not path.startswith(STEPS_FOLDER + "/") or path.endswith("/" + ENGINE_RECORD)


def _make_run_folder(request: dict[str, Any]) -> None:
    top = make_root(request["run_log"])
    try:
        os.close(make_folder(top, [check_run_id(request["run"])]))
    finally:
        os.close(top)


def _upload(request: dict[str, Any], answer: AnswerWriter) -> None:
    # Seldom needed, and each request is a process of its own.
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
