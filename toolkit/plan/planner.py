"""Makes the plan: gives each step its path, its settings, its candidates for parameters and files, and what it emits."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from toolkit.config.settings import Config, ExecutorConfig, Override
from toolkit.errors import BadInput
from toolkit.model.mocks import inner_pipelines
from toolkit.model.pipeline import (
    REDUCERS,
    Binding,
    Composite,
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
from toolkit.plan import controls, keys
from toolkit.plan.plan import (
    CatalogGet,
    Ends,
    Plan,
    PlannedComposite,
    PlannedScope,
    PlannedStep,
    PlannedVolume,
    Settings,
    settings_key,
)
from toolkit.plan.sources import Sources
from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER, ON_EXIT, TOLD, join

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import BindRow, StepType

_TYPES: dict[type[Composite], StepType] = {
    Nested: "pipeline",
    Parallel: "parallel",
    Map: "map",
    Conditional: "conditional",
    Loop: "loop",
}


def plan(pipeline: Pipeline, config: Config, import_roots: tuple[str, ...]) -> Plan:
    """The plan of a pipeline under a configuration.

    Args:
        import_roots: folders, relative to the project's root, that the user's modules are imported from.

    Raises:
        BadInput: a binding or an override names nothing, a key is none, two branches put one key, a secret has the name of an
            environment variable, or no task can compute a control value in time.
    """
    return _Planner(config).plan(pipeline, import_roots)


class _Planner:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings_index: dict[str, int] = {}
        self._settings: list[Settings] = []
        self._rows: list[PlannedStep] = []
        self._scopes: list[PlannedScope] = []
        self._around: list[tuple[_Siblings, int]] = []
        """The sequences around what is being planned, from the outermost, each with the position in it."""

    def plan(self, pipeline: Pipeline, import_roots: tuple[str, ...]) -> Plan:
        self._plan_sequence(pipeline, "", None)
        if pipeline.on_exit is not None:
            self._plan_on_exit(pipeline, pipeline.on_exit)
        self._scopes.sort(key=lambda scope: scope.path)
        store = self._config.catalog
        rows = keys.name_executed_notebooks(self._rows)
        keys.check_side_by_side(rows, self._scopes)
        analysis = controls.analyse_controls(rows, self._scopes)
        if pipeline.on_exit is not None:
            _check_told(pipeline)
            self._check_controls_of_exit(analysis)
        return Plan(
            steps=analysis.steps,
            scopes=tuple(self._scopes),
            settings=tuple(self._settings),
            import_roots=import_roots,
            run_log=self._config.run_log_store.log_folder,
            catalog=None if store.type == "do-nothing" else store.catalog_location,
            data_folder=store.compute_data_folder,
            ignore=store.ignore,
            controls=analysis.controls,
            given=analysis.given,
            on_exit=ON_EXIT if pipeline.on_exit is not None else None,
        )

    def _plan_on_exit(self, pipeline: Pipeline, on_exit: Pipeline) -> None:
        """Adds the row that holds the steps of on_exit, which is in no sequence, and those steps."""
        clash = next((step for step in pipeline.steps if step.name == ON_EXIT), None)
        if clash is not None:
            raise BadInput(
                f"the step {ON_EXIT!r} has the path of the pipeline's on_exit: give it another name", clash.line
            )
        inside = PlannedComposite((("", ON_EXIT),))
        self._rows.append(PlannedStep(ON_EXIT, "pipeline", ON_EXIT, inside=inside, line=on_exit.steps[0].line))
        # Its steps run after all of the pipeline's, and may name them.
        self._around.append((_Siblings(pipeline, ""), len(pipeline.steps)))
        self._plan_sequence(on_exit, ON_EXIT, None)
        self._around.pop()

    def _check_controls_of_exit(self, analysis: controls.ControlAnalysis) -> None:
        """Refuses a composite in on_exit that depends on what only a step of the pipeline knows, which may never run."""
        [root] = [scope for scope in self._scopes if scope.path == ""]
        known = {*root.returns, *TOLD}
        for row in analysis.steps:
            is_given = row.path.startswith(f"{ON_EXIT}/") and row.path in analysis.given
            if is_given and row.inside is not None and row.inside.parameter in known:
                raise BadInput(
                    f"the {row.type} {row.name!r} of on_exit depends on {row.inside.parameter!r}, which no task of on_exit "
                    "returns before it: put a task before it that takes the value and returns it under another name",
                    row.line,
                )

    def _plan_sequence(self, pipeline: Pipeline, scope: str, owner: str | None) -> PlannedScope:
        """Adds the rows of a sequence and all that is inside them."""
        returns: dict[str, list[int]] = {}
        puts: list[int] = []
        siblings = _Siblings(pipeline, scope)
        self._around.append((siblings, 0))
        for position, step in enumerate(pipeline.steps):
            self._around[-1] = siblings, position
            path = join(scope, step.name)
            if isinstance(step, Stub):
                self._rows.append(PlannedStep(path, "stub", step.name, ends=_ends(step), line=step.line))
                continue
            if isinstance(step, Task):
                self._rows.append(self._plan_task(step, path, position, siblings))
                names = {declared.name for declared in step.returns}
                puts_files = bool(step.catalog.put)
            else:
                names, puts_files = self._plan_composite(step, path)
            if step.on_failure is not None:
                # The handler runs after the step, and may name it.
                self._around[-1] = siblings, position + 1
                handler = self._plan_sequence(step.on_failure, join(path, HANDLER), path)
                names |= set(handler.returns)
                puts_files = puts_files or bool(handler.puts)
            for name in sorted(names):
                returns.setdefault(name, []).append(position)
            if puts_files:
                puts.append(position)
        self._around.pop()
        planned = PlannedScope(
            scope,
            tuple(join(scope, step.name) for step in pipeline.steps),
            {name: tuple(positions) for name, positions in returns.items()},
            tuple(puts),
            owner,
        )
        self._scopes.append(planned)
        return planned

    def _plan_composite(self, step: Composite, path: str) -> tuple[set[str], bool]:
        """Adds the rows of a composite; returns the names that it may return, and whether it may put files."""
        place = len(self._rows)
        handler = join(path, HANDLER) if step.on_failure is not None else None
        row = PlannedStep(
            path,
            _TYPES[type(step)],
            step.name,
            inside=PlannedComposite(()),
            handler=handler,
            ends=_ends(step),
            line=step.line,
        )
        self._rows.append(row)
        inner: list[PlannedScope] = []

        def sequence(pipeline: Pipeline, scope: str) -> str:
            inner.append(self._plan_sequence(pipeline, scope, path))
            return scope

        if isinstance(step, Nested):
            _check_labels(step, [child.name for child in step.pipeline.steps], handler)
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
                    f"the map {step.name!r} has the reducer {step.reducer!r}: use a function, or one of {', '.join(REDUCERS)}",
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
        self._rows[place] = replace(row, inside=inside, keep_failure=step.keep_failure)
        return {name for scope in inner for name in scope.returns}, any(scope.puts for scope in inner)

    def _plan_task(self, task: Task, path: str, position: int, siblings: _Siblings) -> PlannedStep:
        gets = []
        for key in task.catalog.get:
            gets.append(self._plan_get(task, key))
        for key in task.catalog.put:
            keys.checked_key(task, key)
        named = keys.names_in_keys([*(get.key for get in gets), *task.catalog.put])
        bind: dict[str, BindRow] = {}
        for argument, binding in task.bind.items():
            bind[argument] = self._plan_binding(task, argument, binding, named, position, siblings)
        self._check_secrets(task)
        handler = join(path, HANDLER) if task.on_failure is not None else None
        settings = self._settings_of(task, path)
        strict = self._config.executor.config.strict if task.strict is None else task.strict
        if strict and task.kind == "shell":
            task = replace(task, shell="bash", strict=True)
        return PlannedStep(
            path,
            "task",
            task.name,
            settings,
            task,
            bind,
            tuple(gets),
            None,
            handler,
            _ends(task),
            line=task.line,
            keep_failure=task.keep_failure,
        )

    def _plan_get(self, task: Task, key: str) -> CatalogGet:
        """A get. The step that its key names is one of the task's own sequence, else of the nearest one around that has it."""
        for siblings, position in reversed(self._around):
            step, rest = _split_step(key, siblings.paths)
            if step is not None:
                path = siblings.before(step, position, task, f"gets {rest} from")
                return CatalogGet(keys.checked_key(task, rest), path)
        return CatalogGet(keys.checked_key(task, key))

    def _plan_binding(
        self,
        task: Task,
        argument: str,
        binding: Binding,
        named: Collection[str],
        position: int,
        siblings: _Siblings,
    ) -> BindRow:
        takes = task.takes if task.kind == "python" else None
        # The names in its catalog keys are arguments of the step as well.
        if takes is not None and argument not in (*takes.names, *named) and not takes.everything:
            raise BadInput(f"the step {task.name!r} binds {argument}, which its function does not take", task.line)
        if isinstance(binding, Constant):
            return {"value": binding.value}
        if binding.step is None:
            return {"name": binding.name}
        if binding.step == Source.RUN:
            return {"name": binding.name, "step": Source.RUN}
        path = siblings.before(binding.step, position, task, f"binds {argument} to {binding.name} of")
        if binding.name not in siblings.returns(binding.step):
            raise BadInput(
                f"the step {task.name!r} binds {argument} to {binding.name} of {binding.step!r}, which does not return it",
                task.line,
            )
        return {"name": binding.name, "step": path}

    def _check_secrets(self, task: Task) -> None:
        for name in task.secrets:
            if name in self._config.executor.config.environment:
                raise BadInput(
                    f"{name} is a secret of the step {task.name!r} and an environment variable of the configuration",
                    task.line,
                )

    def _settings_of(self, task: Task, path: str) -> int:
        config = self._config.executor.config
        settings = _merge_settings(config, self._override_of(task, config), task.max_attempts)
        if path.startswith(f"{ON_EXIT}/"):
            limit = config.max_on_exit_step_duration_in_seconds
            settings = replace(settings, time_limit=min(limit, settings.time_limit or limit))
        key = settings_key(settings)
        if key not in self._settings_index:
            self._settings_index[key] = len(self._settings)
            self._settings.append(settings)
        return self._settings_index[key]

    def _override_of(self, task: Task, config: ExecutorConfig) -> Override:
        name = task.overrides.get(self._config.executor.type)
        if name is None:
            return Override()
        if name not in config.overrides:
            available = ", ".join(sorted(config.overrides)) or "none"
            raise BadInput(
                f"the step {task.name!r} asks for the override {name!r}, which executor.config.overrides does not have "
                f"(it has: {available})",
                task.line,
            )
        return config.overrides[name]


class _Siblings:
    """The steps of one sequence and those inside them, by their paths from here."""

    def __init__(self, pipeline: Pipeline, scope: str) -> None:
        self._scope = scope
        self._steps: dict[str, tuple[int, Step]] = {}
        for position, step in enumerate(pipeline.steps):
            for path, inner in _with_inner_steps(step):
                self._steps[path] = position, inner

    @property
    def paths(self) -> Collection[str]:
        return self._steps.keys()

    def before(self, path: str, position: int, task: Task, use: str) -> str:
        """The plan's path of a step that runs before the one at ``position``.

        Args:
            task: the task that uses the step. use: how it uses the step, as the verb of the message.

        Raises:
            BadInput: there is no such step, or it does not run before.
        """
        if path not in self._steps:
            raise BadInput(f"the step {task.name!r} {use} the step {path!r}, which does not exist", task.line)
        if self._steps[path][0] >= position:
            raise BadInput(f"the step {task.name!r} {use} the step {path!r}, which does not run before it", task.line)
        return join(self._scope, path)

    def returns(self, path: str) -> set[str]:
        """The names that a step returns."""
        return _returned_names(self._steps[path][1])


def _with_inner_steps(step: Step) -> list[tuple[str, Step]]:
    """A step and all steps inside it that run once, by path."""
    steps: list[tuple[str, Step]] = [(step.name, step)]
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
        for inner_step in pipeline.steps:
            steps += [(f"{prefix}/{path}", below) for path, below in _with_inner_steps(inner_step)]
    return steps


def _returned_names(step: Step) -> set[str]:
    """The names that a step and all steps inside it return."""
    if isinstance(step, Stub):
        return set()
    names = {declared.name for declared in step.returns} if isinstance(step, Task) else set()
    pipelines: list[Pipeline] = [step.on_failure] if step.on_failure is not None else []
    if isinstance(step, Nested):
        pipelines.append(step.pipeline)
    elif isinstance(step, (Parallel, Conditional)):
        pipelines += [branch for _, branch in step.branches]
        if isinstance(step, Conditional) and step.default is not None:
            pipelines.append(step.default)
    elif isinstance(step, (Map, Loop)):
        pipelines.append(step.branch)
    return names.union(*(_returned_names(inner) for pipeline in pipelines for inner in pipeline.steps))


def _check_told(pipeline: Pipeline) -> None:
    """Refuses names of a step's returns and of the run's parameters that tell the steps of on_exit how the run has ended."""
    assert pipeline.on_exit is not None
    for step in (*_all_steps(pipeline), *_all_steps(pipeline.on_exit)):
        for declared in step.returns if isinstance(step, Task) else ():
            if declared.name in TOLD:
                raise BadInput(
                    f"the step {step.name!r} returns {declared.name}, by which the steps of on_exit know how the run has ended: "
                    "return it under another name",
                    step.line,
                )
    for parameter in pipeline.parameters or ():
        if parameter.name in TOLD:
            raise BadInput(
                f"the pipeline declares the parameter {parameter.name}, by which the steps of on_exit know how the run has ended: "
                "give it another name",
                parameter.line,
            )


def _all_steps(pipeline: Pipeline) -> Iterator[Step]:
    for step in pipeline.steps:
        yield step
        for _, inner in inner_pipelines(step):
            yield from _all_steps(inner)


def _ends(step: Step) -> Ends:
    if step.terminate_with_success and step.terminate_with_failure:
        raise BadInput(f"the step {step.name!r} sets both terminate_with_success and terminate_with_failure", step.line)
    return "success" if step.terminate_with_success else "failure" if step.terminate_with_failure else ""


def _check_labels(step: Step, labels: list[str], handler: str | None, default: bool = False) -> None:
    """Refuses a branch whose paths would be the same as those of the on_failure or the default branch."""
    if handler is not None and HANDLER in labels:
        raise BadInput(
            f"{HANDLER!r} in {step.name!r} has the path of the step's on_failure: give it another name", step.line
        )
    if default and DEFAULT in labels:
        raise BadInput(
            f"{step.name!r} has a branch named {DEFAULT!r} and a default branch: keep one of them", step.line
        )


def _can_be_grouped(branch: Pipeline) -> bool:
    """Whether one container may run several items of a map: only where the branch is tasks that just succeed or fail."""
    return all(
        isinstance(step, Task)
        and step.on_failure is None
        and not (step.terminate_with_success or step.terminate_with_failure)
        for step in branch.steps
    )


def _split_step(key: str, steps: Collection[str]) -> tuple[str | None, str]:
    """Splits ``step:key``; None for a key without a step. Both may contain colons, and the longest name of a step wins."""
    ends = [position for position, character in enumerate(key) if character == ":"]
    for end in reversed(ends):
        step = unicodedata.normalize("NFC", key[:end])
        if step in steps:
            return step, key[end + 1 :]
    return None, key


def _merge_settings(config: ExecutorConfig, override: Override, max_attempts: int | None) -> Settings:
    """The settings of a step: the override's where it has them, else the configuration's."""

    def either(name: str) -> Any:
        own = getattr(override, name)
        return own if own is not None else getattr(config, name)

    retry = either("retry_strategy")
    if max_attempts is not None:
        retry = retry._replace(limit=max_attempts - 1)
    return Settings(
        image=override.image,
        environment={**config.environment, **override.environment},
        volumes=tuple(
            PlannedVolume(volume.name, volume.mount_path, volume.read_only) for volume in config.persistent_volumes
        ),
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


def missing_parameters(plan: Plan, given: Collection[str]) -> list[tuple[PlannedStep, str]]:
    """The parameters that a step needs and that neither the run nor an earlier step provides.

    Args:
        given: the names of the run's own parameters.

    Returns:
        (step, name) in the order of the plan, by the names that a run gives: what Python steps require, the names in
        catalog keys, and what composites depend on.
    """
    scopes = {scope.path: scope for scope in plan.scopes}
    sources = Sources(plan)
    missing = []
    for step in plan.steps:
        needed: list[str] = []
        if step.inside is not None and step.type in ("map", "conditional"):
            needed = [step.inside.parameter]
        elif step.inside is not None and step.type == "loop":
            [(_, scope)] = step.inside.branches
            needed = [] if step.inside.parameter in scopes[scope].returns else [step.inside.parameter]
        for name in needed:
            if name not in given and sources.source(name, step.path)[0] == "run":
                missing.append((step, name))
        if step.task is None:
            continue
        required = step.task.takes.required if step.task.takes is not None else ()
        for argument in dict.fromkeys([*required, *keys.names_in(step)]):
            binding = step.bind.get(argument) or {"name": argument}
            if "value" in binding or binding.get("step"):
                continue
            name = binding["name"]
            if name not in given and ("step" in binding or sources.source(name, step.path)[0] == "run"):
                missing.append((step, name))
    return missing
