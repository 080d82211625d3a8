"""Shuts a Workflow down, and keeps in it why a client gave the run up."""

from __future__ import annotations

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, Cluster, KubernetesObject
from toolkit.backends.argo.pods import WORKFLOW_LABEL

GAVE_UP_ANNOTATION = "dev.toolkit/gave-up"
"""Why a client ended the run, which could not continue."""


def give_up_reason(workflow: KubernetesObject) -> str:
    """Why a client ended the run, which could not continue; empty when no client did."""
    return str((workflow["metadata"].get("annotations") or {}).get(GAVE_UP_ANNOTATION) or "")


def shut_down_run(cluster: Cluster, name: str, kill: bool, why: str = "") -> None:
    """Asks Argo to end a run. Its pods get their grace period; with ``kill`` they are deleted at once.

    Args:
        why: the run's reason as a sentence, where nobody cancelled it and it can't continue.

    Raises:
        NotFound: there is no such Workflow. ApiError, Unreachable.
    """
    change: KubernetesObject = {"spec": {"shutdown": "Terminate"}}
    if why:
        change["metadata"] = {"annotations": {GAVE_UP_ANNOTATION: why}}
    cluster.patch(WORKFLOWS, "workflows", name, change)
    if kill:
        for pod in cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={name}")["items"]:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
