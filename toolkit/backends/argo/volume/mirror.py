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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from toolkit import names
from toolkit.backends import volumes
from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.volume.answer import (
    AnswerStream,
    DocumentSink,
    Meter,
    Progress,
    ServerError,
    Sink,
    unreadable,
)
from toolkit.backends.argo.volume.mirror_files import (
    ObjectSink,
    RecordSink,
    files_of_run,
    identity_of,
    object_path,
    temporary_path,
)
from toolkit.backends.argo.volume.pieces import Piece, batches
from toolkit.backends.argo.volume.reader import BrokenConnection, Reader
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared import volume_protocol
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import END_RECORD, ENGINE_RECORD, MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.shared.records import encode, read
from toolkit.runtime.shared.run_files import RUN_ID, part_record_path, publication_order
from toolkit.store.reader import NoRun, newest_part

_TRIES = 3
"""How often something is asked for when the connection breaks; what came whole is not asked for again."""
_BATCH = 4 * 1024 * 1024
"""Bytes of records in one request to write."""
_S = TypeVar("_S", bound=Sink)


@dataclass(frozen=True)
class Arrival:
    """What a run that would come to the volume meets there.

    Attributes:
        state: absent, returns (it had been moved to where it comes from), there, or elsewhere (see ``runtime/server/upload.py``).
        have: the files that are there already, with their sizes. to: where it has gone, of one that is elsewhere.
    """

    state: str
    have: Mapping[str, int]
    to: Mapping[str, Any]


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
        known = {
            name: document for name in _files_in(self._listing) if (document := self._read_listing(name)) is not None
        }
        marks = {name: document["mark"] for name, document in known.items()}

        def make() -> tuple[dict[str, Any], DocumentSink]:
            return {"do": "runs", "run_log": self._remote_log, "have": marks}, DocumentSink()

        answer = self._ask(pod, make)
        found = []
        for fields, data in answer.items:
            name = fields.get("run")
            if not isinstance(name, str) or not RUN_ID.fullmatch(name):
                raise unreadable("a run id")
            document = known.get(name) if fields.get("kept") else parse_listing(data)
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

    def _read_listing(self, name: str) -> dict[str, Any] | None:
        try:
            return parse_listing((self._listing / name).read_bytes())
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
        """Whether the run had ended when it was looked at, and all of its records and logs are here, so that no pod is needed.

        It may have gone on since, from another machine; only who asks the cluster learns that, and :meth:`forget` has it fetched.
        """
        folder = self.run_folder(run_id)
        try:
            marked = (self._complete / run_id).read_text()
        except OSError:
            return False
        end = newest_part(folder) / END_RECORD
        return marked == _mark(folder, end.relative_to(folder).as_posix()) and end.exists()

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

        def make() -> tuple[dict[str, Any], RecordSink]:
            request: dict[str, Any] = {
                "do": "records",
                "run_log": self._remote_log,
                "run": run_id,
                "identity": identity_of(folder),
                "have": dict(files_of_run(folder)),
                "logs": logs,
            }
            if wanted is not None:
                request["steps"] = wanted
            return request, RecordSink(folder, request["identity"], self._trash, Meter(progress))

        try:
            answer = self._ask(pod, make)
        except ServerError as error:
            if error.message == volume_protocol.NO_RUN:
                raise NoRun(run_id) from None
            raise
        if answer.ended and logs and wanted is None:
            _write(self._complete / run_id, _mark(folder, part_record_path(answer.part, END_RECORD)).encode())
        return folder

    def push(self, pod: Reader, run_id: str) -> list[str]:
        """Publishes on the volume what clients write of a run and only this machine has; returns the paths written.

        These are the run's records of each part, what the engine said of attempts, and at last the ends. Nothing there is
        replaced. That it was moved is not among them (:meth:`mark_moved`): it may have come back since.

        Raises:
            NoRun: this machine knows of no such run. Infrastructure: there is no answer, or the volume can't be written.
        """
        folder = self.run_folder(run_id)
        written: list[str] = []
        for files in _batches(folder):
            written += self._publish(pod, run_id, files)
        return written

    def mark_moved(self, pod: Reader, run_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Marks a run on the volume as moved elsewhere; returns the mark that counts, which is that of the first client.

        Raises:
            NoRun: this machine knows of no such run. Infrastructure: there is no answer, or the volume can't be written.
        """
        folder = self.run_folder(run_id)
        try:
            # The run's record too: the volume may have nothing of it, when none of its containers came as far.
            files = {RUN_RECORD: (folder / RUN_RECORD).read_text("utf-8"), MOVED_RECORD: encode(dict(record)).decode()}
        except OSError:
            raise NoRun(run_id) from None
        written = self._publish(pod, run_id, files)
        self.sync(pod, run_id)
        if MOVED_RECORD in written:
            return dict(record)
        try:
            return read(str(folder / MOVED_RECORD)) or {}
        except (OSError, ValueError):
            return {}

    def _publish(self, pod: Reader, run_id: str, files: Mapping[str, str]) -> list[str]:
        identity = identity_of(self.run_folder(run_id))
        if identity is None:
            raise NoRun(run_id)
        request = {"do": "write", "run_log": self._remote_log, "run": run_id, "identity": identity, "files": files}
        written: list[str] = []
        for _, data in self._ask(pod, lambda: (request, DocumentSink())).items:
            written += [str(path) for path in json.loads(data)]
        return written

    # --- a run of this machine's that comes to the volume -------------------------------------------------------------

    def arrival(self, pod: Reader, source: Path, origin: Mapping[str, Any]) -> Arrival:
        """What a run would meet on the volume.

        Args:
            source: the run's folder on this machine. origin: where it comes from, as a mark that it was moved says it.

        Raises:
            Infrastructure: another run has its id there, or there is no answer.
        """
        request = self._upload_request("arrival", source, origin)
        for fields, data in self._ask(pod, lambda: (request, DocumentSink())).items:
            try:
                known = json.loads(data)
                files = {str(path): int(size) for path, size in known["have"].items()}
                return Arrival(str(fields.get("state")), files, known["to"] or {})
            except (ValueError, TypeError, KeyError, AttributeError):
                break
        raise unreadable("a run's arrival")

    def bring(self, pod: Reader, source: Path, origin: Mapping[str, Any], progress: Progress | None = None) -> None:
        """Brings a run's records and logs to the volume: all at once where it is not there; else what is missing is added.

        A run that comes back is the volume's again afterwards. One that is there already is left as it is.

        Args:
            source, origin: as of :meth:`arrival`.

        Raises:
            BadInput: it has gone on elsewhere. Infrastructure: another run has its id there, the volume can't be written,
            or there is no answer.
        """
        found = self.arrival(pod, source, origin)
        if found.state == volume_protocol.THERE:
            return
        if found.state == volume_protocol.ELSEWHERE:
            raise BadInput(f"the run {source.name} has gone on elsewhere")
        whole = found.state == volume_protocol.ABSENT
        paths = [path for path, _ in files_of_run(source) if path != MOVED_RECORD and path not in found.have]
        request = {**self._upload_request("bring", source, origin), "whole": whole}
        self._send(pod, request, [(path, source / path) for path in sorted(paths, key=publication_order)], progress)
        self.forget(source.name)

    def _upload_request(self, what: str, source: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
        identity = identity_of(source)
        if identity is None:
            raise NoRun(source.name)
        of_run = {"run_log": self._remote_log, "run": source.name, "identity": identity}
        return {"do": what, **of_run, "origin": dict(origin)}

    def put_objects(
        self, pod: Reader, catalog: Path, digests: Iterable[str], progress: Progress | None = None
    ) -> list[str]:
        """Brings objects of a catalog on this machine to the volume's, those that it has not; returns their hashes.

        What this machine has not either was put without a copy, and is passed over.

        Raises:
            Infrastructure: an object is damaged, the volume can't be written, or there is no answer.
        """
        if self._remote_catalog is None:
            return []
        wanted = {digest: path for digest in digests if (path := object_path(catalog, digest)).is_file()}
        request: dict[str, Any] = {"do": "lacking", "catalog": self._remote_catalog, "objects": list(wanted)}
        lacking: list[str] = []
        if wanted:
            for _, data in self._ask(pod, lambda: (request, DocumentSink())).items:
                lacking += [str(digest) for digest in json.loads(data)]
        if not set(lacking) <= set(wanted):
            raise unreadable("an object")
        if lacking:
            request = {"do": "put", "catalog": self._remote_catalog}
            self._send(pod, request, [(digest, wanted[digest]) for digest in lacking], progress)
        return lacking

    def _send(
        self, pod: Reader, request: dict[str, Any], files: list[tuple[str, Path]], progress: Progress | None
    ) -> None:
        """Sends files in as many requests as it takes; each may be asked twice."""
        meter = Meter(progress)
        meter.announce(sum(path.stat().st_size for _, path in files))
        request = {**request, "token": os.urandom(8).hex(), "first": True, "last": False}
        held: list[Piece] | None = None
        for pieces in batches(files):
            if held is not None:
                self._send_batch(pod, request, held, meter)
                request["first"] = False
            held = pieces
        self._send_batch(pod, {**request, "last": True}, held or [], meter)
        meter.tell()

    def _send_batch(self, pod: Reader, request: dict[str, Any], pieces: list[Piece], meter: Meter) -> None:
        asked = {**request, "pieces": [piece.document() for piece in pieces]}
        self._ask(pod, lambda: (asked, DocumentSink()))
        meter.count(sum(len(piece.data) for piece in pieces))

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
        paths = {digest: object_path(catalog, digest) for digest in digests}
        meter = Meter(progress)

        def make() -> tuple[dict[str, Any], ObjectSink]:
            missing = [digest for digest, path in paths.items() if not path.exists()]
            request = {"do": "objects", "catalog": self._remote_catalog, "objects": missing}
            return request, ObjectSink(catalog, set(missing), meter)

        if not all(path.exists() for path in paths.values()):
            self._ask(pod, make)
        return paths

    # --- asking -----------------------------------------------------------------------------------------------------

    def _ask(self, pod: Reader, make: Callable[[], tuple[dict[str, Any], _S]]) -> _S:
        """Asks until an answer came whole, at most ``_TRIES`` times."""
        for left in reversed(range(_TRIES)):
            request, sink = make()
            stream = AnswerStream(sink)
            try:
                pod.exec(request, stream.feed)
                if not stream.whole:
                    raise BrokenConnection("the answer of the pod that reads the volume was cut off")
                sink.finish()
                return sink
            except BrokenConnection:
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
    volume, inside = volumes.locate(project, path)
    home = top / _key(cluster, volume.name)
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


def _mark(folder: Path, end: str) -> str:
    """What says of a run that it is here whole up to this end, that of its newest part."""
    return f"{identity_of(folder) or ''} {end}"


def _batches(folder: Path) -> Iterator[dict[str, str]]:
    """The records that a client writes, in requests of a size; the run's own first, its ends last."""
    files: dict[str, str] = {}
    size = 0
    for path in sorted((path for path, _ in files_of_run(folder) if _is_pushed(path)), key=publication_order):
        text = (folder / path).read_text("utf-8")
        if files and size + len(text) > _BATCH:
            yield files
            files, size = {}, 0
        files[path] = text
        size += len(text)
    yield files


def _is_pushed(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == ENGINE_RECORD or (not path.startswith(STEPS_FOLDER + "/") and name in (RUN_RECORD, END_RECORD))


def _files_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if RUN_ID.fullmatch(name)]
    except FileNotFoundError:
        return []


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        coming = temporary_path(path)
        coming.write_bytes(data)
        os.replace(coming, path)
    except OSError as error:
        raise Infrastructure(f"{path} can't be written: {error.strerror}") from None


def parse_listing(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
        if isinstance(document["run"], dict) and isinstance(document["end"], dict | None):
            return {key: document[key] for key in ("run", "end", "mark")}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise unreadable("a run")
