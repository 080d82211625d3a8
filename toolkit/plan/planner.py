"""Makes the plan: gives each step its path, its settings, its candidates for parameters and files, and what it emits."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from toolkit.config.settings import Config
from toolkit.errors import BadInput
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
    inner_pipelines,
)
from toolkit.plan import controls, keys, step_settings
from toolkit.plan.graph import direct_edges
from toolkit.plan.plan import (
    CatalogGet,
    Ends,
    Plan,
    PlannedComposite,
    PlannedScope,
    PlannedStep,
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
        self._around: list[_Place] = []
        """The places in the sequences around what is being planned, from the outermost."""
        self._in_exit = False

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
        self._around.append(_Place(_Siblings(replace(pipeline, order="line"), ""), len(pipeline.steps)))
        self._in_exit = True
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
        first_row, first_scope = len(self._rows), len(self._scopes)
        self._around.append(_Place(siblings, 0))
        for position, step in enumerate(pipeline.steps):
            self._around[-1] = _Place(siblings, position)
            path = join(scope, step.name)
            if isinstance(step, Stub):
                self._rows.append(PlannedStep(path, "stub", step.name, ends=_ends(step), line=step.line))
                continue
            if isinstance(step, Task):
                self._rows.append(self._plan_task(step, path))
                names = {declared.name for declared in step.returns}
                puts_files = bool(step.catalog.put)
            else:
                names, puts_files = self._plan_composite(step, path)
            if step.on_failure is not None:
                # The handler runs after the step, and may name it.
                self._around[-1] = _Place(siblings, position, in_handler=True)
                handler = self._plan_sequence(step.on_failure, join(path, HANDLER), path)
                names |= set(handler.returns)
                puts_files = puts_files or bool(handler.puts)
            for name in sorted(names):
                returns.setdefault(name, []).append(position)
            if puts_files:
                puts.append(position)
        self._around.pop()
        after = None
        if pipeline.order == "graph":
            rows, inner = self._rows[first_row:], self._scopes[first_scope:]
            after = direct_edges(pipeline, scope, siblings.edges, returns, rows, inner)
        planned = PlannedScope(
            scope,
            tuple(join(scope, step.name) for step in pipeline.steps),
            {name: tuple(positions) for name, positions in returns.items()},
            tuple(puts),
            owner,
            after,
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
                source=self._source(step, step.parameter, "chooses a branch by"),
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
                source=self._source(step, step.iterate_on, "iterates on"),
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

    def _source(self, step: Map | Conditional, name: str, use: str) -> str | None:
        return self._returning(step, step.source, name, use) if step.source is not None else None

    def _plan_task(self, task: Task, path: str) -> PlannedStep:
        gets = []
        for key in task.catalog.get:
            gets.append(self._plan_get(task, key))
        for key in task.catalog.put:
            keys.checked_key(task, key)
        named = keys.names_in_keys([*(get.key for get in gets), *task.catalog.put])
        bind: dict[str, BindRow] = {}
        for argument, binding in task.bind.items():
            bind[argument] = self._plan_binding(task, argument, binding, named)
        handler = join(path, HANDLER) if task.on_failure is not None else None
        settings = self._settings_of(task)
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
        for place in reversed(self._around):
            step, rest = _split_step(key, place.siblings.paths)
            if step is not None:
                path = place.siblings.before(step, place, task, f"gets {rest} from")
                return CatalogGet(keys.checked_key(task, rest), path)
        return CatalogGet(keys.checked_key(task, key))

    def _plan_binding(
        self,
        task: Task,
        argument: str,
        binding: Binding,
        named: Collection[str],
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
        return {"name": binding.name, "step": self._returning(task, binding.step, binding.name, f"binds {argument} to")}

    def _returning(self, step: Task | Map | Conditional, source: str, name: str, use: str) -> str:
        """The plan's path of a step that returns a name: one of the own sequence, else of the nearest one around that has it.

        Args:
            step: the one that uses the value. use: how it does, as the verb of the message.
        """
        place = next((place for place in reversed(self._around) if source in place.siblings.paths), self._around[-1])
        path = place.siblings.before(source, place, step, f"{use} {name} of")
        if name not in place.siblings.returns(source):
            raise BadInput(f"the step {step.name!r} {use} {name} of {source!r}, which does not return it", step.line)
        return path

    def _settings_of(self, task: Task) -> int:
        settings = step_settings.settings_of(task, self._config.executor)
        if self._in_exit:
            limit = self._config.executor.config.max_on_exit_step_duration_in_seconds
            settings = replace(settings, time_limit=min(limit, settings.time_limit or limit))
        key = settings_key(settings)
        if key not in self._settings_index:
            self._settings_index[key] = len(self._settings)
            self._settings.append(settings)
        return self._settings_index[key]


class _Place(NamedTuple):
    """The place of what is being planned in a sequence around it: inside the step at a position, or inside its handler."""

    siblings: _Siblings
    position: int
    in_handler: bool = False


class _Siblings:
    """The steps of one sequence and those inside them, by their paths from here.

    Attributes:
        edges: of the steps that name others: the position of the other one, that of the step, and its use of the other one.
    """

    def __init__(self, pipeline: Pipeline, scope: str) -> None:
        self._scope = scope
        self._is_graph = pipeline.order == "graph"
        self.edges: dict[tuple[int, int], str] = {}
        self._steps: dict[str, tuple[int, Step]] = {}
        for position, step in enumerate(pipeline.steps):
            for path, inner in _with_inner_steps(step):
                self._steps[path] = position, inner

    @property
    def paths(self) -> Collection[str]:
        return self._steps.keys()

    def before(self, path: str, place: _Place, step: Step, use: str) -> str:
        """The plan's path of a step that runs before the one at a place of this sequence.

        Args:
            step: the one that uses it. use: how it uses it, as the verb of the message.

        Raises:
            BadInput: there is no such step, or it does not run before.
        """
        if path not in self._steps:
            raise BadInput(f"the step {step.name!r} {use} the step {path!r}, which does not exist", step.line)
        position = self._steps[path][0]
        if position == place.position:
            is_before = place.in_handler
        elif self._is_graph:
            is_before = True
            self.edges.setdefault((position, place.position), use)
        else:
            is_before = position < place.position
        if not is_before:
            raise BadInput(f"the step {step.name!r} {use} the step {path!r}, which does not run before it", step.line)
        return join(self._scope, path)

    def returns(self, path: str) -> set[str]:
        """The names that a step returns."""
        return _returned_names(self._steps[path][1])


def _with_inner_steps(step: Step) -> Iterator[tuple[str, Step]]:
    """A step and all steps inside it that run once, by path."""
    yield step.name, step
    for label, pipeline in inner_pipelines(step):
        if label != ANY:
            prefix = join(step.name, label) if label else step.name
            for inner_step in pipeline.steps:
                for path, below in _with_inner_steps(inner_step):
                    yield join(prefix, path), below


def _returned_names(step: Step) -> set[str]:
    """The names that a step and all steps inside it return."""
    names = {declared.name for declared in step.returns} if isinstance(step, Task) else set()
    return names.union(*(_returned_names(below) for _, inner in inner_pipelines(step) for below in inner.steps))


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
    """Whether one container may run several items of a map: only where the branch is a line of tasks that succeed or fail."""
    return branch.order == "line" and all(
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
            needed = [step.inside.parameter] if step.inside.source is None else []
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
