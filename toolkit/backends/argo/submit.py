"""Brings a run's objects onto the cluster, so that a client killed anywhere in it leaves a run that is whole or none."""

from __future__ import annotations

import time

from toolkit.backends.argo.cluster import (
    CORE,
    WORKFLOWS,
    ApiError,
    Cluster,
    Conflict,
    KubernetesObject,
    NotFound,
    Unreachable,
)
from toolkit.backends.argo.compile.workflow import API_VERSION, REQUEST_ANNOTATION, Manifests
from toolkit.backends.argo.follow.nodes import FINISHED
from toolkit.backends.argo.pods import WORKFLOW_LABEL
from toolkit.errors import BadInput, Infrastructure

_LONGEST_REMOVAL = 60.0


def is_submitted(cluster: Cluster, name: str, request: str) -> bool:
    """Whether there is a Workflow of this name that is the same run.

    Args:
        request: the hash of what is asked for.

    Raises:
        BadInput: there is one of other code, parameters or images.
    """
    found = cluster.find(WORKFLOWS, "workflows", name)
    if found is None:
        return False
    if (found["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION) != request:
        raise BadInput(
            f"there is a run {name} on the cluster already, of another pipeline, code or parameters: choose another --run-id"
        )
    _own(cluster, name, found["metadata"]["uid"])
    return True


def delete_previous(cluster: Cluster, name: str) -> None:
    """Removes the Workflow of a run that goes on under another, and waits until it and its pods are gone.

    The new one's pods have the names of the old one's. What they had to say is in the run's records by now.

    Raises:
        BadInput: it is not at its end. Infrastructure: it does not go.
    """
    found = cluster.find(WORKFLOWS, "workflows", name)
    if found is not None and (found.get("status") or {}).get("phase") not in FINISHED:
        raise BadInput(
            f"the run {name} is going on: `toolkit logs -f {name}` follows it, `toolkit cancel {name}` ends it"
        )
    uid = found["metadata"]["uid"] if found is not None else None
    until = time.monotonic() + _LONGEST_REMOVAL
    while True:
        if found is not None and not found["metadata"].get("deletionTimestamp"):
            cluster.delete(WORKFLOWS, "workflows", name)
        pods = cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={name}")["items"]
        for pod in pods:
            if not pod["metadata"].get("deletionTimestamp"):
                cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
        if found is None and not pods:
            return
        if time.monotonic() > until:
            left = ", ".join([f"the Workflow {name}"] * (found is not None) + [one["metadata"]["name"] for one in pods])
            raise Infrastructure(f"what was left of the run does not go within {_LONGEST_REMOVAL:.0f} s: {left}")
        time.sleep(0.1)
        found = cluster.find(WORKFLOWS, "workflows", name)
        if found is not None and found["metadata"]["uid"] != uid:
            raise BadInput(f"another client goes on with the run {name} just now")


def submit(cluster: Cluster, objects: Manifests) -> None:
    """Creates the ConfigMap, then the Workflow, and makes the one go with the other.

    In this order a pod never waits for a ConfigMap that nobody will write.

    Raises:
        BadInput: the cluster refuses an object's content. ApiError, Unreachable.
    """
    name = objects.workflow["metadata"]["name"]
    try:
        _create_config_map(cluster, objects, name)
        created = _create_workflow(cluster, objects)
    except BaseException as error:
        # Not where a Workflow of this name is there: the ConfigMap may be the one that it reads.
        if not isinstance(error, Conflict):
            _take_back(cluster, name)
        if isinstance(error, Conflict):
            raise BadInput(f"there is a run {name} on the cluster already: choose another --run-id") from None
        if isinstance(error, ApiError) and error.status in (400, 413, 422):
            raise BadInput(f"the cluster refuses the run: {error.message}") from None
        raise
    _own(cluster, name, created["metadata"]["uid"])


def _create_config_map(cluster: Cluster, objects: Manifests, name: str) -> None:
    try:
        cluster.create(CORE, "configmaps", objects.config_map)
    except Conflict:
        if cluster.find(WORKFLOWS, "workflows", name) is not None:
            raise
        # Left by a client that was killed before it made the Workflow.
        cluster.delete(CORE, "configmaps", name)
        cluster.create(CORE, "configmaps", objects.config_map)


def _create_workflow(cluster: Cluster, objects: Manifests) -> KubernetesObject:
    try:
        return cluster.create(WORKFLOWS, "workflows", objects.workflow)
    except Unreachable:
        # The answer may be what was lost, and not the request.
        metadata = objects.workflow["metadata"]
        found = cluster.find(WORKFLOWS, "workflows", metadata["name"])
        if found is None or found["metadata"].get("annotations") != metadata["annotations"]:
            raise
        return found


def _take_back(cluster: Cluster, name: str) -> None:
    try:
        if cluster.find(WORKFLOWS, "workflows", name) is None:
            cluster.delete(CORE, "configmaps", name)
    except Exception:
        # What went wrong first is what is told.
        return


def _own(cluster: Cluster, name: str, uid: str) -> None:
    """Makes the ConfigMap go when the Workflow goes."""
    owner = {"apiVersion": API_VERSION, "kind": "Workflow", "name": name, "uid": uid}
    try:
        cluster.patch(CORE, "configmaps", name, {"metadata": {"ownerReferences": [owner]}})
    except NotFound:
        return
