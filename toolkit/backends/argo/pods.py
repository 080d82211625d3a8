"""Reads what Kubernetes says of a pod: whether it has started or ended, who removed it, and why it waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.backends.argo.cluster import KubernetesObject

NODE_ANNOTATION = "workflows.argoproj.io/node-id"
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
STEP_DEADLINE = "Step exceeded its deadline"
"""Argo's sentence."""


class _Permanent(NamedTuple):
    """Whether a reason to wait is taken for permanent, for a step's pod and for the reader pod."""

    step: bool
    reader: bool


_PERMANENT_REASONS = {
    "ErrImageNeverPull": _Permanent(step=True, reader=True),
    "InvalidImageName": _Permanent(step=True, reader=True),
    "CreateContainerConfigError": _Permanent(step=True, reader=True),
    "CreateContainerError": _Permanent(step=True, reader=True),
    # A step waits for its image: it may still be pushed, and a registry may come back. A command that only reads gives up.
    "ImagePullBackOff": _Permanent(step=False, reader=True),
    # Argo judges a step's container that can't run. The reader pod is judged by its client alone.
    "RunContainerError": _Permanent(step=False, reader=True),
    "CrashLoopBackOff": _Permanent(step=False, reader=True),
}
"""Reasons for which a pod waits until somebody changes something. Any other reason may go away without help."""

_STARTING = frozenset({"PodInitializing", "ContainerCreating"})
_HARMLESS = frozenset({"FailedScheduling", "MissingClusterDNS", "DNSConfigForming", "CheckLimitsForResolvConf"})
"""Warnings that keep no pod from starting, or that the pod's own status says better."""


def main_container_status(pod: KubernetesObject | None) -> KubernetesObject:
    """The status of the user's container; empty while there is none."""
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == "main"), {})


def was_stopped_by_deadline(pod: KubernetesObject | None) -> bool:
    """Whether Argo's own container stopped the step because the time for all of its attempts, or for the run, was over."""
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    ends = ((status.get("state") or {}).get("terminated") or {} for status in statuses if status["name"] == "wait")
    return any(str(end.get("message") or "").startswith(STEP_DEADLINE) for end in ends)


def removal_reason(pod: KubernetesObject | None) -> str:
    """Who removed a pod, as a sentence; empty when nobody did."""
    status = (pod or {}).get("status") or {}
    if status.get("reason") == "Evicted":
        return f"the pod was evicted: {status.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            message = condition.get("message") or condition.get("reason", "")
            return f"the pod was evicted: {message}".rstrip(": ")
    if pod is not None and pod["metadata"].get("deletionTimestamp"):
        return "the pod was deleted"
    return ""


def pod_has_started(pod: KubernetesObject) -> bool:
    """Whether the user's container runs or has run, or never will."""
    state = main_container_status(pod).get("state") or {}
    return "running" in state or "terminated" in state or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def pod_has_ended(pod: KubernetesObject) -> bool:
    """Whether no step runs in a pod any more, nor will. One may still run after Argo has written the pod off."""
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return over or "terminated" in (main_container_status(pod).get("state") or {})


@dataclass(frozen=True)
class WaitReason:
    """Why a pod has not started.

    Attributes:
        word: Kubernetes' reason; empty while nothing is wrong yet.
        sentence: reason and message; of a pod without a ``word`` what its containers wait for, if they say so.
        scheduled: whether the pod has a node, as far as its status says so.
    """

    word: str
    sentence: str
    scheduled: bool = True

    @property
    def permanent_for_step(self) -> bool:
        """Whether a step's pod will not start unless somebody changes something."""
        return self.word in _PERMANENT_REASONS and _PERMANENT_REASONS[self.word].step

    @property
    def permanent_for_reader(self) -> bool:
        """Whether a reader pod is given up: a client waits for it, and for nothing else."""
        if not self.scheduled:
            # A node may be added. A claim that does not exist is not made while a client waits.
            return "persistentvolumeclaim" in self.sentence and "not found" in self.sentence
        return self.word in _PERMANENT_REASONS and _PERMANENT_REASONS[self.word].reader


def wait_reason(pod: KubernetesObject) -> WaitReason:
    """Why a pod has not started, as far as its own status says so."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message") or "it can't be scheduled"
            return WaitReason(condition.get("reason") or "Unschedulable", message, scheduled=False)
    starting = ""
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        word, message = waiting.get("reason") or "", waiting.get("message") or ""
        sentence = f"{word}: {message}" if message else word
        if word and word not in _STARTING:
            return WaitReason(word, sentence)
        starting = starting or sentence
    return WaitReason("", starting)


def newest_event(events: Iterable[KubernetesObject]) -> KubernetesObject | None:
    """The event that was reported last; None when there is none."""
    return max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default=None)


def newest_warning(events: Iterable[KubernetesObject]) -> WaitReason:
    """Why a pod has not started, by the newest warning about it; empty when there is none.

    Only an event says, for example, that a volume can't be mounted.
    """
    warnings = (event for event in events if event.get("type") == "Warning" and event.get("reason") not in _HARMLESS)
    event = newest_event(warnings)
    if event is None:
        return WaitReason("", "")
    return WaitReason(event["reason"], f"{event['reason']}: {' '.join(str(event.get('message') or '').split())}")
