"""What is asked for when a run that has ended without success is run again."""

from __future__ import annotations

from toolkit.config.settings import EnvironmentName
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Request
from toolkit.runs.find import RunHandle, RunSource
from toolkit.store.reader import moved_to


def retry_request(
    project: Project, found: RunHandle, reference: PipelineReference | None, environment: str | None, where: RunSource
) -> tuple[Request, str]:
    """What is asked for when a run goes on, and the environment as an option would name it.

    Args:
        reference: the pipeline, if the user names one; else the run's own file. environment: what ``--env`` says; None is
            the run's own. where: the cluster that options name; else it is the run's own, or the configuration's.

    Raises:
        BadInput: the run goes on, or has succeeded; or it is one of compose.
    """
    run = found.run
    if run.is_open:
        raise BadInput(f"the run {run.id} is one of compose, whose steps are run again singly")
    if run.active:
        raise BadInput(
            f"the run {run.id} is going on: `toolkit logs -f {run.id}` follows it, `toolkit cancel {run.id}` ends it"
        )
    if run.end is not None and run.end["status"] == "succeeded":
        raise BadInput(f"the run {run.id} has succeeded: there is nothing to go on with")
    chosen: EnvironmentName = environment or run.record["environment"]  # type: ignore[assignment]
    if chosen != "argo" and found.remote is None and moved_to(run.folder) is not None:
        raise BadInput(
            f"the run {run.id} was on its way to a cluster and has not arrived: `toolkit retry {run.id} --env argo` goes on with it"
        )
    source = run.record.get("source")
    if reference is None and source is None:
        raise BadInput(f"the run {run.id} does not say which file its pipeline is in: name it after the run's id")
    if reference is None:
        reference = PipelineReference.of_record(project, source or {})
    known = run.record["context"] if not where.is_cluster else {}
    request = Request(
        project,
        chosen,
        reference,
        run.record["parameters"],
        run.id,
        run.record["tag"],
        where.context or known.get("context") or None,
        where.namespace or known.get("namespace"),
    )
    return request, chosen
