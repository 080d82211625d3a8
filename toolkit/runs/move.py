"""Moves a run between a cluster and this machine, so that it goes on there or here: its records, and the objects that they name.

It is marked where it was before anything is copied, which only one client can do, and the mark that it has where it comes to is
removed last. So it goes on in one place at a time, whoever is killed in between does it again, and it may move any number of times.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from toolkit.backends import volumes
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.run.request import Note
from toolkit.runs.find import RunHandle, local_log, this_machine
from toolkit.runtime.shared import volume_protocol
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.layout import object_path
from toolkit.runtime.shared.protocol import END_RECORD, MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.shared.records import encode, now, read
from toolkit.runtime.shared.run_files import is_file_of_run, publication_order, run_identity
from toolkit.runtime.shared.tree import Tree
from toolkit.spec.container import steps_user
from toolkit.store.reader import NoRun, moved_to

if TYPE_CHECKING:
    from toolkit.runs.cluster_runs import ClusterRuns

_COMING = ".coming"
_FILE = 0o664


def where_moved(folder: Path) -> str:
    """Where the run in a folder has been moved to, as it stands after "has gone on elsewhere,"; empty for one that has not."""
    to = moved_to(folder)
    return "" if to is None else _place(to)


def _place(to: Mapping[str, Any]) -> str:
    if "host" in to:
        return f"on the machine {to['host']}, in {to.get('folder', '?')}"
    if "namespace" in to:
        return f"on the cluster {to.get('context') or '(without a context)'}, in the namespace {to['namespace']}"
    return "in a place that its mark does not name"


def _there(remote: ClusterRuns) -> dict[str, str]:
    """A cluster, as a mark names it."""
    claim, _ = remote.mirror.claims[0]
    return {"context": remote.cluster.context, "namespace": remote.cluster.namespace, "claim": claim}


def _log_folder(project: Project) -> Path:
    return volumes.host_path(project, project.config.run_log_store.log_folder)


# --- to this machine ------------------------------------------------------------------------------------------------


def pull_run(found: RunHandle, note: Note) -> RunHandle:
    """The run as one of this machine. On the cluster's volume it is marked as moved, which only one client can do.

    One that came from here has its folder here still, and what it lacks is added.

    Raises:
        BadInput: it has been moved elsewhere, or a run of its id is here. Infrastructure: the cluster or the disk.
    """
    assert found.remote is not None
    project, remote, run_id = found.project, found.remote, found.run.id
    folder, here = remote.mirror.run_folder(run_id), _log_folder(project) / run_id
    with _alone(project):
        returns = _may_come_back(project, run_id, _there(remote))
        # What was fetched before may be older than the mark.
        remote.mirror.forget(run_id)
        run = remote.run(run_id, logs=True)
        if run.active:
            raise BadInput(f"the run {run_id} is going on: `toolkit cancel {run_id}` ends it")
        if returns and run_identity(_record(here)) != run_identity(_record(folder)):
            raise BadInput(f"there is another run {run_id} on this machine, so this one can't go on here under its id")
        mine = this_machine(project)
        to: Mapping[str, Any] | None = moved_to(folder)
        if to is None:
            with remote.reader(run.record) as pod:
                mark = remote.mirror.mark_moved(pod, run_id, {"version": 1, "moved": now(), "to": mine})
            to = mark["to"]
        if to != mine:
            raise BadInput(f"the run {run_id} has gone on elsewhere, {_place(to)}: go on with it there")
        note(
            f"the run {run_id} comes from {remote.cluster.context or 'the cluster'}, namespace {remote.cluster.namespace}"
        )
        user = steps_user(project.config.executor.config)
        volumes.prepare(project, user)
        plan = json.loads(run.record["plan"])
        digests = _objects(folder, plan)
        if digests:
            location = plan["stores"]["catalog"]
            try:
                there = remote.catalog(run, digests)
            except StoreFault as error:
                raise Infrastructure(f"the run {run_id} can't come here whole: {error}") from None
            if there is not None and location is not None:
                _copy_objects(there, volumes.host_path(project, location), digests, user)
        volumes.make_shared(here.parent, user)
        if returns:
            _add_files(folder, here, user)
        else:
            _copy_run(folder, here, user)
    return RunHandle(project, local_log(project), local_log(project).run(run_id))


def _may_come_back(project: Project, run_id: str, there: Mapping[str, str]) -> bool:
    """Whether the run went to the cluster from this machine, and so has its folder here.

    Raises:
        BadInput: the run of this id that is here did not.
    """
    try:
        here = local_log(project).run(run_id).folder
    except NoRun:
        return False
    to = moved_to(here)
    if to is None:
        raise BadInput(
            f"there is a run {run_id} on this machine, too: `toolkit retry {run_id} --env local` goes on with it"
        )
    if to != there:
        raise BadInput(f"the run {run_id} of this machine has gone on elsewhere, {_place(to)}: go on with it there")
    return True


def _copy_objects(there: Path, here: Path, digests: list[str], user: int) -> None:
    try:
        for digest in digests:
            source, target = (Path(object_path(str(catalog), digest)) for catalog in (there, here))
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
    """Copies a run's records to another place, and gives them theirs at the end: half a run is none."""
    # In a folder of its own, so that whoever lists the runs meanwhile finds no run.json in it.
    coming = target.with_name(f"{_COMING}.{target.name}")
    try:
        # Of a client that was killed.
        shutil.rmtree(coming, ignore_errors=True)
        shutil.copytree(source, coming / target.name, ignore=shutil.ignore_patterns(MOVED_RECORD, "*.tmp"))
        for folder, _, files in os.walk(coming / target.name):
            volumes.share(Path(folder), user)
            for name in files:
                volumes.share(Path(folder, name), user, _FILE)
        os.rename(coming / target.name, target)
    except OSError as error:
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None
    finally:
        shutil.rmtree(coming, ignore_errors=True)


def _add_files(source: Path, target: Path, user: int) -> None:
    """Adds to a run what it lacks, and then takes its mark away: from now on it is this machine's again."""
    paths = [str(one.relative_to(source)) for one in source.rglob("*") if one.is_file()]
    try:
        for path in sorted(
            (one for one in paths if is_file_of_run(one) and one != MOVED_RECORD), key=publication_order
        ):
            here = target / path
            if here.exists():
                continue
            volumes.make_shared(here.parent, user)
            coming = here.with_name(f".{here.name}{_COMING}-{os.getpid()}.tmp")
            shutil.copyfile(source / path, coming)
            volumes.share(coming, user, _FILE)
            os.rename(coming, here)
        (target / MOVED_RECORD).unlink()
    except OSError as error:
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None


# --- to a cluster ---------------------------------------------------------------------------------------------------


def push_run(found: RunHandle, remote: ClusterRuns, note: Note) -> RunHandle:
    """The run of this machine as one of a cluster. Here it is marked as moved, which only one client can do.

    One that came from there is there still, and what it lacks is added.

    Raises:
        BadInput: it goes on, has been moved elsewhere, or a run of its id is there. Infrastructure: the cluster or the disk.
    """
    from toolkit.backends.argo.volume import upload

    assert found.remote is None
    project, run, here, there = found.project, found.run, this_machine(found.project), _there(remote)
    with _alone(project):
        to = moved_to(run.folder)
        if to is not None and to != there:
            raise BadInput(f"the run {run.id} has gone on elsewhere, {_place(to)}: go on with it there")
        # The run's own image may be on this machine alone.
        with remote.reader(None) as pod:
            arrival = upload.arrival(remote.mirror, pod, run.folder, here)
            if arrival.state == volume_protocol.ELSEWHERE:
                raise BadInput(f"the run {run.id} has gone on elsewhere, {_place(arrival.to)}: go on with it there")
            if arrival.state == volume_protocol.THERE and to is None:
                raise BadInput(
                    f"there is a run {run.id} on the cluster, too: `toolkit retry {run.id} --env argo` goes on with it"
                )
            if to is None:
                _leave(project, run.id, there)
            # Else it is there, and a client was killed before it could say so.
            if arrival.state != volume_protocol.THERE:
                note(
                    f"the run {run.id} goes to {remote.cluster.context or 'the cluster'}, namespace {there['namespace']}"
                )
                plan = json.loads(run.record["plan"])
                digests = _objects(run.folder, plan)
                location = plan["stores"]["catalog"]
                if digests and location is not None:
                    upload.push_objects(remote.mirror, pod, volumes.host_path(project, location), digests)
                upload.push_run(remote.mirror, pod, run.folder, here)
            remote.mirror.forget(run.id)
            remote.mirror.sync(pod, run.id)
    return RunHandle(project, remote.log, remote.run(run.id), remote)


def refresh_run(found: RunHandle) -> RunHandle:
    """The run of a cluster as its volume has it now, for whoever goes on with it there.

    Raises:
        BadInput: it has been moved elsewhere. Infrastructure: the cluster can't be asked.
    """
    assert found.remote is not None
    remote, run_id = found.remote, found.run.id
    # What was fetched before may be older than a mark; with the logs, which are here by now, it is complete as before.
    remote.mirror.forget(run_id)
    run = remote.run(run_id, logs=True)
    to = moved_to(run.folder)
    if to is not None:
        here = to == this_machine(found.project)
        where = (
            f"here: `toolkit retry {run_id} --env local`" if here else f"elsewhere, {_place(to)}: go on with it there"
        )
        raise BadInput(f"the run {run_id} has gone on {where}")
    return RunHandle(found.project, found.log, run, remote)


def _leave(project: Project, run_id: str, there: Mapping[str, str]) -> None:
    """Marks a run of this machine as moved.

    Raises:
        BadInput: it goes on here. Infrastructure: its folder can't be written.
    """
    log = local_log(project)
    mark = _log_folder(project) / run_id / MOVED_RECORD
    coming = mark.with_name(f".{MOVED_RECORD}.{os.getpid()}.tmp")
    try:
        try:
            coming.write_bytes(encode({"version": 1, "moved": now(), "to": dict(there)}))
            volumes.share(coming, steps_user(project.config.executor.config), _FILE)
            os.link(coming, mark)
        finally:
            coming.unlink(missing_ok=True)
    except FileExistsError:
        raise BadInput(
            f"the run {run_id} has gone on elsewhere, {_place(moved_to(mark.parent) or {})}: go on with it there"
        ) from None
    except OSError as error:
        raise Infrastructure(f"{mark} can't be written: {error.strerror}") from None
    if log.run(run_id).active:
        # It was begun while it was looked at; who goes on here looks for a mark after it has begun.
        mark.unlink(missing_ok=True)
        raise BadInput(f"the run {run_id} is going on: `toolkit cancel {run_id}` ends it")


# --- both -----------------------------------------------------------------------------------------------------------


def _record(folder: Path) -> dict[str, Any]:
    """A run's first record."""
    try:
        return read(str(folder / RUN_RECORD)) or {}
    except (OSError, ValueError, RecursionError):
        return {}


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Keeps a second command of this project from moving a run at the same time.

    Raises:
        BadInput: one does. Infrastructure: the private state can't be written.
    """
    volumes.make_private_state(project)
    try:
        lock = open(project.state / "moving.lock", "wb")  # noqa: SIM115
    except OSError as error:
        raise Infrastructure(f"{error.filename} can't be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput("another command moves a run just now: try again when it has ended") from None
        yield


def _objects(folder: Path, plan: dict[str, Any]) -> list[str]:
    """The hashes of all objects that the records name, but for what was put without a copy."""
    tree, top = Tree(plan), folder / STEPS_FOLDER
    found: dict[str, None] = {}
    for path in sorted(top.rglob(END_RECORD)):
        record = read(str(path)) or {}
        names = [unquote(part) for part in path.relative_to(top).parts[:-2]]
        trail = tree.trail("/".join(names))
        if trail is None or trail[-1].row.get("catalog", {}).get("store_copy", True):
            found.update((one["sha256"], None) for one in record.get("catalog", {}).get("put", ()))
        found.update((one["sha256"], None) for one in record.get("returns", {}).values() if one["kind"] == "object")
    return list(found)
