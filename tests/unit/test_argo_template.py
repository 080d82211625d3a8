"""The Argo rendering of a ContainerSpec: every field of it changes the template."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.pod import ConfigMapValues, Placement, template
from toolkit.backends.argo.pod_failures import fault_expression
from toolkit.config.settings import BackOff, RetryStrategy, SecretReference, Toleration
from toolkit.spec.container import ContainerSpec, Mount

SPEC = ContainerSpec(
    image="app:1",
    argv=("python3", "/opt/toolkit/runtime/main.py", "1", "run-1", "step", "1"),
    environment=(("A", "1"),),
    mounts=(Mount("data", "/mnt"),),
    user=1000,
    group=1000,
    working_folder="/workspace",
    memory=1 << 30,
    memory_request=None,
    cpu=1000,
    cpu_request=None,
    gpu=None,
    shm_size=None,
    scratch_size=None,
    read_only_root=False,
    stop_timeout=15,
    pids_limit=4096,
    image_pull_secrets=(),
    secrets=(),
    own_secrets=(),
)
PLACE = Placement({}, (), "runner", "IfNotPresent", "toolkit-secrets")

# Another value of each field, and where in a template it is found.
CHANGED: dict[str, tuple[Any, str, Any]] = {
    "image": ("app:2", "container.image", "app:2"),
    "argv": (("python3", "main.py", "2", "", "", ""), "container.command", ["python3", "main.py"]),
    "environment": ((("A", "2"),), "container.env", [{"name": "A", "value": "2"}]),
    "mounts": ((Mount("data", "/mnt", True),), "container.volumeMounts.1.readOnly", True),
    "user": (4242, "securityContext.runAsUser", 4242),
    "group": (2000, "securityContext.fsGroup", 2000),
    "working_folder": ("/elsewhere", "container.workingDir", "/elsewhere"),
    "memory": (1 << 20, "container.resources.limits.memory", "1048576"),
    "memory_request": (1 << 20, "container.resources.requests.memory", "1048576"),
    "cpu": (1500, "container.resources.limits.cpu", "1500m"),
    "cpu_request": (250, "container.resources.requests.cpu", "250m"),
    "gpu": (2, "container.resources.limits.nvidia~com/gpu", "2"),
    "shm_size": (1 << 20, "volumes.0.emptyDir", {"medium": "Memory", "sizeLimit": "1048576"}),
    "scratch_size": (1 << 20, "volumes.0.emptyDir", {"medium": "Memory", "sizeLimit": "1048576"}),
    "read_only_root": (True, "container.securityContext.readOnlyRootFilesystem", True),
    "stop_timeout": (99, "podSpecPatch.terminationGracePeriodSeconds", 99),
    "image_pull_secrets": (("login",), "podSpecPatch.imagePullSecrets", [{"name": "login"}]),
    "secrets": (
        (SecretReference("B", "postgres", "dsn"),),
        "container.env.1.valueFrom.secretKeyRef",
        {"name": "postgres", "key": "dsn"},
    ),
    "own_secrets": (("B",), "container.env.1.valueFrom.secretKeyRef", {"name": "toolkit-secrets", "key": "B"}),
    "dropped_capabilities": (("NET_RAW",), "container.securityContext.capabilities.drop", ["NET_RAW"]),
    "no_new_privileges": (False, "container.securityContext.allowPrivilegeEscalation", True),
}
# The closed table of docs/sameness.md: Kubernetes sets it for each node.
NOT_ON_KUBERNETES = {"pids_limit"}


def rendered(
    spec: ContainerSpec = SPEC, place: Placement = PLACE, retry: RetryStrategy | None = None
) -> KubernetesObject:
    made = template("step", spec, place, retry or RetryStrategy(), ConfigMapValues("run-1", {}))
    return {**made, "podSpecPatch": json.loads(made["podSpecPatch"])}


def at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document[int(key)] if isinstance(document, list) else document[key.replace("~", ".")]
    return document


def test_no_field_is_forgotten() -> None:
    assert {one.name for one in fields(ContainerSpec)} == CHANGED.keys() | NOT_ON_KUBERNETES


@pytest.mark.parametrize("name", CHANGED)
def test_a_field_is_rendered(name: str) -> None:
    value, where, wanted = CHANGED[name]
    assert at(rendered(replace(SPEC, **{name: value})), where) == wanted
    # and nowhere by chance
    assert rendered(replace(SPEC, **{name: value})) != rendered()


def test_run_id_step_and_attempt_are_the_pods_own() -> None:
    args = ["1", "{{workflow.name}}", "{{inputs.parameters.path}}"]
    assert rendered()["container"]["args"] == [*args, "1"]
    assert rendered(retry=RetryStrategy(1))["container"]["args"] == [*args, "{{=asInt(retries) + 1}}"]


def test_a_root_user_is_not_said_to_be_another() -> None:
    made = rendered(replace(SPEC, user=0))
    argos = [made["podSpecPatch"]["initContainers"][0], made["podSpecPatch"]["containers"][0]]
    for one in (made, made["container"], *argos):
        assert one["securityContext"]["runAsNonRoot"] is False


def test_a_read_only_root_has_a_writable_tmp() -> None:
    made = rendered(replace(SPEC, read_only_root=True))
    assert made["volumes"] == [{"name": "toolkit-scratch", "emptyDir": {"medium": "Memory"}}]
    assert {"name": "toolkit-scratch", "mountPath": "/tmp"} in made["container"]["volumeMounts"]


@pytest.mark.parametrize(
    ("place", "where", "wanted"),
    [
        (replace(PLACE, node_selector={"pool": "gpu"}), "nodeSelector", {"pool": "gpu"}),
        (
            replace(PLACE, tolerations=(Toleration("k", "Equal", "v", "NoExecute", 60),)),
            "tolerations",
            [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 60}],
        ),
        (replace(PLACE, tolerations=(Toleration(operator="Exists"),)), "tolerations", [{"operator": "Exists"}]),
        (replace(PLACE, service_account="other"), "serviceAccountName", "other"),
        (replace(PLACE, service_account="other"), "executor.serviceAccountName", "other"),
        (replace(PLACE, pull_policy="Never"), "container.imagePullPolicy", "Never"),
    ],
)
def test_a_placement_is_rendered(place: Placement, where: str, wanted: Any) -> None:
    assert at(rendered(place=place), where) == wanted


FAULT = fault_expression()


@pytest.mark.parametrize(
    ("retry", "wanted"),
    [
        (RetryStrategy(3), {"limit": "3", "retryPolicy": "Always"}),
        (
            RetryStrategy(1, "OnError"),
            {"limit": "1", "retryPolicy": "Always", "expression": FAULT},
        ),
        (
            RetryStrategy(1, "OnFailure"),
            {"limit": "1", "retryPolicy": "Always", "expression": f"!({FAULT})"},
        ),
        (
            RetryStrategy(2, "Always", BackOff(10, 2.0, 600)),
            {
                "limit": "2",
                "retryPolicy": "Always",
                "backoff": {"duration": "10s", "factor": "2", "maxDuration": "600s"},
            },
        ),
        # Argo wants a duration wherever there is a back-off.
        (
            RetryStrategy(2, "Always", BackOff(max_duration=60)),
            {"limit": "2", "retryPolicy": "Always", "backoff": {"duration": "0s", "factor": "1", "maxDuration": "60s"}},
        ),
    ],
)
def test_retries_are_rendered(retry: RetryStrategy, wanted: KubernetesObject) -> None:
    assert rendered(retry=retry)["retryStrategy"] == wanted


def test_without_retries_argo_is_asked_for_none() -> None:
    assert "retryStrategy" not in rendered(retry=RetryStrategy(0, "Always", BackOff(10)))
