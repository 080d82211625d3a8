"""Finds a run wherever it is: in the volume's folder on this machine, or on a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends import driver, volumes
from toolkit.config.environment import choose_environment
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.project import Project
from toolkit.run.kept import kept_place, kept_request
from toolkit.run.request import Note
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.records import read
from toolkit.runtime.shared.run_files import RUN_ID
from toolkit.store.reader import NoRun, Run, RunLog, moved_to

if TYPE_CHECKING:
    from toolkit.runs.cluster_runs import ClusterRuns
    from toolkit.runtime.shared.documents import RunPlace


class NoSuchRun(BadInput):
    """There is no run of that name where it is looked for."""


class MissingObjects(Infrastructure):
    """Objects are missing or damaged on a cluster's volume. The others are here.

    Attributes:
        location: the folder of the catalog's objects on this machine; None where nothing is stored.
    """

    def __init__(self, message: str, location: Path | None) -> None:
        super().__init__(message)
        self.location = location


_Place = tuple[str, str]
"""Context and namespace of a cluster."""


@dataclass(frozen=True)
class RunSource:
    """Where the user wants runs to be looked for. Where all is None, they are looked for everywhere.

    Attributes:
        environment: what ``--env`` says. context, namespace: what the options of these names say.
    """

    environment: str | None = None
    context: str | None = None
    namespace: str | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether the user named the cluster."""
        return self.context is not None or self.namespace is not None


@dataclass(frozen=True)
class RunHandle:
    """A run, and what reads its records.

    Attributes:
        remote: the runs of the cluster that it is on; None for a run of this machine.
        is_copy: whether it is a cluster's run whose cluster can't be asked any more. It can be shown, and nothing else.
    """

    project: Project
    log: RunLog
    run: Run
    remote: ClusterRuns | None = None
    is_copy: bool = False

    def catalog(self, digests: Iterable[str]) -> Path | None:
        """The folder of the catalog's objects on this machine; None where nothing is stored.

        Args:
            digests: SHA-256 of the objects that it must hold, as far as they exist. Those on a cluster are fetched.

        Raises:
            BadInput: the run's plan names no catalog on a volume. Infrastructure: the cluster can't be asked.
            MissingObjects: an object is missing or damaged there.
        """
        if self.is_copy:
            raise Infrastructure(
                f"the files of the run {self.run.id} are on its cluster, of which only copies of records are here"
            )
        if self.remote is not None:
            try:
                return self.remote.catalog(self.run, list(dict.fromkeys(digests)))
            except StoreFault as error:
                raise MissingObjects(str(error), self.remote.mirror.catalog) from None
        location = self.run.plan()["stores"]["catalog"]
        return volumes.host_path(self.project, location) if location is not None else None


def local_log(project: Project) -> RunLog:
    """The run log of this machine."""
    return RunLog(volumes.host_path(project, project.config.run_log_store.log_folder), driver.is_driven(project))


def this_machine(project: Project) -> RunPlace:
    """This machine, as the mark of a run that was moved here names it."""
    return {
        "host": socket.gethostname(),
        "folder": str(volumes.host_path(project, project.config.run_log_store.log_folder)),
    }


def open_remote(project: Project, source: RunSource, note: Note) -> ClusterRuns:
    """The runs of a cluster.

    Raises:
        BadInput: no kubeconfig, or no such context.
    """
    # Imported only here: of all imports the client library of Kubernetes takes longest.
    from toolkit.backends.argo.cluster import open_cluster
    from toolkit.runs.cluster_runs import ClusterRuns

    return ClusterRuns(project, open_cluster(project, source.context, source.namespace), note)


def find_run(project: Project, run_id: str, source: RunSource, note: Note, logs: bool = False) -> RunHandle:
    """A run by its id: of this machine if it is there, else of the cluster that is configured, named or known.

    Args:
        logs: whether the output of the steps is needed as well.

    Raises:
        NoSuchRun. BadInput: it was moved, and where to is not known. Infrastructure: the cluster can't be asked.
    """
    # An option limits the search, an environment variable does not: `diff` may compare a run of each environment.
    chosen = choose_environment(source.environment, project.config)[0]
    if not RUN_ID.fullmatch(run_id):
        # No cluster is asked for it: it may be a key, or a path.
        raise NoSuchRun(f"there is no run {run_id!r} here: `toolkit runs` lists the runs")
    mirrored = _known_places(project, run_id)
    limited = source.environment is not None
    only_on_cluster = (
        chosen == "argo" if limited else _requested_environment(project, source) == "argo" and bool(mirrored)
    )
    local: RunHandle | None = None
    if not only_on_cluster:
        log = local_log(project)
        try:
            local = RunHandle(project, log, log.run(run_id))
            place = moved_to(local.run.folder) or {}
            if limited or "namespace" not in place:
                return local
            # The run was moved to a cluster. If that client was killed before the run arrived, it is still here.
            source = _source_of_moved(project, run_id, source)
        except NoRun:
            if limited or not (mirrored or chosen == "argo" or source.is_cluster):
                raise NoSuchRun(f"there is no run {run_id!r} here: `toolkit runs` lists the runs") from None
    if len(mirrored) == 1 and not source.is_cluster:
        # It was submitted from this machine, whose mirror says to which cluster.
        context, namespace = mirrored[0]
        source = RunSource(source.environment, context or None, namespace)
    try:
        remote = open_remote(project, source, note)
    except BadInput:
        cluster_place = (source.context or "", source.namespace or "")
        copies = _copies(project, run_id, logs, cluster_place) if mirrored else []
        if len(copies) != 1:
            raise
        return copies[0]
    try:
        handle = RunHandle(project, remote.log, remote.run(run_id, logs), remote)
    except NoRun:
        if local is not None:
            return local
        cluster = remote.cluster
        raise NoSuchRun(
            f"there is no run {run_id!r}, neither here nor in the namespace {cluster.namespace} of {cluster.context}"
        ) from None
    if not limited and moved_to(handle.run.folder) == this_machine(project):
        # Also where both are marked: the run was being moved back to the cluster, and the records there are the older ones.
        try:
            log = local_log(project)
            return RunHandle(project, log, log.run(run_id))
        except NoRun:
            pass
    return handle


def newest_run(project: Project, source: RunSource, note: Note, logs: bool = False) -> RunHandle:
    """The newest of the runs that ``toolkit runs`` lists.

    Raises:
        NoSuchRun: there is none. Infrastructure: the cluster can't be asked.
    """
    handles = all_runs(project, source, note)
    if not handles:
        raise NoSuchRun("there are no runs here yet")
    newest = handles[-1]
    if newest.remote is None:
        return newest
    return RunHandle(project, newest.remote.log, newest.remote.run(newest.run.id, logs), newest.remote)


def newest_to_resume(project: Project, source: RunSource, note: Note) -> Run:
    """The newest run that failed or was cancelled, or that no client saw end.

    Raises:
        BadInput: there is none. Infrastructure: the cluster can't be asked.
    """
    for handle in reversed(all_runs(project, source, note)):
        run = handle.run
        if not (run.active or run.is_open or handle.is_copy) and (run.end is None or run.end["status"] != "succeeded"):
            return run
    raise BadInput("there is no run here that failed or was cancelled, so there is nothing to resume")


def one_that_goes_on(project: Project, source: RunSource, note: Note) -> str:
    """The id of the only run that goes on and that a client of this project on this machine has started.

    Raises:
        BadInput: there is none, or several, which the sentence names. Infrastructure: the cluster can't be asked.
    """
    environment = _requested_environment(project, source)
    ids = [] if environment == "argo" else driver.driven_runs(project)
    if environment == "argo":
        remotes = [open_remote(project, source, note)]
    elif environment is None:
        remotes = list(_remotes(project, note))
    else:
        remotes = []
    for remote in remotes:
        # What others have started on the volume is theirs to cancel, by its name.
        ids += [run.id for run in remote.known_runs() if run.active and kept_request(remote.mirror.home, run.record)]
    ids = list(dict.fromkeys(ids))
    if not ids:
        raise BadInput("no run that was started from here goes on: `toolkit runs` lists all runs")
    if len(ids) > 1:
        raise BadInput(f"{len(ids)} runs that were started from here go on, so name one: {', '.join(ids)}")
    return ids[0]


def _remotes(project: Project, note: Note) -> Iterator[ClusterRuns]:
    """The clusters that runs were submitted to from this machine, as far as they can be asked."""
    for context, namespace in _known_places(project):
        try:
            remote = open_remote(project, RunSource(context=context or None, namespace=namespace), note)
            remote.known_runs()
        except ToolkitError as error:
            note(f"the runs in the namespace {namespace} of {context} are not looked at: {error}")
        else:
            yield remote


def all_runs(project: Project, source: RunSource, note: Note) -> list[RunHandle]:
    """All runs, the newest last.

    Those are the runs of this machine, and the runs that were submitted from it. Where the user names the cluster, they
    are all runs on its volume instead.

    Raises:
        BadInput, Infrastructure: the user names the cluster, and it can't be asked.
    """
    environment = _requested_environment(project, source)
    if environment == "argo":
        remote = open_remote(project, source, note)
        return _in_order(RunHandle(project, remote.log, run, remote) for run in remote.runs())
    log = local_log(project)
    handles = [RunHandle(project, log, run) for run in log.runs()]
    if environment is None:
        for context, namespace in _known_places(project):
            try:
                remote = open_remote(project, RunSource(context=context or None, namespace=namespace), note)
                handles += [RunHandle(project, remote.log, run, remote) for run in remote.known_runs()]
            except ToolkitError as error:
                copies = _copies(project, "*", False, (context, namespace))
                what = "are listed as far as they are complete here" if copies else "are not listed"
                note(f"the runs in the namespace {namespace} of {context} {what}: {error}")
                handles += copies
        # A run that was moved is in two places, and counts where it has no mark.
        unmarked = {handle.run.id for handle in handles if moved_to(handle.run.folder) is None}
        handles = [handle for handle in handles if handle.run.id not in unmarked or moved_to(handle.run.folder) is None]
    return _in_order(handles)


def with_records(handles: list[RunHandle]) -> list[RunHandle]:
    """The same runs, once the records of those on clusters are here, as far as they can be read."""
    remotes = {id(handle.remote): handle.remote for handle in handles if handle.remote is not None}
    for remote in remotes.values():
        remote.bring_records(handle.run.id for handle in handles if handle.remote is remote)
    read = []
    for handle in handles:
        try:
            run = handle.run if handle.remote is None else handle.log.run(handle.run.id)
        except NoRun:
            # It is in the volume's listing alone.
            run = handle.run
        read.append(replace(handle, run=run))
    return read


def _in_order(handles: Iterable[RunHandle]) -> list[RunHandle]:
    """The newest last."""
    return sorted(handles, key=lambda handle: (handle.run.record["started"], handle.run.id))


def _requested_environment(project: Project, source: RunSource) -> str | None:
    """The environment that an option or an environment variable names. The configuration does not count."""
    if source.environment is None and source.is_cluster:
        return "argo"
    if source.environment is None and not os.environ.get("TOOLKIT_ENV"):
        return None
    return choose_environment(source.environment, project.config)[0]


def _known_places(project: Project, run_id: str = "*") -> list[_Place]:
    """Where the clusters are whose mirrors on this machine have a run, or the run of this id.

    A run's record names a cluster as well. But it comes from a volume on which steps can write, so it does not choose one.
    """
    inside = volumes.locate(project, project.config.run_log_store.log_folder)[1]
    places: set[_Place] = set()
    for file in (project.state / volumes.MIRRORS).glob(f"*/{volumes.MIRRORED_PLACE}"):
        place = _place_of(file)
        if place is not None and any((file.parent / volumes.MIRRORED_VOLUME / inside).glob(f"{run_id}/{RUN_RECORD}")):
            places.add(place)
    return sorted(places)


def _copies(project: Project, run_id: str, logs: bool, place: _Place) -> list[RunHandle]:
    """The runs of clusters that have ended and are complete on this machine, for when their cluster is gone.

    Args:
        run_id: of one run; ``*`` is all. logs: whether they must be complete with their output. place: of the cluster.
    """
    from toolkit.backends.argo.volume.mirror import is_complete

    inside = volumes.locate(project, project.config.run_log_store.log_folder)[1]
    copies: list[RunHandle] = []
    for file in sorted((project.state / volumes.MIRRORS).glob(f"*/{volumes.MIRRORED_PLACE}")):
        if _place_of(file) != place:
            continue
        log = RunLog(file.parent / volumes.MIRRORED_VOLUME / inside, lambda record: False)
        copies += [
            RunHandle(project, log, run, is_copy=True)
            for run in log.runs()
            if run_id in ("*", run.id) and is_complete(file.parent, run.folder, logs)
        ]
    return copies


def _place_of(file: Path) -> _Place | None:
    """Where the cluster of a mirror is, as its file says; None where it can't be read."""
    try:
        place = read(str(file)) or {}
    except (OSError, ValueError):
        return None
    return str(place.get("context") or ""), str(place.get("namespace"))


def _source_of_moved(project: Project, run_id: str, source: RunSource) -> RunSource:
    """Where a run is looked for that has a mark here: where this machine has moved it, unless the user names a cluster.

    Raises:
        BadInput: this machine has kept no place, and the user names none.
    """
    kept = kept_place(project.state, run_id)
    if kept is None and not source.is_cluster:
        raise BadInput(
            f"the run {run_id} has the mark of a run that was moved, and where to is not kept on this machine: name the cluster "
            "(--context, --namespace), or look at what is here with --env local"
        )
    place = kept or {}
    return RunSource(None, source.context or place.get("context"), source.namespace or place.get("namespace"))
