"""Where the control values of composites come from: a map's count, a conditional's choice, whether a loop goes on.

A cluster needs each of them before the first container of the composite starts, and no container but the user's runs. So the
task that ended last before it computes the value; where there is none, it follows from the run's parameters, or belongs to
the map or loop around it, which then computes it with its own.
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
    """By a task of the scope."""

    step: str


@dataclass(frozen=True)
class InnerSource:
    """By what runs inside a composite (or handler) of the scope.

    Attributes:
        step: the composite's path, or for a handler its owner's. scopes: the scopes inside one of which it is computed, with
            where there.
        before: where it comes from, in this scope, if what ran inside computes none; None where that can't be.
    """

    step: str
    scopes: tuple[tuple[str, Source], ...]
    before: Source | None = None
    handler: bool = False


@dataclass(frozen=True)
class ChoiceSource:
    """By the first of these whose step (or handler) has succeeded, else by the last."""

    first: tuple[TaskSource | InnerSource, ...]
    otherwise: Source


@dataclass(frozen=True)
class EntrySource:
    """Nothing in the scope runs before: it is known when the scope is entered."""


Source = TaskSource | InnerSource | ChoiceSource | EntrySource


class Control(NamedTuple):
    """A control value.

    Attributes:
        path: the composite's. at: where it comes from, in each scope from the composite's own outwards.
    """

    path: str
    when: When
    at: Mapping[str, Source]


class ControlAnalysis(NamedTuple):
    """What the analysis adds to a plan."""

    steps: tuple[PlannedStep, ...]
    controls: Mapping[str, tuple[Control, ...]]
    given: tuple[str, ...]


def analyse_controls(steps: Iterable[PlannedStep], scopes: Iterable[PlannedScope]) -> ControlAnalysis:
    """Adds to tasks what they emit, and to maps and loops the composites whose values they compute with their own.

    Raises:
        BadInput: nothing that runs could compute a value in time; the message says where a task is needed.
    """
    return _Finder({row.path: row for row in steps}, {scope.path: scope for scope in scopes}).find()


class _Finder:
    def __init__(self, rows: dict[str, PlannedStep], scopes: dict[str, PlannedScope]) -> None:
        self._rows = rows
        self._scopes = scopes
        self._scope_of = {path: scope for scope in scopes.values() for path in scope.steps}
        self._emits: dict[str, dict[Emission, None]] = {}
        self._parts: dict[str, list[str]] = {}
        self._needs: dict[str, set[str]] = {}
        self._controls: dict[str, list[Control]] = {}
        self._given: dict[str, None] = {}
        self._same: dict[str, str] = {}
        self._done: set[str] = set()
        # A map has to know what else it is to compute before it is asked where that comes from.
        self._inside_out = sorted(self._rows, key=lambda one: -one.count("/"))

    def find(self) -> ControlAnalysis:
        for path in self._inside_out:
            self._composite(self._rows[path])
        order = {path: number for number, path in enumerate(self._rows)}
        rows = []
        for row in self._rows.values():
            if row.inside is not None and row.path in self._parts:
                parts = tuple(sorted(self._parts[row.path], key=order.__getitem__))
                row = replace(row, inside=replace(row.inside, parts=parts))
            if row.inside is not None and row.path in self._same:
                row = replace(row, inside=replace(row.inside, as_long_as=self._same[row.path]))
            if row.path in self._emits:
                row = replace(row, emits=tuple(self._emits[row.path]))
            rows.append(row)
        given = tuple(sorted(self._given, key=order.__getitem__))
        return ControlAnalysis(tuple(rows), {path: tuple(found) for path, found in self._controls.items()}, given)

    def _composite(self, row: PlannedStep) -> None:
        if row.inside is None or row.type in ("parallel", "pipeline") or row.path in self._done:
            return
        self._done.add(row.path)
        needs = {row.inside.parameter}
        for part in self._parts.get(row.path, ()):
            needs |= self._needs[part]
        self._needs[row.path] = needs
        if row.type == "loop":
            # Before its first iteration there is nothing to ask.
            [(_, scope)] = row.inside.branches
            source = self._at_end(self._scopes[scope], needs, row)
            if holds_entry(source):
                raise self._undecided(row)
            self._emitted(source, row.path, "again")
            self._controls.setdefault(row.path, []).append(Control(row.path, "again", {scope: source}))
            return
        self._start(row, needs)

    def _start(self, row: PlannedStep, needs: set[str]) -> None:
        """Follows a value from the composite outwards until something computes it."""
        at: dict[str, Source] = {}
        scope = self._scope_of[row.path]
        position = scope.steps.index(row.path)
        while True:
            source = self._before(scope, position, needs, row)
            at[scope.path] = source
            self._emitted(source, row.path, "start")
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

    def _before(self, scope: PlannedScope, position: int, needs: set[str], wanted: PlannedStep) -> Source:
        """What computes a value as it is before the step at ``position``, or after the last one."""
        for index in range(position - 1, -1, -1):
            row = self._rows[scope.steps[index]]
            if row.type == "task":
                return TaskSource(row.path)
            if self._is_as_long(wanted, row, needs):
                # Its count is that of the other, wherever that comes from.
                for path in self._inside_out:
                    if path == row.path or path.startswith(row.path + "/"):
                        self._composite(self._rows[path])
                self._same[wanted.path] = row.path
                self._needs[wanted.path] = needs = self._needs[row.path]
                continue
            if row.inside is not None and any(needs & set(self._scopes[one].returns) for one in row.inside.scopes()):
                return self._inside(scope, index, needs, wanted)
        return EntrySource()

    def _inside(self, scope: PlannedScope, index: int, needs: set[str], wanted: PlannedStep) -> Source:
        row = self._rows[scope.steps[index]]
        assert row.inside is not None
        if row.type == "map":
            raise self._too_close(wanted, row)
        scopes = row.inside.scopes()
        if row.type == "parallel":
            scopes = [one for one in scopes if needs & set(self._scopes[one].returns)]
            # The last in order of definition wins, if what it returns does not depend on how it goes.
            last = self._scopes[scopes[-1]]
            others = {name for one in scopes[:-1] for name in needs & set(self._scopes[one].returns)}
            if not all(self._returns_surely(last, name) for name in others):
                raise self._too_close(wanted, row)
            scopes = scopes[-1:]
        return self._inner(scope, index, scopes, needs, wanted)

    def _inner(
        self,
        scope: PlannedScope,
        index: int,
        scopes: list[str],
        needs: set[str],
        wanted: PlannedStep,
        handler: bool = False,
    ) -> InnerSource:
        found = tuple((one, self._at_end(self._scopes[one], needs, wanted)) for one in scopes)
        before = self._before(scope, index, needs, wanted) if any(holds_entry(one) for _, one in found) else None
        return InnerSource(scope.steps[index], found, before, handler)

    def _at_end(self, scope: PlannedScope, needs: set[str], wanted: PlannedStep) -> Source:
        """What computes a value as it is when the sequence has ended well: after its last step, or by a shorter way."""
        shorter: list[TaskSource | InnerSource] = []
        # Whatever ends it, nothing after that runs.
        ends = next((index for index, path in enumerate(scope.steps) if self._rows[path].ends), len(scope.steps) - 1)
        for index, path in enumerate(scope.steps[: ends + 1]):
            row = self._rows[path]
            if row.handler is not None:
                shorter.append(self._inner(scope, index, [row.handler], needs, wanted, handler=True))
        last = self._before(scope, ends + 1, needs, wanted)
        shorter = [one for one in shorter if one != last]
        return ChoiceSource(tuple(shorter), last) if shorter else last

    def _is_as_long(self, wanted: PlannedStep, row: PlannedStep, needs: set[str]) -> bool:
        """Whether what a map iterates on is the list that another map, just before, makes of its items."""
        if wanted.type != "map" or row.type != "map" or wanted.path in self._parts or wanted.inside is None:
            return False
        if row.inside is None or row.inside.reducer not in (None, "list") or row.handler is not None:
            return False
        [(_, branch)] = row.inside.branches
        same_depth = depth(row.path) == depth(wanted.path)
        return same_depth and len(needs) == 1 and self._returns_surely(self._scopes[branch], *needs)

    def _returns_surely(self, scope: PlannedScope, name: str) -> bool:
        """Whether a sequence that succeeds always returns a name."""
        for path in scope.steps:
            row = self._rows[path]
            returned = row.task.returns if row.task is not None and row.handler is None else ()
            if any(one.name == name for one in returned):
                return True
            if row.handler is not None or row.ends == "success":
                return False
        return False

    def _emitted(self, source: Source, path: str, when: When) -> None:
        """Tells the tasks of a source what they compute."""
        if isinstance(source, TaskSource):
            self._emits.setdefault(source.step, {})[Emission(path, when)] = None
        elif isinstance(source, InnerSource):
            for _, inner in source.scopes:
                self._emitted(inner, path, when)
            if source.before is not None:
                self._emitted(source.before, path, when)
        elif isinstance(source, ChoiceSource):
            for one in (*source.first, source.otherwise):
                self._emitted(one, path, when)

    def _too_close(self, wanted: PlannedStep, row: PlannedStep) -> BadInput:
        assert wanted.inside is not None
        return BadInput(
            f"the {wanted.type} {wanted.name!r} depends on {wanted.inside.parameter!r}, which the {row.type} {row.name!r} before "
            "it makes out of several containers, none of which knows it whole: put a task between the two",
            wanted.line,
        )

    def _undecided(self, row: PlannedStep) -> BadInput:
        assert row.inside is not None
        return BadInput(
            f"nothing in the branch of the loop {row.name!r} decides whether it goes on: it needs a task, "
            f"and {row.inside.parameter!r} is what it breaks on",
            row.line,
        )


def holds_entry(source: Source) -> bool:
    """Whether what comes from there may be what was known when the scope was entered."""
    if isinstance(source, EntrySource):
        return True
    if isinstance(source, InnerSource):
        return source.before is not None and holds_entry(source.before)
    if isinstance(source, ChoiceSource):
        return any(holds_entry(one) for one in (*source.first, source.otherwise))
    return False
