"""Reads a Workflow's status as a whole: its nodes, and which of them run after the pipeline. Pure."""

from __future__ import annotations

import base64
import gzip
import json

from toolkit.backends.argo.cluster import KubernetesObject

FINISHED = ("Succeeded", "Failed", "Error")
_ON_EXIT = ".onExit"
"""Argo's suffix for the node of what runs after the pipeline."""


def workflow_status(workflow: KubernetesObject) -> str:
    """The phase of a Workflow: Pending, Running, Succeeded, Failed or Error; empty before the controller has seen it."""
    return str((workflow.get("status") or {}).get("phase") or "")


def workflow_nodes(workflow: KubernetesObject) -> dict[str, KubernetesObject]:
    """A Workflow's nodes by id. Argo compresses them when there are many."""
    status = workflow.get("status") or {}
    if packed := status.get("compressedNodes"):
        nodes: dict[str, KubernetesObject] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return nodes
    return status.get("nodes") or {}


def is_of_exit(node: KubernetesObject, workflow: KubernetesObject) -> bool:
    """Whether a node belongs to what runs after the pipeline."""
    root, name = f"{workflow['metadata']['name']}{_ON_EXIT}", str(node.get("name", ""))
    return name == root or name.startswith((f"{root}.", f"{root}("))


def exit_node(workflow: KubernetesObject) -> KubernetesObject | None:
    """The node of what runs after the pipeline; None where that has not begun."""
    root = f"{workflow['metadata']['name']}{_ON_EXIT}"
    return next((node for node in workflow_nodes(workflow).values() if node.get("name") == root), None)


def has_exit(workflow: KubernetesObject) -> bool:
    """Whether something runs after the pipeline of a Workflow, whatever becomes of the pipeline."""
    return bool((workflow.get("spec") or {}).get("onExit"))


def without_exit(workflow: KubernetesObject) -> KubernetesObject:
    """The Workflow as if nothing ran after its pipeline: its status and its nodes are those of the pipeline alone."""
    if not has_exit(workflow):
        return workflow
    nodes = {key: node for key, node in workflow_nodes(workflow).items() if not is_of_exit(node, workflow)}
    status = {key: value for key, value in (workflow.get("status") or {}).items() if key != "compressedNodes"}
    status["nodes"] = nodes
    root = next((node for node in nodes.values() if node.get("name") == workflow["metadata"]["name"]), None)
    if root is not None and root.get("phase") in FINISHED:
        status.update(phase=root["phase"], message=root.get("message") or "")
        if root.get("finishedAt"):
            status["finishedAt"] = root["finishedAt"]
    return {**workflow, "status": status}
