"""The settings of a step: what is said beside it, before its override, before the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit.config.consistency import contradiction
from toolkit.config.settings import (
    Executor,
    ExecutorConfig,
    Override,
    ResourceList,
    Resources,
    Retries,
    RetryStrategy,
    StepSettings,
)
from toolkit.errors import BadInput
from toolkit.model.pipeline import Task
from toolkit.plan.plan import Plan, PlannedVolume, Settings

_NAMED_IN_FULL = 3


def settings_of(task: Task, executor: Executor) -> Settings:
    """The settings of a task.

    Raises:
        BadInput: it asks for an override that is not there, a secret has the name of an environment variable, or what the task
            says contradicts the configuration.
    """
    config, override, own = executor.config, override_of(task, executor), task.settings or StepSettings()
    _check_secrets(task, config, override, own)

    def either(name: str) -> Any:
        value = getattr(override, name)
        return value if value is not None else getattr(config, name)

    retry = _retry(either("retry_strategy"), own.retries or Retries())
    if task.max_attempts is not None:
        retry = retry._replace(limit=task.max_attempts - 1)
    return Settings(
        image=own.image if own.image is not None else override.image,
        environment={**config.environment, **override.environment, **own.environment},
        volumes=tuple(
            PlannedVolume(volume.name, volume.mount_path, volume.read_only) for volume in config.persistent_volumes
        ),
        secrets=config.secrets_from_k8s,
        resources=_resources(task, either("resources"), own.resources),
        user=own.user if own.user is not None else either("user"),
        shm_size=either("shm_size"),
        scratch_size=either("scratch_size"),
        read_only_root=config.read_only_root,
        grace_period=config.grace_period_in_seconds,
        time_limit=own.timeout if own.timeout is not None else either("max_step_duration_in_seconds"),
        retry=retry,
        pids_limit=config.pids_limit,
        image_pull_secrets=config.image_pull_secrets,
    )


def override_of(task: Task, executor: Executor) -> Override:
    """The entry of ``executor.config.overrides`` that a task has under this configuration.

    Raises:
        BadInput: there is no such entry.
    """
    name, entries = _entry_of(task, executor), executor.config.overrides
    if name is None:
        return Override()
    if name not in entries:
        available = ", ".join(sorted(entries)) or "none"
        raise BadInput(
            f"the step {task.name!r} asks for the override {name!r}, which executor.config.overrides does not have "
            f"(it has: {available})",
            task.line,
        )
    return entries[name]


def _entry_of(task: Task, executor: Executor) -> str | None:
    if isinstance(task.overrides, str):
        return task.overrides
    name = task.overrides.get(executor.type)
    # `local` and `argo` are types as well; this environment alone has no type of its name.
    return task.overrides.get("process") if name is None and executor.type == "local" else name


def overrides_without_effect(plan: Plan, executor: Executor) -> list[str]:
    """A sentence for each choice of overrides that says nothing of this configuration's type, with the steps that make it."""
    steps: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for step in plan.tasks():
        assert step.task is not None
        overrides = step.task.overrides
        if isinstance(overrides, str) or not overrides or _entry_of(step.task, executor) is not None:
            continue
        steps.setdefault(tuple(overrides.items()), []).append(step.path)
    return [_without_effect(names, overrides, executor.type) for overrides, names in steps.items()]


def retries_without_effect(plan: Plan) -> list[str]:
    """A sentence for each step that says when it is attempted again, where nothing says that it is."""
    sentences = []
    for step in plan.tasks():
        own = step.task.settings.retries if step.task is not None and step.task.settings is not None else None
        if own is None or own.limit is not None or plan.settings_of(step).retry.limit > 0:
            continue
        given = ", ".join(name for name, value in own._asdict().items() if value is not None)
        if given:
            sentences.append(
                f"the step {step.path!r} is attempted once, because nothing gives a limit of its retries: "
                f"what they have ({given}) has no effect"
            )
    return sentences


def _without_effect(names: list[str], overrides: Iterable[tuple[str, str]], kind: str) -> str:
    shown = [repr(name) for name in names[:_NAMED_IN_FULL]]
    if len(names) > _NAMED_IN_FULL:
        shown.append(f"{len(names) - _NAMED_IN_FULL} more")
    who = f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
    subject = f"the step {who} runs" if len(names) == 1 else f"the steps {who} run"
    chosen = " and ".join(f"{entry!r} for {key}" for key, entry in overrides)
    return (
        f"{subject} without an override: {chosen} has no effect, because executor.type of this configuration is {kind}"
    )


def _check_secrets(task: Task, config: ExecutorConfig, override: Override, own: StepSettings) -> None:
    variables = (
        ("an environment variable of the configuration", config.environment),
        ("an environment variable of its override", override.environment),
        ("an environment variable beside it", own.environment),
    )
    for what, environment in variables:
        for name in task.secrets:
            if name in environment:
                raise BadInput(f"{name} is a secret of the step {task.name!r} and {what}", task.line)
    for reference in config.secrets_from_k8s:
        name = reference.environment_variable
        if name in own.environment:
            raise BadInput(
                f"{name} is both in executor.config.secrets_from_k8s and in the environment of the step {task.name!r}; keep one",
                task.line,
            )


def _retry(retry: RetryStrategy, own: Retries) -> RetryStrategy:
    back_off = retry.back_off
    waits = {"duration_in_seconds": own.delay, "factor": own.factor, "max_duration": own.max_duration}
    given: dict[str, Any] = {name: value for name, value in waits.items() if value is not None}
    return RetryStrategy(
        own.limit if own.limit is not None else retry.limit,
        own.policy if own.policy is not None else retry.retry_policy,
        back_off._replace(**given),
    )


def _resources(task: Task, resources: Resources, own: Resources | None) -> Resources:
    if own is None:
        return resources
    merged = Resources(_amounts(resources.limits, own.limits), _amounts(resources.requests, own.requests))
    found = contradiction(merged)
    if found is not None:
        raise BadInput(
            f"the step {task.name!r}: {found[1]} (one of the two is said beside the step, the other in the configuration)",
            task.line,
        )
    return merged


def _amounts(amounts: ResourceList, own: ResourceList) -> ResourceList:
    return amounts._replace(**{name: value for name, value in own._asdict().items() if value is not None})
