"""The Argo rendering of a ContainerSpec: one template, with every field of the spec in it. Pure.

User text passes two template languages on its way into a container. Argo replaces ``{{…}}`` anywhere in a template, and
Kubernetes replaces ``$(…)`` in arguments and values. So a ``$`` is doubled here, and a value with braces is read from the
run's ConfigMap, in which neither of them replaces anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.pod_failures import fault_expression
from toolkit.backends.argo.security import container_security, pod_security
from toolkit.config.settings import RetryStrategy, Toleration
from toolkit.runtime.shared.causes import ON_ERROR, ON_FAILURE
from toolkit.runtime.shared.controls import CONTROL_FOLDER
from toolkit.runtime.shared.protocol import PATH_VARIABLE, REMOVED, RUN_FOLDER
from toolkit.runtime.shared.tree import ANY
from toolkit.spec.container import ContainerSpec

ATTEMPT_ANNOTATION = "dev.toolkit/attempt"
PATH_INPUT = "path"
"""The one input of every template that makes pods: the path of the step."""
RUN_VOLUME = "toolkit-run"
_PATH = "{{inputs.parameters.path}}"
_SCRATCH = "toolkit-scratch"
_SHARED_MEMORY = "toolkit-shm"
_LONGEST_VALUE = 1024
"""Bytes of an environment variable's value in a template. Argo passes a pod its whole template, of at most 128 KiB."""


@dataclass(frozen=True)
class Placement:
    """Where a step's pods run and how its image is pulled. It has no effect on what the step computes.

    Attributes:
        pull_policy: always explicit. step_secret: the Secret with the secrets that steps name themselves.
    """

    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    service_account: str
    pull_policy: str
    step_secret: str


@dataclass(frozen=True)
class ConfigMapValues:
    """The values of environment variables that are in the run's ConfigMap instead of in the template.

    Attributes:
        config_map: the ConfigMap's name. keys: the key of each value, by the value.
    """

    config_map: str
    keys: dict[str, str]

    def key(self, value: str) -> str:
        """The key of a value, which is added when it is new."""
        return self.keys.setdefault(value, f"value-{len(self.keys)}")


def literal(text: str) -> str:
    """Text that Kubernetes passes on as it was: a ``$`` would begin one of its references."""
    return text.replace("$", "$$")


def plain(text: str) -> str:
    """The text that :func:`literal` was given."""
    return text.replace("$$", "$")


def has_braces(text: str) -> bool:
    """Whether Argo would look for a variable in a text."""
    return "{{" in text or "}}" in text


def can_be_input(path: str) -> bool:
    """Whether a step's path survives being a template's input.

    Argo writes an input's value into the template's JSON with Go's escapes. For characters beyond 16 bits those may be no
    escapes of JSON.
    """
    return not has_braces(path) and all(ord(character) < 0x10000 for character in path)


def position_name(level: int) -> str:
    """The input with the position of the item or iteration, of the map or loop that lies inside ``level`` others."""
    return f"p{level}"


def fill_positions(path: str) -> str:
    """A path of the plan in which Argo puts the positions."""
    if ANY not in path:
        return path
    parts, level = path.split("/"), 0
    for index, part in enumerate(parts):
        if part == ANY:
            parts[index] = f"{{{{inputs.parameters.{position_name(level)}}}}}"
            level += 1
    return "/".join(parts)


def _path_in_variables(path: str) -> tuple[str, list[tuple[str, str]]]:
    """A path that can be no input: as an argument, and the environment variables with the parts that Argo must not see."""
    if ANY not in path.split("/"):
        return f"$({PATH_VARIABLE})", [(PATH_VARIABLE, path)]
    pieces: list[list[str]] = [[]]
    for part in path.split("/"):
        if part == ANY:
            pieces.append([])
        else:
            pieces[-1].append(part)
    variables = [(f"{PATH_VARIABLE}_{number}", "/".join(piece)) for number, piece in enumerate(pieces)]
    text = f"$({variables[0][0]})"
    for level, (name, _) in enumerate(variables[1:]):
        text += f"/{{{{inputs.parameters.{position_name(level)}}}}}/$({name})"
    return text, variables


def template(
    name: str,
    spec: ContainerSpec,
    place: Placement,
    retry: RetryStrategy,
    values: ConfigMapValues,
    path: str | None = None,
    emitted: Sequence[str] = (),
) -> KubernetesObject:
    """A template whose pods run a step.

    Args:
        spec: of any step with the same container; the step's own path is the template's input.
        path: the path of the only step of this template, where the path can't be an input.
        emitted: the keys of the control values that the step computes.
    """
    mounts: list[KubernetesObject] = [{"name": RUN_VOLUME, "mountPath": RUN_FOLDER, "readOnly": True}]
    mounts += [
        {"name": volume_name(mount.volume), "mountPath": mount.path, **({"readOnly": True} if mount.read_only else {})}
        for mount in spec.mounts
    ]
    volumes: list[KubernetesObject] = []
    if spec.scratch_size is not None or spec.read_only_root:
        volumes.append(_memory_volume(_SCRATCH, spec.scratch_size))
        mounts.append({"name": _SCRATCH, "mountPath": "/tmp"})
    if spec.shm_size is not None:
        volumes.append(_memory_volume(_SHARED_MEMORY, spec.shm_size))
        mounts.append({"name": _SHARED_MEMORY, "mountPath": "/dev/shm"})
    attempt = "{{=asInt(retries) + 1}}" if retry.limit else "1"
    environment = _environment(spec, place, values)
    inputs, path_text = [PATH_INPUT], _PATH
    if path is not None:
        path_text, pieces = _path_in_variables(path)
        environment += [_config_map_variable(variable, piece, values) for variable, piece in pieces]
        inputs = [position_name(level) for level in range(len(pieces) - 1)]
    rendered: KubernetesObject = {
        "name": name,
        "inputs": {"parameters": [{"name": input_name} for input_name in inputs]},
        "metadata": {"annotations": {ATTEMPT_ANNOTATION: attempt}},
        "container": {
            "image": spec.image,
            "imagePullPolicy": place.pull_policy,
            # Always set: without a command Argo asks the image's registry for the entry point.
            "command": list(spec.argv[:2]),
            "args": [spec.argv[2], "{{workflow.name}}", path_text, attempt],
            "workingDir": spec.working_folder,
            "env": environment,
            "resources": _resources(spec),
            "securityContext": container_security(
                spec.user,
                read_only_root=spec.read_only_root,
                privilege_escalation=not spec.no_new_privileges,
                dropped_capabilities=spec.dropped_capabilities,
            ),
            "volumeMounts": mounts,
            # Only by this does the runtime know that its pod is removed, and that the SIGTERM after it is not the step's doing.
            "lifecycle": {
                "preStop": {"exec": {"command": [*spec.argv[:2], "--signal", spec.argv[2], REMOVED]}},
            },
        },
        "securityContext": pod_security(spec.user, spec.group),
        # The token is for Argo's own containers alone.
        "serviceAccountName": place.service_account,
        "automountServiceAccountToken": False,
        "executor": {"serviceAccountName": place.service_account},
        "podSpecPatch": json.dumps(_patch(spec), sort_keys=True, separators=(",", ":")),
    }
    if emitted:
        # Without a default, Argo would name the missing file as the reason when a step fails.
        outputs = [{"name": key, "valueFrom": {"path": f"{CONTROL_FOLDER}/{key}", "default": ""}} for key in emitted]
        rendered["outputs"] = {"parameters": outputs}
    if volumes:
        rendered["volumes"] = volumes
    if place.node_selector:
        rendered["nodeSelector"] = dict(place.node_selector)
    if place.tolerations:
        rendered["tolerations"] = [toleration(each) for each in place.tolerations]
    if retry.limit:
        rendered["retryStrategy"] = _retries(retry)
    return rendered


def volume_name(claim: str) -> str:
    """The name inside a pod of a claim's volume. The claim's own name may be longer and may have dots."""
    from toolkit.backends.argo.compile.names import object_name

    return object_name("claim-" + claim, 63)


def _memory_volume(name: str, size: int | None) -> KubernetesObject:
    # In memory, as Docker's tmpfs: both count towards the step's memory limit.
    return {"name": name, "emptyDir": {"medium": "Memory", **({"sizeLimit": str(size)} if size is not None else {})}}


def _environment(spec: ContainerSpec, place: Placement, values: ConfigMapValues) -> list[KubernetesObject]:
    """The environment variables: values, then secrets, by reference only."""
    variables: list[KubernetesObject] = []
    for name, value in spec.environment:
        if has_braces(value) or len(value.encode()) > _LONGEST_VALUE:
            variables.append(_config_map_variable(name, value, values))
        else:
            variables.append({"name": name, "value": literal(value)})
    of_all_steps = {each.environment_variable: (each.secret_name, each.secret_key) for each in spec.secrets}
    own = {name: (place.step_secret, name) for name in spec.own_secrets if name not in of_all_steps}
    for name, (secret, key) in [*of_all_steps.items(), *own.items()]:
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return variables


def _config_map_variable(name: str, value: str, values: ConfigMapValues) -> KubernetesObject:
    reference = {"name": values.config_map, "key": values.key(value)}
    return {"name": name, "valueFrom": {"configMapKeyRef": reference}}


def _resources(spec: ContainerSpec) -> KubernetesObject:
    limits: KubernetesObject = {}
    requests: KubernetesObject = {}
    if spec.memory is not None:
        limits["memory"] = str(spec.memory)
    if spec.cpu is not None:
        limits["cpu"] = f"{spec.cpu}m"
    if spec.gpu:
        limits["nvidia.com/gpu"] = str(spec.gpu)
    if spec.memory_request is not None:
        requests["memory"] = str(spec.memory_request)
    if spec.cpu_request is not None:
        requests["cpu"] = f"{spec.cpu_request}m"
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def _patch(spec: ContainerSpec) -> KubernetesObject:
    """The pod's fields that a template lacks. They also make Argo's own containers fit the restricted Pod Security Standard."""
    security = container_security(spec.user)
    patch: KubernetesObject = {
        "terminationGracePeriodSeconds": spec.stop_timeout,
        # By default each Service of the namespace adds seven variables to the environment of the step.
        "enableServiceLinks": False,
        "initContainers": [{"name": "init", "securityContext": security}],
        "containers": [{"name": "wait", "securityContext": security}],
    }
    if spec.image_pull_secrets:
        patch["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    return patch


def toleration(setting: Toleration) -> KubernetesObject:
    """A toleration as Kubernetes spells it."""
    keys = {
        "key": setting.key,
        "operator": setting.operator,
        "value": setting.value,
        "effect": setting.effect,
        "tolerationSeconds": setting.toleration_seconds,
    }
    return {key: value for key, value in keys.items() if value is not None}


def _retries(retry: RetryStrategy) -> KubernetesObject:
    """When a failed attempt is tried again, as Argo's retryStrategy.

    The same rule in Python is ``toolkit/runtime/shared/retry_policy.py``, for the scheduler on one machine and for who reads the
    records. Whoever changes one changes both. Argo's own policies can't tell a fault from a failure.
    """
    strategy: KubernetesObject = {"limit": str(retry.limit), "retryPolicy": "Always"}
    if retry.retry_policy == ON_ERROR:
        strategy["expression"] = fault_expression()
    elif retry.retry_policy == ON_FAILURE:
        strategy["expression"] = f"!({fault_expression()})"
    back_off = retry.back_off
    if back_off.duration_in_seconds or back_off.max_duration is not None:
        strategy["backoff"] = {"duration": f"{back_off.duration_in_seconds}s", "factor": str(int(back_off.factor))}
        if back_off.max_duration is not None:
            strategy["backoff"]["maxDuration"] = f"{back_off.max_duration}s"
    return strategy
