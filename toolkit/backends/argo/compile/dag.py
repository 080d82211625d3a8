"""The DAG templates of a plan: one for each sequence of steps, and one around the branches of each composite.

A template is the same however often it runs. Its inputs say which item or iteration it is (the positions ``p0``, ``p1``, … from
the outermost), and what a composite inside it needs to know before it starts (control values, as ``c7``). Where no task beside
the composite computes such a value, it is an input of the template, or an output of it (:mod:`.control_routes`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile import names
from toolkit.backends.argo.compile.control_routes import ControlRoutes
from toolkit.backends.argo.compile.omitted_work import OmittedWork, Positions
from toolkit.backends.argo.compile.pod import PATH_INPUT, can_be_input, position_name
from toolkit.backends.argo.compile.tasks import (
    argument,
    at_position,
    call,
    input_argument,
    input_declarations,
    input_reference,
    omit_at,
    output,
    output_reference,
    path_argument,
    position_arguments,
    success_of,
    task_output,
    task_term,
)
from toolkit.plan.controls import ChoiceSource, EntrySource, InnerSource, Source, TaskSource
from toolkit.plan.plan import Plan, PlannedScope, PlannedStep
from toolkit.runtime.shared.tree import ANY, GROUP, HANDLER, ON_EXIT, by_dependence, depth

ENTRY = "pipeline"
ROOTS = ("", ON_EXIT)
"""The scopes that nothing calls but Argo itself."""
NOTHING = "nothing"
"""Makes no pod and succeeds."""
FAILS = "fails"
"""Makes no pod and fails; its input says which step ended its pipeline with a failure."""
_End = tuple[str, "str | None"]
"""A task that may be a composite's last, and the scope that it runs; None where it runs the composite again."""
_UNROLLED = 8
"""Iterations of a loop that its template holds before it calls itself: Argo follows a hundred calls within calls at most."""


def handler_task(path: str) -> str:
    """The name of the task that is the handler of the step at a path."""
    return names.task_name(f"{path}/{HANDLER}")


def on_exit_template() -> str:
    """The name of the template of on_exit."""
    return _scope_name(ON_EXIT)


class Graph:
    """The DAG templates of a plan.

    Args:
        constants: the control values that follow from the run's parameters, by key.
        pod: gives the name of the template whose pods run a step.
        omitted_work: what a run that resumes need not do again.
    """

    def __init__(
        self,
        plan: Plan,
        constants: Mapping[str, str],
        pod: Callable[[PlannedStep], str],
        omitted_work: OmittedWork | None = None,
    ) -> None:
        self._plan = plan
        self._constants = constants
        self._pod = pod
        self._omitted_work = omitted_work
        self._rows = {row.path: row for row in plan.steps}
        self._scopes = {scope.path: scope for scope in plan.scopes}
        self._routes = ControlRoutes(plan)
        self._templates: list[KubernetesObject] = []
        self._podless: dict[str, KubernetesObject] = {}

    def templates(self) -> list[KubernetesObject]:
        """All of them, the entry first, and those without a pod that they need last."""
        self._templates, self._podless = [], {}
        waiting = [
            self._scopes[scope] for scope in ROOTS if scope in self._scopes and (not scope or self._plan.on_exit)
        ]
        while waiting:
            scope = waiting.pop(0)
            self._templates.append(self._of_scope(scope))
            for row in self._reachable(scope):
                if row.inside is not None:
                    if row.type != "pipeline":
                        self._templates.append(self._of_composite(row))
                    waiting += [self._scopes[path] for path in row.inside.scopes()]
                if row.handler is not None:
                    waiting.append(self._scopes[row.handler])
        return [*self._templates, *self._podless.values()]

    def emitted(self, step: PlannedStep) -> list[str]:
        """The keys of the control values that a task computes."""
        return self._routes.emitted(step)

    # --- sequences ----------------------------------------------------------------------------------------------------

    def _reachable(self, scope: PlannedScope) -> list[PlannedStep]:
        """The rows of a sequence that may run: none after one that ends it."""
        rows = []
        for path in scope.steps:
            rows.append(self._rows[path])
            if rows[-1].ends:
                break
        return rows

    def _of_scope(self, scope: PlannedScope) -> KubernetesObject:
        template: KubernetesObject = {"name": _scope_name(scope.path)}
        keys = () if self._is_root(scope.path) else self._routes.inputs.get(scope.path, ())
        inputs = input_declarations(depth(scope.path), keys)
        if inputs:
            template["inputs"] = inputs
        tasks = self._sequence(scope)
        outputs = []
        task_names = {task["name"] for task in tasks}
        for key, sources in self._routes.exports.get(scope.path, {}).items():
            terms = [text for source in sources for text in self._terms(source, scope.path, key, task_names)]
            outputs.append(output(key, terms))
        template["dag"] = {"tasks": tasks}
        if scope.after is not None:
            # What does not depend on a step that has failed runs to its end.
            template["dag"]["failFast"] = False
        if outputs:
            template["outputs"] = {"parameters": outputs}
        return template

    def _of_graph(self, scope: PlannedScope, after: Sequence[Sequence[int]]) -> list[KubernetesObject]:
        tasks: list[KubernetesObject] = []
        ends: list[str] = []
        has_handler = False
        # By position: what a step that follows this one depends on. A stub makes no task, and stands for those that it follows.
        success: dict[int, tuple[str, ...]] = {}
        rows = [self._rows[path] for path in scope.steps]
        for position in by_dependence(after):
            row = rows[position]
            earlier = tuple(dict.fromkeys(term for each in after[position] for term in success[each]))
            omitted = self._omitted(row.path)
            if row.type == "stub" or () in omitted:
                success[position] = earlier
                continue
            name = names.task_name(row.path)
            task = call(name, self._template_name(row), self._arguments(row, scope.path), " && ".join(earlier))
            tasks.append(omit_at(task, omitted))
            success[position] = (success_of(task),)
            passed = [f"{name}.{phase}" for phase in ("Succeeded", "Skipped", "Omitted")]
            if row.handler is not None:
                has_handler = True
                handler = handler_task(row.path)
                arguments = self._composite_arguments(row.handler, scope.path)
                tasks.append(call(handler, _scope_name(row.handler), arguments, f"{name}.Failed || {name}.Errored"))
                if row.keep_failure:
                    # It only tells, and is just waited for.
                    ends.append(_any_end_of(handler))
                else:
                    passed.append(f"{handler}.Succeeded")
            ends.append(f"({' || '.join(passed)})")
        if has_handler:
            # What depends on a step whose handler has succeeded is omitted, and all else counts.
            tasks.append(call(names.task_name("/end"), self._nothing(), [], " && ".join(ends)))
        elif len(leaves := self._leaves(after, success)) > 1:
            tasks.append(call(names.task_name("/end"), self._nothing(), [], " && ".join(leaves)))
        return tasks or [call(NOTHING, self._nothing(), [], "")]

    def _leaves(self, after: Sequence[Sequence[int]], success: Mapping[int, tuple[str, ...]]) -> list[str]:
        """The terms of the steps that nothing follows."""
        followed = {earlier for each in after for earlier in each}
        return list(dict.fromkeys(term for each in sorted(success) if each not in followed for term in success[each]))

    def _sequence(self, scope: PlannedScope) -> list[KubernetesObject]:
        if scope.after is not None:
            return self._of_graph(scope, scope.after)
        tasks: list[KubernetesObject] = []
        handlers: list[str] = []
        telling: list[str] = []
        last = ""
        for row in self._reachable(scope):
            omitted = self._omitted(row.path)
            # A row that runs once is left out when it is done; one that runs several times is omitted where it is done.
            if row.type != "stub" and () not in omitted:
                name = names.task_name(row.path)
                task = call(name, self._template_name(row), self._arguments(row, scope.path), last)
                tasks.append(omit_at(task, omitted))
                last = success_of(task)
                if row.handler is not None:
                    handler = handler_task(row.path)
                    (telling if row.keep_failure else handlers).append(handler)
                    arguments = self._composite_arguments(row.handler, scope.path)
                    failed = f"{name}.Failed || {name}.Errored"
                    tasks.append(call(handler, _scope_name(row.handler), arguments, failed))
            handled = self._handled(row.path)
            if row.ends == "failure" and () not in handled:
                name = names.task_name(f"{row.path}/{FAILS}/")
                task = call(name, self._fails(), [path_argument(row.path)], last)
                tasks.append(omit_at(task, handled))
                last = success_of(task)
        if handlers or telling:
            # Argo judges a DAG by its last tasks. This one is omitted, and so passes a failure on, unless the sequence or a
            # handler has succeeded.
            # A handler that only tells is just waited for.
            ends = " || ".join([last, *(f"{handler}.Succeeded" for handler in handlers)])
            if telling:
                ends = " && ".join([f"({ends})", *map(_any_end_of, telling)])
            tasks.append(call(names.task_name("/end"), self._nothing(), [], ends))
        if not tasks:
            # A DAG must have a task.
            tasks.append(call(NOTHING, self._nothing(), [], ""))
        return tasks

    def _is_root(self, scope: str) -> bool:
        """Whether a scope is the pipeline's own or that of its on_exit, whose templates Argo calls itself."""
        return scope == "" or (scope == ON_EXIT and self._plan.on_exit is not None)

    def _omitted(self, path: str) -> list[Positions]:
        return self._omitted_work.omitted(path) if self._omitted_work is not None else []

    def _handled(self, path: str) -> list[Positions]:
        return self._omitted_work.handled(path) if self._omitted_work is not None else []

    def _template_name(self, row: PlannedStep) -> str:
        if row.type == "task":
            return self._pod(row)
        return _scope_name(row.path) if row.type == "pipeline" else _row_name(row)

    def _arguments(self, row: PlannedStep, scope: str) -> list[KubernetesObject]:
        """The arguments of a row's template."""
        if row.type == "task":
            return [path_argument(row.path)] if can_be_input(row.path) else position_arguments(depth(row.path))
        return self._composite_arguments(row.path, scope)

    def _composite_arguments(self, called: str, scope: str) -> list[KubernetesObject]:
        """The arguments of a composite or handler: its positions, and the control values that it takes."""
        arguments = position_arguments(depth(called))
        if called in self._rows and self._rows[called].type == "loop":
            arguments.append(argument(position_name(len(arguments)), "0"))
        for key, source in self._routes.arguments.get(called, {}).items():
            arguments.append(argument(key, self._reference(source, scope, key)))
        return arguments

    def _reference(self, source: Source, scope: str, key: str) -> str:
        """The text that Argo replaces by a control value, in the middle of a sequence."""
        assert not isinstance(source, ChoiceSource), "only at the end of a sequence"
        if isinstance(source, EntrySource):
            return self._constants[key] if self._is_root(scope) else input_reference(key)
        recorded = self._recorded_values(source, scope, key)
        if () in recorded:
            return recorded[()]
        task = _task_of(source)
        if recorded:
            return f"{{{{={task_output(task, key)} ?? {at_position(recorded)}}}}}"
        return output_reference(task, key)

    def _terms(self, source: Source, scope: str, key: str, tasks: Iterable[str]) -> list[str]:
        """Expressions of which the first that is not empty is the value at the end of a sequence."""
        if isinstance(source, ChoiceSource):
            every = (*source.first, source.otherwise)
            return [text for each in every for text in self._terms(each, scope, key, tasks)]
        if isinstance(source, EntrySource):
            return [f"inputs.parameters.{key}"]
        name = _task_of(source)
        terms = [task_term(name, key)] if name in tasks else []
        recorded = self._recorded_values(source, scope, key)
        if () in recorded:
            return [json.dumps(recorded[()])]
        return [*terms, f"({at_position(recorded)} ?? '')"] if recorded else terms

    def _recorded_values(self, source: TaskSource | InnerSource, scope: str, key: str) -> dict[Positions, str]:
        """The values, by position, that a step or handler which does not run again had computed."""
        if self._omitted_work is None:
            return {}
        handled = isinstance(source, InnerSource) and source.handler
        positions = self._handled(source.step) if handled else self._omitted(source.step)
        composite = self._plan.steps[int(key[1:])].path
        # A loop's body may compute what its next iteration begins with.
        loop = next(
            (
                row.path
                for row in self._rows.values()
                if row.type == "loop"
                and row.inside is not None
                and composite in row.inside.parts
                and scope.startswith(f"{row.path}/{ANY}")
            ),
            None,
        )
        values = {each: self._omitted_work.value(key, composite, scope, each, loop) for each in positions}
        return {each: text for each, text in values.items() if text is not None}

    # --- composites ---------------------------------------------------------------------------------------------------

    def _of_composite(self, row: PlannedStep) -> KubernetesObject:
        makers = {
            "parallel": self._parallel,
            "conditional": self._conditional,
            "map": self._map,
            "loop": self._loop,
        }
        dag, ends = makers[row.type](row)
        template: KubernetesObject = {"name": _row_name(row)}
        inputs = input_declarations(depth(row.path) + (row.type == "loop"), self._routes.arguments.get(row.path, ()))
        if inputs:
            template["inputs"] = inputs
        template["dag"] = dag
        outputs = []
        for key in self._routes.results.get(row.path, ()):
            giving = [task for task, scope in ends if scope is None or key in self._routes.exports.get(scope, {})]
            outputs.append(output(key, [task_term(task, key) for task in giving]))
        if outputs:
            template["outputs"] = {"parameters": outputs}
        if row.type == "map" and row.inside is not None and row.inside.limit is not None:
            template["parallelism"] = row.inside.limit
        return template

    def _branch(self, scope: str) -> KubernetesObject:
        """The task that is a branch of a parallel or a conditional."""
        arguments = [*position_arguments(depth(scope)), *map(input_argument, self._routes.inputs.get(scope, ()))]
        return call(names.task_name(scope), _scope_name(scope), arguments, "")

    def _parallel(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        tasks = [self._branch(scope) for scope in _scopes(row)]
        # By default Argo would judge the branches when one has failed, before the others have ended.
        return {"failFast": False, "tasks": tasks}, [(names.task_name(scope), scope) for scope in _scopes(row)]

    def _conditional(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        tasks = []
        for position, scope in enumerate(_scopes(row)):
            task = self._branch(scope)
            # Not in quotes: where the value is a sentence that says why there is none, this is no expression, and so it fails.
            task["when"] = f"{input_reference(self._routes.start_key(row))} == {position}"
            tasks.append(task)
        return {"tasks": tasks}, [(names.task_name(scope), scope) for scope in _scopes(row)]

    def _map(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        assert row.inside is not None
        [scope] = _scopes(row)
        level = depth(row.path)
        outer, position = position_arguments(level), position_name(level)
        items = call("items", _scope_name(scope), [], "")
        if row.inside.parts:
            inner = [argument(key, f"{{{{item.{key}}}}}") for key in self._routes.inputs.get(scope, ())]
            items["arguments"] = {"parameters": [*outer, argument(position, "{{item.i}}"), *inner]}
            items["withParam"] = input_reference(self._routes.start_key(row))
            return {"tasks": [items]}, []
        items["arguments"] = {"parameters": [*outer, argument(position, "{{item}}")]}
        items["withSequence"] = {"count": input_reference(self._routes.start_key(row))}
        if not row.inside.grouped:
            return {"tasks": [items]}, []
        groups = {**items, "name": "groups", "template": _group_name(row)}
        groups["withSequence"] = {"count": input_reference(self._routes.groups_key(row)), "format": GROUP + "%d"}
        self._templates.append(self._of_group(row, scope))
        return {"failFast": False, "tasks": [items, groups]}, []

    def _of_group(self, row: PlannedStep, scope: str) -> KubernetesObject:
        """A map's branch for a group of items, which share its pods: an item that fails does not stop the others."""
        tasks: list[KubernetesObject] = []
        skipped = ["Skipped"] if self._omitted_work else []
        for step in self._reachable(self._scopes[scope]):
            previous = tasks[-1]["name"] if tasks else ""
            phases = ("Succeeded", "Failed", "Errored", *skipped) if previous else ()
            after = " || ".join(f"{previous}.{phase}" for phase in phases)
            task = call(names.task_name(step.path), self._pod(step), self._arguments(step, scope), after)
            tasks.append(omit_at(task, self._omitted(step.path)))
        if len(tasks) > 1:
            every = " && ".join(success_of(task) for task in tasks)
            tasks.append(call(names.task_name("/end"), self._nothing(), [], every))
        return {"name": _group_name(row), "inputs": input_declarations(depth(scope), ()), "dag": {"tasks": tasks}}

    def _loop(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        assert row.inside is not None and row.inside.limit is not None
        [scope] = _scopes(row)
        again, level = self._routes.again_key(row), depth(row.path)
        position = position_name(level)
        tasks: list[KubernetesObject] = []
        count = min(_UNROLLED, row.inside.limit)
        for number in range(count + (row.inside.limit > count)):
            unrolled = number < count
            name, called = (f"iteration-{number}", _scope_name(scope)) if unrolled else ("more", _row_name(row))
            keys = self._routes.inputs.get(scope, ()) if unrolled else self._routes.arguments.get(row.path, ())
            last = tasks[-1]["name"] if tasks else ""
            here = f"{{{{=asInt(inputs.parameters.{position}) + {number}}}}}" if number else input_reference(position)
            arguments = [*position_arguments(level), argument(position, here)]
            for key in keys:
                computed = last and key in self._routes.exports.get(scope, {})
                arguments.append(argument(key, output_reference(last, key)) if computed else input_argument(key))
            task = call(name, called, arguments, f"{last}.Succeeded" if last else "")
            if last:
                task["when"] = f"{output_reference(last, again)} == true"
            tasks.append(task)
        own = _row_name(row)
        ends = [(task["name"], None if task["template"] == own else scope) for task in reversed(tasks)]
        return {"tasks": tasks}, ends

    # --- templates without a pod --------------------------------------------------------------------------------------

    def _nothing(self) -> str:
        self._podless.setdefault(NOTHING, {"name": NOTHING, "suspend": {"duration": "0"}})
        return NOTHING

    def _fails(self) -> str:
        never = {"name": FAILS, "template": self._nothing(), "withSequence": {"count": "a step ends its pipeline"}}
        inputs = {"parameters": [{"name": PATH_INPUT}]}
        self._podless.setdefault(FAILS, {"name": FAILS, "inputs": inputs, "dag": {"tasks": [never]}})
        return FAILS


def _any_end_of(task: str) -> str:
    """What a task ``depends`` on that begins when another has ended, however it has."""
    return (
        "(" + " || ".join(f"{task}.{phase}" for phase in ("Succeeded", "Failed", "Errored", "Skipped", "Omitted")) + ")"
    )


def _scopes(row: PlannedStep) -> list[str]:
    assert row.inside is not None
    return row.inside.scopes()


def _scope_name(scope: str) -> str:
    return names.task_name(f"in {scope}") if scope else ENTRY


def _row_name(row: PlannedStep) -> str:
    return names.task_name(f"{row.type} {row.path}")


def _group_name(row: PlannedStep) -> str:
    return names.task_name(f"group {row.path}")


def _task_of(source: TaskSource | InnerSource) -> str:
    """The name of the task that computes a value, or holds what computes it."""
    if isinstance(source, InnerSource) and source.handler:
        return handler_task(source.step)
    return names.task_name(source.step)
