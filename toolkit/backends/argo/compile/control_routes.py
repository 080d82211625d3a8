"""Which templates a control value passes through, from the task that computes it to the composite that takes it. Pure.

Between templates of Argo a value moves as an output and as an input of the same name, its key (``c7``: see
:mod:`toolkit.runtime.shared.controls`). It is computed by one task and may be taken several templates away.
"""

from __future__ import annotations

from toolkit.plan.controls import ChoiceSource, Control, InnerSource, Source, holds_entry
from toolkit.plan.plan import Plan, PlannedStep, When
from toolkit.runtime.shared.controls import parameter_key


class ControlRoutes:
    """The routes of all control values of a plan. The keys of a mapping are in the order in which they were found.

    Attributes:
        inputs: by scope, the keys that its template takes.
        exports: by scope, the keys that its template gives, and for each where in the scope the value may come from.
        arguments: by composite or handler, the keys that it takes, and for each where it comes from in the scope around it.
        results: by composite, the keys that it gives to the scope around it.
    """

    def __init__(self, plan: Plan) -> None:
        self._rows = {row.path: row for row in plan.steps}
        self._numbers = {row.path: number for number, row in enumerate(plan.steps)}
        self._scopes = {scope.path: scope for scope in plan.scopes}
        self.inputs: dict[str, dict[str, None]] = {}
        self.exports: dict[str, dict[str, dict[Source, None]]] = {}
        self.arguments: dict[str, dict[str, Source]] = {}
        self.results: dict[str, dict[str, None]] = {}
        for controls in plan.controls.values():
            for control in controls:
                self._add(control)

    def emitted(self, step: PlannedStep) -> list[str]:
        """The keys of the values that a task computes."""
        return list(dict.fromkeys(key for emission in step.emits for key in self._keys(emission.path, emission.when)))

    def start_key(self, row: PlannedStep) -> str:
        """The key of what a composite needs to know before it starts."""
        return parameter_key(self._numbers[row.path])

    def groups_key(self, row: PlannedStep) -> str:
        """The key of a map's number of groups of items."""
        return parameter_key(self._numbers[row.path], "groups")

    def again_key(self, row: PlannedStep) -> str:
        """The key of whether a loop runs again."""
        return parameter_key(self._numbers[row.path], "again")

    def _keys(self, path: str, when: When) -> list[str]:
        """The keys of all that a task computes for a composite at once."""
        row = self._rows[path]
        assert row.inside is not None
        if when == "start":
            return [self.start_key(row), self.groups_key(row)] if row.inside.grouped else [self.start_key(row)]
        keys = [self.again_key(row)]
        for part in row.inside.parts:
            keys += self._keys(part, "start")
        return keys

    def _add(self, control: Control) -> None:
        """Adds the routes of one control value."""
        if control.when == "again":
            for scope, source in control.at.items():
                for key in self._keys(control.path, "again"):
                    self._export(scope, source, key)
            return
        called = control.path
        for path, source in control.at.items():
            scope_around = self._scopes[path]
            for key in self._keys(control.path, "start"):
                self.arguments.setdefault(called, {})[key] = source
                self._route(source, key)
                if holds_entry(source):
                    self.inputs.setdefault(path, {})[key] = None
            if scope_around.owner is not None:
                called = path if scope_around.is_handler else scope_around.owner

    def _route(self, source: Source, key: str) -> None:
        """Adds the templates inside a composite through which a value comes out of it."""
        if isinstance(source, ChoiceSource):
            for each in (*source.first, source.otherwise):
                self._route(each, key)
        elif isinstance(source, InnerSource):
            called = source.scopes[0][0] if source.handler else source.step
            if source.before is not None:
                self.arguments.setdefault(called, {})[key] = source.before
                self._route(source.before, key)
            for scope, inner in source.scopes:
                self._export(scope, inner, key)
            if not source.handler:
                self.results.setdefault(called, {})[key] = None

    def _export(self, scope: str, source: Source, key: str) -> None:
        self.exports.setdefault(scope, {}).setdefault(key, {})[source] = None
        if holds_entry(source):
            self.inputs.setdefault(scope, {})[key] = None
        self._route(source, key)
