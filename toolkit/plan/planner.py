"""Makes the plan: each step its path, its settings, its candidates for parameters and files, and what it emits."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from toolkit.config.settings import Config, ExecutorConfig, Override
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    REDUCERS,
    Binding,
    Conditional,
    Constant,
    Loop,
    Map,
    Nested,
    Parallel,
    Pipeline,
    Source,
    Step,
    Stub,
    Task,
)
from toolkit.plan import controls
from toolkit.plan.plan import CatalogGet, Plan, PlannedComposite, PlannedScope, PlannedStep, Settings, settings_key
from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER, join

_TYPES = {Nested: "pipeline", Parallel: "parallel", Map: "map", Conditional: "conditional", Loop: "loop"}


def plan(pipeline: Pipeline, config: Config, import_roots: tuple[str, ...]) -> Plan:
    """The plan of a pipeline under a configuration.

    Args:
        import_roots: folders, relative to the project's root, that the user's modules are imported from.

    Raises:
        BadInput: a binding or override names nothing, two secrets share a name, or no task could compute what a composite
            needs to know before it starts.
    """
    return _Planner(config).plan(pipeline, import_roots)


class _Planner:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings: dict[str, int] = {}
        self._kept: list[Settings] = []
        self._rows: list[PlannedStep] = []
        self._scopes: list[PlannedScope] = []

    def plan(self, pipeline: Pipeline, import_roots: tuple[str, ...]) -> Plan:
        self._sequence(pipeline, "", None)
        self._scopes.sort(key=lambda scope: scope.path)
        store = self._config.catalog
        found = controls.analyse_controls(self._rows, self._scopes)
        return Plan(
            steps=found.steps,
            scopes=tuple(self._scopes),
            settings=tuple(self._kept),
            import_roots=import_roots,
            run_log=self._config.run_log_store.log_folder,
            catalog=None if store.type == "do-nothing" else store.catalog_location,
            data_folder=store.compute_data_folder,
            controls=found.controls,
            given=found.given,
        )

    def _sequence(self, pipeline: Pipeline, scope: str, owner: str | None) -> PlannedScope:
        returns: dict[str, list[int]] = {}
        puts: list[int] = []
        siblings = _Siblings(pipeline, scope)
        for position, step in enumerate(pipeline.steps):
            path = join(scope, step.name)
            if isinstance(step, Stub):
                self._rows.append(PlannedStep(path, "stub", step.name, ends=_ends(step), line=step.line))
                continue
            if isinstance(step, Task):
                self._rows.append(self._task(step, path, position, siblings))
                inner = {one.name for one in step.returns}
                stores = bool(step.catalog.put)
            else:
                inner, stores = self._composite(step, path)
            if step.on_failure is not None:
                handler = self._sequence(step.on_failure, join(path, HANDLER), path)
                inner |= set(handler.returns)
                stores = stores or bool(handler.puts)
            for name in sorted(inner):
                returns.setdefault(name, []).append(position)
            if stores:
                puts.append(position)
        found = PlannedScope(
            scope,
            tuple(join(scope, step.name) for step in pipeline.steps),
            {name: tuple(positions) for name, positions in returns.items()},
            tuple(puts),
            owner,
        )
        self._scopes.append(found)
        return found

    def _composite(self, step: Nested | Parallel | Map | Conditional | Loop, path: str) -> tuple[set[str], bool]:
        """Adds the rows of a composite; the names that it may return, and whether it may put files."""
        place = len(self._rows)
        handler = join(path, HANDLER) if step.on_failure is not None else None
        row = PlannedStep(
            path, _TYPES[type(step)], step.name, inside=PlannedComposite(()), handler=handler, line=step.line
        )
        self._rows.append(row)
        inner: list[PlannedScope] = []

        def sequence(pipeline: Pipeline, scope: str) -> str:
            inner.append(self._sequence(pipeline, scope, path))
            return scope

        if isinstance(step, Nested):
            _check_labels(step, [one.name for one in step.pipeline.steps], handler)
            inside = PlannedComposite((("", sequence(step.pipeline, path)),))
        elif isinstance(step, Parallel):
            _check_labels(step, [name for name, _ in step.branches], handler)
            inside = PlannedComposite(
                tuple((name, sequence(branch, join(path, name))) for name, branch in step.branches)
            )
        elif isinstance(step, Conditional):
            _check_labels(step, [name for name, _ in step.branches], handler, step.default is not None)
            inside = PlannedComposite(
                tuple((name, sequence(branch, join(path, name))) for name, branch in step.branches),
                default=sequence(step.default, join(path, DEFAULT)) if step.default is not None else None,
                parameter=step.parameter,
            )
        elif isinstance(step, Map):
            if isinstance(step.reducer, str) and step.reducer not in REDUCERS:
                raise BadInput(
                    f"the map {step.name!r} has the reducer {step.reducer!r}: it is a function, or one of {', '.join(REDUCERS)}",
                    step.line,
                )
            inside = PlannedComposite(
                ((ANY, sequence(step.branch, join(path, ANY))),),
                parameter=step.iterate_on,
                item=step.iterate_as,
                limit=step.concurrency,
                reducer=step.reducer,
                pods=self._config.executor.config.pods_per_map,
                grouped=_can_be_grouped(step.branch),
            )
        else:
            inside = PlannedComposite(
                ((ANY, sequence(step.branch, join(path, ANY))),),
                parameter=step.break_on,
                item=step.index_as,
                limit=step.max_iterations,
            )
        self._rows[place] = PlannedStep(path, row.type, step.name, inside=inside, handler=handler, line=step.line)
        return {name for scope in inner for name in scope.returns}, any(scope.puts for scope in inner)

    def _task(self, task: Task, path: str, position: int, siblings: _Siblings) -> PlannedStep:
        bind: dict[str, Any] = {}
        for argument, binding in task.bind.items():
            bind[argument] = self._binding(task, argument, binding, position, siblings)
        gets = []
        for key in task.catalog.get:
            step, rest = _named_step(key, siblings.inner)
            if step is not None:
                gets.append(
                    CatalogGet(self._key(task, rest), siblings.before(step, position, task, f"gets {rest} from"))
                )
            else:
                gets.append(CatalogGet(self._key(task, key)))
        for key in task.catalog.put:
            self._key(task, key)
        self._check_secrets(task)
        handler = join(path, HANDLER) if task.on_failure is not None else None
        settings = self._settings_of(task)
        return PlannedStep(
            path, "task", task.name, settings, task, bind, tuple(gets), None, handler, _ends(task), line=task.line
        )

    def _binding(
        self, task: Task, argument: str, binding: Binding, position: int, siblings: _Siblings
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
        path = siblings.before(binding.step, position, task, f"binds {argument} to {binding.name} of")
        if binding.name not in siblings.returned(binding.step):
            raise BadInput(
                f"the step {task.name!r} binds {argument} to {binding.name} of {binding.step!r}, which does not return it",
                task.line,
            )
        return {"name": binding.name, "step": path}

    def _key(self, task: Task, key: str) -> str:
        """A catalog key that stays inside the step's folder; the runtime checks the file itself again."""
        from toolkit.runtime.shared.catalog import BadKey, check_key

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
        settings = _merged(config, self._override(task, config), task.max_attempts)
        key = settings_key(settings)
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


class _Siblings:
    """The steps of one sequence, by name, and what lies inside them by their paths from here."""

    def __init__(self, pipeline: Pipeline, scope: str) -> None:
        self._scope = scope
        self._position: dict[str, int] = {}
        self._returns: dict[str, Callable[[], set[str]]] = {}
        self.inner: dict[str, str] = {}
        for position, step in enumerate(pipeline.steps):
            for name, inner in _below(step):
                self._position[name] = position
                self._returns[name] = lambda inner=inner: _returned(inner)  # type: ignore[misc]
                self.inner[name] = name

    def before(self, name: str, position: int, task: Task, what: str) -> str:
        """The path of a step that runs before the one at ``position``.

        Raises:
            BadInput: there is none of that name, or it does not run before.
        """
        if name not in self._position:
            raise BadInput(f"the step {task.name!r} {what} the step {name!r}, which does not exist", task.line)
        if self._position[name] >= position:
            raise BadInput(f"the step {task.name!r} {what} the step {name!r}, which does not run before it", task.line)
        return join(self._scope, name)

    def returned(self, name: str) -> set[str]:
        """The names that a step returns."""
        return self._returns[name]()


def _below(step: Step) -> list[tuple[str, Step]]:
    """A step and all that runs inside it once, by path."""
    found: list[tuple[str, Step]] = [(step.name, step)]
    inner: list[tuple[str, Pipeline]] = []
    if isinstance(step, Nested):
        inner = [(step.name, step.pipeline)]
    elif isinstance(step, (Parallel, Conditional)):
        inner = [(f"{step.name}/{label}", branch) for label, branch in step.branches]
        if isinstance(step, Conditional) and step.default is not None:
            inner.append((f"{step.name}/{DEFAULT}", step.default))
    if not isinstance(step, Stub) and step.on_failure is not None:
        inner.append((f"{step.name}/{HANDLER}", step.on_failure))
    for prefix, pipeline in inner:
        for one in pipeline.steps:
            found += [(f"{prefix}/{name}", below) for name, below in _below(one)]
    return found


def _returned(step: Step) -> set[str]:
    if isinstance(step, Stub):
        return set()
    found = {one.name for one in step.returns} if isinstance(step, Task) else set()
    pipelines: list[Pipeline] = [step.on_failure] if step.on_failure is not None else []
    if isinstance(step, Nested):
        pipelines.append(step.pipeline)
    elif isinstance(step, (Parallel, Conditional)):
        pipelines += [branch for _, branch in step.branches]
        if isinstance(step, Conditional) and step.default is not None:
            pipelines.append(step.default)
    elif isinstance(step, (Map, Loop)):
        pipelines.append(step.branch)
    return found.union(*(_returned(one) for pipeline in pipelines for one in pipeline.steps))


def _ends(step: Task | Stub) -> str:
    if step.terminate_with_success and step.terminate_with_failure:
        raise BadInput(f"the step {step.name!r} sets both terminate_with_success and terminate_with_failure", step.line)
    return "success" if step.terminate_with_success else "failure" if step.terminate_with_failure else ""


def _check_labels(step: Step, labels: list[str], handler: str | None, default: bool = False) -> None:
    """Refuses a branch whose paths would be those of something else."""
    if handler is not None and HANDLER in labels:
        raise BadInput(
            f"{HANDLER!r} in {step.name!r} can't be told from its on_failure: give it another name", step.line
        )
    if default and DEFAULT in labels:
        raise BadInput(
            f"{step.name!r} has a branch named {DEFAULT!r} and a default branch: give one of the two", step.line
        )


def _can_be_grouped(branch: Pipeline) -> bool:
    """Whether one container may run several items of a map: a sequence of tasks, each of which only succeeds or fails."""
    return all(
        isinstance(step, Task)
        and step.on_failure is None
        and not (step.terminate_with_success or step.terminate_with_failure)
        for step in branch.steps
    )


def _named_step(key: str, steps: Collection[str]) -> tuple[str | None, str]:
    """``step:key`` as the two; names and keys may hold colons themselves, and the longest name that there is wins."""
    ends = [position for position, character in enumerate(key) if character == ":"]
    for end in reversed(ends):
        step = unicodedata.normalize("NFC", key[:end])
        if step in steps:
            return step, key[end + 1 :]
    return None, key


def _merged(config: ExecutorConfig, override: Override, max_attempts: int | None) -> Settings:
    def either(name: str) -> Any:
        own = getattr(override, name)
        return own if own is not None else getattr(config, name)

    retry = either("retry_strategy")
    if max_attempts is not None:
        retry = retry._replace(limit=max_attempts - 1)
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
        retry=retry,
        pids_limit=config.pids_limit,
        image_pull_secrets=config.image_pull_secrets,
    )


def missing_parameters(plan: Plan, given: Mapping[str, Any]) -> list[tuple[PlannedStep, str]]:
    """What python steps require and composites depend on that nothing can give: (step, name), in plan order."""
    scopes = {scope.path: scope for scope in plan.scopes}
    scope_of = {path: scope for scope in plan.scopes for path in scope.steps}
    rows = {row.path: row for row in plan.steps}

    def is_there(name: str, path: str) -> bool:
        """Whether the step at ``path`` may see a parameter."""
        inner = path
        while True:
            scope = scope_of[inner]
            position = scope.steps.index(inner)
            if any(index < position for index in scope.returns.get(name, ())):
                return True
            if scope.owner is None:
                return name in given
            owner = rows[scope.owner]
            if owner.inside is not None and not scope.is_handler:
                if owner.inside.item == name and owner.type in ("map", "loop"):
                    return True
                if owner.type == "loop" and name in scope.returns:
                    return True
            inner = owner.path

    missing = []
    for step in plan.steps:
        wanted: list[str] = []
        if step.inside is not None and step.type in ("map", "conditional"):
            wanted = [step.inside.parameter]
        elif step.inside is not None and step.type == "loop":
            [(_, scope)] = step.inside.branches
            wanted = [] if step.inside.parameter in scopes[scope].returns else [step.inside.parameter]
        for name in wanted:
            if not is_there(name, step.path):
                missing.append((step, name))
        if step.task is None or step.task.takes is None:
            continue
        for argument in step.task.takes.required:
            binding = step.bind.get(argument, {"name": argument})
            if "value" in binding or binding.get("step"):
                continue
            name = binding["name"]
            if name not in given if "step" in binding else not is_there(name, step.path):
                missing.append((step, argument))
    return missing
