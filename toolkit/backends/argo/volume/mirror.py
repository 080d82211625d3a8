"""The mirror: a private folder of this machine that holds what it has read of a volume on a cluster.

It is laid out as the volume is, so ``RunLog`` and ``FileStore`` read it like any other volume. Records and objects never change
and are fetched once. Logs grow and are fetched from where they ended. A run that has ended and was fetched whole needs the
cluster no more.

What comes from the cluster is not trusted, because a step's code can write on the volume (see ``mirror_files.py``).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import names
from toolkit.backends import volumes
from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.volume.answer import Meter, Progress, ServerError, unreadable
from toolkit.backends.argo.volume.exchange import ask, ask_documents
from toolkit.backends.argo.volume.mirror_files import ObjectSink, RecordSink, files_of_run, identity_of, object_path
from toolkit.backends.argo.volume.reader import Reader
from toolkit.backends.volumes import MIRRORED_PLACE, MIRRORED_VOLUME, MIRRORS
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared import volume_protocol
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import END_RECORD, ENGINE_RECORD, MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.shared.records import checked_listing, checked_moved, encode, parse, read_moved
from toolkit.runtime.shared.run_files import RUN_ID, part_record_path, publication_order
from toolkit.runtime.shared.whole_files import write_whole
from toolkit.store.reader import NoRun, newest_part

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ListedRun, MovedRecord, RunPlace, VolumeRequest

_BATCH = 4 * 1024 * 1024
"""Bytes of records in one request to publish them."""
_WHOLE, _RECORDS = "complete", "records"
"""The folders of the marks of runs that were fetched once they had ended: with all logs, and without them."""


class Mirror:
    """The mirror of a project's run log and catalog on one cluster, in one namespace.

    Attributes:
        run_log: the folder for ``RunLog``. catalog: the folder for ``FileStore``; None where nothing is stored.
        remote_log, remote_catalog: their paths in a pod.
        claims: what a reader pod mounts: names of claims with their mount paths.
        home: the private folder around it, for what is not from the volume: which cluster it is of, and what runs were asked for.

    Raises:
        BadInput: the run log or the catalog lies on no volume. Infrastructure: the folder can't be created.
    """

    def __init__(self, project: Project, cluster: Cluster) -> None:
        config = project.config
        self.remote_log = config.run_log_store.log_folder
        stores = config.catalog.type != "do-nothing"
        self.remote_catalog = config.catalog.catalog_location if stores else None
        top = project.state / MIRRORS
        volumes.make_private_state(project)
        try:
            # Records hold no secrets, but they hold values, and logs what the steps printed.
            top.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Infrastructure(f"{top} can't be created: {error.strerror}") from None
        self.home, self.run_log, claim = _locate(project, cluster, top, self.remote_log)
        claims = [claim]
        self.catalog: Path | None = None
        if self.remote_catalog is not None:
            _, self.catalog, claim = _locate(project, cluster, top, self.remote_catalog)
            claims += [claim] if claim not in claims else []
        self.claims: tuple[tuple[str, str], ...] = tuple(claims)
        self._listing = self.home / "listing"
        self._trash = self.home / "trash"
        _remember(self.home / MIRRORED_PLACE, {"context": cluster.context, "namespace": cluster.namespace})

    # --- runs -------------------------------------------------------------------------------------------------------

    def runs(self, pod: Reader) -> list[ListedRun]:
        """All runs on the volume, the newest last.

        Raises:
            Infrastructure: there is no answer.
        """
        cached = {
            name: document for name in _runs_in(self._listing) if (document := self._read_listing(name)) is not None
        }
        marks = {name: document.get("mark") for name, document in cached.items()}
        request: VolumeRequest = {"do": "runs", "run_log": self.remote_log, "have": marks}
        runs: list[ListedRun] = []
        names_there = set()
        for fields, data in ask_documents(pod, request, self.run_log):
            name = fields.get("run")
            if not isinstance(name, str) or not RUN_ID.fullmatch(name):
                raise unreadable("a run id")
            names_there.add(name)
            document = cached.get(name) if fields.get("kept") else _parse_listing(data)
            if document is None or document["run"].get("run_id") != name:
                continue
            runs.append(document)
            if not fields.get("kept") and document["end"] is not None:
                _write(self._listing / name, data)
        for name in cached.keys() - names_there:
            (self._listing / name).unlink(missing_ok=True)
        runs.sort(key=lambda listed: (str(listed["run"].get("started")), str(listed["run"].get("run_id"))))
        return runs

    def _read_listing(self, name: str) -> ListedRun | None:
        try:
            return _parse_listing((self._listing / name).read_bytes())
        except (OSError, Infrastructure):
            return None

    # --- one run ----------------------------------------------------------------------------------------------------

    def run_folder(self, run_id: str) -> Path:
        """The folder of a run's records on this machine, also when it does not exist yet.

        Raises:
            NoRun: ``run_id`` can't be a run's id.
        """
        try:
            return self.run_log / names.run_id(run_id)
        except BadInput:
            raise NoRun(run_id) from None

    def is_complete(self, run_id: str, logs: bool = True) -> bool:
        """Whether the run had ended when it was last fetched, and all of its records were: then no pod is needed.

        Another machine may have continued it since. Only the cluster can tell; :meth:`forget` has the run fetched again.

        Args:
            logs: whether the output of all steps must be here as well.
        """
        return is_complete(self.home, self.run_folder(run_id), logs)

    def forget(self, run_id: str) -> None:
        """Makes the next :meth:`sync` ask the cluster for the run: it continues, or a new run takes its id."""
        self.run_folder(run_id)
        for folder in (self.home / _WHOLE, self.home / _RECORDS, self._listing):
            (folder / run_id).unlink(missing_ok=True)

    def sync(
        self,
        pod: Reader,
        run_id: str,
        logs: bool = True,
        steps: Iterable[str] | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Fetches what this machine does not have of a run; returns its folder.

        Another process may do the same at the same time. Whoever reads meanwhile sees no verdict before the log it is about.

        Args:
            logs: whether to fetch the steps' output. steps: paths of steps; None is all of them.

        Raises:
            NoRun: there is none on the volume. Infrastructure: there is no answer, or the disk is full.
        """
        folder = self.run_folder(run_id)
        paths = list(steps) if steps is not None else None

        def make() -> tuple[VolumeRequest, RecordSink]:
            identity = identity_of(folder)
            request: VolumeRequest = {
                "do": "records",
                "run_log": self.remote_log,
                "run": run_id,
                "identity": identity,
                "have": dict(files_of_run(folder)),
                "logs": logs,
            }
            if paths is not None:
                request["steps"] = paths
            return request, RecordSink(folder, identity, self._trash, Meter(progress))

        try:
            answer = ask(pod, make, self.run_log)
        except ServerError as error:
            if error.message == volume_protocol.NO_RUN:
                raise NoRun(run_id) from None
            raise
        if answer.ended and paths is None:
            mark = _completion_mark(folder, part_record_path(answer.part, END_RECORD))
            _write(self.home / (_WHOLE if logs else _RECORDS) / run_id, mark.encode())
        return folder

    def publish(self, pod: Reader, run_id: str) -> list[str]:
        """Writes to the volume those records of a run that clients write and it does not have; returns the paths written.

        These are the run's records of each part, what the engine said of attempts, and at last the ends. Nothing there is
        replaced. The mark that it was moved is not among them (see :meth:`mark_moved`): it may have been removed since.

        Raises:
            NoRun: this machine has no such run. Infrastructure: there is no answer, or the volume can't be written.
        """
        folder = self.run_folder(run_id)
        written: list[str] = []
        for files in _batches_to_publish(folder):
            written += self._write_to_volume(pod, run_id, files)
        return written

    def mark_moved(self, pod: Reader, run_id: str, record: Mapping[str, object]) -> MovedRecord:
        """Marks a run on the volume as moved elsewhere; returns the mark that counts, which is that of the first client.

        Raises:
            NoRun: this machine has no such run. Infrastructure: there is no answer, or the volume can't be written.
        """
        folder = self.run_folder(run_id)
        try:
            # The run's record too: the volume may have nothing of the run, when none of its containers got that far.
            files = {RUN_RECORD: (folder / RUN_RECORD).read_text("utf-8"), MOVED_RECORD: encode(dict(record)).decode()}
        except OSError:
            raise NoRun(run_id) from None
        written = self._write_to_volume(pod, run_id, files)
        self.sync(pod, run_id)
        if MOVED_RECORD in written:
            return checked_moved(dict(record))
        try:
            mark = read_moved(str(folder / MOVED_RECORD))
        except (OSError, ValueError):
            mark = None
        return mark if mark is not None else {"version": 1, "moved": "", "to": {}}

    def _write_to_volume(self, pod: Reader, run_id: str, files: Mapping[str, str]) -> list[str]:
        identity = identity_of(self.run_folder(run_id))
        if identity is None:
            raise NoRun(run_id)
        request: VolumeRequest = {
            "do": "write",
            "run_log": self.remote_log,
            "run": run_id,
            "identity": identity,
            "files": files,
        }
        return [str(path) for _, data in ask_documents(pod, request, self.run_log) for path in json.loads(data)]

    # --- the catalog ------------------------------------------------------------------------------------------------

    def object(self, pod: Reader, sha256: str, progress: Progress | None = None) -> Path:
        """The path of an object of the catalog, which is fetched unless it is here. Its content has the hash.

        Raises:
            StoreFault: it is not in the catalog, or damaged there. Infrastructure: there is no answer, or the disk is full.
        """
        return self.objects(pod, [sha256], progress)[sha256]

    def objects(self, pod: Reader, digests: Iterable[str], progress: Progress | None = None) -> dict[str, Path]:
        """The paths of several objects by hash (see :meth:`object`)."""
        catalog, remote_catalog = self.catalog, self.remote_catalog
        if catalog is None or remote_catalog is None:
            raise StoreFault("this catalog stores nothing (its type is do-nothing), so nothing can be got from it")
        paths = {digest: object_path(catalog, digest) for digest in digests}
        meter = Meter(progress)

        def make() -> tuple[VolumeRequest, ObjectSink]:
            missing = [digest for digest, path in paths.items() if not path.exists()]
            request: VolumeRequest = {"do": "objects", "catalog": remote_catalog, "objects": missing}
            return request, ObjectSink(catalog, set(missing), meter)

        if not all(path.exists() for path in paths.values()):
            ask(pod, make, self.run_log)
        return paths


def _locate(project: Project, cluster: Cluster, top: Path, path: str) -> tuple[Path, Path, tuple[str, str]]:
    """The mirror's folder of the claim on which ``path`` lies, the path inside that folder, and the claim with its mount path."""
    volume, inside = volumes.locate(project, path)
    home = top / _key(cluster, volume.name)
    return home, home / MIRRORED_VOLUME / inside, (volume.name, volume.mount_path)


def _key(cluster: Cluster, claim: str) -> str:
    """The name of the mirror of a claim.

    The certificate authority is part of it: test clusters follow one another at one address, each with an authority of its own.
    """
    file = cluster.api_client.configuration.ssl_ca_cert
    try:
        authority = Path(file).read_bytes() if file else b""
    except OSError:
        authority = b""
    parts = (cluster.server.encode(), authority, cluster.namespace.encode(), claim.encode())
    return f"{claim[:40]}-{hashlib.sha256(encode([part.hex() for part in parts])).hexdigest()[:16]}"


def is_complete(home: Path, folder: Path, logs: bool) -> bool:
    """What :meth:`Mirror.is_complete` says, for whoever can't ask the cluster.

    Args:
        home: the mirror's folder. folder: the run's in it.
    """
    end = newest_part(folder) / END_RECORD
    for kind in (_WHOLE,) if logs else (_WHOLE, _RECORDS):
        try:
            mark = (home / kind / folder.name).read_text()
        except OSError:
            continue
        if mark == _completion_mark(folder, end.relative_to(folder).as_posix()) and end.exists():
            return True
    return False


def _completion_mark(folder: Path, end: str) -> str:
    """The content of the file which says that a run was fetched whole, up to this end, which is that of its newest part."""
    return f"{identity_of(folder) or ''} {end}"


def _batches_to_publish(folder: Path) -> Iterator[dict[str, str]]:
    """The records that a client writes, in batches of limited size; the run's own record first, its ends last."""
    files: dict[str, str] = {}
    size = 0
    for path in sorted((path for path, _ in files_of_run(folder) if _is_clients(path)), key=publication_order):
        text = (folder / path).read_text("utf-8")
        if files and size + len(text) > _BATCH:
            yield files
            files, size = {}, 0
        files[path] = text
        size += len(text)
    yield files


def _is_clients(path: str) -> bool:
    """Whether a client writes this file of a run, and not the runtime."""
    name = path.rpartition("/")[2]
    return name == ENGINE_RECORD or (not path.startswith(STEPS_FOLDER + "/") and name in (RUN_RECORD, END_RECORD))


def _runs_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if RUN_ID.fullmatch(name)]
    except FileNotFoundError:
        return []


def _remember(file: Path, place: RunPlace) -> None:
    """Keeps of which cluster a mirror is, unless the file says so."""
    data = encode(place)
    try:
        if file.read_bytes() == data:
            return
    except OSError:
        pass
    _write(file, data)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(path), data)
    except OSError as error:
        raise Infrastructure(f"{path} can't be written: {error.strerror}") from None


def _parse_listing(data: bytes) -> ListedRun | None:
    """An entry of the volume's listing of runs; None when its records are not those of a run, as in a ``RunLog``.

    Raises:
        Infrastructure: it is no entry.
    """
    try:
        document = parse(data)
        entry = {key: document[key] for key in ("run", "end", "mark")}
    except (ValueError, KeyError):
        raise unreadable("a run") from None
    try:
        return checked_listing(entry)
    except ValueError:
        return None
