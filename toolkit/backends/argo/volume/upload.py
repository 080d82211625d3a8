"""A run of this machine that moves to the volume: what it meets there, and its records, logs and objects in pieces.

The other end is ``runtime/server/upload.py``. Each request may come there twice, and is answered as if it came once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.argo.volume.answer import Meter, Progress, unreadable
from toolkit.backends.argo.volume.exchange import ask_documents
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.mirror_files import files_of_run, identity_of, object_path
from toolkit.backends.argo.volume.pieces import Piece, batches
from toolkit.backends.argo.volume.reader import Reader
from toolkit.errors import BadInput
from toolkit.runtime.shared import volume_protocol
from toolkit.runtime.shared.protocol import MOVED_RECORD
from toolkit.runtime.shared.records import checked_moved
from toolkit.runtime.shared.run_files import publication_order
from toolkit.runtime.shared.volume_files import size_of
from toolkit.store.reader import NoRun

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunPlace, VolumeRequest


@dataclass(frozen=True)
class Arrival:
    """What a run that moves to the volume meets there.

    Attributes:
        state: absent, returns (it had been moved to this machine), there, or elsewhere (see ``runtime/server/upload.py``).
        have: the files that are there already, with their sizes. to: of a run that is elsewhere, where it was moved to.
    """

    state: str
    have: Mapping[str, int]
    to: RunPlace


def arrival(mirror: Mirror, reader: Reader, source: Path, origin: RunPlace) -> Arrival:
    """What a run would meet on the volume.

    Args:
        source: the run's folder on this machine. origin: this machine, as the mark of a moved run names it.

    Raises:
        Infrastructure: another run has its id there, or there is no answer.
    """
    request = _upload_request(mirror, "arrival", source, origin)
    for fields, data in ask_documents(reader, request, mirror.run_log):
        try:
            answer = json.loads(data)
            have = {str(path): int(size) for path, size in answer["have"].items()}
            to = checked_moved({"to": answer["to"] or {}})["to"]
            return Arrival(str(fields.get("state")), have, to)
        except (ValueError, TypeError, KeyError, AttributeError):
            break
    raise unreadable("a run's arrival")


def push_run(mirror: Mirror, reader: Reader, source: Path, origin: RunPlace, progress: Progress | None = None) -> None:
    """Copies a run's records and logs to the volume: all of them where it is absent, else those that are missing.

    A run that returns is the volume's own again afterwards. One that is there already is left as it is.

    Args:
        source, origin: as of :func:`arrival`.

    Raises:
        BadInput: it was moved elsewhere. Infrastructure: another run has its id there, the volume can't be written, or there
            is no answer.
    """
    met = arrival(mirror, reader, source, origin)
    if met.state == volume_protocol.THERE:
        return
    if met.state == volume_protocol.ELSEWHERE:
        raise BadInput(f"the run {source.name} was moved elsewhere and continues there")
    whole = met.state == volume_protocol.ABSENT
    missing = [path for path, _ in files_of_run(source) if path != MOVED_RECORD and path not in met.have]
    request: VolumeRequest = {**_upload_request(mirror, "bring", source, origin), "whole": whole}
    files = [(path, source / path) for path in sorted(missing, key=publication_order)]
    _send(mirror, reader, request, files, progress)
    mirror.forget(source.name)


def push_objects(
    mirror: Mirror, reader: Reader, catalog: Path, digests: Iterable[str], progress: Progress | None = None
) -> list[str]:
    """Copies objects of a catalog on this machine to the volume's, those that it does not have; returns their hashes.

    An object that this machine does not have either was put without a copy, and is left out.

    Raises:
        Infrastructure: an object is damaged, the volume can't be written, or there is no answer.
    """
    if mirror.remote_catalog is None:
        return []
    paths = {digest: path for digest in digests if size_of(str(path := object_path(catalog, digest))) is not None}
    lacking: list[str] = []
    if paths:
        request: VolumeRequest = {"do": "lacking", "catalog": mirror.remote_catalog, "objects": list(paths)}
        for _, data in ask_documents(reader, request, mirror.run_log):
            lacking += [str(digest) for digest in json.loads(data)]
    if not set(lacking) <= set(paths):
        raise unreadable("an object")
    if lacking:
        put: VolumeRequest = {"do": "put", "catalog": mirror.remote_catalog}
        _send(mirror, reader, put, [(digest, paths[digest]) for digest in lacking], progress)
    return lacking


def _upload_request(mirror: Mirror, do: str, source: Path, origin: RunPlace) -> VolumeRequest:
    identity = identity_of(source)
    if identity is None:
        raise NoRun(source.name)
    return {"do": do, "run_log": mirror.remote_log, "run": source.name, "identity": identity, "origin": origin}


def _send(
    mirror: Mirror,
    reader: Reader,
    request: VolumeRequest,
    files: list[tuple[str, Path]],
    progress: Progress | None,
) -> None:
    """Sends files in as many requests as it takes: ``first`` and ``last`` tell the pod which request begins and ends them."""
    meter = Meter(progress)
    meter.announce(sum(path.stat().st_size for _, path in files))
    request = {**request, "token": os.urandom(8).hex()}
    is_first = True
    # A batch is sent when the next one is known: only then it is known not to be the last.
    batch: list[Piece] | None = None
    for next_batch in batches(files):
        if batch is not None:
            _send_batch(mirror, reader, {**request, "first": is_first, "last": False}, batch, meter)
            is_first = False
        batch = next_batch
    _send_batch(mirror, reader, {**request, "first": is_first, "last": True}, batch or [], meter)
    meter.report()


def _send_batch(mirror: Mirror, reader: Reader, request: VolumeRequest, pieces: list[Piece], meter: Meter) -> None:
    ask_documents(reader, {**request, "pieces": [piece.document() for piece in pieces]}, mirror.run_log)
    meter.count(sum(len(piece.data) for piece in pieces))
