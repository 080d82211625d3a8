"""Moves a run between a cluster and this machine, so that it can be resumed there: its records, and the objects they name.

The run is marked as moved in the place that it leaves before anything is copied, and only one client can set that mark. If the
place to which it moves has a mark of an earlier move, that mark is removed last. So a run has one place at a time, a move that
was interrupted is finished by the same command, and a run may move any number of times.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from toolkit.backends import volumes
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.run.kept import keep_place
from toolkit.run.request import Note
from toolkit.runs.find import RunHandle, local_log, this_machine
from toolkit.runtime.shared import volume_protocol
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.layout import object_path
from toolkit.runtime.shared.protocol import END_RECORD, MOVED_RECORD, RUN_RECORD, STEPS_FOLDER
from toolkit.runtime.shared.records import now, read, read_end
from toolkit.runtime.shared.run_files import DIGEST, is_file_of_run, publication_order, run_identity
from toolkit.runtime.shared.tree import Tree
from toolkit.spec.container import steps_user
from toolkit.store import writer
from toolkit.store.reader import NoRun, Run, moved_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toolkit.runs.cluster_runs import ClusterRuns
    from toolkit.runtime.shared.documents import RunPlace

_COPY = ".coming"
"""The beginning of the names of folders into which runs are copied."""


def where_moved(folder: Path) -> str:
    """Where the run in a folder was moved to, as "on …, in …"; empty for a run that was not moved."""
    place = moved_to(folder)
    return "" if place is None else _place_text(place)


def _place_text(place: Mapping[str, object]) -> str:
    if "host" in place:
        return f"on the machine {place['host']}, in {place.get('folder', '?')}"
    if "namespace" in place:
        return f"on the cluster {place.get('context') or '(without a context)'}, in the namespace {place['namespace']}"
    return "in a place that its mark does not name"


def _moved_away(run_id: str, place: Mapping[str, object]) -> BadInput:
    return BadInput(f"the run {run_id} was moved: it is now {_place_text(place)}; resume it there")


def _still_running(run_id: str) -> BadInput:
    return BadInput(f"the run {run_id} is running: `toolkit cancel {run_id}` ends it")


def _cluster_place(remote: ClusterRuns) -> RunPlace:
    """A cluster, as a mark names it."""
    claim, _ = remote.mirror.claims[0]
    return {"context": remote.cluster.context, "namespace": remote.cluster.namespace, "claim": claim}


def _log_folder(project: Project) -> Path:
    return volumes.host_path(project, project.config.run_log_store.log_folder)


# --- to this machine ------------------------------------------------------------------------------------------------


def pull_run(handle: RunHandle, note: Note) -> RunHandle:
    """Moves a run of a cluster to this machine.

    A run that was here before has its folder here still. Only what the folder lacks is added.

    Raises:
        BadInput: the run is running, was moved elsewhere, or another run of its id is here. Infrastructure: cluster or disk.
    """
    assert handle.remote is not None
    project, remote, run_id = handle.project, handle.remote, handle.run.id
    mirrored, local = remote.mirror.run_folder(run_id), _log_folder(project) / run_id
    with _move_lock(project):
        returns = _was_here(project, run_id, _cluster_place(remote))
        # What was fetched before may be older than the mark.
        remote.mirror.forget(run_id)
        run = remote.run(run_id, logs=True, needs_volume=True)
        if run.active:
            raise _still_running(run_id)
        if returns and _identity(local) != _identity(mirrored):
            raise BadInput(
                f"there is another run {run_id} on this machine, so this one can't be resumed here under its id"
            )
        here = this_machine(project)
        place = moved_to(mirrored)
        if place is None:
            with remote.reader(run_id) as pod:
                mark = remote.mirror.mark_moved(pod, run_id, {"version": 1, "moved": now(), "to": here})
            # Of two clients, the mark is that of the first.
            place = mark["to"]
        if place != here:
            raise _moved_away(run_id, place)
        note(
            f"moving the run {run_id} here from {remote.cluster.context or 'the cluster'}, "
            f"namespace {remote.cluster.namespace}"
        )
        user = steps_user(project.config.executor.config)
        volumes.prepare(project, user)
        digests = _objects(mirrored, run)
        if digests:
            try:
                catalog = remote.catalog(run, digests)
            except StoreFault as error:
                raise Infrastructure(f"the run {run_id} can't be moved here completely: {error}") from None
            if catalog is not None:
                # Where the configuration says that it is, as it is for the mirror. The run's own plan is a step's word as well.
                location = volumes.make_store(project, project.config.catalog.catalog_location, user)
                _copy_objects(catalog, location, digests)
        volumes.make_store(project, project.config.run_log_store.log_folder, user)
        if returns:
            _add_files(mirrored, local)
        else:
            _copy_run(mirrored, local, user)
    return RunHandle(project, local_log(project), local_log(project).run(run_id))


def _was_here(project: Project, run_id: str, cluster: RunPlace) -> bool:
    """Whether the run was moved to the cluster from this machine, which then has its folder still.

    Raises:
        BadInput: there is a run of this id here that was not moved to the cluster.
    """
    try:
        folder = local_log(project).run(run_id).folder
    except NoRun:
        return False
    place = moved_to(folder)
    if place is None:
        raise BadInput(
            f"there is a run {run_id} on this machine as well: `toolkit retry {run_id} --env local` resumes that one"
        )
    if place != cluster:
        raise _moved_away(run_id, place)
    return True


def _copy_objects(source: Path, target: Path, digests: list[str]) -> None:
    """Copies objects from one catalog folder to another, those that are missing there."""
    try:
        for digest in digests:
            path = os.path.relpath(object_path(str(target), digest), target)
            writer.copy_file(source / path, target, path)
    except OSError as error:
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None


def _copy_run(source: Path, target: Path, user: int) -> None:
    """Copies the folder of a run whole."""
    # The copy is one level deeper than a run, so that a listing of the runs does not find it.
    temporary = target.with_name(f"{_COPY}.{target.name}")
    try:
        # What a client that was killed has left.
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        volumes.share(temporary, user)
        for path in _files_of(source):
            writer.copy_file(source / path, temporary, f"{target.name}/{path}")
        os.rename(temporary / target.name, target)
    except OSError as error:
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _add_files(source: Path, target: Path) -> None:
    """Adds the files that a run's folder lacks, and then removes its mark: from now on the run is here."""
    try:
        for path in _files_of(source):
            writer.copy_file(source / path, target.parent, f"{target.name}/{path}")
        writer.remove_mark(target)
    except OSError as error:
        raise Infrastructure(f"{error.filename or target} can't be written: {error.strerror}") from None


def _files_of(folder: Path) -> list[str]:
    """The files of a run but its mark, in the order in which they may appear."""
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted((path for path in paths if is_file_of_run(path) and path != MOVED_RECORD), key=publication_order)


# --- to a cluster ---------------------------------------------------------------------------------------------------


def push_run(handle: RunHandle, remote: ClusterRuns, note: Note) -> RunHandle:
    """Moves a run of this machine to a cluster.

    A run that was there before is there still. Only what it lacks is added.

    Raises:
        BadInput: the run is running, was moved elsewhere, or another run of its id is there. Infrastructure: cluster or disk.
    """
    from toolkit.backends.argo.volume import upload

    assert handle.remote is None
    project, run = handle.project, handle.run
    here, cluster = this_machine(project), _cluster_place(remote)
    with _move_lock(project):
        place = moved_to(run.folder)
        if place is not None and place != cluster:
            raise _moved_away(run.id, place)
        # The nodes need not have the run's own image, so the pod has the project's.
        with remote.reader(None) as pod:
            arrival = upload.arrival(remote.mirror, pod, run.folder, here)
            if arrival.state == volume_protocol.ELSEWHERE:
                raise _moved_away(run.id, arrival.to)
            if arrival.state == volume_protocol.THERE and place is None:
                raise BadInput(
                    f"there is a run {run.id} on the cluster as well: `toolkit retry {run.id} --env argo` resumes that one"
                )
            if place is None:
                _mark_moved(project, run.id, cluster)
            # A run that is marked here and is there has arrived, and the client that moved it was killed.
            if arrival.state != volume_protocol.THERE:
                note(
                    f"moving the run {run.id} to {remote.cluster.context or 'the cluster'}, "
                    f"namespace {remote.cluster.namespace}"
                )
                digests = _objects(run.folder, run)
                location = run.plan()["stores"]["catalog"]
                if digests and location is not None:
                    upload.push_objects(remote.mirror, pod, volumes.host_path(project, location), digests)
                upload.push_run(remote.mirror, pod, run.folder, here)
            remote.mirror.forget(run.id)
            remote.mirror.sync(pod, run.id)
    return RunHandle(project, remote.log, remote.run(run.id), remote)


def refresh_run(handle: RunHandle) -> RunHandle:
    """A run of a cluster as its volume has it now, before it is resumed there.

    Raises:
        BadInput: it was moved elsewhere. Infrastructure: the cluster can't be asked.
    """
    assert handle.remote is not None
    remote, run_id = handle.remote, handle.run.id
    # What was fetched before may be older than a mark. With the logs, which the mirror has by now, it is complete again.
    remote.mirror.forget(run_id)
    run = remote.run(run_id, logs=True, needs_volume=True)
    place = moved_to(run.folder)
    if place is None:
        return RunHandle(handle.project, handle.log, run, remote)
    if place == this_machine(handle.project):
        raise BadInput(f"the run {run_id} was moved to this machine: `toolkit retry {run_id} --env local` resumes it")
    raise _moved_away(run_id, place)


def _mark_moved(project: Project, run_id: str, cluster: RunPlace) -> None:
    """Marks a run of this machine as moved to a cluster.

    Raises:
        BadInput: it is running, or another client has marked it. Infrastructure: its folder can't be written.
    """
    folder = _log_folder(project) / run_id
    # Kept first: where a mark leads is read here, and not in the mark.
    keep_place(project.state, run_id, cluster)
    try:
        is_marked = writer.mark_moved(folder, {"version": 1, "moved": now(), "to": cluster})
    except OSError as error:
        raise Infrastructure(f"{folder / MOVED_RECORD} can't be written: {error.strerror}") from None
    if not is_marked:
        raise _moved_away(run_id, moved_to(folder) or {})
    if local_log(project).run(run_id).active:
        # It has been resumed since it was looked at. A client that resumes it looks for a mark once it has begun.
        writer.remove_mark(folder)
        raise _still_running(run_id)


# --- both -----------------------------------------------------------------------------------------------------------


def _identity(folder: Path) -> str:
    """Identifies the run in a folder, by its first record."""
    try:
        record = read(str(folder / RUN_RECORD))
    except (OSError, ValueError, RecursionError):
        record = None
    return run_identity(record or {})


@contextmanager
def _move_lock(project: Project) -> Iterator[None]:
    """Keeps other commands of this project from moving a run at the same time.

    Raises:
        BadInput: another one does. Infrastructure: the private state can't be written.
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
            raise BadInput("another command is moving a run: try again when it has ended") from None
        yield


def _objects(folder: Path, run: Run) -> list[str]:
    """The hashes of the objects that a run's records name, except of files that were put without a copy.

    Args:
        folder: where the records are.

    Raises:
        Infrastructure: what they name is no hash.
    """
    tree, steps = Tree(run.plan()), folder / STEPS_FOLDER
    digests: dict[str, None] = {}
    for path in sorted(steps.rglob(END_RECORD)):
        record = read_end(str(path))
        if record is None:
            continue
        names = [unquote(part) for part in path.relative_to(steps).parts[:-2]]
        trail = tree.trail("/".join(names))
        if "catalog" in record and (trail is None or trail[-1].row.get("catalog", {}).get("store_copy", True)):
            digests.update((file["sha256"], None) for file in record["catalog"].get("put", ()))
        for value in record.get("returns", {}).values():
            if value["kind"] == "object":
                digests[value["sha256"]] = None
    for digest in digests:
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise Infrastructure(
                f"the run {run.id} can't be moved: its records name the object {digest!r}, which is no hash"
            )
    return list(digests)
