"""How a Workflow and its attempts ended, by the status of the Workflow and of its pods. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.follow.nodes import CompositeNodes, NodeAttempt, TaskPaths, parse_time, workflow_nodes
from toolkit.backends.argo.pod_failures import POD_DEADLINE
from toolkit.backends.argo.pods import STEP_DEADLINE
from toolkit.backends.argo.shutdown import give_up_reason
from toolkit.backends.scheduler import Outcome
from toolkit.runtime.shared.causes import ASKED, PASSED_ON, SHUT_DOWN
from toolkit.store.verdict import Attempt, end_by_engine, judge

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord


_EARLY = 2.0
"""Seconds."""


def ended_at(workflow: KubernetesObject) -> str | None:
    """When a Workflow ended, in the form of records."""
    ended = (workflow.get("status") or {}).get("finishedAt")
    return kubernetes_time(ended) if ended else None


def kubernetes_time(text: str) -> str:
    """A time of Kubernetes, which has no milliseconds, in the form of records."""
    return text if "." in text else text.replace("Z", ".000Z")


def workflow_status(workflow: KubernetesObject) -> str:
    """The phase of a Workflow: Pending, Running, Succeeded, Failed or Error; empty before the controller has seen it."""
    return str((workflow.get("status") or {}).get("phase") or "")


def outcome_of(
    workflow: KubernetesObject,
    tasks: Sequence[str],
    records: Mapping[tuple[str, int], EngineRecord],
    time_limit: int | None,
) -> Outcome:
    """How a finished Workflow ended.

    Args:
        tasks: paths of the plan, in its order. records: engine.json of each attempt.
        time_limit: seconds for the whole run, as the configuration has it.
    """
    phase = workflow_status(workflow)
    if phase == "Succeeded":
        return Outcome("succeeded")
    if why := give_up_reason(workflow):
        return Outcome("failed", why, fault=True)
    if (workflow.get("spec") or {}).get("shutdown"):
        return Outcome("cancelled", SHUT_DOWN.reason)
    message = str((workflow.get("status") or {}).get("message") or "")
    if time_limit is not None and _out_of_time(workflow, time_limit):
        return Outcome("failed", f"the run took longer than its time limit of {time_limit} s")
    paths = TaskPaths(tasks)
    composites = CompositeNodes(workflow, paths)
    last: dict[str, int] = {}
    for path, number in records:
        last[path] = max(number, last.get(path, 0))
    for path in sorted(last, key=paths.order):
        attempt = attempt_from_engine(last[path], records[path, last[path]])
        if attempt.status != "succeeded" and not composites.handled(path):
            return Outcome("failed", f"the step {path} failed: {attempt.reason}", attempt.fault)
    if why := composites.reason():
        return Outcome("failed", why)
    return Outcome("failed", f"Argo says: {message or phase}", fault=True)


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
    """Whether the run as a whole was stopped: because somebody asked for it, or by its time limit."""
    shut_down = bool((workflow.get("spec") or {}).get("shutdown"))
    return shut_down or (time_limit is not None and _out_of_time(workflow, time_limit))


def engine_record(
    attempt: NodeAttempt, pod: KubernetesObject | None, workflow: KubernetesObject, time_limit: int | None
) -> EngineRecord:
    """The engine.json of an attempt that has ended. It is the same for every client.

    Args:
        pod: as it was seen last, None when it never was. time_limit: as for :func:`outcome_of`.
    """
    stopped, why = was_shut_down(workflow, time_limit) and not attempt.retried, give_up_reason(workflow)
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
