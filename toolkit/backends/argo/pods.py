"""Reads what Kubernetes says of a pod: whether it has started or ended, who removed it, and why it waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toolkit.backends.argo.cluster import KubernetesObject

NODE_ANNOTATION = "workflows.argoproj.io/node-id"
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
_STARTING = frozenset({"PodInitializing", "ContainerCreating"})
_HARMLESS = frozenset({"FailedScheduling", "MissingClusterDNS", "DNSConfigForming", "CheckLimitsForResolvConf"})
"""Warnings that keep no pod from starting, or that the pod itself says better."""
PERMANENT_WAIT_REASONS = frozenset(
    {"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)
"""Reasons for which a pod waits that go away only when somebody changes something."""


def main_container_status(pod: KubernetesObject | None) -> KubernetesObject:
    """The status of the user's container."""
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    return next((one for one in statuses if one["name"] == "main"), {})


def removal_reason(pod: KubernetesObject | None) -> str:
    """Who took a pod away, as a sentence; empty when nobody did."""
    status = (pod or {}).get("status") or {}
    if status.get("reason") == "Evicted":
        return f"the pod was evicted: {status.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            said = condition.get("message") or condition.get("reason", "")
            return f"the pod was evicted: {said}".rstrip(": ")
    if pod is not None and pod["metadata"].get("deletionTimestamp"):
        return "the pod was deleted"
    return ""


def pod_has_started(pod: KubernetesObject) -> bool:
    """Whether the user's container runs or has run, or never will."""
    state = main_container_status(pod).get("state") or {}
    return "running" in state or "terminated" in state or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def pod_has_ended(pod: KubernetesObject) -> bool:
    """Whether no step runs in a pod any more, nor will; it may for its grace period after Argo has written it off."""
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return over or "terminated" in (main_container_status(pod).get("state") or {})


@dataclass(frozen=True)
class WaitReason:
    """Why a pod has not started.

    Attributes:
        word: Kubernetes' own, empty while nothing is wrong yet. sentence: word and message.
    """

    word: str
    sentence: str


def wait_reason(pod: KubernetesObject) -> WaitReason:
    """Why a pod's main container has not started, as far as the pod itself says it."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return WaitReason(
                condition.get("reason", "Unschedulable"), condition.get("message", "it can't be scheduled")
            )
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (one.get("state") or {}).get("waiting") or {}
        word = waiting.get("reason", "")
        if word and word not in _STARTING:
            message = waiting.get("message") or ""
            return WaitReason(word, f"{word}: {message}" if message else word)
    return WaitReason("", "")


def wait_reason_of_events(events: Iterable[KubernetesObject]) -> WaitReason:
    """Why a pod has not started, by the newest warning about it (a volume that can't be mounted is told only there)."""
    warnings = [one for one in events if one.get("type") == "Warning" and one.get("reason") not in _HARMLESS]
    if not warnings:
        return WaitReason("", "")
    last = max(warnings, key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "")
    return WaitReason(last["reason"], f"{last['reason']}: {' '.join(last.get('message', '').split())}")
