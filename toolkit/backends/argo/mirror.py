"""What this machine has of the volume on a cluster: a private folder laid out as the volume is.

``RunLog`` and ``FileStore`` read it like any other volume. Records and objects never change, so they are fetched once; logs grow
and are fetched from where they ended; a run that has ended and is here whole needs the cluster no more.

What comes from the cluster is not trusted: a step's code can write on the volume. Only names that a run's files have are
written, sizes must be as announced, links are neither followed nor made, and an object's content must have its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from toolkit import names
from toolkit.backends import volumes
from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.reader_pod import Broken, Reader
from toolkit.config.consistency import volume_of
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime import serve
from toolkit.runtime.catalog import StoreFault
from toolkit.runtime.protocol import END_RECORD, ENGINE_RECORD, MOVED_RECORD, OUTPUT_FILE, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.records import encode, read
from toolkit.store.reader import NoRun

Progress = Callable[[int, int, float], None]
"""Told of a transfer now and then and at its end: bytes so far, bytes announced so far, bytes a second."""

_TRIES = 3
"""How often something is asked for when the connection breaks; what came whole is not asked for again."""
_NOISE = 64 * 1024
_LONGEST_HEADER = 64 * 1024
_LONGEST_DOCUMENT = 64 * 1024 * 1024
_BATCH = 4 * 1024 * 1024
"""Bytes of records in one request to write."""
_TOLD = 0.1


class Mirror:
    """The mirror of a project's run log and catalog on one cluster, in one namespace.

    Attributes:
        run_log: the folder for ``RunLog``. catalog: the folder for ``FileStore``; None where nothing is stored.
        claims: what a reader pod mounts: names of claims with their mount paths.

    Raises:
        BadInput: the run log or the catalog lies on no volume. Infrastructure: the folder can't be made.
    """

    def __init__(self, project: Project, cluster: Cluster) -> None:
        config = project.config
        self._remote_log = config.run_log_store.log_folder
        stores = config.catalog.type != "do-nothing"
        self._remote_catalog = config.catalog.catalog_location if stores else None
        top = project.state / "cluster"
        volumes.make_private_state(project)
        try:
            # Records hold no secrets, but values, and what the steps printed.
            top.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Infrastructure(f"{top} can't be made: {error.strerror}") from None
        home, self.run_log, claim = _place(project, cluster, top, self._remote_log)
        claims = [claim]
        self.catalog: Path | None = None
        if self._remote_catalog is not None:
            _, self.catalog, claim = _place(project, cluster, top, self._remote_catalog)
            claims += [claim] if claim not in claims else []
        self.claims: tuple[tuple[str, str], ...] = tuple(claims)
        self._listing = home / "listing"
        self._complete = home / "complete"
        self._trash = home / "trash"

    # --- runs -------------------------------------------------------------------------------------------------------

    def runs(self, pod: Reader) -> list[dict[str, Any]]:
        """All runs on the volume, the newest last: ``run`` is run.json without its plan, ``end`` is end.json or None.

        Raises:
            Infrastructure: there is no answer.
        """
        known = {name: document for name in _files_in(self._listing) if (document := self._listed(name)) is not None}
        have = {name: document["end_size"] for name, document in known.items()}

        def make() -> tuple[dict[str, Any], _Documents]:
            return {"do": "runs", "run_log": self._remote_log, "have": have}, _Documents()

        answer = self._ask(pod, make)
        found = []
        for fields, data in answer.items:
            name = fields.get("run")
            if not isinstance(name, str) or not serve.RUN_ID.fullmatch(name):
                raise _unreadable("a run id")
            document = known.get(name) if fields.get("kept") else _checked_listing(data)
            if document is None:
                continue
            found.append(document)
            if not fields.get("kept") and document["end"] is not None:
                _write(self._listing / name, data)
        there = {fields["run"] for fields, _ in answer.items}
        for name in known.keys() - there:
            (self._listing / name).unlink(missing_ok=True)
        found.sort(key=lambda one: (str(one["run"].get("started")), str(one["run"].get("run_id"))))
        return [{"run": one["run"], "end": one["end"]} for one in found]

    def _listed(self, name: str) -> dict[str, Any] | None:
        try:
            return _checked_listing((self._listing / name).read_bytes())
        except (OSError, Infrastructure):
            return None

    # --- one run ----------------------------------------------------------------------------------------------------

    def run_folder(self, run_id: str) -> Path:
        """Where a run's records lie on this machine, also when there are none yet.

        Raises:
            NoRun: that can't be a run's id.
        """
        try:
            return self.run_log / names.run_id(run_id)
        except BadInput:
            raise NoRun(run_id) from None

    def is_complete(self, run_id: str) -> bool:
        """Whether the run has ended and all of its records and logs are here, so that no pod is needed."""
        folder = self.run_folder(run_id)
        try:
            marked = (self._complete / run_id).read_text()
        except OSError:
            return False
        return marked == _identity_of(folder) and (folder / END_RECORD).exists()

    def forget(self, run_id: str) -> None:
        """Has the run looked at on the cluster again: something goes on with it, or one of its id begins."""
        self.run_folder(run_id)
        for folder in (self._complete, self._listing):
            (folder / run_id).unlink(missing_ok=True)

    def sync(
        self,
        pod: Reader,
        run_id: str,
        logs: bool = True,
        steps: Iterable[str] | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Fetches what this machine has not of a run; returns its folder.

        A second process may do the same at the same time. A reader meanwhile never sees a verdict before the log it is about.

        Args:
            logs: whether to fetch the steps' output. steps: paths of steps; None is all of them.

        Raises:
            NoRun: there is none on the volume. Infrastructure: there is no answer, or the disk is full.
        """
        folder = self.run_folder(run_id)
        wanted = list(steps) if steps is not None else None

        def make() -> tuple[dict[str, Any], _Records]:
            request: dict[str, Any] = {
                "do": "records",
                "run_log": self._remote_log,
                "run": run_id,
                "identity": _identity_of(folder),
                "have": dict(_have(folder)),
                "logs": logs,
            }
            if wanted is not None:
                request["steps"] = wanted
            return request, _Records(folder, request["identity"], self._trash, _Meter(progress))

        try:
            answer = self._ask(pod, make)
        except _Told as error:
            if error.message == serve.NO_RUN:
                raise NoRun(run_id) from None
            raise
        if answer.ended and logs and wanted is None:
            _write(self._complete / run_id, (_identity_of(folder) or "").encode())
        return folder

    def push(self, pod: Reader, run_id: str) -> list[str]:
        """Publishes on the volume what clients write of a run and only this machine has; returns the paths written.

        These are the run's record, what the engine said of attempts, and at last the run's end. Nothing there is replaced.

        Raises:
            NoRun: this machine knows of no such run. Infrastructure: there is no answer, or the volume can't be written.
        """
        folder = self.run_folder(run_id)
        identity = _identity_of(folder)
        if identity is None:
            raise NoRun(run_id)
        written: list[str] = []
        for files in _batches(folder):
            request = {"do": "write", "run_log": self._remote_log, "run": run_id, "identity": identity, "files": files}

            def make(request: dict[str, Any] = request) -> tuple[dict[str, Any], _Documents]:
                return request, _Documents()

            for _, data in self._ask(pod, make).items:
                written += [str(path) for path in json.loads(data)]
        return written

    # --- the catalog ------------------------------------------------------------------------------------------------

    def object(self, pod: Reader, sha256: str, progress: Progress | None = None) -> Path:
        """An object of the catalog, fetched unless it is here; its content has the hash.

        Raises:
            StoreFault: it is not in the catalog, or damaged there. Infrastructure: there is no answer, or the disk is full.
        """
        return self.objects(pod, [sha256], progress)[sha256]

    def objects(self, pod: Reader, digests: Iterable[str], progress: Progress | None = None) -> dict[str, Path]:
        """Several objects at once, by hash (see :meth:`object`)."""
        if self.catalog is None:
            raise StoreFault("this catalog stores nothing (its type is do-nothing), so nothing can be got from it")
        catalog = self.catalog
        paths = {digest: _object_path(catalog, digest) for digest in digests}
        meter = _Meter(progress)

        def make() -> tuple[dict[str, Any], _Objects]:
            missing = [digest for digest, path in paths.items() if not path.exists()]
            request = {"do": "objects", "catalog": self._remote_catalog, "objects": missing}
            return request, _Objects(catalog, set(missing), meter)

        if not all(path.exists() for path in paths.values()):
            self._ask(pod, make)
        return paths

    # --- asking -----------------------------------------------------------------------------------------------------

    def _ask(self, pod: Reader, make: Callable[[], tuple[dict[str, Any], _S]]) -> _S:
        """Asks until an answer came whole, at most ``_TRIES`` times."""
        for left in reversed(range(_TRIES)):
            request, sink = make()
            stream = _Stream(sink)
            try:
                pod.exec(request, stream.feed)
                if not stream.whole:
                    raise Broken("the answer of the pod that reads the volume was cut off")
                sink.finish()
                return sink
            except Broken:
                if not left:
                    raise
            except FileNotFoundError:
                # Another process put away the run that had this id before, while this one wrote below it.
                if not left:
                    raise Infrastructure(
                        f"{self.run_log} changes all the time while it is written: try again"
                    ) from None
            except OSError as error:
                where = error.filename or self.run_log
                raise Infrastructure(f"{where} can't be written: {error.strerror}") from None
            finally:
                sink.close()
        raise AssertionError


def _place(project: Project, cluster: Cluster, top: Path, path: str) -> tuple[Path, Path, tuple[str, str]]:
    """The mirror's own folder for the claim that ``path`` lies on, the path in it, and the claim."""
    volume = volume_of(path, project.config.executor.config.persistent_volumes)
    if volume is None:
        raise BadInput(f"{path} lies on no volume: it must be below a mount_path of executor.config.persistent_volumes")
    home = top / _key(cluster, volume.name)
    inside = PurePosixPath(path).relative_to(volume.mount_path)
    return home, home / "volume" / inside, (volume.name, volume.mount_path)


def _key(cluster: Cluster, claim: str) -> str:
    """One name for one claim of one cluster; test clusters follow one another at one address, each with a CA of its own."""
    file = cluster.api_client.configuration.ssl_ca_cert
    try:
        authority = Path(file).read_bytes() if file else b""
    except OSError:
        authority = b""
    parts = (cluster.server.encode(), authority, cluster.namespace.encode(), claim.encode())
    return f"{claim[:40]}-{hashlib.sha256(encode([part.hex() for part in parts])).hexdigest()[:16]}"


# --- what is here ---------------------------------------------------------------------------------------------------


def _identity_of(folder: Path) -> str | None:
    try:
        record = read(str(folder / RUN_RECORD))
    except (OSError, ValueError, RecursionError):
        return None
    return serve.identity(record) if record is not None else None


def _have(folder: Path) -> Iterator[tuple[str, int]]:
    """The files of a run that are here, with their sizes."""
    for name in (RUN_RECORD, END_RECORD, MOVED_RECORD):
        try:
            yield name, (folder / name).stat().st_size
        except OSError:
            pass
    for path, entry in _below(folder / STEPS_FOLDER, STEPS_FOLDER):
        if serve.is_file_of_run(path):
            yield path, entry.stat(follow_symlinks=False).st_size


def _below(folder: Path, path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, f"{path}/{entry.name}")
        elif entry.is_file(follow_symlinks=False):
            yield f"{path}/{entry.name}", entry


def _batches(folder: Path) -> Iterator[dict[str, str]]:
    """The records that a client writes, in requests of a size; the run's own first, its end last."""
    engines = [path for path, _ in _have(folder) if path.rpartition("/")[2] == ENGINE_RECORD]
    ends = [END_RECORD] if (folder / END_RECORD).exists() else []
    files: dict[str, str] = {}
    size = 0
    moved = [MOVED_RECORD] if (folder / MOVED_RECORD).exists() else []
    for path in [RUN_RECORD, *moved, *engines, *ends]:
        text = (folder / path).read_text("utf-8")
        if files and size + len(text) > _BATCH:
            yield files
            files, size = {}, 0
        files[path] = text
        size += len(text)
    yield files


def _files_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if serve.RUN_ID.fullmatch(name)]
    except FileNotFoundError:
        return []


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise Infrastructure(f"{path} can't be written: {error.strerror}") from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def _object_path(catalog: Path, digest: str) -> Path:
    if not serve.DIGEST.fullmatch(digest):
        raise StoreFault(f"{digest!r} is no object's hash")
    return catalog / "objects" / digest[:2] / digest


# --- an answer ------------------------------------------------------------------------------------------------------


class _Told(Infrastructure):
    """What the other side says is wrong."""


def _unreadable(what: str) -> Infrastructure:
    return Infrastructure(
        f"the pod that reads the volume gave an answer that can't be understood ({what}): is its image of this version?"
    )


class _Sink:
    """Takes an answer's items, one after the other."""

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        raise NotImplementedError

    def data(self, data: bytes) -> None:
        """A piece of the item that was begun last."""

    def end(self) -> None:
        """The item is whole."""

    def finish(self) -> None:
        """The answer is whole."""

    def close(self) -> None:
        """Lets go of what an answer that was cut off left half done."""


_S = TypeVar("_S", bound=_Sink)


class _Stream:
    """Takes an answer apart, piece by piece as it comes (see ``runtime/serve.py``).

    Attributes:
        whole: whether its end was seen and nothing is missing.
    """

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._raw = bytearray()
        self._begun = False
        self._total = 0
        self._crc = 0
        self._header = bytearray()
        self._left = 0
        self._open = False
        self.whole = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the exec's output."""
        self._raw += data
        if not self._begun:
            start = self._raw.find(serve.MAGIC)
            if start < 0:
                if len(self._raw) > _NOISE:
                    raise _unreadable("it does not begin")
                return
            del self._raw[: start + len(serve.MAGIC)]
            self._begun = True
        used = 0
        while len(self._raw) - used >= serve.BLOCK_HEAD.size:
            kind, length = serve.BLOCK_HEAD.unpack_from(self._raw, used)
            if length > serve.BLOCK + 1024:
                raise _unreadable("a block's length")
            end = used + serve.BLOCK_HEAD.size + length
            if len(self._raw) < end:
                break
            self._block(kind, bytes(self._raw[used + serve.BLOCK_HEAD.size : end]))
            used = end
        del self._raw[:used]

    def _block(self, kind: bytes, data: bytes) -> None:
        if self.whole:
            raise _unreadable("it goes on after its end")
        if kind == serve.PACKED:
            data = _unpacked(data)
        if kind in (serve.PLAIN, serve.PACKED):
            self._total += len(data)
            self._crc = zlib.crc32(data, self._crc)
            self._items(data)
        elif kind == serve.END:
            if data != serve.BLOCK_END.pack(self._total, self._crc) or self._open or self._header:
                raise Broken("the answer of the pod that reads the volume came damaged")
            self.whole = True
        elif kind != serve.ALIVE:
            raise _unreadable("a block's kind")

    def _items(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._open:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                self._sink.data(piece)
                self._end_if_whole()
                continue
            line_end = data.find(b"\n", position)
            self._header += data[position : line_end if line_end >= 0 else len(data)]
            if len(self._header) > _LONGEST_HEADER:
                raise _unreadable("a header's length")
            if line_end < 0:
                return
            position = line_end + 1
            self._begin()

    def _begin(self) -> None:
        try:
            fields = json.loads(bytes(self._header))
            size = fields["size"]
        except (ValueError, TypeError, KeyError):
            raise _unreadable("a header") from None
        self._header.clear()
        if not isinstance(fields, dict) or not isinstance(size, int) or size < 0:
            raise _unreadable("a size")
        if "error" in fields:
            raise _Told(str(fields["error"])[:1000])
        self._sink.begin(fields, size)
        self._left, self._open = size, True
        self._end_if_whole()

    def _end_if_whole(self) -> None:
        if self._left == 0:
            self._open = False
            self._sink.end()


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, serve.BLOCK)
    except zlib.error:
        raise Broken("the answer of the pod that reads the volume came damaged") from None
    if not unpacker.eof:
        raise _unreadable("a packed block")
    return plain


class _Meter:
    """Counts a transfer and tells of it, not too often."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._told = 0.0
        self._done = 0
        self._announced = 0

    def announce(self, size: int) -> None:
        self._announced += size

    def count(self, size: int) -> None:
        self._done += size
        if self._progress is not None and time.monotonic() - self._told >= _TOLD:
            self.tell()

    def tell(self) -> None:
        if self._progress is not None:
            self._told = time.monotonic()
            self._progress(self._done, self._announced, self._done / max(self._told - self._began, 1e-6))


class _Documents(_Sink):
    """Keeps each item in memory."""

    def __init__(self) -> None:
        self.items: list[tuple[dict[str, Any], bytes]] = []
        self._fields: dict[str, Any] = {}
        self._data = bytearray()

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        if size > _LONGEST_DOCUMENT:
            raise _unreadable("a document's size")
        self._fields, self._data = dict(fields), bytearray()

    def data(self, data: bytes) -> None:
        self._data += data

    def end(self) -> None:
        self.items.append((self._fields, bytes(self._data)))


def _checked_listing(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
        if isinstance(document["run"], dict) and isinstance(document["end"], dict | None):
            return {key: document[key] for key in ("run", "end", "end_size")}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise _unreadable("a run")


class _Records(_Sink):
    """Writes the files of a run."""

    def __init__(self, folder: Path, identity: str | None, trash: Path, meter: _Meter) -> None:
        self.ended = False
        self._folder = folder
        self._identity = identity
        self._trash = trash
        self._meter = meter
        self._made: set[Path] = set()
        self._path = Path()
        self._temporary: Path | None = None
        self._file = -1
        self._position = 0
        self._end: Path | None = None

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        if fields.get("item") == "records":
            self.ended = fields.get("ended") is True
            # Only the run that was asked about: another process may have put the new one here since then.
            if (
                fields.get("new") is True
                and self._identity is not None
                and _identity_of(self._folder) == self._identity
            ):
                self._clear()
            return
        path, offset = fields.get("path"), fields.get("offset")
        if not isinstance(path, str) or not serve.is_file_of_run(path) or not isinstance(offset, int) or offset < 0:
            raise _unreadable("a file's name")
        self._meter.announce(size)
        self._path = self._folder / path
        if self._path.parent not in self._made:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._path.name == OUTPUT_FILE and self._goes_on(offset):
            # Written where it belongs and not appended: of two processes each writes the same there.
            self._file, self._position = os.open(self._path, flags, 0o600), offset
            return
        if offset:
            raise _unreadable("a file's beginning")
        self._temporary, self._position = _temporary(self._path), 0
        self._file = os.open(self._temporary, flags | os.O_EXCL, 0o600)

    def _goes_on(self, offset: int) -> bool:
        try:
            here = os.stat(self._path, follow_symlinks=False).st_size
        except FileNotFoundError:
            here = 0
        # From its beginning although there is something here: it is another log.
        return offset <= here and not (offset == 0 and here > 0)

    def _clear(self) -> None:
        """Puts away the run that had this id before."""
        self._trash.mkdir(parents=True, exist_ok=True)
        away = self._trash / os.urandom(8).hex()
        try:
            os.rename(self._folder, away)
        except FileNotFoundError:
            return
        shutil.rmtree(away, ignore_errors=True)

    def data(self, data: bytes) -> None:
        if self._file < 0:
            raise _unreadable("an item's size")
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, self._position)
            self._position += written
            view = view[written:]
        self._meter.count(len(data))

    def end(self) -> None:
        if self._file < 0:
            return
        file, self._file = self._file, -1
        os.close(file)
        if self._temporary is None:
            return
        if self._path == self._folder / END_RECORD:
            # Not before the whole answer is known to be right: it says that the run is here whole.
            self._end, self._temporary = self._temporary, None
            return
        os.replace(self._temporary, self._path)
        self._temporary = None

    def finish(self) -> None:
        if self._end is not None:
            os.replace(self._end, self._folder / END_RECORD)
            self._end = None
        self._meter.tell()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        for left in (self._temporary, self._end):
            if left is not None:
                left.unlink(missing_ok=True)


class _Objects(_Sink):
    """Writes objects of the catalog."""

    def __init__(self, catalog: Path, wanted: set[str], meter: _Meter) -> None:
        self._catalog = catalog
        self._wanted = wanted
        self._meter = meter
        self._digest = ""
        self._hasher = hashlib.sha256()
        self._absent: list[str] = []
        self._file = -1
        self._temporary: Path | None = None

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        digest = fields.get("sha256")
        if digest not in self._wanted:
            raise _unreadable("an object")
        if fields.get("missing"):
            self._absent.append(f"the object {digest} is not in the catalog (was it put with store_copy: false?)")
            self._wanted.discard(str(digest))
            return
        self._digest, self._hasher = str(digest), hashlib.sha256()
        incoming = self._catalog / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(incoming).free) < size:
            raise Infrastructure(f"{self._catalog} has {free} bytes free, and the object {digest} has {size}")
        self._meter.announce(size)
        self._temporary = incoming / os.urandom(8).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._temporary, flags, 0o600)

    def data(self, data: bytes) -> None:
        if self._file < 0:
            raise _unreadable("an item's size")
        self._hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._meter.count(len(data))

    def end(self) -> None:
        if self._temporary is None:
            return
        file, self._file = self._file, -1
        os.close(file)
        self._wanted.discard(self._digest)
        if self._hasher.hexdigest() != self._digest:
            self._absent.append(f"the object {self._digest} in the catalog is damaged: its content has another hash")
            self._temporary.unlink()
        else:
            path = _object_path(self._catalog, self._digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._temporary, path)
        self._temporary = None

    def finish(self) -> None:
        if self._wanted:
            raise _unreadable("an object that was asked for is not in it")
        self._meter.tell()
        if self._absent:
            # Only now: the others are wanted all the same.
            more = f" (and {len(self._absent) - 1} more)" if len(self._absent) > 1 else ""
            raise StoreFault(self._absent[0] + more)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
