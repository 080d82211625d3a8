"""Creates a run's objects on the cluster. A client that is killed meanwhile leaves a whole run or none."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
from toolkit.backends.argo.compile.pod import RUN_VOLUME
from toolkit.backends.argo.compile.workflow import API_VERSION, REQUEST_ANNOTATION, Manifests
from toolkit.backends.argo.pods import WORKFLOW_LABEL
from toolkit.backends.argo.workflow_status import FINISHED
from toolkit.errors import BadInput, Infrastructure
from toolkit.runtime.shared.protocol import RUN_RECORD_FILE
from toolkit.runtime.shared.records import checked_run, parse

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue, RunRecord

_LONGEST_REMOVAL = 60.0
"""Seconds in which an old Workflow and its pods must be gone."""


def is_submitted(cluster: Cluster, name: str, request: str) -> bool:
    """Whether the cluster has a Workflow of this name that is the same run.

    Args:
        request: the hash of plan, parameters and images.

    Raises:
        BadInput: it has one of other code, parameters or images.
    """
    workflow = cluster.find(WORKFLOWS, "workflows", name)
    if workflow is None:
        return False
    if (workflow["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION) != request:
        raise BadInput(
            f"there is a run {name} on the cluster already, of another pipeline, code or parameters: choose another --run-id"
        )
    _set_owner(cluster, config_map_of(workflow), workflow)
    return True


def config_map_of(workflow: KubernetesObject) -> str:
    """The name of the ConfigMap from which a run's pods read their plan."""
    volumes: Sequence[KubernetesObject] = (workflow.get("spec") or {}).get("volumes") or ()
    own = (volume.get("configMap") or {} for volume in volumes if volume.get("name") == RUN_VOLUME)
    return str(next(own, {}).get("name") or workflow["metadata"]["name"])


def packed_record(
    cluster: Cluster, run_id: str, workflow: KubernetesObject | None = None
) -> dict[str, JsonValue] | None:
    """run.json as it was submitted, from the ConfigMap of a run; None where there is none.

    Args:
        workflow: the run's; it is asked for when absent. Its ConfigMap has another name where it resumes, or is of a schedule.
    """
    workflow = workflow or cluster.find(WORKFLOWS, "workflows", run_id)
    name = config_map_of(workflow) if workflow is not None else run_id
    config_map = cluster.find(CORE, "configmaps", name)
    packed = (config_map or {}).get("binaryData", {}).get(RUN_RECORD_FILE)
    return parse(gzip.decompress(base64.b64decode(packed))) if packed is not None else None


def submitted_record(cluster: Cluster, run_id: str) -> RunRecord | None:
    """run.json of one run as it was submitted; None where there is none."""
    submitted = packed_record(cluster, run_id)
    # A schedule submits a record without a time.
    return checked_run({**submitted, "run_id": run_id}) if submitted and submitted.get("started") else None


def delete_previous(cluster: Cluster, name: str) -> None:
    """Removes the Workflow of a run that resumes as another one, and waits until it and its pods are gone.

    The records that the old pods write are the new ones' too. All that the old ones say is in the run's records by now.

    Raises:
        BadInput: the run has not ended, or another client resumes it. Infrastructure: the old one is not removed in time.
    """
    workflow = cluster.find(WORKFLOWS, "workflows", name)
    if workflow is not None and (workflow.get("status") or {}).get("phase") not in FINISHED:
        raise BadInput(
            f"the run {name} is going on: `toolkit logs -f {name}` follows it, `toolkit cancel {name}` ends it"
        )
    uid = workflow["metadata"]["uid"] if workflow is not None else None
    until = time.monotonic() + _LONGEST_REMOVAL
    while True:
        if workflow is not None and not workflow["metadata"].get("deletionTimestamp"):
            cluster.delete(WORKFLOWS, "workflows", name)
        pods = cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={name}")["items"]
        for pod in pods:
            if not pod["metadata"].get("deletionTimestamp"):
                cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
        if workflow is None and not pods:
            return
        if time.monotonic() > until:
            left = [f"the Workflow {name}"] if workflow is not None else []
            left += [f"the pod {pod['metadata']['name']}" for pod in pods]
            raise Infrastructure(
                f"the cluster did not delete what is left of the run within {_LONGEST_REMOVAL:.0f} s: {', '.join(left)}"
            )
        time.sleep(0.1)
        workflow = cluster.find(WORKFLOWS, "workflows", name)
        if workflow is not None and workflow["metadata"]["uid"] != uid:
            raise BadInput(f"another client is resuming the run {name}")


def submit(cluster: Cluster, objects: Manifests) -> None:
    """Creates the ConfigMap, then the Workflow, and makes the Workflow the owner of the ConfigMap.

    In this order a pod never waits for a ConfigMap that nobody will create.

    Raises:
        BadInput: the cluster refuses an object's content. ApiError, Unreachable.
    """
    name, config_map = objects.workflow["metadata"]["name"], objects.config_map["metadata"]["name"]
    try:
        _create_config_map(cluster, objects, name, config_map)
        created = _create_workflow(cluster, objects)
    except BaseException as error:
        # Where a Workflow of this name exists, the ConfigMap may be the one that it reads.
        if not isinstance(error, Conflict):
            _delete_config_map(cluster, name, config_map)
        if isinstance(error, Conflict):
            raise BadInput(f"there is a run {name} on the cluster already: choose another --run-id") from None
        if isinstance(error, ApiError) and error.status in (400, 413, 422):
            raise BadInput(f"the cluster refuses the run: {error.message}") from None
        raise
    _set_owner(cluster, config_map, created)


def _create_config_map(cluster: Cluster, objects: Manifests, name: str, config_map: str) -> None:
    try:
        cluster.create(CORE, "configmaps", objects.config_map)
    except Conflict:
        if cluster.find(WORKFLOWS, "workflows", name) is not None:
            raise
        # A client was killed before it created the Workflow.
        cluster.delete(CORE, "configmaps", config_map)
        cluster.create(CORE, "configmaps", objects.config_map)


def _create_workflow(cluster: Cluster, objects: Manifests) -> KubernetesObject:
    try:
        return cluster.create(WORKFLOWS, "workflows", objects.workflow)
    except Unreachable:
        # Perhaps the request was received, and only its answer was lost.
        metadata = objects.workflow["metadata"]
        workflow = cluster.find(WORKFLOWS, "workflows", metadata["name"])
        if workflow is None or workflow["metadata"].get("annotations") != metadata["annotations"]:
            raise
        return workflow


def _delete_config_map(cluster: Cluster, name: str, config_map: str) -> None:
    try:
        if cluster.find(WORKFLOWS, "workflows", name) is None:
            cluster.delete(CORE, "configmaps", config_map)
    except Exception:
        # The user is shown the first error.
        return


def _set_owner(cluster: Cluster, config_map: str, workflow: KubernetesObject) -> None:
    """Makes Kubernetes delete the ConfigMap when the Workflow is deleted."""
    metadata = workflow["metadata"]
    owner = {"apiVersion": API_VERSION, "kind": "Workflow", "name": metadata["name"], "uid": metadata["uid"]}
    try:
        cluster.patch(CORE, "configmaps", config_map, {"metadata": {"ownerReferences": [owner]}})
    except NotFound:
        return
