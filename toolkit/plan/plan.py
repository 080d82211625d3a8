"""The plan: a pure function of model and configuration, as canonical JSON and as frozen dataclasses.

It holds no run id, no parameter value and nothing of the machine, so one plan serves a run, a cron schedule and a template,
and equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolkit.config.settings import Config, ExecutorConfig, Override, Resources, RetryStrategy, SecretReference
from toolkit.errors import BadInput
from toolkit.model.pipeline import Binding, Constant, Pipeline, Source, Step, Stub, Task

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """All that shapes a step's container and attempts; steps that share it share one entry of the plan.

    Attributes:
        image: an image of the step's own; None is the pipeline's.
        volumes: (name, mount path) of each volume. secrets: those of the configuration, which every step gets.
        time_limit: seconds for one attempt. grace_period: seconds between the polite and the final signal.
    """

    image: str | None
    environment: Mapping[str, str]
    volumes: tuple[tuple[str, str], ...]
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
    """A key to get, from whichever step before put it last, or from the one step whose path is given."""

    key: str
    step: str | None = None


@dataclass(frozen=True)
class PlannedStep:
    """A row of the plan.

    Attributes:
        path: names of steps and branches, joined with ``/``.
        type: task or stub (composites are rows too).
        settings: index into the plan's settings; None for what has no container.
    """

    path: str
    type: str
    name: str
    settings: int | None = None
    task: Task | None = None
    bind: Mapping[str, Any] = field(default_factory=dict)
    get: tuple[CatalogGet, ...] = ()


@dataclass(frozen=True)
class Scope:
    """One sequence of steps: which of them return a name and which put files, as positions in order.

    Candidates for a parameter are the positions before the step's own, newest first, then the enclosing scope's.
    """

    path: str
    steps: tuple[str, ...]
    returns: Mapping[str, tuple[int, ...]]
    puts: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    steps: tuple[PlannedStep, ...]
    scopes: tuple[Scope, ...]
    settings: tuple[Settings, ...]
    import_roots: tuple[str, ...]
    run_log: str
    catalog: str | None
    data_folder: str

    def step(self, path: str) -> PlannedStep:
        return next(step for step in self.steps if step.path == path)

    def tasks(self) -> list[PlannedStep]:
        """The rows that run in a container, in order."""
        return [step for step in self.steps if step.type == "task"]

    def settings_of(self, step: PlannedStep) -> Settings:
        assert step.settings is not None
        return self.settings[step.settings]

    def to_json(self) -> bytes:
        """The plan as canonical JSON; this is also what the runtime reads."""
        document = {
            "version": VERSION,
            "stores": {"run_log": self.run_log, "catalog": self.catalog, "data_folder": self.data_folder},
            "import_roots": list(self.import_roots),
            "settings": [_settings_json(one) for one in self.settings],
            "scopes": {scope.path: _scope_json(scope) for scope in self.scopes},
            "steps": [_step_json(step) for step in self.steps],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")

    def hash(self) -> str:
        """SHA-256 of the plan's shape: steps, their order, types and returns. What a retry may mend is not in it."""
        shape = [[step.path, step.type, step.task.kind if step.task else None, _returns(step)] for step in self.steps]
        return "sha256:" + hashlib.sha256(json.dumps(shape, separators=(",", ":")).encode("ascii")).hexdigest()


def _returns(step: PlannedStep) -> list[list[str]]:
    return [[one.name, one.kind] for one in step.task.returns] if step.task else []


def _settings_json(settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = _plain(vars(settings))
    document["volumes"] = [{"name": name, "mount_path": path} for name, path in settings.volumes]
    return document


def _plain(value: Any) -> Any:
    """Named tuples, as the configuration's are, by their names."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _scope_json(scope: Scope) -> dict[str, Any]:
    return {
        "steps": list(scope.steps),
        "positions": {path: position for position, path in enumerate(scope.steps)},
        "returns": {name: list(positions) for name, positions in scope.returns.items()},
        "puts": list(scope.puts),
    }


def _step_json(step: PlannedStep) -> dict[str, Any]:
    document: dict[str, Any] = {"path": step.path, "type": step.type, "name": step.name}
    if step.task is None:
        return document
    task = step.task
    document.update(
        kind=task.kind,
        settings=step.settings,
        bind=dict(step.bind),
        returns=[{"name": one.name, "kind": one.kind} for one in task.returns],
        secrets=list(task.secrets),
        catalog={
            "get": [{"key": one.key, "step": one.step} for one in step.get],
            "put": list(task.catalog.put),
            "store_copy": task.catalog.store_copy,
        },
    )
    if task.function is not None:
        document["function"] = asdict(task.function)
        document["takes"] = asdict(task.takes) if task.takes is not None else None
    else:
        document["command"] = task.command
    return document


def plan(pipeline: Pipeline, config: Config, import_roots: tuple[str, ...]) -> Plan:
    """The plan of a pipeline under a configuration.

    Args:
        import_roots: folders, relative to the project's root, that the user's modules are imported from.

    Raises:
        BadInput: a step is of a kind that can't be run, a binding or override names nothing, or two secrets share a name.
    """
    return _Planner(config).plan(pipeline, import_roots)


class _Planner:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings: dict[str, int] = {}
        self._kept: list[Settings] = []

    def plan(self, pipeline: Pipeline, import_roots: tuple[str, ...]) -> Plan:
        steps, scope = self._sequence(pipeline, "")
        store = self._config.catalog
        return Plan(
            steps=tuple(steps),
            scopes=(scope,),
            settings=tuple(self._kept),
            import_roots=import_roots,
            run_log=self._config.run_log_store.log_folder,
            catalog=None if store.type == "do-nothing" else store.catalog_location,
            data_folder=store.compute_data_folder,
        )

    def _sequence(self, pipeline: Pipeline, prefix: str) -> tuple[list[PlannedStep], Scope]:
        rows: list[PlannedStep] = []
        returns: dict[str, list[int]] = {}
        puts: list[int] = []
        position_of = {step.name: position for position, step in enumerate(pipeline.steps)}
        for position, step in enumerate(pipeline.steps):
            path = prefix + step.name
            if isinstance(step, Stub):
                rows.append(PlannedStep(path, "stub", step.name))
                continue
            task = self._supported(step)
            rows.append(self._task(task, path, prefix, position, position_of, pipeline))
            for one in task.returns:
                returns.setdefault(one.name, []).append(position)
            if task.catalog.put:
                puts.append(position)
        scope = Scope(
            prefix.rstrip("/"),
            tuple(row.path for row in rows),
            {name: tuple(found) for name, found in returns.items()},
            tuple(puts),
        )
        return rows, scope

    def _supported(self, step: Step) -> Task:
        if not isinstance(step, Task):
            kind = type(step).__name__.lower()
            raise BadInput(
                f"the step {step.name!r} is a {kind}: this version runs tasks and stubs in a sequence", step.line
            )
        if step.kind == "notebook":
            raise BadInput(f"the step {step.name!r} is a notebook: this version runs python and shell tasks", step.line)
        for name in ("on_failure", "terminate_with_success", "terminate_with_failure"):
            if getattr(step, name):
                raise BadInput(f"the step {step.name!r} sets {name}, which this version can't honour", step.line)
        return step

    def _task(
        self, task: Task, path: str, prefix: str, position: int, position_of: dict[str, int], pipeline: Pipeline
    ) -> PlannedStep:
        def sibling(name: str, what: str) -> str:
            if name not in position_of:
                raise BadInput(f"the step {task.name!r} {what} the step {name!r}, which does not exist", task.line)
            if position_of[name] >= position:
                raise BadInput(
                    f"the step {task.name!r} {what} the step {name!r}, which does not run before it", task.line
                )
            return prefix + name

        bind: dict[str, Any] = {}
        for argument, binding in task.bind.items():
            bind[argument] = self._binding(task, argument, binding, sibling, position_of, pipeline)
        gets = []
        for key in task.catalog.get:
            step, rest = _named_step(key, position_of)
            if step is not None:
                gets.append(CatalogGet(self._key(task, rest), sibling(step, f"gets {rest} from")))
            else:
                gets.append(CatalogGet(self._key(task, key)))
        for key in task.catalog.put:
            self._key(task, key)
        self._check_secrets(task)
        return PlannedStep(path, "task", task.name, self._settings_of(task), task, bind, tuple(gets))

    def _binding(
        self,
        task: Task,
        argument: str,
        binding: Binding,
        sibling: Any,
        position_of: dict[str, int],
        pipeline: Pipeline,
    ) -> dict[str, Any]:
        takes = task.takes
        if takes is not None and argument not in takes.names and not takes.everything:
            raise BadInput(f"the step {task.name!r} binds {argument}, which its function does not take", task.line)
        if isinstance(binding, Constant):
            return {"value": binding.value}
        if binding.step is None:
            return {"name": binding.name}
        if binding.step == Source.RUN:
            return {"name": binding.name, "step": Source.RUN}
        path = sibling(binding.step, f"binds {argument} to {binding.name} of")
        source = pipeline.steps[position_of[binding.step]]
        returned = [one.name for one in source.returns] if isinstance(source, Task) else []
        if binding.name not in returned:
            raise BadInput(
                f"the step {task.name!r} binds {argument} to {binding.name} of {binding.step!r}, which does not return it",
                task.line,
            )
        return {"name": binding.name, "step": path}

    def _key(self, task: Task, key: str) -> str:
        """A catalog key that stays inside the step's folder; the runtime checks the file itself again."""
        from toolkit.runtime.catalog import BadKey, check_key

        try:
            check_key(key)
        except BadKey as error:
            raise BadInput(f"the step {task.name!r}: {error}", task.line) from None
        return key

    def _check_secrets(self, task: Task) -> None:
        for name in task.secrets:
            if name in self._config.executor.config.environment:
                raise BadInput(
                    f"{name} is a secret of the step {task.name!r} and a variable of the configuration", task.line
                )

    def _settings_of(self, task: Task) -> int:
        config = self._config.executor.config
        settings = _merged(config, self._override(task, config))
        key = json.dumps(_settings_json(settings), sort_keys=True)
        if key not in self._settings:
            self._settings[key] = len(self._kept)
            self._kept.append(settings)
        return self._settings[key]

    def _override(self, task: Task, config: ExecutorConfig) -> Override:
        name = task.overrides.get(self._config.executor.type)
        if name is None:
            return Override()
        if name not in config.overrides:
            known = ", ".join(sorted(config.overrides)) or "none"
            raise BadInput(
                f"the step {task.name!r} asks for the override {name!r}, which executor.config.overrides does not have "
                f"(it has: {known})",
                task.line,
            )
        return config.overrides[name]


def _named_step(key: str, steps: Collection[str]) -> tuple[str | None, str]:
    """``step:key`` as the two; names and keys may hold colons themselves, and the longest name that there is wins."""
    ends = [position for position, character in enumerate(key) if character == ":"]
    for end in reversed(ends):
        step = unicodedata.normalize("NFC", key[:end])
        if step in steps:
            return step, key[end + 1 :]
    return None, key


def _merged(config: ExecutorConfig, override: Override) -> Settings:
    def either(name: str) -> Any:
        own = getattr(override, name)
        return own if own is not None else getattr(config, name)

    return Settings(
        image=override.image,
        environment={**config.environment, **override.environment},
        volumes=tuple((one.name, one.mount_path) for one in config.persistent_volumes),
        secrets=config.secrets_from_k8s,
        resources=either("resources"),
        user=either("user"),
        shm_size=either("shm_size"),
        scratch_size=either("scratch_size"),
        read_only_root=config.read_only_root,
        grace_period=config.grace_period_in_seconds,
        time_limit=either("max_step_duration_in_seconds"),
        retry=either("retry_strategy"),
        pids_limit=config.pids_limit,
        image_pull_secrets=config.image_pull_secrets,
    )


def missing_parameters(plan: Plan, given: Mapping[str, Any]) -> list[tuple[PlannedStep, str]]:
    """The required arguments of python steps that nothing can give: (step, name), in plan order."""
    scope = plan.scopes[0]
    missing = []
    for position, step in enumerate(plan.steps):
        if step.task is None or step.task.takes is None:
            continue
        for argument in step.task.takes.required:
            binding = step.bind.get(argument, {"name": argument})
            if "value" in binding or binding.get("step"):
                continue
            name = binding["name"]
            positions = scope.returns.get(name, ()) if "step" not in binding else ()
            if name not in given and not (positions and positions[0] < position):
                missing.append((step, argument))
    return missing


__all__ = ["CatalogGet", "Plan", "PlannedStep", "Scope", "Settings", "Source", "missing_parameters", "plan"]
