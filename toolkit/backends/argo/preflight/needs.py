"""What a run needs of a cluster (:class:`Needs`), and one result of a preflight (:class:`Finding`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT, Image, placement
from toolkit.config.settings import Config, Resources, Toleration
from toolkit.plan.plan import Plan

Level = Literal["error", "warning", "unknown", "ok"]

Right: TypeAlias = "tuple[str, str, str]"
"""A verb, an API group and a resource, as ``("get", "", "pods/log")``."""

OLDEST = (3, 6)
"""The oldest Argo that the manifests are made for. Before 3.4 there were no WorkflowTaskResults at all."""

INSTALL = "https://github.com/argoproj/argo-workflows/releases/download/v3.7.18/install.yaml"

INSTANCE_LABEL = "workflows.argoproj.io/controller-instanceid"

PHASE_LABEL = "workflows.argoproj.io/phase"

AT_ONCE = 12
"""Requests that are asked at the same time."""

IMAGES_LISTED = 50
"""How many images a kubelet lists by default, the largest first."""

GPU = "nvidia.com/gpu"


def _verbs(verbs: str, group: str, resource: str) -> tuple[Right, ...]:
    return tuple((verb, group, resource) for verb in verbs.split())


USER_RIGHTS: tuple[Right, ...] = (
    *_verbs("get list watch create patch delete", "argoproj.io", "workflows"),
    *_verbs("create get patch delete", "", "configmaps"),
    *_verbs("get list watch create delete", "", "pods"),
    *_verbs("get", "", "pods/log"),
    # An exec over a web socket is a GET; newer API servers want create for it as well.
    *_verbs("create get", "", "pods/exec"),
    *_verbs("list", "", "events"),
)
"""What a person needs in the namespace to submit, follow, read and cancel runs: the Role toolkit-user of k8s/accounts."""

SCHEDULE_RIGHTS = _verbs("get list create patch delete", "argoproj.io", "cronworkflows")

ACCOUNT_RIGHTS = _verbs("create patch", "argoproj.io", "workflowtaskresults")


@dataclass(frozen=True)
class SimilarSteps:
    """Steps whose pods ask the same of nodes and quotas.

    Attributes:
        paths: of the steps; without a plan there are none, and all steps are meant. user: None is an ordinary user.
        platform, has_other_platforms: of their image, as of :class:`Image`.
    """

    paths: tuple[str, ...] = ()
    user: int | None = None
    resources: Resources = field(default_factory=Resources)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    platform: str = ""
    has_other_platforms: bool = False

    def __str__(self) -> str:
        if not self.paths:
            return "the steps"
        named = ", ".join(repr(path) for path in self.paths[:3])
        more = f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else ""
        return f"the step{'s' if len(self.paths) > 1 else ''} {named}{more}"


@dataclass(frozen=True)
class Needs:
    """What must exist for a run, all of it in one namespace.

    Attributes:
        claims: persistent volume claims, which every pod mounts. read_only: those of them that no step writes to.
        secrets: the keys of each Secret.
        accounts: service accounts of the pods. labels: of the Workflow. schedules: whether it is a CronWorkflow.
    """

    claims: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset()
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accounts: tuple[str, ...] = (DEFAULT_ACCOUNT,)
    pull_secrets: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    steps: tuple[SimilarSteps, ...] = (SimilarSteps(),)
    labels: Mapping[str, str] = field(default_factory=dict)
    schedules: bool = False


def needs_of(plan: Plan | None, config: Config, images: Mapping[str | None, Image] | None = None) -> Needs:
    """What a plan needs. Without a plan: what the configuration says of every step, without overrides.

    Args:
        images: by a step's own image; None is the pipeline's.
    """
    executor = config.executor.config
    images = images or {}
    secrets: dict[str, dict[str, None]] = {}
    for reference in executor.secrets_from_k8s:
        secrets.setdefault(reference.secret_name, {})[reference.secret_key] = None
    of_all_steps = {reference.environment_variable for reference in executor.secrets_from_k8s}
    # The Workflow itself names one, whatever its steps do.
    accounts = {executor.service_account_name or DEFAULT_ACCOUNT: None}
    similar: dict[str, SimilarSteps] = {}
    paths: dict[str, list[str]] = {}
    for step in plan.tasks() if plan is not None else ():
        assert plan is not None and step.task is not None
        settings = plan.settings_of(step)
        image = images.get(settings.image) or Image("", False)
        place = placement(plan, config, step, image)
        accounts[place.service_account] = None
        for name in step.task.secrets:
            if name not in of_all_steps:
                secrets.setdefault(place.step_secret, {})[name] = None
        steps = SimilarSteps(
            (), settings.user, settings.resources, place.node_selector, place.tolerations, image.platform,
            image.has_other_platforms,
        )  # fmt: skip
        similar.setdefault(repr(steps), steps)
        paths.setdefault(repr(steps), []).append(step.path)
    if plan is None:
        similar[""] = SimilarSteps((), executor.user, executor.resources, executor.node_selector, executor.tolerations)
    return Needs(
        claims=tuple(volume.name for volume in executor.persistent_volumes),
        read_only=frozenset(volume.name for volume in executor.persistent_volumes if volume.read_only),
        secrets={name: tuple(keys) for name, keys in secrets.items()},
        accounts=tuple(accounts),
        pull_secrets=executor.image_pull_secrets,
        images=tuple(dict.fromkeys(images.values())),
        steps=tuple(replace(steps, paths=tuple(paths.get(key, ()))) for key, steps in similar.items()),
        labels=executor.labels,
        schedules=bool(executor.schedules),
    )


@dataclass(frozen=True)
class Finding:
    """One result of a preflight.

    Attributes:
        level: an error stops a submit; a warning may be intended; unknown is what this user may not see.
        what: one sentence. remedy: the command or the setting that fixes it; empty when there is nothing to fix.
        is_input: whether an error is one of the user's own, and not of the cluster.
    """

    level: Level
    what: str
    remedy: str = ""
    is_input: bool = False
