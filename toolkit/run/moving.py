"""Brings a run from a cluster to this machine, so that it goes on here: its records, and the objects that they name."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.backends import volumes
from toolkit.errors import BadInput, Infrastructure
from toolkit.run.found import Found, local_log
from toolkit.run.request import Note
from toolkit.runtime.protocol import END_RECORD, MOVED_RECORD, STEPS_FOLDER
from toolkit.runtime.records import encode, now, read
from toolkit.spec.container import driver_user
from toolkit.store.reader import NoRun

_COMING = ".coming"
_FILE = 0o664


def bring_here(found: Found, note: Note) -> Found:
    """The run as one of this machine. On the cluster's volume it is marked as moved, which only one client can do.

    Raises:
        BadInput: it has been moved elsewhere, or a run of its id is here. Infrastructure: the cluster or the disk.
    """
    assert found.remote is not None
    project, remote, run_id = found.project, found.remote, found.run.id
    log_folder = volumes.on_host(project, project.config.run_log_store.log_folder)
    try:
        local_log(project).run(run_id)
    except NoRun:
        pass
    else:
        raise BadInput(
            f"there is a run {run_id} on this machine, too: `toolkit retry {run_id} --env local` goes on with it"
        )
    # What was fetched before may be older than the mark.
    remote.mirror.forget(run_id)
    run = remote.run(run_id, logs=True)
    folder = remote.mirror.run_folder(run_id)
    mine = {"host": socket.gethostname(), "folder": str(log_folder)}
    if not (folder / MOVED_RECORD).exists():
        (folder / MOVED_RECORD).write_bytes(encode({"version": 1, "moved": now(), "to": mine}))
        with remote.reader(run.record) as pod:
            written = remote.mirror.push(pod, run_id)
            if MOVED_RECORD not in written:
                # Another client was faster, and its mark is the one that counts.
                (folder / MOVED_RECORD).unlink()
                remote.mirror.sync(pod, run_id)
    moved = (read(str(folder / MOVED_RECORD)) or {}).get("to") or {}
    if moved != mine:
        raise BadInput(
            f"the run {run_id} has gone on elsewhere: on {moved.get('host', 'another machine')}, in {moved.get('folder', '?')}"
        )
    note(f"the run {run_id} comes from {remote.cluster.context or 'the cluster'}, namespace {remote.cluster.namespace}")
    user = project.config.executor.config.user
    user = user if user is not None else driver_user()
    volumes.prepare(project, user)
    digests = list(dict.fromkeys(_objects(folder, json.loads(run.record["plan"]))))
    if digests:
        there = remote.catalog(run, digests)
        location = json.loads(run.record["plan"])["stores"]["catalog"]
        if there is not None and location is not None:
            _copy_objects(there, volumes.on_host(project, location), digests, user)
    volumes.make_shared(log_folder, user)
    _copy_run(folder, log_folder / run_id, user)
    return Found(project, local_log(project), local_log(project).run(run_id))


def _objects(folder: Path, plan: dict[str, Any]) -> Iterator[str]:
    """The hashes of all objects that the records name, but for what was put without a copy."""
    kept = any(row["catalog"]["store_copy"] for row in plan["steps"] if "catalog" in row)
    for path in sorted((folder / STEPS_FOLDER).rglob(END_RECORD)):
        record = read(str(path)) or {}
        if kept:
            yield from (one["sha256"] for one in record.get("catalog", {}).get("put", ()))
        yield from (one["sha256"] for one in record.get("returns", {}).values() if one["kind"] == "object")


def _copy_objects(there: Path, here: Path, digests: list[str], user: int) -> None:
    try:
        for digest in digests:
            source, target = (top / "objects" / digest[:2] / digest for top in (there, here))
            if target.exists() or not source.exists():
                continue
            volumes.make_shared(target.parent, user)
            coming = target.with_name(f"{digest}{_COMING}-{os.getpid()}")
            shutil.copyfile(source, coming)
            volumes.share(coming, user, _FILE)
            os.rename(coming, target)
    except OSError as error:
        raise Infrastructure(f"{error.filename or here} can't be written: {error.strerror}") from None


def _copy_run(source: Path, target: Path, user: int) -> None:
    """Copies a run's records under another name, and gives them theirs at the end: half a run is none."""
    coming = target.with_name(f"{target.name}{_COMING}-{os.getpid()}")
    try:
        shutil.copytree(source, coming, ignore=shutil.ignore_patterns(MOVED_RECORD, "*.tmp"))
        for folder, _, files in os.walk(coming):
            volumes.share(Path(folder), user)
            for name in files:
                volumes.share(Path(folder, name), user, _FILE)
        os.rename(coming, target)
    except OSError as error:
        shutil.rmtree(coming, ignore_errors=True)
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None
