"""The DAG templates of a plan: one for each sequence of steps, and one around the branches of each composite.

A template is the same however often it runs. Which item or iteration it is comes in as a position (``p0``, ``p1``, … from the
outermost), and what a composite inside it needs to know before it starts (``c7``: see :mod:`toolkit.runtime.shared.controls`)
comes in too, or goes out of it, where no task beside the composite computes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile import names
from toolkit.backends.argo.compile.omitted_work import OmittedWork, Positions
from toolkit.backends.argo.compile.pod import PATH_INPUT, can_be_input, fill_positions, literal, position_name
from toolkit.plan.controls import ChoiceSource, Control, EntrySource, InnerSource, Source, TaskSource, holds_entry
from toolkit.plan.plan import Emission, Plan, PlannedScope, PlannedStep, When
from toolkit.runtime.shared.controls import parameter_key
from toolkit.runtime.shared.tree import ANY, GROUP, HANDLER, depth

ENTRY = "pipeline"
NOTHING = "nothing"
"""Makes no pod and succeeds."""
FAILS = "fails"
"""Makes no pod and fails; its input says which step ended its pipeline so."""
_End = tuple[str, "str | None"]
"""A task that may be a composite's last, and the scope that it runs; None where it is the composite again."""
_UNROLLED = 8
"""Iterations of a loop that its template holds before it calls itself: Argo follows a hundred calls within calls at most."""


def handler_task(path: str) -> str:
    """The name of the task that is the handler of the step at a path."""
    return names.task_name(f"{path}/{HANDLER}")


class Graph:
    """The DAG templates of a plan.

    Args:
        constants: the control values that follow from the run's parameters, by key.
        pod: gives the name of the template whose pods run a step. omitted_work: of a run that goes on, what is done of it.
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
        self._numbers = {row.path: number for number, row in enumerate(plan.steps)}
        self._scopes = {scope.path: scope for scope in plan.scopes}
        self._scope_of = {path: scope for scope in plan.scopes for path in scope.steps}
        # By scope: what comes in, what goes out and where from there.
        self._inputs: dict[str, dict[str, None]] = {}
        self._exports: dict[str, dict[str, dict[Source, None]]] = {}
        # By composite or handler: where in the sequence around it the values come from that it takes; what it gives.
        self._arguments: dict[str, dict[str, Source]] = {}
        self._gives: dict[str, dict[str, None]] = {}
        self._made: list[KubernetesObject] = []
        self._plain: dict[str, KubernetesObject] = {}
        for controls in plan.controls.values():
            for control in controls:
                self._follow(control)

    def templates(self) -> list[KubernetesObject]:
        """All of them, the entry first, and those without a pod that they need."""
        self._made, self._plain = [], {}
        waiting = [self._scopes[""]]
        while waiting:
            scope = waiting.pop(0)
            self._made.append(self._of_scope(scope))
            for row in self._live(scope):
                if row.inside is not None:
                    if row.type != "pipeline":
                        self._made.append(self._of_composite(row))
                    waiting += [self._scopes[one] for one in row.inside.scopes()]
                if row.handler is not None:
                    waiting.append(self._scopes[row.handler])
        return [*self._made, *self._plain.values()]

    def emitted(self, step: PlannedStep) -> list[str]:
        """The keys of the values that a task computes."""
        return list(dict.fromkeys(one for emission in step.emits for one in self._of_emission(emission)))

    # --- what passes where --------------------------------------------------------------------------------------------

    def _of_emission(self, emission: Emission) -> list[str]:
        return self._keys(emission.path, emission.when)

    def _keys(self, path: str, when: When) -> list[str]:
        row = self._rows[path]
        assert row.inside is not None
        number = self._numbers[path]
        if when == "start":
            return (
                [parameter_key(number), parameter_key(number, "groups")]
                if row.inside.grouped
                else [parameter_key(number)]
            )
        found = [parameter_key(number, "again")]
        for part in row.inside.parts:
            found += self._keys(part, "start")
        return found

    def _follow(self, control: Control) -> None:
        """Notes which templates a value passes through on its way from where it is computed."""
        if control.when == "again":
            for scope, source in control.at.items():
                for one in self._keys(control.path, "again"):
                    self._export(scope, source, one)
            return
        called = control.path
        for path, source in control.at.items():
            around = self._scopes[path]
            for one in self._keys(control.path, "start"):
                self._arguments.setdefault(called, {})[one] = source
                self._pass(source, one)
                if holds_entry(source):
                    self._inputs.setdefault(path, {})[one] = None
            if around.owner is not None:
                called = path if around.is_handler else around.owner

    def _pass(self, source: Source, one: str) -> None:
        if isinstance(source, ChoiceSource):
            for each in (*source.first, source.otherwise):
                self._pass(each, one)
        elif isinstance(source, InnerSource):
            called = source.scopes[0][0] if source.handler else source.step
            if source.before is not None:
                self._arguments.setdefault(called, {})[one] = source.before
                self._pass(source.before, one)
            for scope, inner in source.scopes:
                self._export(scope, inner, one)
            if not source.handler:
                self._gives.setdefault(called, {})[one] = None

    def _export(self, scope: str, source: Source, one: str) -> None:
        self._exports.setdefault(scope, {}).setdefault(one, {})[source] = None
        if holds_entry(source):
            self._inputs.setdefault(scope, {})[one] = None
        self._pass(source, one)

    # --- sequences ----------------------------------------------------------------------------------------------------

    def _live(self, scope: PlannedScope) -> list[PlannedStep]:
        """The rows of a sequence that may run: none after one that ends it."""
        found = []
        for path in scope.steps:
            found.append(self._rows[path])
            if found[-1].ends:
                break
        return found

    def _of_scope(self, scope: PlannedScope) -> KubernetesObject:
        made: KubernetesObject = {"name": _scope_name(scope.path)}
        inputs = _input_declarations(depth(scope.path), self._inputs.get(scope.path, ()) if scope.path else ())
        if inputs:
            made["inputs"] = inputs
        tasks = self._sequence(scope)
        outputs = []
        known = {task["name"] for task in tasks}
        for one, sources in self._exports.get(scope.path, {}).items():
            terms = [text for source in sources for text in self._terms(source, scope.path, one, known)]
            outputs.append(_output(one, terms))
        made["dag"] = {"tasks": tasks}
        if outputs:
            made["outputs"] = {"parameters": outputs}
        return made

    def _sequence(self, scope: PlannedScope) -> list[KubernetesObject]:
        tasks: list[KubernetesObject] = []
        handlers: list[str] = []
        last = ""
        for row in self._live(scope):
            omitted = self._omitted(row.path)
            # Of what runs once it is known now whether it does.
            if row.type != "stub" and () not in omitted:
                name = names.task_name(row.path)
                task = self._call(name, self._called(row), self._values(row, scope.path), last)
                tasks.append(_omit_at(task, omitted))
                last = _success_of(task)
                if row.handler is not None:
                    handlers.append(handler_task(row.path))
                    values = self._resolved(row.handler, scope.path)
                    failed = f"{name}.Failed || {name}.Errored"
                    tasks.append(self._call(handlers[-1], _scope_name(row.handler), values, failed))
            handled = self._handled(row.path)
            if row.ends == "failure" and () not in handled:
                name = names.task_name(f"{row.path}/{FAILS}/")
                task = self._call(name, self._fails(), [_path_argument(row.path)], last)
                tasks.append(_omit_at(task, handled))
                last = _success_of(task)
        if handlers:
            # Argo judges a DAG by its last tasks; this one is left out, and so takes on a failure, unless one of these came well.
            ends = " || ".join([last, *(f"{one}.Succeeded" for one in handlers)])
            tasks.append(self._call(names.task_name("/end"), self._nothing(), [], ends))
        if not tasks:
            # Argo wants a task.
            tasks.append(self._call(NOTHING, self._nothing(), [], ""))
        return tasks

    def _omitted(self, path: str) -> list[Positions]:
        return self._omitted_work.omitted(path) if self._omitted_work is not None else []

    def _handled(self, path: str) -> list[Positions]:
        return self._omitted_work.handled(path) if self._omitted_work is not None else []

    @staticmethod
    def _call(name: str, template: str, values: list[KubernetesObject], depends: str) -> KubernetesObject:
        task: KubernetesObject = {"name": name, "template": template}
        if values:
            task["arguments"] = {"parameters": values}
        if depends:
            task["depends"] = depends
        return task

    def _called(self, row: PlannedStep) -> str:
        if row.type == "task":
            return self._pod(row)
        return _scope_name(row.path) if row.type == "pipeline" else _row_name(row)

    def _values(self, row: PlannedStep, scope: str) -> list[KubernetesObject]:
        """The arguments of a row's template."""
        if row.type == "task":
            return [_path_argument(row.path)] if can_be_input(row.path) else _position_arguments(depth(row.path))
        return self._resolved(row.path, scope)

    def _resolved(self, called: str, scope: str) -> list[KubernetesObject]:
        """The arguments of a composite or handler: where it is, and what it takes."""
        values = _position_arguments(depth(called))
        if called in self._rows and self._rows[called].type == "loop":
            values.append(_argument(position_name(len(values)), "0"))
        for one, source in self._arguments.get(called, {}).items():
            values.append(_argument(one, self._reference(source, scope, one)))
        return values

    def _reference(self, source: Source, scope: str, one: str) -> str:
        assert not isinstance(source, ChoiceSource), "only at the end of a sequence"
        if isinstance(source, EntrySource):
            return self._constants[one] if scope == "" else _input(one)
        known = self._known(source, scope, one)
        if () in known:
            return known[()]
        task = _task_of(source)
        if known:
            return f"{{{{={_task_output(task, one)} ?? {_at_position(known)}}}}}"
        return f"{{{{tasks.{task}.outputs.parameters.{one}}}}}"

    def _terms(self, source: Source, scope: str, one: str, tasks: Iterable[str]) -> list[str]:
        """Expressions of which the first that is not empty is the value at the end of a sequence."""
        if isinstance(source, ChoiceSource):
            every = (*source.first, source.otherwise)
            return [text for each in every for text in self._terms(each, scope, one, tasks)]
        if isinstance(source, EntrySource):
            return [f"inputs.parameters.{one}"]
        name = _task_of(source)
        terms = [_term(name, one)] if name in tasks else []
        known = self._known(source, scope, one)
        if () in known:
            return [json.dumps(known[()])]
        return [*terms, f"({_at_position(known)} ?? '')"] if known else terms

    def _known(self, source: TaskSource | InnerSource, scope: str, one: str) -> dict[Positions, str]:
        """The values that what does not run again had computed, by position."""
        if self._omitted_work is None:
            return {}
        handled = isinstance(source, InnerSource) and source.handler
        positions = self._handled(source.step) if handled else self._omitted(source.step)
        composite = self._plan.steps[int(one[1:])].path
        # Out of a loop's body comes what its next iteration begins with, if that is its to compute.
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
        found = {each: self._omitted_work.value(one, composite, scope, each, loop) for each in positions}
        return {each: text for each, text in found.items() if text is not None}

    # --- composites ---------------------------------------------------------------------------------------------------

    def _of_composite(self, row: PlannedStep) -> KubernetesObject:
        makers = {
            "parallel": self._parallel,
            "conditional": self._conditional,
            "map": self._map,
            "loop": self._loop,
        }
        dag, last = makers[row.type](row)
        made: KubernetesObject = {"name": _row_name(row)}
        inputs = _input_declarations(depth(row.path) + (row.type == "loop"), self._arguments.get(row.path, ()))
        if inputs:
            made["inputs"] = inputs
        made["dag"] = dag
        outputs = []
        for one in self._gives.get(row.path, ()):
            ends = [task for task, scope in last if scope is None or one in self._exports.get(scope, {})]
            outputs.append(_output(one, [_term(end, one) for end in ends]))
        if outputs:
            made["outputs"] = {"parameters": outputs}
        if row.type == "map" and row.inside is not None and row.inside.limit is not None:
            made["parallelism"] = row.inside.limit
        return made

    def _parallel(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        tasks = []
        for scope in _scopes(row):
            values = [*_position_arguments(depth(scope)), *map(_input_argument, self._inputs.get(scope, ()))]
            tasks.append(self._call(names.task_name(scope), _scope_name(scope), values, ""))
        # Else the others would be judged before they have ended.
        return {"failFast": False, "tasks": tasks}, [(names.task_name(scope), scope) for scope in _scopes(row)]

    def _conditional(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        tasks = []
        for position, scope in enumerate(_scopes(row)):
            values = [*_position_arguments(depth(scope)), *map(_input_argument, self._inputs.get(scope, ()))]
            task = self._call(names.task_name(scope), _scope_name(scope), values, "")
            # Not in quotes: what is no number is the sentence that says why, makes no expression, and so fails.
            task["when"] = f"{_input(parameter_key(self._numbers[row.path]))} == {position}"
            tasks.append(task)
        return {"tasks": tasks}, [(names.task_name(scope), scope) for scope in _scopes(row)]

    def _map(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        assert row.inside is not None
        [scope] = _scopes(row)
        number, level = self._numbers[row.path], depth(row.path)
        outer = _position_arguments(level)
        inner = list(self._inputs.get(scope, ()))
        items = self._call("items", _scope_name(scope), [], "")
        if row.inside.parts:
            own = [_argument(one, f"{{{{item.{one}}}}}") for one in inner]
            items["arguments"] = {"parameters": [*outer, _argument(position_name(level), "{{item.i}}"), *own]}
            items["withParam"] = _input(parameter_key(number))
            return {"tasks": [items]}, []
        items["arguments"] = {"parameters": [*outer, _argument(position_name(level), "{{item}}")]}
        items["withSequence"] = {"count": _input(parameter_key(number))}
        if not row.inside.grouped:
            return {"tasks": [items]}, []
        groups = {**items, "name": "groups", "template": _group_name(row)}
        groups["withSequence"] = {"count": _input(parameter_key(number, "groups")), "format": GROUP + "%d"}
        self._made.append(self._group(row, scope))
        return {"failFast": False, "tasks": [items, groups]}, []

    def _group(self, row: PlannedStep, scope: str) -> KubernetesObject:
        """A branch as several items run through it in the same pods: one that fails does not keep the others from going on."""
        tasks: list[KubernetesObject] = []
        for step in self._live(self._scopes[scope]):
            last = tasks[-1]["name"] if tasks else ""
            omitted = self._omitted(step.path)
            skipped = [] if not self._omitted_work else ["Skipped"]
            after = (
                " || ".join(f"{last}.{phase}" for phase in ("Succeeded", "Failed", "Errored", *skipped)) if last else ""
            )
            task = self._call(names.task_name(step.path), self._pod(step), self._values(step, scope), after)
            tasks.append(_omit_at(task, omitted))
        if len(tasks) > 1:
            every = " && ".join(_success_of(task) for task in tasks)
            tasks.append(self._call(names.task_name("/end"), self._nothing(), [], every))
        return {"name": _group_name(row), "inputs": _input_declarations(depth(scope), ()), "dag": {"tasks": tasks}}

    def _loop(self, row: PlannedStep) -> tuple[KubernetesObject, list[_End]]:
        assert row.inside is not None and row.inside.limit is not None
        [scope] = _scopes(row)
        again, level = parameter_key(self._numbers[row.path], "again"), depth(row.path)
        tasks: list[KubernetesObject] = []
        count = min(_UNROLLED, row.inside.limit)
        for step in range(count + (row.inside.limit > count)):
            name = f"iteration-{step}" if step < count else "more"
            taken = self._inputs.get(scope, ()) if step < count else self._arguments.get(row.path, ())
            last = tasks[-1]["name"] if tasks else ""
            position = f"{{{{=asInt(inputs.parameters.{position_name(level)}) + {step}}}}}"
            values = [
                *_position_arguments(level),
                _argument(position_name(level), position if step else _input(position_name(level))),
            ]
            for one in taken:
                known = last and one in self._exports.get(scope, {})
                values.append(
                    _argument(one, f"{{{{tasks.{last}.outputs.parameters.{one}}}}}") if known else _input_argument(one)
                )
            called = _scope_name(scope) if step < count else _row_name(row)
            task = self._call(name, called, values, f"{last}.Succeeded" if last else "")
            if last:
                task["when"] = f"{{{{tasks.{last}.outputs.parameters.{again}}}}} == true"
            tasks.append(task)
        own = _row_name(row)
        return {"tasks": tasks}, [(one["name"], None if one["template"] == own else scope) for one in reversed(tasks)]

    # --- what makes no pod --------------------------------------------------------------------------------------------

    def _nothing(self) -> str:
        self._plain.setdefault(NOTHING, {"name": NOTHING, "suspend": {"duration": "0"}})
        return NOTHING

    def _fails(self) -> str:
        never = {"name": FAILS, "template": self._nothing(), "withSequence": {"count": "a step ends its pipeline"}}
        inputs = {"parameters": [{"name": PATH_INPUT}]}
        self._plain.setdefault(FAILS, {"name": FAILS, "inputs": inputs, "dag": {"tasks": [never]}})
        return FAILS


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
    if isinstance(source, InnerSource) and source.handler:
        return handler_task(source.step)
    return names.task_name(source.step)


def _input_declarations(positions: int, keys: Iterable[str]) -> KubernetesObject:
    """Inputs; empty where there are none."""
    known = [{"name": one} for one in (*map(position_name, range(positions)), *keys)]
    return {"parameters": known} if known else {}


def _argument(name: str, value: str) -> KubernetesObject:
    return {"name": name, "value": value}


def _input(name: str) -> str:
    return f"{{{{inputs.parameters.{name}}}}}"


def _input_argument(name: str) -> KubernetesObject:
    """An argument that is an input of the same name."""
    return _argument(name, _input(name))


def _position_arguments(positions: int) -> list[KubernetesObject]:
    return [_input_argument(position_name(level)) for level in range(positions)]


def _path_argument(path: str) -> KubernetesObject:
    """Which step it is; empty where Argo can't pass that on."""
    return _argument(PATH_INPUT, fill_positions(literal(path)) if can_be_input(path) else "")


def _term(task: str, one: str) -> str:
    return f"({_task_output(task, one)} ?? '')"


def _task_output(task: str, one: str) -> str:
    return f"tasks['{task}']?.outputs?.parameters?.{one}"


def _success_of(task: KubernetesObject) -> str:
    """On what a task depends that comes after another."""
    name = task["name"]
    return f"({name}.Succeeded || {name}.Skipped)" if "when" in task else f"{name}.Succeeded"


def _here(positions: int) -> str:
    """The positions of a template as one text, in Argo's expressions."""
    return " + '/' + ".join(f"inputs.parameters.{position_name(level)}" for level in range(positions))


def _omit_at(task: KubernetesObject, positions: Sequence[Positions]) -> KubernetesObject:
    """A task that makes no pod at some positions."""
    if positions:
        known = json.dumps(["/".join(one) for one in positions])
        task["when"] = f"{{{{=!({_here(len(positions[0]))} in {known})}}}}"
    return task


def _at_position(values: Mapping[Positions, str]) -> str:
    """An expression that is the value of the position that a template is at, or nil."""
    known = {"/".join(one): text for one, text in values.items()}
    return f"get({json.dumps(known)}, {_here(len(next(iter(values))))})"


def _output(name: str, terms: list[str]) -> KubernetesObject:
    """An output that is the first of some texts that is not empty."""
    terms = terms or ["''"]
    text = terms[-1]
    for term in reversed(terms[:-1]):
        text = f"{term} != '' ? {term} : ({text})"
    return {"name": name, "valueFrom": {"expression": text, "default": ""}}
