"""How a Workflow and its attempts ended, by the status of the Workflow and of its pods. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.workflow import ASKED_ANNOTATION
from toolkit.backends.argo.follow.nodes import CompositeNodes, NodeAttempt, TaskPaths, parse_time, was_asked_to_end
from toolkit.backends.argo.pod_failures import POD_DEADLINE
from toolkit.backends.argo.pods import STEP_DEADLINE
from toolkit.backends.argo.shutdown import give_up_reason
from toolkit.backends.argo.workflow_status import (
    FINISHED,
    exit_node,
    has_exit,
    without_exit,
    workflow_nodes,
    workflow_status,
)
from toolkit.backends.scheduler import Outcome
from toolkit.runtime.shared.causes import ASKED, PASSED_ON, SHUT_DOWN
from toolkit.runtime.shared.tree import ON_EXIT
from toolkit.store.verdict import Attempt, end_by_engine, judge

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord


_OF_EXIT = f"{ON_EXIT}/"
_EARLY = 2.0
"""Seconds."""


def ended_at(workflow: KubernetesObject) -> str | None:
    """When a Workflow ended, in the form of records."""
    ended = (workflow.get("status") or {}).get("finishedAt")
    return kubernetes_time(ended) if ended else None


def kubernetes_time(text: str) -> str:
    """A time of Kubernetes, which has no milliseconds, in the form of records."""
    return text if "." in text else text.replace("Z", ".000Z")


def outcome_of(
    workflow: KubernetesObject,
    tasks: Sequence[str],
    records: Mapping[tuple[str, int], EngineRecord],
    time_limit: int | None,
    kept: Collection[str] = (),
) -> Outcome:
    """How a finished Workflow ended.

    Args:
        tasks: paths of the plan, in its order. records: engine.json of each attempt.
        time_limit: seconds for the whole run, as the configuration has it.
        kept: the template paths of the steps that stay failed when their handlers have succeeded.
    """
    if not has_exit(workflow):
        return _outcome_of_pipeline(workflow, tasks, records, time_limit, kept)
    own = [path for path in tasks if not path.startswith(_OF_EXIT)]
    of_pipeline = {key: record for key, record in records.items() if not key[0].startswith(_OF_EXIT)}
    outcome = _outcome_of_pipeline(without_exit(workflow), own, of_pipeline, time_limit, kept)
    return replace(outcome, on_exit=_why_exit_failed(workflow, tasks, records, kept))


def _why_exit_failed(
    workflow: KubernetesObject,
    tasks: Sequence[str],
    records: Mapping[tuple[str, int], EngineRecord],
    kept: Collection[str],
) -> str:
    """Why what ran after the pipeline did not succeed; empty where it did, or where nothing ran."""
    node = exit_node(workflow)
    if node is None or node.get("phase") not in ("Failed", "Error"):
        return ""
    if _is_terminated(workflow):
        return give_up_reason(workflow) or "cancelled"
    of_exit = {key: record for key, record in records.items() if key[0].startswith(_OF_EXIT)}
    return _first_failure(workflow, tasks, of_exit, kept) or f"Argo says: {node.get('message') or node['phase']}"


def _first_failure(
    workflow: KubernetesObject,
    tasks: Sequence[str],
    records: Mapping[tuple[str, int], EngineRecord],
    kept: Collection[str],
) -> str:
    failure = _failed_attempt(TaskPaths(tasks), CompositeNodes(workflow, TaskPaths(tasks), kept), records)
    return f"the step {failure[0]} failed: {failure[1].reason}" if failure is not None else ""


def _outcome_of_pipeline(
    workflow: KubernetesObject,
    tasks: Sequence[str],
    records: Mapping[tuple[str, int], EngineRecord],
    time_limit: int | None,
    kept: Collection[str],
) -> Outcome:
    phase = workflow_status(workflow)
    if phase == "Succeeded":
        return Outcome("succeeded")
    if (why := give_up_reason(workflow)) and _pipeline_was_shut_down(workflow):
        return Outcome("failed", why, fault=True)
    if _pipeline_was_shut_down(workflow):
        return Outcome("cancelled", SHUT_DOWN.reason)
    message = str((workflow.get("status") or {}).get("message") or "")
    if time_limit is not None and _out_of_time(workflow, time_limit):
        return Outcome("failed", f"the run took longer than its time limit of {time_limit} s")
    paths = TaskPaths(tasks)
    composites = CompositeNodes(workflow, paths, kept)
    failure = _failed_attempt(paths, composites, records)
    if failure is not None:
        return Outcome("failed", f"the step {failure[0]} failed: {failure[1].reason}", failure[1].fault)
    if why := composites.reason():
        return Outcome("failed", why)
    return Outcome("failed", f"Argo says: {message or phase}", fault=True)


def _failed_attempt(
    paths: TaskPaths, composites: CompositeNodes, records: Mapping[tuple[str, int], EngineRecord]
) -> tuple[str, Attempt] | None:
    """The first task, in the order of the plan, whose last attempt failed and was not handled."""
    last: dict[str, int] = {}
    for path, number in records:
        last[path] = max(number, last.get(path, 0))
    for path in sorted(last, key=paths.order):
        attempt = attempt_from_engine(last[path], records[path, last[path]])
        if attempt.status != "succeeded" and not composites.handled(path):
            return path, attempt
    return None


def _is_terminated(workflow: KubernetesObject) -> bool:
    """Whether what runs after the pipeline was asked to stop as well."""
    return (workflow.get("spec") or {}).get("shutdown") == "Terminate"


def _pipeline_was_shut_down(workflow: KubernetesObject) -> bool:
    """Whether the steps of the pipeline itself were asked to stop, and not only what runs after it."""
    if not (workflow.get("spec") or {}).get("shutdown"):
        return False
    pipeline = without_exit(workflow)
    if not has_exit(workflow) or workflow_status(pipeline) not in FINISHED:
        return True
    asked = (workflow["metadata"].get("annotations") or {}).get(ASKED_ANNOTATION)
    return bool(asked) or any(was_asked_to_end(node) for node in workflow_nodes(pipeline).values())


def _out_of_time(workflow: KubernetesObject, limit: int) -> bool:
    """Whether the run was over its time limit when its last node ended. Times have whole seconds."""
    status = workflow.get("status") or {}
    nodes = workflow_nodes(workflow).values()
    if any(_was_written_off(node) for node in nodes):
        return True
    times = [status.get("finishedAt"), *(node.get("finishedAt") for node in nodes)]
    ended = max((parse_time(time) for time in times if time), default=None)
    if ended is None or not status.get("startedAt"):
        return False
    # Argo gives each pod what is left of the time, in whole seconds. So Kubernetes, or Argo's own container in the pod, may end it
    # a second or two before the run's end.
    deadlines = (POD_DEADLINE, STEP_DEADLINE)
    early = _EARLY if any(str(node.get("message") or "").startswith(deadlines) for node in nodes) else 0.0
    return (ended - parse_time(status["startedAt"])).total_seconds() >= limit - early


def _was_written_off(node: KubernetesObject) -> bool:
    """Whether Argo failed a node at the run's deadline: it does so before it says when the node or the Workflow ended."""
    message = str(node.get("message") or "")
    return node.get("phase") == "Failed" and not node.get("finishedAt") and message.startswith(STEP_DEADLINE)


def was_shut_down(workflow: KubernetesObject, time_limit: int | None) -> bool:
    """Whether the pipeline as a whole was stopped: because somebody asked for it, or by its time limit."""
    pipeline = without_exit(workflow)
    return _pipeline_was_shut_down(workflow) or (time_limit is not None and _out_of_time(pipeline, time_limit))


def engine_record(
    attempt: NodeAttempt, pod: KubernetesObject | None, workflow: KubernetesObject, time_limit: int | None
) -> EngineRecord:
    """The engine.json of an attempt that has ended. It is the same for every client.

    Args:
        pod: as it was seen last, None when it never was. time_limit: as for :func:`outcome_of`.
    """
    is_of_exit = has_exit(workflow) and attempt.path.startswith(_OF_EXIT)
    was_stopped = _is_terminated(workflow) if is_of_exit else was_shut_down(workflow, time_limit)
    stopped, why = was_stopped and not attempt.retried, give_up_reason(workflow)
    verdict = attempt.verdict(pod, stopped)
    if (
        why
        and stopped
        and (verdict.exit_code is None or attempt.shut_down or verdict.message in (ASKED.reason, PASSED_ON.reason))
    ):
        verdict = replace(verdict, exit_code=None, message=why, fault=True)
    return verdict.record(stopped and not why)


def attempt_from_engine(number: int, engine: EngineRecord, folder: str = "") -> Attempt:
    """An attempt by the engine's record alone, for a client that does not see the volume."""
    end = end_by_engine(engine)
    return Attempt(number, *judge(end, engine, run_active=False), folder, end=end or {}, unread=True)
