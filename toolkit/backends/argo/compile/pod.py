"""The Argo rendering of a ContainerSpec: one template, every field of the spec in it.

User text meets two languages on its way into a container: Argo replaces ``{{…}}`` anywhere in a template, and Kubernetes
replaces ``$(…)`` in arguments and values. Both are kept from it here: a ``$`` is doubled, and a value with braces is read
out of the run's ConfigMap, which neither of them looks into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.security import container_security, pod_security
from toolkit.config.settings import RetryStrategy, Toleration
from toolkit.runtime.shared.controls import CONTROL_FOLDER
from toolkit.runtime.shared.protocol import FAULT, PATH_VARIABLE, RUN_FOLDER
from toolkit.runtime.shared.tree import ANY
from toolkit.spec.container import ContainerSpec

ATTEMPT_ANNOTATION = "dev.toolkit/attempt"
PATH_INPUT = "path"
"""The one input of every template that makes pods: which step of the plan this pod is."""
RUN_VOLUME = "toolkit-run"
_PATH = "{{inputs.parameters.path}}"
_SCRATCH = "toolkit-scratch"
_SHARED_MEMORY = "toolkit-shm"
_LONGEST_VALUE = 1024
"""Bytes of a variable's value that stands in a template; Argo gives a pod its template whole, in 128 KiB at most."""


@dataclass(frozen=True)
class Placement:
    """Where a step's pods are placed and how its image is pulled; without effect on what the step computes.

    Attributes:
        pull_policy: always explicit. step_secret: the Secret that holds the secrets which only this step gets.
    """

    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    service_account: str
    pull_policy: str
    step_secret: str


@dataclass(frozen=True)
class ConfigMapValues:
    """The values of environment variables that stand in the run's ConfigMap instead of in the template.

    Attributes:
        config_map: its name. keys: the key of each value.
    """

    config_map: str
    keys: dict[str, str]

    def key(self, value: str) -> str:
        """The key under which a value is kept."""
        return self.keys.setdefault(value, f"value-{len(self.keys)}")


def literal(text: str) -> str:
    """Text as Kubernetes leaves it: a ``$`` begins one of its references."""
    return text.replace("$", "$$")


def plain(text: str) -> str:
    """What :func:`literal` was made of."""
    return text.replace("$$", "$")


def has_braces(text: str) -> bool:
    """Whether Argo would look for a variable in this text."""
    return "{{" in text or "}}" in text


def can_be_input(path: str) -> bool:
    """Whether a step's path survives being a template's input.

    Argo writes an input's value into the template's JSON by a rule of Go's, whose escapes for characters beyond 16 bits
    that it does not know are none of JSON's.
    """
    return not has_braces(path) and all(ord(character) < 0x10000 for character in path)


def position_name(level: int) -> str:
    """The input that says which item or iteration it is, of the map or loop that ``level`` others are around."""
    return f"p{level}"


def fill_positions(path: str) -> str:
    """A path of the plan with the positions in it as Argo puts them there."""
    if ANY not in path:
        return path
    parts, level = path.split("/"), 0
    for index, part in enumerate(parts):
        if part == ANY:
            parts[index] = f"{{{{inputs.parameters.{position_name(level)}}}}}"
            level += 1
    return "/".join(parts)


def _in_pieces(path: str) -> tuple[str, list[tuple[str, str]]]:
    """A path that can be no input: as an argument, and the variables that hold what Argo must not see of it."""
    if ANY not in path.split("/"):
        return f"$({PATH_VARIABLE})", [(PATH_VARIABLE, path)]
    pieces: list[list[str]] = [[]]
    for part in path.split("/"):
        if part == ANY:
            pieces.append([])
        else:
            pieces[-1].append(part)
    kept = [(f"{PATH_VARIABLE}_{number}", "/".join(piece)) for number, piece in enumerate(pieces)]
    shown = f"$({kept[0][0]})"
    for level, (name, _) in enumerate(kept[1:]):
        shown += f"/{{{{inputs.parameters.{position_name(level)}}}}}/$({name})"
    return shown, kept


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
        spec: of any step of this shape; the step's own path is the template's input.
        path: of the one step of this template, where Argo would change it as an input.
        emitted: the keys of the control values that the step computes.
    """
    mounts: list[KubernetesObject] = [{"name": RUN_VOLUME, "mountPath": RUN_FOLDER, "readOnly": True}]
    mounts += [
        {"name": volume_name(one.volume), "mountPath": one.path, **({"readOnly": True} if one.read_only else {})}
        for one in spec.mounts
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
    inputs, shown = [PATH_INPUT], _PATH
    if path is not None:
        shown, pieces = _in_pieces(path)
        environment += [_config_map_variable(variable, piece, values) for variable, piece in pieces]
        inputs = [position_name(level) for level in range(len(pieces) - 1)]
    known: KubernetesObject = {
        "name": name,
        "inputs": {"parameters": [{"name": one} for one in inputs]},
        "metadata": {"annotations": {ATTEMPT_ANNOTATION: attempt}},
        "container": {
            "image": spec.image,
            "imagePullPolicy": place.pull_policy,
            # Given whole: without a command Argo asks the image's registry for its entry point.
            "command": list(spec.argv[:2]),
            "args": [spec.argv[2], "{{workflow.name}}", shown, attempt],
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
        },
        "securityContext": pod_security(spec.user, spec.group),
        # The token is for Argo's own containers alone.
        "serviceAccountName": place.service_account,
        "automountServiceAccountToken": False,
        "executor": {"serviceAccountName": place.service_account},
        "podSpecPatch": json.dumps(_patch(spec), sort_keys=True, separators=(",", ":")),
    }
    if emitted:
        # Without a default a step that fails would be said to have failed of this.
        outputs = [{"name": one, "valueFrom": {"path": f"{CONTROL_FOLDER}/{one}", "default": ""}} for one in emitted]
        known["outputs"] = {"parameters": outputs}
    if volumes:
        known["volumes"] = volumes
    if place.node_selector:
        known["nodeSelector"] = dict(place.node_selector)
    if place.tolerations:
        known["tolerations"] = [toleration(one) for one in place.tolerations]
    if retry.limit:
        known["retryStrategy"] = _retries(retry)
    return known


def volume_name(claim: str) -> str:
    """The name inside a pod of the volume that is a claim's; a claim's may be longer and may have dots."""
    from toolkit.backends.argo.compile.names import object_name

    return object_name("claim-" + claim, 63)


def _memory_volume(name: str, size: int | None) -> KubernetesObject:
    # In memory, as Docker's tmpfs: it counts towards the step's memory limit on both.
    return {"name": name, "emptyDir": {"medium": "Memory", **({"sizeLimit": str(size)} if size is not None else {})}}


def _environment(spec: ContainerSpec, place: Placement, values: ConfigMapValues) -> list[KubernetesObject]:
    """Values, then secrets by reference only."""
    found: list[KubernetesObject] = []
    for name, value in spec.environment:
        if has_braces(value) or len(value.encode()) > _LONGEST_VALUE:
            found.append(_config_map_variable(name, value, values))
        else:
            found.append({"name": name, "value": literal(value)})
    every = {one.environment_variable: (one.secret_name, one.secret_key) for one in spec.secrets}
    own = {name: (place.step_secret, name) for name in spec.own_secrets if name not in every}
    for name, (secret, key) in [*every.items(), *own.items()]:
        found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return found


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
    """What a template has no field for; it also makes Argo's own containers fit the restricted Pod Security Standard."""
    theirs = container_security(spec.user)
    known: KubernetesObject = {
        "terminationGracePeriodSeconds": spec.stop_timeout,
        # Else each Service of the namespace would add seven variables to the environment of the step.
        "enableServiceLinks": False,
        "initContainers": [{"name": "init", "securityContext": theirs}],
        "containers": [{"name": "wait", "securityContext": theirs}],
    }
    if spec.image_pull_secrets:
        known["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    return known


def toleration(one: Toleration) -> KubernetesObject:
    """A toleration as Kubernetes spells it."""
    known = {
        "key": one.key,
        "operator": one.operator,
        "value": one.value,
        "effect": one.effect,
        "tolerationSeconds": one.toleration_seconds,
    }
    return {key: value for key, value in known.items() if value is not None}


def _retries(retry: RetryStrategy) -> KubernetesObject:
    """Further attempts by the rule that the local scheduler has: a fault of the runtime's counts as an error, not a failure.

    So does a pod that failed with no exit code (-1 here): the node refused it, or lost it.
    """
    known: KubernetesObject = {"limit": str(retry.limit), "retryPolicy": "Always"}
    fault = f"asInt(lastRetry.exitCode) in [{FAULT}, -1]"
    if retry.retry_policy == "OnError":
        known["expression"] = f'lastRetry.status == "Error" || {fault}'
    elif retry.retry_policy == "OnFailure":
        known["expression"] = f'lastRetry.status != "Error" && !({fault})'
    back_off = retry.back_off
    if back_off.duration_in_seconds or back_off.max_duration is not None:
        known["backoff"] = {"duration": f"{back_off.duration_in_seconds}s", "factor": str(int(back_off.factor))}
        if back_off.max_duration is not None:
            known["backoff"]["maxDuration"] = f"{back_off.max_duration}s"
    return known
