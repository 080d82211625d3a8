"""Finds a run wherever it is: in the volume's folder on this machine, or on a cluster."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends import driver, volumes
from toolkit.config.environment import choose_environment
from toolkit.errors import BadInput, ToolkitError
from toolkit.project import Project
from toolkit.run.request import Note
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.records import read
from toolkit.store.reader import NoRun, Run, RunLog, moved_to

if TYPE_CHECKING:
    from toolkit.runs.cluster_runs import ClusterRuns

MIRRORS = "cluster"
"""Folder of the private state that holds what is known of runs on clusters."""


@dataclass(frozen=True)
class RunSource:
    """Where the user wants runs to be looked for; all None is anywhere.

    Attributes:
        environment: what ``--env`` says.
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
    """A run and what reads it.

    Attributes:
        remote: the cluster that it is on; None for one of this machine.
    """

    project: Project
    log: RunLog
    run: Run
    remote: ClusterRuns | None = None

    def catalog(self, digests: Iterable[str]) -> Path | None:
        """The folder of the catalog's objects on this machine, with those of these SHA-256 in it as far as they exist.

        None where nothing is stored.

        Raises:
            Infrastructure: the cluster can't be asked.
        """
        if self.remote is not None:
            return self.remote.catalog(self.run, list(dict.fromkeys(digests)))
        location = json.loads(self.run.record["plan"])["stores"]["catalog"]
        return volumes.host_path(self.project, location) if location is not None else None


def local_log(project: Project) -> RunLog:
    """The run log of this machine."""
    return RunLog(volumes.host_path(project, project.config.run_log_store.log_folder), driver.is_driven)


def this_machine(project: Project) -> dict[str, str]:
    """This machine, as the mark of a run that has moved names it."""
    return {
        "host": socket.gethostname(),
        "folder": str(volumes.host_path(project, project.config.run_log_store.log_folder)),
    }


def open_remote(project: Project, where: RunSource, note: Note) -> ClusterRuns:
    """The cluster's runs.

    Raises:
        BadInput: no kubeconfig, or no such context.
    """
    # Only here: the client library of Kubernetes is the largest thing that there is to import.
    from toolkit.backends.argo.cluster import open_cluster
    from toolkit.runs.cluster_runs import ClusterRuns

    return ClusterRuns(project, open_cluster(project, where.context, where.namespace), note)


def find_run(project: Project, run_id: str, where: RunSource, note: Note, logs: bool = False) -> RunHandle:
    """A run by its id: on this machine if it is there, else on the cluster where one is configured, asked for or known.

    Args:
        logs: whether the steps' output is wanted as well.

    Raises:
        BadInput: there is no such run. Infrastructure: the cluster can't be asked.
    """
    # An option is an order, a variable a preference: what names both a run here and one there can be compared.
    chosen = choose_environment(where.environment, project.config)[0]
    mirrored = _mirrored_records(project, run_id)
    ordered = where.environment is not None
    only_there = chosen == "argo" if ordered else _requested_environment(project, where) == "argo" and bool(mirrored)
    left: RunHandle | None = None
    if not only_there:
        log = local_log(project)
        try:
            here = RunHandle(project, log, log.run(run_id))
            to = moved_to(here.run.folder) or {}
            if ordered or "namespace" not in to:
                return here
            # It goes on on a cluster, unless whoever brought it there was killed before it was.
            left, where = here, RunSource(None, where.context or to.get("context"), where.namespace or to["namespace"])
        except NoRun:
            if ordered or not (mirrored or chosen == "argo" or where.is_cluster):
                raise BadInput(f"there is no run {run_id!r} here: `toolkit runs` lists them") from None
    if len(mirrored) == 1 and not where.is_cluster:
        # It was submitted from here: where to is known.
        known = mirrored[0].get("context", {})
        where = RunSource(where.environment, known.get("context") or None, known.get("namespace"))
    remote = open_remote(project, where, note)
    try:
        found = RunHandle(project, remote.log, remote.run(run_id, logs), remote)
    except NoRun:
        if left is not None:
            return left
        cluster = remote.cluster
        raise BadInput(
            f"there is no run {run_id!r}, neither here nor in the namespace {cluster.namespace} of {cluster.context}"
        ) from None
    if not ordered and moved_to(found.run.folder) == this_machine(project):
        # Also when both are marked: of a run that was on its way back, the records there are the older ones.
        try:
            log = local_log(project)
            return RunHandle(project, log, log.run(run_id))
        except NoRun:
            pass
    return found


def newest_run(project: Project, where: RunSource, note: Note, logs: bool = False) -> RunHandle:
    """The newest run, of those that ``toolkit runs`` lists.

    Raises:
        BadInput: there is none. Infrastructure: the cluster can't be asked.
    """
    rows = all_runs(project, where, note)
    if not rows:
        raise BadInput("there are no runs here yet")
    last = rows[-1]
    if last.remote is None:
        return last
    return RunHandle(project, last.remote.log, last.remote.run(last.run.id, logs), last.remote)


def all_runs(project: Project, where: RunSource, note: Note) -> list[RunHandle]:
    """All runs of this machine and those that were submitted from it; of a cluster that is asked for, all on its volume.

    The newest last.

    Raises:
        BadInput, Infrastructure: the cluster was asked for and can't be asked.
    """
    environment = _requested_environment(project, where)
    if environment == "argo":
        remote = open_remote(project, where, note)
        found = [RunHandle(project, remote.log, run, remote) for run in remote.runs()]
        return sorted(found, key=lambda one: (one.run.record["started"], one.run.id))
    log = local_log(project)
    found = [RunHandle(project, log, run) for run in log.runs()]
    if environment is None:
        for context, namespace in _known_clusters(project):
            try:
                remote = open_remote(project, RunSource(context=context or None, namespace=namespace), note)
                found += [RunHandle(project, remote.log, run, remote) for run in remote.known_runs()]
            except ToolkitError as error:
                note(f"the runs in the namespace {namespace} of {context} are not listed: {error}")
        # One that has been moved is where it goes on.
        there = {one.run.id for one in found if moved_to(one.run.folder) is None}
        found = [one for one in found if one.run.id not in there or moved_to(one.run.folder) is None]
    return sorted(found, key=lambda one: (one.run.record["started"], one.run.id))


def _known_clusters(project: Project) -> list[tuple[str, str]]:
    """Context and namespace of each cluster that runs were submitted to from here."""
    known = [record.get("context") or {} for record in _mirrored_records(project, "*")]
    return sorted({(one["context"], one["namespace"]) for one in known if "context" in one and "namespace" in one})


def _requested_environment(project: Project, where: RunSource) -> str | None:
    """The environment that an option or a variable names; what the configuration says is not asked for."""
    if where.environment is None and where.is_cluster:
        return "argo"
    if where.environment is None and not os.environ.get("TOOLKIT_ENV"):
        return None
    return choose_environment(where.environment, project.config)[0]


def _mirrored_records(project: Project, run_id: str) -> list[dict[str, Any]]:
    """run.json of each run of this id that this machine knows of, on whichever cluster."""
    return [
        record for path in (project.state / MIRRORS).glob(f"**/{run_id}/{RUN_RECORD}") if (record := read(str(path)))
    ]
