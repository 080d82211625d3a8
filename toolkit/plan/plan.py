"""The plan: a pure function of model and configuration, as canonical JSON and as frozen dataclasses.

A plan holds no run id, no parameter value and nothing about the machine. So one plan serves a run, a cron schedule and a
template, and equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from toolkit.config.settings import ResourceList, Resources, RetryStrategy, SecretReference
from toolkit.model.pipeline import Function, Takes, Task
from toolkit.runtime.shared.records import encode
from toolkit.runtime.shared.tree import HANDLER, ancestors

if TYPE_CHECKING:
    from toolkit.plan.controls import Control
    from toolkit.runtime.shared.documents import (
        BindRow,
        CompositeKeys,
        FunctionRow,
        PlanDocument,
        ResourceListRow,
        RetryRow,
        ScopeRow,
        SettingsRow,
        StepRow,
        StepType,
        StoresRow,
        TakesRow,
        TaskKeys,
        VolumeRow,
    )

VERSION = 2
When = Literal["start", "again"]
Ends = Literal["success", "failure", ""]


class PlannedVolume(NamedTuple):
    """A volume as every environment has it: the folder or the claim behind it is no part of a plan."""

    name: str
    mount_path: str
    read_only: bool = False


@dataclass(frozen=True)
class Settings:
    """All that shapes a step's container and attempts. Steps with equal settings share one entry of the plan.

    Attributes:
        image: an image of the step's own; None is the pipeline's.
        volumes: without what concerns this machine alone. secrets: those of the configuration, which every step gets.
        time_limit: seconds for one attempt. grace_period: seconds between the request to stop and the kill.
    """

    image: str | None
    environment: Mapping[str, str]
    volumes: tuple[PlannedVolume, ...]
    secrets: tuple[SecretReference, ...]
    resources: Resources
    user: int | None
    shm_size: str | None
    scratch_size: str | None
    read_only_root: bool
    grace_period: int
    time_limit: int | None
    retry: RetryStrategy
    pids_limit: int
    image_pull_secrets: tuple[str, ...]


@dataclass(frozen=True)
class CatalogGet:
    """A key to get: from the one step whose path is given, or else from the earlier step that put it last."""

    key: str
    step: str | None = None


@dataclass(frozen=True)
class Emission:
    """A control value that a task computes when it has succeeded, because no container runs between it and the value's use.

    Attributes:
        path: the composite's. when: ``start`` is a map's number of items or a conditional's branch; ``again`` is whether a loop
            runs again, which is decided at the end of each iteration.
    """

    path: str
    when: When


@dataclass(frozen=True)
class PlannedComposite:
    """What a composite holds.

    Attributes:
        branches: (label, scope path) in order of definition; the label of a map's and a loop's is ``*``.
        default: the scope of a conditional's default branch.
        parameter: what a map iterates on, what a conditional depends on, or what a loop breaks on.
        item: the name under which a branch sees its item or its index; empty is none.
        limit: the most iterations of a loop, or the most items of a map that may run at once.
        parts: composites inside a map's or loop's branch before which no task of the branch runs. Their control values are
            computed with this composite's.
        pods: the most pods that a map may have for each step of its branch on a cluster. grouped: whether a pod may run
            several items.
        as_long_as: another map just before this one. This one iterates on its values, so the two have the same count.
        source: the path of the one step whose return ``parameter`` is; None is the newest value that is seen.
    """

    branches: tuple[tuple[str, str], ...]
    default: str | None = None
    parameter: str = ""
    item: str = ""
    limit: int | None = None
    reducer: Function | str | None = None
    parts: tuple[str, ...] = ()
    pods: int | None = None
    grouped: bool = False
    as_long_as: str | None = None
    source: str | None = None

    def scopes(self) -> list[str]:
        """The scopes inside, the default last."""
        return [scope for _, scope in self.branches] + ([self.default] if self.default is not None else [])


@dataclass(frozen=True)
class PlannedStep:
    """A row of the plan.

    Attributes:
        path: names of steps and branches, joined with ``/``. ``*`` stands for the position of a map's item or a loop's
            iteration.
        type: task, stub, pipeline, parallel, map, conditional or loop.
        settings: index into the plan's settings; None for a step that has no container.
        inside: what a composite holds; None for any other step. handler: the scope of on_failure.
        keep_failure: whether the step stays failed when its handler has succeeded.
        executed: what the executed notebook is called, where that is not by the notebook alone.
        ends: success or failure, if the step ends its sequence once it has succeeded; else empty.
        line: where the step stands, for messages; never compared.
    """

    path: str
    type: StepType
    name: str
    settings: int | None = None
    task: Task | None = None
    bind: Mapping[str, BindRow] = field(default_factory=dict)
    get: tuple[CatalogGet, ...] = ()
    inside: PlannedComposite | None = None
    handler: str | None = None
    ends: Ends = ""
    executed: str = ""
    emits: tuple[Emission, ...] = ()
    line: str | None = field(default=None, compare=False)
    keep_failure: bool = False


@dataclass(frozen=True)
class PlannedScope:
    """One sequence of steps, with the positions of those that return a name and of those that put files.

    Candidates for a parameter are the positions that are earlier than the step's own, newest first, then those in the scope around
    it. A composite returns and puts what the steps inside it return and put.

    Attributes:
        owner: the path of the row whose branch or handler this is; None for the pipeline's own sequence.
        after: of a graph, for each step the positions of those that have to end before it starts; None of a line.
    """

    path: str
    steps: tuple[str, ...]
    returns: Mapping[str, tuple[int, ...]]
    puts: tuple[int, ...]
    owner: str | None = None
    after: tuple[tuple[int, ...], ...] | None = None

    def earlier(self, position: int) -> range | frozenset[int]:
        """The positions of the steps that have ended when the one at a position starts; behind the last, those of all."""
        if self.after is None or position >= len(self.steps):
            return range(min(position, len(self.steps)))
        return ancestors(self.after, position)

    @property
    def is_handler(self) -> bool:
        """Whether the sequence runs because its owner has failed."""
        return self.owner is not None and self.path == f"{self.owner}/{HANDLER}"


@dataclass(frozen=True)
class Plan:
    """All rows, depth first in order of definition.

    Attributes:
        controls: where each composite's control values come from, by its path (:mod:`toolkit.plan.controls`).
        given: composites whose control values follow from the run's parameters alone.
        ignore: patterns of files that a step may leave without putting them.
        on_exit: the path of the row, of no sequence, that holds what runs after the pipeline; None where nothing does.
    """

    steps: tuple[PlannedStep, ...]
    scopes: tuple[PlannedScope, ...]
    settings: tuple[Settings, ...]
    import_roots: tuple[str, ...]
    run_log: str
    catalog: str | None
    data_folder: str
    ignore: tuple[str, ...] = ()
    controls: Mapping[str, tuple[Control, ...]] = field(default_factory=dict, compare=False)
    given: tuple[str, ...] = ()
    on_exit: str | None = None

    def step(self, path: str) -> PlannedStep:
        return next(step for step in self.steps if step.path == path)

    def scope(self, path: str) -> PlannedScope:
        return next(scope for scope in self.scopes if scope.path == path)

    def tasks(self) -> list[PlannedStep]:
        """The rows that run in a container, in order."""
        return [step for step in self.steps if step.type == "task"]

    def settings_of(self, step: PlannedStep) -> Settings:
        assert step.settings is not None
        return self.settings[step.settings]

    def document(self) -> PlanDocument:
        """The plan as JSON data."""
        stores: StoresRow = {"run_log": self.run_log, "catalog": self.catalog, "data_folder": self.data_folder}
        if self.ignore:
            stores["ignore"] = list(self.ignore)
        document: PlanDocument = {
            "version": VERSION,
            "stores": stores,
            "import_roots": list(self.import_roots),
            "settings": [_settings_json(settings) for settings in self.settings],
            "scopes": {scope.path: _scope_json(scope) for scope in self.scopes},
            "steps": [_step_json(step) for step in self.steps],
        }
        if self.on_exit is not None:
            document["on_exit"] = self.on_exit
        return document

    def to_json(self) -> bytes:
        """The plan as canonical JSON, which is also what the runtime reads. Values of the user's in it keep their order."""
        return encode(self.document())

    def hash(self) -> str:
        """SHA-256 of the shape: steps, their order or edges, types and returns. What a user may fix for a retry is not in it."""
        return shape_hash(self.document())


def shape_hash(document: PlanDocument) -> str:
    """The hash of the shape of a plan that a record holds (see :meth:`Plan.hash`)."""
    shape: list[list[Any]] = [
        [row["path"], row["type"], row.get("kind"), [[each["name"], each["kind"]] for each in row.get("returns", ())]]
        for row in document["steps"]
    ]
    # A line's order is that of its steps.
    edges = [[path, scope["after"]] for path, scope in sorted(document["scopes"].items()) if "after" in scope]
    if edges:
        shape.append(edges)
    return "sha256:" + hashlib.sha256(json.dumps(shape, separators=(",", ":")).encode("ascii")).hexdigest()


def settings_key(settings: Settings) -> str:
    """A text that is equal for equal settings."""
    return json.dumps(_settings_json(settings), sort_keys=True)


def _settings_json(settings: Settings) -> SettingsRow:
    return {
        "image": settings.image,
        "environment": dict(settings.environment),
        "volumes": [_volume_json(volume) for volume in settings.volumes],
        "secrets": [
            {
                "environment_variable": secret.environment_variable,
                "secret_name": secret.secret_name,
                "secret_key": secret.secret_key,
            }
            for secret in settings.secrets
        ],
        "resources": {
            "limits": _resource_list_json(settings.resources.limits),
            "requests": _resource_list_json(settings.resources.requests),
        },
        "user": settings.user,
        "shm_size": settings.shm_size,
        "scratch_size": settings.scratch_size,
        "read_only_root": settings.read_only_root,
        "grace_period": settings.grace_period,
        "time_limit": settings.time_limit,
        "retry": _retry_json(settings.retry),
        "pids_limit": settings.pids_limit,
        "image_pull_secrets": list(settings.image_pull_secrets),
    }


def _volume_json(volume: PlannedVolume) -> VolumeRow:
    row: VolumeRow = {"name": volume.name, "mount_path": volume.mount_path}
    if volume.read_only:
        row["read_only"] = True
    return row


def _resource_list_json(resources: ResourceList) -> ResourceListRow:
    return {"cpu": resources.cpu, "memory": resources.memory, "gpu": resources.gpu}


def _retry_json(retry: RetryStrategy) -> RetryRow:
    back_off = retry.back_off
    return {
        "limit": retry.limit,
        "retry_policy": retry.retry_policy,
        "back_off": {
            "duration_in_seconds": back_off.duration_in_seconds,
            "factor": back_off.factor,
            "max_duration": back_off.max_duration,
        },
    }


def _scope_json(scope: PlannedScope) -> ScopeRow:
    row: ScopeRow = {
        "steps": list(scope.steps),
        "positions": {path: position for position, path in enumerate(scope.steps)},
        "returns": {name: list(positions) for name, positions in scope.returns.items()},
        "puts": list(scope.puts),
    }
    if scope.after is not None:
        row["after"] = {path: list(after) for path, after in zip(scope.steps, scope.after, strict=True)}
    return row


def _step_json(step: PlannedStep) -> StepRow:
    row: StepRow = {"path": step.path, "type": step.type, "name": step.name}
    if step.handler is not None:
        row["handler"] = step.handler
    if step.keep_failure:
        row["keep_failure"] = True
    if step.ends:
        row["ends"] = step.ends
    composite: CompositeKeys = _composite_json(step.inside) if step.inside is not None else {}
    task: TaskKeys = _task_json(step, step.task) if step.task is not None else {}
    return {**row, **composite, **task}


def _task_json(step: PlannedStep, task: Task) -> TaskKeys:
    assert step.settings is not None
    row: TaskKeys = {
        "kind": task.kind,
        "settings": step.settings,
        "bind": dict(step.bind),
        "returns": [{"name": declared.name, "kind": declared.kind} for declared in task.returns],
        "secrets": list(task.secrets),
        "catalog": {
            "get": [{"key": get.key, "step": get.step} for get in step.get],
            "put": list(task.catalog.put),
            "store_copy": task.catalog.store_copy,
        },
    }
    if step.emits:
        row["emits"] = [[emission.path, emission.when] for emission in step.emits]
    if task.function is not None:
        row["function"] = _function_json(task.function)
        row["takes"] = _takes_json(task.takes) if task.takes is not None else None
    elif task.command is not None:
        row["command"] = task.command
        if task.shell != "sh":
            row["shell"] = task.shell
        if task.strict:
            row["strict"] = True
        if task.html:
            row["html"] = True
    if step.executed:
        row["executed"] = step.executed
    if task.patched is not None:
        row["patched"] = {}
        if task.patched.returns is not None:
            row["patched"] = {"returns": dict(task.patched.returns), "files": dict(task.patched.files)}
    return row


def _function_json(function: Function) -> FunctionRow:
    return {"module": function.module, "qualname": function.qualname, "file": function.file}


def _takes_json(takes: Takes) -> TakesRow:
    return {"names": list(takes.names), "required": list(takes.required), "everything": takes.everything}


def _composite_json(inside: PlannedComposite) -> CompositeKeys:
    """The keys of a composite that are set."""
    row: CompositeKeys = {}
    if inside.branches:
        row["branches"] = [list(branch) for branch in inside.branches]
    if inside.default is not None:
        row["default"] = inside.default
    if inside.parameter:
        row["parameter"] = inside.parameter
    if inside.item:
        row["item"] = inside.item
    if inside.limit is not None:
        row["limit"] = inside.limit
    if isinstance(inside.reducer, Function):
        row["reducer"] = _function_json(inside.reducer)
    elif inside.reducer:
        row["reducer"] = inside.reducer
    if inside.parts:
        row["parts"] = list(inside.parts)
    if inside.pods is not None:
        row["pods"] = inside.pods
    if inside.grouped:
        row["grouped"] = inside.grouped
    if inside.as_long_as is not None:
        row["as_long_as"] = inside.as_long_as
    if inside.source is not None:
        row["source"] = inside.source
    return row
