"""Where the control values of composites come from: a map's count, a conditional's choice, whether a loop runs again.

A cluster needs a control value before the first container of the composite starts, and it runs no containers but the user's. So
the task that ended last before the composite computes the value. Where no task runs before it, the value follows from the run's
parameters, or belongs to the map or loop around the composite, which then computes it together with its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from toolkit.errors import BadInput
from toolkit.plan.plan import Emission, PlannedScope, PlannedStep, When
from toolkit.runtime.shared.tree import depth


@dataclass(frozen=True)
class TaskSource:
    """A task of the scope computes the value."""

    step: str


@dataclass(frozen=True)
class InnerSource:
    """What runs inside a composite or a handler of the scope computes the value.

    Attributes:
        step: the composite's path; of a handler, that of the step that has it. scopes: the scopes inside, one of which computes
            the value, each with the source there.
        before: the source in this scope, if nothing that ran inside computed the value; None where that can't happen.
    """

    step: str
    scopes: tuple[tuple[str, Source], ...]
    before: Source | None = None
    handler: bool = False


@dataclass(frozen=True)
class ChoiceSource:
    """The first of these whose step or handler has succeeded computes the value; if none has, ``otherwise`` does."""

    first: tuple[TaskSource | InnerSource, ...]
    otherwise: Source


@dataclass(frozen=True)
class EntrySource:
    """Nothing in the scope runs before: the value is known when the scope is entered."""


Source = TaskSource | InnerSource | ChoiceSource | EntrySource


class Control(NamedTuple):
    """A control value.

    Attributes:
        path: the composite's. at: its source in each scope, by the scope's path, from the composite's own scope outwards.
    """

    path: str
    when: When
    at: Mapping[str, Source]


class ControlAnalysis(NamedTuple):
    """What the analysis adds to a plan; the attributes are those of :class:`toolkit.plan.plan.Plan`."""

    steps: tuple[PlannedStep, ...]
    controls: Mapping[str, tuple[Control, ...]]
    given: tuple[str, ...]


def analyse_controls(steps: Iterable[PlannedStep], scopes: Iterable[PlannedScope]) -> ControlAnalysis:
    """Adds to tasks what they emit, and to maps and loops the composites whose values they compute with their own.

    Raises:
        BadInput: no task can compute a value in time; the message says where one is needed.
    """
    return _ControlAnalyser({row.path: row for row in steps}, {scope.path: scope for scope in scopes}).analyse()


class _ControlAnalyser:
    def __init__(self, rows: dict[str, PlannedStep], scopes: dict[str, PlannedScope]) -> None:
        self._rows = rows
        self._scopes = scopes
        self._scope_of = {path: scope for scope in scopes.values() for path in scope.steps}
        self._emissions: dict[str, dict[Emission, None]] = {}
        self._parts: dict[str, list[str]] = {}
        # The parameters on which a composite's control value depends, and those of its parts.
        self._needs: dict[str, set[str]] = {}
        self._controls: dict[str, list[Control]] = {}
        self._given: dict[str, None] = {}
        self._as_long_as: dict[str, str] = {}
        self._analysed: set[str] = set()
        # A map has to know which other values it computes before its own source is looked for.
        self._inside_out = sorted(self._rows, key=lambda path: -path.count("/"))

    def analyse(self) -> ControlAnalysis:
        for path in self._inside_out:
            self._analyse_composite(self._rows[path])
        order = {path: number for number, path in enumerate(self._rows)}
        rows = []
        for row in self._rows.values():
            if row.inside is not None and row.path in self._parts:
                parts = tuple(sorted(self._parts[row.path], key=order.__getitem__))
                row = replace(row, inside=replace(row.inside, parts=parts))
            if row.inside is not None and row.path in self._as_long_as:
                row = replace(row, inside=replace(row.inside, as_long_as=self._as_long_as[row.path]))
            if row.path in self._emissions:
                row = replace(row, emits=tuple(self._emissions[row.path]))
            rows.append(row)
        controls = {path: tuple(values) for path, values in self._controls.items()}
        given = tuple(sorted(self._given, key=order.__getitem__))
        return ControlAnalysis(tuple(rows), controls, given)

    def _analyse_composite(self, row: PlannedStep) -> None:
        if row.inside is None or row.type in ("parallel", "pipeline") or row.path in self._analysed:
            return
        self._analysed.add(row.path)
        needs = {row.inside.parameter}
        for part in self._parts.get(row.path, ()):
            needs |= self._needs[part]
        self._needs[row.path] = needs
        if row.type == "loop":
            # The first iteration always runs; the value is needed after each iteration.
            [(_, scope)] = row.inside.branches
            source = self._source_at_end(self._scopes[scope], needs, row)
            if holds_entry(source):
                raise self._no_task_in_loop(row)
            self._add_emissions(source, row.path, "again")
            self._controls.setdefault(row.path, []).append(Control(row.path, "again", {scope: source}))
            return
        self._trace_start(row, needs)

    def _trace_start(self, row: PlannedStep, needs: set[str]) -> None:
        """Follows a composite's value outwards, scope by scope, until something computes it."""
        at: dict[str, Source] = {}
        scope = self._scope_of[row.path]
        position = scope.steps.index(row.path)
        while True:
            source = self._source_before(scope, position, needs, row)
            at[scope.path] = source
            self._add_emissions(source, row.path, "start")
            if not holds_entry(source):
                break
            if scope.owner is None:
                self._given[row.path] = None
                break
            owner = self._rows[scope.owner]
            if owner.type in ("map", "loop") and not scope.is_handler:
                self._parts.setdefault(owner.path, []).append(row.path)
                if owner.type == "map":
                    break
            scope = self._scope_of[owner.path]
            position = scope.steps.index(owner.path)
        self._controls.setdefault(row.path, []).append(Control(row.path, "start", at))

    # --- what computes a value ----------------------------------------------------------------------------------------

    def _source_before(self, scope: PlannedScope, position: int, needs: set[str], composite: PlannedStep) -> Source:
        """The source of a value as it is before the step at ``position``, which may be one past the last step.

        Args:
            needs: the parameters on which the value depends. composite: the one whose value it is.
        """
        if scope.after is not None:
            return self._source_in_graph(scope, position, needs, composite)
        for index in range(position - 1, -1, -1):
            row = self._rows[scope.steps[index]]
            if row.type == "task":
                return TaskSource(row.path)
            if self._is_as_long_as(composite, row, needs):
                # Its count is the other map's, so it depends on whatever that one depends on.
                needs = self._take_count_of(row, composite)
                continue
            if row.inside is not None and any(
                needs & set(self._scopes[inner].returns) for inner in row.inside.scopes()
            ):
                return self._source_inside(scope, index, needs, composite)
        return EntrySource()

    def _source_in_graph(self, scope: PlannedScope, position: int, needs: set[str], composite: PlannedStep) -> Source:
        """As ``_source_before``, in a graph: a task computes the value that follows, or is, all that the value depends on."""
        earlier = sorted(scope.earlier(position), reverse=True)
        source = composite.inside.source if composite.inside is not None else None
        giving = {index for name in needs for index in scope.returns.get(name, ()) if index in earlier}
        if source is not None and len(needs) == 1:
            giving = {index for index in giving if f"{source}/".startswith(f"{scope.steps[index]}/")}
        for index in earlier:
            row = self._rows[scope.steps[index]]
            if row.type == "task" and giving <= {index, *scope.earlier(index)}:
                return TaskSource(row.path)
        if not giving:
            return EntrySource()
        if len(giving) > 1:
            raise self._no_task_follows(composite, [self._rows[scope.steps[index]] for index in sorted(giving)])
        [index] = giving
        row = self._rows[scope.steps[index]]
        if self._is_as_long_as(composite, row, needs):
            return self._source_before(scope, index, self._take_count_of(row, composite), composite)
        return self._source_inside(scope, index, needs, composite)

    def _take_count_of(self, row: PlannedStep, composite: PlannedStep) -> set[str]:
        """Has a map's count be that of another map; returns the names that this one depends on, and so both."""
        for path in self._inside_out:
            if path == row.path or path.startswith(row.path + "/"):
                self._analyse_composite(self._rows[path])
        self._as_long_as[composite.path] = row.path
        self._needs[composite.path] = self._needs[row.path]
        return self._needs[row.path]

    def _source_inside(self, scope: PlannedScope, index: int, needs: set[str], composite: PlannedStep) -> Source:
        """The source of a value that comes out of the composite at ``index``."""
        row = self._rows[scope.steps[index]]
        assert row.inside is not None
        if row.type == "map":
            raise self._no_task_between(composite, row)
        scopes = row.inside.scopes()
        if row.type == "parallel":
            scopes = [inner for inner in scopes if needs & set(self._scopes[inner].returns)]
            # The branch that is defined last wins, provided that it returns the names whatever happens in it.
            last = self._scopes[scopes[-1]]
            names = {name for inner in scopes[:-1] for name in needs & set(self._scopes[inner].returns)}
            if not all(self._always_returns(last, name) for name in names):
                raise self._no_task_between(composite, row)
            scopes = scopes[-1:]
        return self._inner_source(scope, index, scopes, needs, composite)

    def _inner_source(
        self,
        scope: PlannedScope,
        index: int,
        scopes: list[str],
        needs: set[str],
        composite: PlannedStep,
        handler: bool = False,
    ) -> InnerSource:
        sources = tuple((inner, self._source_at_end(self._scopes[inner], needs, composite)) for inner in scopes)
        before = None
        if any(holds_entry(source) for _, source in sources):
            before = self._source_before(scope, index, needs, composite)
        return InnerSource(scope.steps[index], sources, before, handler)

    def _source_at_end(self, scope: PlannedScope, needs: set[str], composite: PlannedStep) -> Source:
        """The source of a value as it is when the sequence has succeeded: after its last step, or through a handler."""
        if scope.after is not None:
            return self._source_at_end_of_graph(scope, needs, composite)
        through_handlers: list[TaskSource | InnerSource] = []
        # Nothing runs after a step that ends the sequence.
        last = next((index for index, path in enumerate(scope.steps) if self._rows[path].ends), len(scope.steps) - 1)
        for index, path in enumerate(scope.steps[: last + 1]):
            row = self._rows[path]
            if row.handler is not None and not row.keep_failure:
                through_handlers.append(self._inner_source(scope, index, [row.handler], needs, composite, handler=True))
        source = self._source_before(scope, last + 1, needs, composite)
        through_handlers = [handler for handler in through_handlers if handler != source]
        return ChoiceSource(tuple(through_handlers), source) if through_handlers else source

    def _source_at_end_of_graph(self, scope: PlannedScope, needs: set[str], composite: PlannedStep) -> Source:
        source = self._source_before(scope, len(scope.steps), needs, composite)
        if isinstance(source, EntrySource):
            return source
        [index] = [index for index, path in enumerate(scope.steps) if path == _step_of(source)]
        for each in sorted({index, *scope.earlier(index)}):
            row = self._rows[scope.steps[each]]
            if row.handler is not None:
                # Once a handler has succeeded, what depends on its step is skipped, and so the value would be in no record.
                raise BadInput(
                    f"the {composite.type} {composite.name!r} depends on what {self._rows[scope.steps[index]].name!r} computes at "
                    f"the end of a graph, which is skipped where {row.name!r} fails and its on_failure succeeds: give the "
                    "on_failure to another step, or make that pipeline a line",
                    row.line,
                )
        return source

    def _is_as_long_as(self, composite: PlannedStep, row: PlannedStep, needs: set[str]) -> bool:
        """Whether a map iterates on the list of values that another map, just before it, makes of its items."""
        if composite.type != "map" or row.type != "map" or composite.path in self._parts or composite.inside is None:
            return False
        if row.inside is None or row.inside.reducer not in (None, "list") or row.handler is not None:
            return False
        [(_, branch)] = row.inside.branches
        same_depth = depth(row.path) == depth(composite.path)
        return same_depth and len(needs) == 1 and self._always_returns(self._scopes[branch], *needs)

    def _always_returns(self, scope: PlannedScope, name: str) -> bool:
        """Whether a sequence that succeeds always returns a name."""
        for path in scope.steps:
            row = self._rows[path]
            is_handled = row.handler is not None and not row.keep_failure
            returns = row.task.returns if row.task is not None and not is_handled else ()
            if any(declared.name == name for declared in returns):
                return True
            if is_handled or row.ends == "success":
                return False
        return False

    def _add_emissions(self, source: Source, path: str, when: When) -> None:
        """Adds the value to what each task of a source emits."""
        if isinstance(source, TaskSource):
            self._emissions.setdefault(source.step, {})[Emission(path, when)] = None
        elif isinstance(source, InnerSource):
            for _, inner in source.scopes:
                self._add_emissions(inner, path, when)
            if source.before is not None:
                self._add_emissions(source.before, path, when)
        elif isinstance(source, ChoiceSource):
            for choice in (*source.first, source.otherwise):
                self._add_emissions(choice, path, when)

    def _no_task_between(self, composite: PlannedStep, row: PlannedStep) -> BadInput:
        assert composite.inside is not None
        return BadInput(
            f"the {composite.type} {composite.name!r} depends on {composite.inside.parameter!r}, which several containers of the "
            f"{row.type} {row.name!r} before it make together: put a task between the two, so that one container holds it",
            composite.line,
        )

    def _no_task_follows(self, composite: PlannedStep, rows: list[PlannedStep]) -> BadInput:
        names = " and ".join(repr(row.name) for row in rows)
        return BadInput(
            f"the {composite.type} {composite.name!r} depends on {names}, and no task before it follows them all, so that one "
            "container holds what decides: put a task between",
            composite.line,
        )

    def _no_task_in_loop(self, row: PlannedStep) -> BadInput:
        assert row.inside is not None
        return BadInput(
            f"nothing in the branch of the loop {row.name!r} decides whether it runs again: add a task to the branch; "
            f"{row.inside.parameter!r} is the parameter that the loop breaks on",
            row.line,
        )


def _step_of(source: Source) -> str:
    assert isinstance(source, (TaskSource, InnerSource))
    return source.step


def holds_entry(source: Source) -> bool:
    """Whether a value from this source may be one that was known when the scope was entered."""
    if isinstance(source, EntrySource):
        return True
    if isinstance(source, InnerSource):
        return source.before is not None and holds_entry(source.before)
    if isinstance(source, ChoiceSource):
        return any(holds_entry(choice) for choice in (*source.first, source.otherwise))
    return False
