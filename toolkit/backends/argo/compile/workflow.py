"""Compiles a plan to the objects of a run: a Workflow, and the ConfigMap from which its pods read plan and parameters.

Pure: the same plan, configuration and images give the same objects. Steps with equal containers share a template. A step is a
task of a DAG (:mod:`toolkit.backends.argo.compile.dag`) that names its template and the path of the step.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile import schedules
from toolkit.backends.argo.compile.dag import ENTRY, Graph, on_exit_template
from toolkit.backends.argo.compile.names import task_name
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
from toolkit.backends.argo.compile.tasks import call
from toolkit.config.settings import Config, ExecutorConfig, PersistentVolume, RetryStrategy
from toolkit.errors import BadInput
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.plan.step_settings import override_of
from toolkit.runtime.shared.protocol import (
    ENDED_VARIABLE,
    PART,
    PLAN_FILE,
    PROTOCOL,
    RUN_RECORD_FILE,
    RUNTIME_MAIN,
)
from toolkit.runtime.shared.records import encode, parameter_files
from toolkit.spec.container import container_spec

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import Parameters

API_VERSION = "argoproj.io/v1alpha1"
DEFAULT_ACCOUNT = "toolkit-runner"
"""The service account of k8s/accounts. Pods have it when the configuration names none."""
MANAGED = ("app.kubernetes.io/managed-by", "toolkit")
RUN_LABEL = "dev.toolkit/run"
SCHEDULE_LABEL = "dev.toolkit/schedule"
"""On a CronWorkflow, on the ConfigMap that its runs read, and on the runs themselves."""
PIPELINE_ANNOTATION = "dev.toolkit/pipeline"
TAG_ANNOTATION = "dev.toolkit/tag"
IMAGE_ANNOTATION = "dev.toolkit/image"
ASKED_ANNOTATION = "dev.toolkit/asked-to-stop"
"""Of a run whose pipeline has an on_exit: ``yes`` once somebody has cancelled it, which its steps are told then."""
PART_ANNOTATION = "dev.toolkit/part"
"""Of a run that resumes: the number of this part of it."""
REQUEST_ANNOTATION = "dev.toolkit/request"
"""A hash of plan, parameters and images. A client that starts the same run with the same id follows the one that is there."""
LARGEST_CONFIG_MAP = 900_000
"""Bytes; Kubernetes' own limit is 1 MiB for the whole object."""
LARGEST_WORKFLOW = 900_000
"""Bytes; the Workflow's compressed status must fit beside it into the same MiB."""
LONGEST_CRON = 29
"""Characters of a CronWorkflow's name. Its runs add a time to it, and a run id has at most 40."""
_PART = "part"
"""The name of the template around a resumed run's pipeline. No step's template has it."""
_EXIT_PART = "part-on-exit"
"""The same around what runs after it."""
_ENDED = f"{{{{workflow.status}}}} {{{{workflow.annotations.{ASKED_ANNOTATION}}}}}"
_KEPT_SECONDS = 7 * 24 * 3600
_PODS_KEPT = "600s"
_HOW_TO_SIGNAL = {
    "workflows.argoproj.io/kill-cmd-main": json.dumps(["python3", RUNTIME_MAIN, "--signal", str(PROTOCOL), "%d"]),
}
"""How Argo's controller signals a step's container: a command as a JSON list.

Argo's command signals all processes of a container, and the controller may do so several times. Ours signals the runtime, which
signals the step once (runtime/step/signals.py). Argo's own container of the pod still gets Argo's command. That container stops
without it only when the step's first process reports its end, and a process that the kernel killed for its memory can't.
"""
_RUNS_KEPT = 100
"""Ended runs of a schedule that are kept, of those that succeeded and of those that failed. Argo's own 3 and 1 are too few:
without its Workflow, a run's pods can't say any more how they ended."""
_LATEST_START = 3600
"""Seconds by which a run of a schedule may start late, when the controller was down. Without it such a run is left out."""
_BACKSTOP = 30
"""Seconds, beyond all other limits, after which Kubernetes ends a step that its runtime did not end."""
_RESERVED = ("dev.toolkit/", "workflows.argoproj.io/")


@dataclass(frozen=True)
class Image:
    """An image as the nodes name it.

    Attributes:
        reference: with the digest of its manifest, where a registry has it; else a name that holds the image's digest, where
            toolkit loads it into the nodes.
        never_pulled: whether it is in no registry, so that nodes must have it.
        loaded: whether it was loaded into the nodes just now. They list it up to a minute later.
        expectation: what the runtime compares with the image that it finds itself in.
        platform: what it is for, as ``linux/arm64``; "" where nobody knows.
        has_other_platforms: whether its registry may have it for others under the same reference.
    """

    reference: str
    never_pulled: bool
    loaded: bool = False
    expectation: str = ""
    platform: str = ""
    has_other_platforms: bool = False


@dataclass(frozen=True)
class Submission:
    """What a run's objects are made of, apart from plan and configuration.

    Attributes:
        name: the run id, or a CronWorkflow's name. images: by a step's own image; None is the pipeline's.
        spellings: the texts that spelled parameters, as far as they are kept. rewritten: the text of each file that steps find
            written anew, by its path.
        record: run.json; for a schedule without a run id, since each of its runs has its own.
        user: the user id of steps whose settings name none.
        controls: the control values that follow from the parameters alone, by key.
        omitted_work: what a run that resumes need not do again.
    """

    name: str
    pipeline: str
    tag: str
    images: Mapping[str | None, Image]
    parameters: Parameters
    record: Mapping[str, object]
    user: int
    spellings: Mapping[str, str] = field(default_factory=dict)
    rewritten: Mapping[str, str] = field(default_factory=dict)
    request: str = ""
    controls: Mapping[str, str] = field(default_factory=dict)
    omitted_work: OmittedWork | None = None


@dataclass(frozen=True)
class Manifests:
    """The objects that are created on the cluster, in this order."""

    config_map: KubernetesObject
    workflow: KubernetesObject


def compile_run(plan: Plan, config: Config, submission: Submission) -> Manifests:
    """The ConfigMap and the Workflow of one run.

    Raises:
        BadInput: plan and parameters are too large, or a setting can't be honoured by Argo.
    """
    part = submission.record.get("part", 0)
    # A node keeps an immutable ConfigMap as long as it has a pod of that name. One of the same name, which is made as soon as the
    # old pods are deleted, would not be read: the pods of a run that resumes would have the plan and the attempts of before.
    config_map = f"{submission.name}.part-{part}" if part else submission.name
    compiler = _Compiler(plan, config, submission, config_map, RUN_LABEL)
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
    cron_schedules = schedules.read(config.executor.config.schedules)
    # A run that has begun keeps its plan and parameters when its schedule is changed meanwhile.
    given = parameter_files(submission.parameters, {}, submission.rewritten)
    content = hashlib.sha256(
        plan.to_json() + b"[" + b"".join(given.values()) + b"," + encode(dict(submission.record)) + b"]"
    )
    config_map = f"{submission.name}-{content.hexdigest()[:8]}"
    compiler = _Compiler(plan, config, submission, config_map, SCHEDULE_LABEL)
    metadata = compiler.metadata()
    cron = {
        "apiVersion": API_VERSION,
        "kind": "CronWorkflow",
        "metadata": metadata,
        "spec": {
            "schedules": list(cron_schedules.lines),
            # The default is the time zone of the controller's machine.
            "timezone": cron_schedules.zone,
            "startingDeadlineSeconds": _LATEST_START,
            "successfulJobsHistoryLimit": _RUNS_KEPT,
            "failedJobsHistoryLimit": _RUNS_KEPT,
            # Two runs at once would put files of the same names into one catalog.
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
    """Where the pods of a step run."""
    executor = config.executor.config
    assert step.task is not None
    own = override_of(step.task, config.executor)
    account = own.service_account_name or executor.service_account_name or DEFAULT_ACCOUNT
    policy = own.image_pull_policy or executor.image_pull_policy
    if image.never_pulled:
        if policy == "Always":
            raise BadInput(
                f"image_pull_policy is Always, but the image {image.reference} is in no registry: "
                "give executor.config.image a registry, or leave the policy out"
            )
        policy = "Never"
    tolerations = own.tolerations if own.tolerations is not None else executor.tolerations
    for toleration in tolerations:
        if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
            raise BadInput("a toleration with toleration_seconds must have the effect NoExecute")
    return Placement(
        node_selector=own.node_selector if own.node_selector is not None else executor.node_selector,
        tolerations=tolerations,
        service_account=account,
        pull_policy=policy or "IfNotPresent",
        step_secret=executor.step_secret_name,
    )


class _Compiler:
    def __init__(self, plan: Plan, config: Config, submission: Submission, config_map: str, label: str) -> None:
        self._plan = plan
        self._config = config
        self._executor: ExecutorConfig = config.executor.config
        self._submission = submission
        self._label = label
        self._values = ConfigMapValues(config_map, {})
        self._templates: dict[str, KubernetesObject] = {}
        self._graph = Graph(plan, submission.controls, self._template_of, submission.omitted_work)
        _refuse(self._executor)

    def metadata(self) -> KubernetesObject:
        submission = self._submission
        annotations = {
            **self._executor.annotations,
            PIPELINE_ANNOTATION: submission.pipeline,
            TAG_ANNOTATION: submission.tag,
            IMAGE_ANNOTATION: submission.images[None].reference,
            REQUEST_ANNOTATION: submission.request,
            PART_ANNOTATION: str(submission.record.get(PART, "")),
        }
        return {
            "name": submission.name,
            "labels": self._labels(),
            "annotations": {
                **{name: value for name, value in annotations.items() if value},
                # Argo knows no variable for an annotation that is not there.
                **({ASKED_ANNOTATION: ""} if self._plan.on_exit is not None else {}),
            },
        }

    def spec(self) -> KubernetesObject:
        executor = self._executor
        sequences = self._graph.templates()
        part = self._submission.record.get(PART)
        if part:
            sequences.append(_of_part(part))
            if self._plan.on_exit is not None:
                sequences.append(_of_part(part, _EXIT_PART, on_exit_template()))
        spec: KubernetesObject = {
            "entrypoint": _PART if part else ENTRY,
            "templates": [*sequences, *self._templates.values()],
            "volumes": self._volumes(),
            "automountServiceAccountToken": False,
            "serviceAccountName": executor.service_account_name or DEFAULT_ACCOUNT,
            "podMetadata": {
                "labels": {**executor.labels, MANAGED[0]: MANAGED[1]},
                "annotations": {**executor.annotations, **_HOW_TO_SIGNAL},
            },
            # What a finished pod says is on the volume and in the Workflow's status as well.
            "podGC": {"strategy": "OnWorkflowSuccess", "deleteDelayDuration": _PODS_KEPT},
            "ttlStrategy": {"secondsAfterCompletion": _KEPT_SECONDS},
        }
        if self._plan.on_exit is not None:
            spec["onExit"] = _EXIT_PART if part else on_exit_template()
        if executor.parallelism is not None:
            spec["parallelism"] = executor.parallelism
        if executor.max_workflow_duration_in_seconds is not None:
            spec["activeDeadlineSeconds"] = executor.max_workflow_duration_in_seconds
        size = len(encode(spec))
        if size > LARGEST_WORKFLOW:
            raise BadInput(
                f"the Workflow of this pipeline is {size:,} bytes, and a cluster takes {LARGEST_WORKFLOW:,}: make its branches "
                "steps of one map, or pipelines of their own"
            )
        return spec

    def config_map(self) -> KubernetesObject:
        submission = self._submission
        files = {
            PLAN_FILE: self._plan.to_json(),
            **parameter_files(submission.parameters, submission.spellings, submission.rewritten),
            RUN_RECORD_FILE: encode(dict(submission.record)),
        }
        packed = {name: _compress(data) for name, data in files.items()}
        size = sum(len(text) for text in packed.values()) + sum(len(value.encode()) for value in self._values.keys)
        if size > LARGEST_CONFIG_MAP:
            raise BadInput(
                f"the plan and the parameters of this run are {size:,} bytes, and a cluster takes {LARGEST_CONFIG_MAP:,}: "
                "put large values into a file of the catalog"
            )
        config_map: KubernetesObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._values.config_map,
                "labels": self._labels(),
            },
            # Plan and parameters of a run never change.
            "immutable": True,
            "binaryData": packed,
        }
        if self._values.keys:
            config_map["data"] = {key: value for value, key in self._values.keys.items()}
        return config_map

    def _labels(self) -> dict[str, str]:
        return {**self._executor.labels, MANAGED[0]: MANAGED[1], self._label: self._submission.name}

    def _template_of(self, step: PlannedStep) -> str:
        """The name of a step's template; steps that share one differ only in their paths."""
        settings = self._plan.settings_of(step)
        image = self._submission.images[settings.image]
        place = placement(self._plan, self._config, step, image)
        spec = container_spec(self._plan, step, "", 1, image.reference, self._submission.user, image.expectation)
        own_path = step.path if not can_be_input(step.path) else None
        retry = _check_retry(settings.retry)
        rendered = template("", spec, place, retry, self._values, own_path, self._graph.emitted(step))
        if settings.time_limit is not None:
            # The runtime ends a step that runs out of time; this limit is for a runtime that can't. Kubernetes counts from
            # before the image is pulled.
            start_limit = self._executor.start_timeout_in_seconds
            rendered["activeDeadlineSeconds"] = str(settings.time_limit + spec.stop_timeout + start_limit + _BACKSTOP)
        if self._plan.on_exit is not None and step.path.startswith(f"{self._plan.on_exit}/"):
            rendered["container"]["env"].append({"name": ENDED_VARIABLE, "value": _ENDED})
        key = json.dumps(rendered, sort_keys=True)
        if key not in self._templates:
            rendered["name"] = f"step-{len(self._templates)}" if self._templates else "step"
            self._templates[key] = rendered
        return str(self._templates[key]["name"])

    def _volumes(self) -> list[KubernetesObject]:
        submission = self._submission
        given = parameter_files(submission.parameters, submission.spellings, submission.rewritten)
        file_names = (PLAN_FILE, *given, RUN_RECORD_FILE)
        files = [{"key": name, "path": name} for name in file_names]
        run = {"name": RUN_VOLUME, "configMap": {"name": self._values.config_map, "items": files}}
        claims = [
            {"name": volume_name(volume.name), "persistentVolumeClaim": _claim(volume)}
            for volume in self._executor.persistent_volumes
        ]
        return [run, *claims]


def _of_part(part: object, name: str = _PART, called: str = ENTRY) -> KubernetesObject:
    """The DAG around the pipeline of a run that resumes as another Workflow of the same name.

    Argo names pods, and what they report, by the names of Workflow and tasks. Under the old names it would send the new pods the
    signals that it still has for the old ones.
    """
    return {"name": name, "dag": {"tasks": [call(task_name(f"/part {part}"), called, [], "")]}}


def _compress(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode("ascii")


def _check_retry(retry: RetryStrategy) -> RetryStrategy:
    if retry.limit and retry.back_off.factor != int(retry.back_off.factor):
        raise BadInput(
            f"back_off.factor is {retry.back_off.factor:g}, and Argo takes whole numbers only: set a whole number, "
            "which then holds in every environment"
        )
    return retry


def _refuse(executor: ExecutorConfig) -> None:
    """Refuses settings that Argo or this version can't honour, by name."""
    if executor.expose_parameters_as_inputs:
        raise BadInput(
            "expose_parameters_as_inputs is not supported: a run's parameters are fixed when it is submitted "
            "(--param, -p), and `toolkit compile` makes another manifest for others"
        )
    for name, value in executor.annotations.items():
        if has_braces(value):
            raise BadInput(f"the annotation {name} contains '{{{{' or '}}}}', which Argo would replace: leave it out")
    for volume in executor.persistent_volumes:
        if has_braces(volume.mount_path):
            raise BadInput(
                f"the mount path {volume.mount_path} contains '{{{{' or '}}}}', which Argo would replace: choose another"
            )
    for kind, settings in (("label", executor.labels), ("annotation", executor.annotations)):
        for name in settings:
            if name.startswith(_RESERVED) or name == MANAGED[0]:
                raise BadInput(f"the {kind} {name} is reserved for toolkit or Argo: choose another")


def _claim(volume: PersistentVolume) -> KubernetesObject:
    # Kubernetes gives a volume that it mounts for writing to the steps' group, file by file.
    return {"claimName": volume.name, **({"readOnly": True} if volume.read_only else {})}
