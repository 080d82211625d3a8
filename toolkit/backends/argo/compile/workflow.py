"""Compiles a plan to the objects of a run: a Workflow, and the ConfigMap that its pods read plan and parameters from.

Pure: the same plan, configuration and images give the same objects. One template for each distinct shape of a container;
a step is a task of a DAG (:mod:`toolkit.backends.argo.compile.dag`) that names its template and says which step of the plan it is.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile import schedules
from toolkit.backends.argo.compile.dag import ENTRY, Graph
from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.compile.pod import (
    RUN_VOLUME,
    ConfigMapValues,
    Placement,
    can_be_input,
    has_braces,
    template,
    volume_name,
)
from toolkit.config.settings import Config, ExecutorConfig, Override, RetryStrategy
from toolkit.errors import BadInput
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.runtime.shared.protocol import PARAMETERS_FILE, PART, PLAN_FILE, PROTOCOL, RUN_RECORD_FILE, RUNTIME_MAIN
from toolkit.runtime.shared.records import encode
from toolkit.spec.container import container_spec

API_VERSION = "argoproj.io/v1alpha1"
DEFAULT_ACCOUNT = "toolkit-runner"
"""The service account of k8s/accounts, which pods have when the configuration names none."""
MANAGED = ("app.kubernetes.io/managed-by", "toolkit")
RUN_LABEL = "dev.toolkit/run"
SCHEDULE_LABEL = "dev.toolkit/schedule"
"""Of a CronWorkflow, of what its runs read and of the runs themselves."""
PIPELINE_ANNOTATION = "dev.toolkit/pipeline"
TAG_ANNOTATION = "dev.toolkit/tag"
IMAGE_ANNOTATION = "dev.toolkit/image"
PART_ANNOTATION = "dev.toolkit/part"
"""Of a run that goes on: which part of it this is."""
REQUEST_ANNOTATION = "dev.toolkit/request"
"""A hash of plan, parameters and image: who starts a run of the same id again, and the same run, attaches to it."""
LARGEST_CONFIG_MAP = 900_000
"""Bytes; Kubernetes' own limit is 1 MiB for the whole object."""
LARGEST_WORKFLOW = 900_000
"""Bytes; its status has to have room beside it, compressed, in the same MiB."""
LONGEST_CRON = 29
"""Characters of a CronWorkflow's name: its runs add a time to it, and a run id has at most 40."""
_KEPT_SECONDS = 7 * 24 * 3600
_PODS_KEPT = "600s"
_HOW_TO_SIGNAL = {
    "workflows.argoproj.io/kill-cmd-main": json.dumps(["python3", RUNTIME_MAIN, "--signal", str(PROTOCOL), "%d"]),
}
"""How Argo's controller signals a step's container: a command as a JSON list.

Its own command tells all processes of a container, as often as the controller thinks of it; ours tells the runtime, which
tells the step once (runtime/step/signals.py). Argo's own container of the pod is told by Argo's command: it ends by itself
only when the step's first process says how it ended, which one that the kernel killed for its memory cannot.
"""
_RUNS_KEPT = 100
"""Of a schedule, of either end. Not Argo's 3 and 1: while a Workflow is there, a client can still learn how its pods ended."""
_LATEST_START = 3600
"""Seconds after its time at which a run of a schedule still starts, when the controller was away; without, it is left out."""
_BACKSTOP = 30
"""Seconds beyond all others after which a step that its runtime did not end is ended by Kubernetes."""
_RESERVED = ("dev.toolkit/", "workflows.argoproj.io/")


@dataclass(frozen=True)
class Image:
    """An image as the nodes are to name it.

    Attributes:
        never_pulled: whether it is on no registry, so that a node has it or has not.
        loaded: whether it was brought to the nodes just now, which they tell of a minute later.
    """

    reference: str
    never_pulled: bool
    loaded: bool = False


@dataclass(frozen=True)
class Submission:
    """All that a run's objects are made of beside plan and configuration.

    Attributes:
        name: the run id, or a CronWorkflow's name. images: by the image of a step's own, None for the pipeline's.
        record: run.json, without a run id where each run of a schedule has its own.
        user: of steps whose settings name none.
        controls: what composites need to know before they start and what follows from the parameters alone, by key.
        omitted_work: of a run that goes on, what is done of it.
    """

    name: str
    pipeline: str
    tag: str
    images: Mapping[str | None, Image]
    parameters: Mapping[str, Any]
    record: Mapping[str, Any]
    user: int
    request: str = ""
    controls: Mapping[str, str] = field(default_factory=dict)
    omitted_work: OmittedWork | None = None


@dataclass(frozen=True)
class Manifests:
    """What is created on the cluster, in this order."""

    config_map: KubernetesObject
    workflow: KubernetesObject


def compile_run(plan: Plan, config: Config, submission: Submission) -> Manifests:
    """The ConfigMap and the Workflow of one run.

    Raises:
        BadInput: plan and parameters are too large, or a setting can't be honoured by Argo.
    """
    compiler = _Compiler(plan, config, submission, submission.name, RUN_LABEL)
    spec = compiler.spec()
    workflow = {
        "apiVersion": API_VERSION,
        "kind": "Workflow",
        "metadata": compiler.metadata(),
        "spec": spec,
    }
    return Manifests(compiler.config_map(), workflow)


def compile_schedule(plan: Plan, config: Config, submission: Submission) -> Manifests:
    """The ConfigMap and the CronWorkflow of a configuration with ``schedules``; each of its runs has an id of its own.

    Raises:
        BadInput: as :func:`compile_run`; or the name is too long for a run id to be made of it.
    """
    if len(submission.name) > LONGEST_CRON:
        raise BadInput(
            f"the name {submission.name!r} is too long for a schedule: it has at most {LONGEST_CRON} characters "
            "(executor.config.name sets it)"
        )
    given = schedules.read(config.executor.config.schedules)
    # A run that has begun goes on with what it began with when its schedule is changed meanwhile.
    content = hashlib.sha256(plan.to_json() + encode([dict(submission.parameters), dict(submission.record)]))
    config_map = f"{submission.name}-{content.hexdigest()[:8]}"
    compiler = _Compiler(plan, config, submission, config_map, SCHEDULE_LABEL)
    metadata = compiler.metadata()
    cron = {
        "apiVersion": API_VERSION,
        "kind": "CronWorkflow",
        "metadata": metadata,
        "spec": {
            "schedules": list(given.lines),
            # Else it is whichever the controller's machine has.
            "timezone": given.zone,
            "startingDeadlineSeconds": _LATEST_START,
            "successfulJobsHistoryLimit": _RUNS_KEPT,
            "failedJobsHistoryLimit": _RUNS_KEPT,
            # A run that takes longer than the time between two must not have another beside it in the same catalog.
            "concurrencyPolicy": "Forbid",
            "workflowMetadata": {
                "labels": dict(metadata["labels"]),
                "annotations": dict(metadata["annotations"]),
            },
            "workflowSpec": compiler.spec(),
        },
    }
    return Manifests(compiler.config_map(), cron)


def placement(plan: Plan, config: Config, step: PlannedStep, image: Image) -> Placement:
    """Where the pods of a step go."""
    executor = config.executor.config
    own = _override(config, step)
    account = own.service_account_name or executor.service_account_name or DEFAULT_ACCOUNT
    policy = own.image_pull_policy or executor.image_pull_policy
    if image.never_pulled:
        if policy == "Always":
            raise BadInput(
                f"image_pull_policy is Always, but the image {image.reference} is on no registry: "
                "give executor.config.image a registry, or leave the policy out"
            )
        policy = "Never"
    tolerations = own.tolerations if own.tolerations is not None else executor.tolerations
    for one in tolerations:
        if one.toleration_seconds is not None and one.effect != "NoExecute":
            raise BadInput("a toleration with toleration_seconds has the effect NoExecute: Kubernetes takes no other")
    return Placement(
        node_selector=own.node_selector if own.node_selector is not None else executor.node_selector,
        tolerations=tolerations,
        service_account=account,
        pull_policy=policy or "IfNotPresent",
        step_secret=executor.step_secret_name,
    )


def _override(config: Config, step: PlannedStep) -> Override:
    assert step.task is not None
    name = step.task.overrides.get(config.executor.type)
    return config.executor.config.overrides[name] if name is not None else Override()


class _Compiler:
    def __init__(self, plan: Plan, config: Config, submission: Submission, config_map: str, label: str) -> None:
        self._plan = plan
        self._config = config
        self._executor: ExecutorConfig = config.executor.config
        self._given = submission
        self._label = label
        self._values = ConfigMapValues(config_map, {})
        self._templates: dict[str, KubernetesObject] = {}
        self._graph = Graph(plan, submission.controls, self._template_of, submission.omitted_work)
        _refuse(self._executor)

    def metadata(self) -> KubernetesObject:
        given = self._given
        annotations = {
            **self._executor.annotations,
            PIPELINE_ANNOTATION: given.pipeline,
            TAG_ANNOTATION: given.tag,
            IMAGE_ANNOTATION: given.images[None].reference,
            REQUEST_ANNOTATION: given.request,
            PART_ANNOTATION: str(given.record.get(PART, "")),
        }
        return {
            "name": given.name,
            "labels": self._labels(),
            "annotations": {name: value for name, value in annotations.items() if value},
        }

    def spec(self) -> KubernetesObject:
        executor = self._executor
        sequences = self._graph.templates()
        known: KubernetesObject = {
            "entrypoint": ENTRY,
            "templates": [*sequences, *self._templates.values()],
            "volumes": self._volumes(),
            "automountServiceAccountToken": False,
            "serviceAccountName": executor.service_account_name or DEFAULT_ACCOUNT,
            "podMetadata": {
                "labels": {**executor.labels, MANAGED[0]: MANAGED[1]},
                "annotations": {**executor.annotations, **_HOW_TO_SIGNAL},
            },
            # What a client reads of a finished pod is on the volume and in the Workflow's status as well.
            "podGC": {"strategy": "OnWorkflowSuccess", "deleteDelayDuration": _PODS_KEPT},
            "ttlStrategy": {"secondsAfterCompletion": _KEPT_SECONDS},
        }
        if executor.parallelism is not None:
            known["parallelism"] = executor.parallelism
        if executor.max_workflow_duration_in_seconds is not None:
            known["activeDeadlineSeconds"] = executor.max_workflow_duration_in_seconds
        size = len(encode(known))
        if size > LARGEST_WORKFLOW:
            raise BadInput(
                f"the Workflow of this pipeline is {size:,} bytes, and a cluster takes {LARGEST_WORKFLOW:,}: make its branches "
                "steps of one map, or pipelines of their own"
            )
        return known

    def config_map(self) -> KubernetesObject:
        given = self._given
        files = {
            PLAN_FILE: self._plan.to_json(),
            PARAMETERS_FILE: encode(dict(given.parameters)),
            RUN_RECORD_FILE: encode(dict(given.record)),
        }
        packed = {name: _compress(data) for name, data in files.items()}
        size = sum(len(text) for text in packed.values()) + sum(len(one.encode()) for one in self._values.keys)
        if size > LARGEST_CONFIG_MAP:
            raise BadInput(
                f"the plan and the parameters of this run are {size:,} bytes, and a cluster takes {LARGEST_CONFIG_MAP:,}: "
                "put large values into a file of the catalog"
            )
        known: KubernetesObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._values.config_map,
                "labels": self._labels(),
            },
            # What a run is made of never changes under it.
            "immutable": True,
            "binaryData": packed,
        }
        if self._values.keys:
            known["data"] = {key: value for value, key in self._values.keys.items()}
        return known

    def _labels(self) -> dict[str, str]:
        return {**self._executor.labels, MANAGED[0]: MANAGED[1], self._label: self._given.name}

    def _template_of(self, step: PlannedStep) -> str:
        """The template of a step's shape; steps that share one differ in nothing but their path."""
        settings = self._plan.settings_of(step)
        image = self._given.images[settings.image]
        place = placement(self._plan, self._config, step, image)
        spec = container_spec(self._plan, step, "", 1, image.reference, self._given.user)
        only = step.path if not can_be_input(step.path) else None
        made = template("", spec, place, _check_retry(settings.retry), self._values, only, self._graph.emitted(step))
        if settings.time_limit is not None:
            # The runtime ends a step that runs out of time; this is for a runtime that can't. Kubernetes counts from before
            # the image is pulled.
            waiting = self._executor.start_timeout_in_seconds
            made["activeDeadlineSeconds"] = str(settings.time_limit + spec.stop_timeout + waiting + _BACKSTOP)
        key = json.dumps(made, sort_keys=True)
        if key not in self._templates:
            made["name"] = f"step-{len(self._templates)}" if self._templates else "step"
            self._templates[key] = made
        return str(self._templates[key]["name"])

    def _volumes(self) -> list[KubernetesObject]:
        files = [{"key": name, "path": name} for name in (PLAN_FILE, PARAMETERS_FILE, RUN_RECORD_FILE)]
        run = {"name": RUN_VOLUME, "configMap": {"name": self._values.config_map, "items": files}}
        claims = [
            {"name": volume_name(one.name), "persistentVolumeClaim": {"claimName": one.name}}
            for one in self._executor.persistent_volumes
        ]
        return [run, *claims]


def _compress(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode("ascii")


def _check_retry(retry: RetryStrategy) -> RetryStrategy:
    if retry.limit and retry.back_off.factor != int(retry.back_off.factor):
        raise BadInput(
            f"back_off.factor is {retry.back_off.factor:g}, and Argo takes whole numbers only: choose one, "
            "and it holds in every environment"
        )
    return retry


def _refuse(executor: ExecutorConfig) -> None:
    """What Argo or this version can't honour, by name."""
    if executor.expose_parameters_as_inputs:
        raise BadInput(
            "expose_parameters_as_inputs is not supported: a run's parameters are fixed when it is submitted "
            "(--param, -p), and `toolkit compile` makes another manifest for others"
        )
    for name, value in executor.annotations.items():
        if has_braces(value):
            raise BadInput(f"the annotation {name} holds '{{{{' or '}}}}', which Argo would replace: leave it out")
    for volume in executor.persistent_volumes:
        if has_braces(volume.mount_path):
            raise BadInput(
                f"the mount path {volume.mount_path} holds '{{{{' or '}}}}', which Argo would replace: choose another"
            )
    for kind, given in (("label", executor.labels), ("annotation", executor.annotations)):
        for name in given:
            if name.startswith(_RESERVED) or name == MANAGED[0]:
                raise BadInput(f"the {kind} {name} is toolkit's own or Argo's: choose another")
