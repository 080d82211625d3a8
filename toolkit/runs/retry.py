"""What is asked for when a run that has ended without success is resumed."""

from __future__ import annotations

from toolkit.config.settings import EnvironmentName
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Request
from toolkit.runs.find import RunHandle, RunSource
from toolkit.store.reader import moved_to


def retry_request(
    project: Project,
    handle: RunHandle,
    reference: PipelineReference | None,
    environment: str | None,
    source: RunSource,
) -> tuple[Request, str]:
    """The request that resumes a run, and its environment as ``--env`` would name it.

    Args:
        handle: the run.
        reference: the pipeline, if the user names one; None is the run's own.
        environment: what ``--env`` says; None is the run's own.
        source: the cluster that options name; where they name none, it is the run's own, or the configuration's.

    Raises:
        BadInput: the run is active, has succeeded, is one of compose, or its pipeline is unknown.
    """
    run = handle.run
    if run.is_open:
        raise BadInput(f"the run {run.id} is one of compose: run its steps with docker-compose")
    if run.active:
        raise BadInput(
            f"the run {run.id} is running: `toolkit logs -f {run.id}` follows it, `toolkit cancel {run.id}` ends it"
        )
    if run.end is not None and run.end["status"] == "succeeded":
        raise BadInput(f"the run {run.id} has succeeded: there is nothing left to run")
    chosen: EnvironmentName = environment or run.record["environment"]  # type: ignore[assignment]
    if chosen != "argo" and handle.remote is None and moved_to(run.folder) is not None:
        raise BadInput(
            f"the run {run.id} is being moved to a cluster and has not arrived: "
            f"`toolkit retry {run.id} --env argo` resumes it there"
        )
    if reference is None:
        recorded = run.record.get("source")
        if recorded is None:
            raise BadInput(
                f"the run {run.id} does not say which file its pipeline is in: name the pipeline after the run's id"
            )
        reference = PipelineReference.of_record(project, recorded)
    context = {} if source.is_cluster else run.record["context"]
    request = Request(
        project,
        chosen,
        reference,
        run.record["parameters"],
        run.id,
        run.record["tag"],
        source.context or context.get("context") or None,
        source.namespace or context.get("namespace"),
        spellings=run.record.get("spellings") or {},
    )
    return request, chosen
