"""The edges of a graph: which of its steps have to end before a step starts, and why.

A step follows those that it names (`after`, bindings, keys with a step), and the one that returns a parameter or puts a file which
it takes by name alone. What a composite holds takes as well. Where two steps return what is taken by name, nothing but time could
decide between them, so that is refused.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from toolkit.errors import BadInput
from toolkit.model.pipeline import Pipeline, Step
from toolkit.plan import keys
from toolkit.plan.plan import PlannedScope, PlannedStep
from toolkit.runtime.shared.catalog import is_pattern, matches
from toolkit.runtime.shared.keys import escape_braces, parse_key

_LONGEST_CYCLE = 8
"""The most uses that a message about a cycle names."""

Named = Mapping[tuple[int, int], str]
"""Edges from an earlier to a later position of a sequence, each with the use that the later step makes of the earlier one."""


def direct_edges(
    pipeline: Pipeline,
    scope: str,
    named: Named,
    returns: Mapping[str, Sequence[int]],
    rows: Iterable[PlannedStep],
    inner: Iterable[PlannedScope],
) -> tuple[tuple[int, ...], ...]:
    """For each step of a graph the positions of those that have to end before it starts.

    Args:
        scope: the graph's path. named: the edges of steps that name others. returns: the positions that return a name.
        rows: those of the graph and of all inside it. inner: the scopes inside it.

    Raises:
        BadInput: two steps return or put what a step takes by name alone, or the edges form a cycle.
    """
    edges = _Edges(pipeline, scope, returns, list(rows), list(inner))
    for (earlier, later), use in named.items():
        edges.add(earlier, later, use)
    for position, step in enumerate(pipeline.steps):
        for name in step.after:
            edges.add(edges.position(name), position, "is after")
    edges.add_by_name()
    edges.check_cycles()
    return edges.by_step()


class _Edges:
    def __init__(
        self,
        pipeline: Pipeline,
        scope: str,
        returns: Mapping[str, Sequence[int]],
        rows: Sequence[PlannedStep],
        inner: Sequence[PlannedScope],
    ) -> None:
        self._steps: Sequence[Step] = pipeline.steps
        self._returns = returns
        self._rows = {row.path: row for row in rows}
        self._scope_of = {path: each for each in inner for path in each.steps}
        self._scopes = {each.path: each for each in inner}
        prefix = f"{scope}/" if scope else ""
        self._positions = {f"{prefix}{step.name}": position for position, step in enumerate(pipeline.steps)}
        self._names = {step.name: position for position, step in enumerate(pipeline.steps)}
        self._uses: dict[tuple[int, int], str] = {}
        self._putting: dict[str, dict[int, None]] = {}
        for row in rows:
            position, maps = self._place(row.path)
            for key in row.task.catalog.put if row.task is not None else ():
                self._putting.setdefault("*/" * maps + _as_pattern(row, key), {})[position] = None
        # A long graph has many keys, so none of them is compared with all others.
        self._inside_folder: dict[str, list[str]] = {}
        self._patterns_in: dict[str, list[str]] = {}
        for put in self._putting:
            for folder in _folders(put):
                self._inside_folder.setdefault(folder, []).append(put)
            if is_pattern(put):
                named = next(folder for folder in _folders(put) if not is_pattern(folder))
                self._patterns_in.setdefault(named, []).append(put)

    def position(self, name: str) -> int:
        return self._names[name]

    def add(self, earlier: int, later: int, use: str) -> None:
        self._uses.setdefault((earlier, later), use)

    def by_step(self) -> tuple[tuple[int, ...], ...]:
        after: list[list[int]] = [[] for _ in self._steps]
        for earlier, later in sorted(self._uses):
            after[later].append(earlier)
        return tuple(map(tuple, after))

    def add_by_name(self) -> None:
        """Adds the edges that follow from what is taken by name alone."""
        for row in self._rows.values():
            for name, argument in taken_names(row):
                self._add_name(row, name, argument)
            for get in row.get:
                if get.step is None:
                    self._add_key(row, get.key)

    def _place(self, path: str) -> tuple[int, int]:
        """The position of the graph's step that a row is or lies in, and the number of maps between the two."""
        maps = 0
        for scope, _, owner in self._around(path):
            maps += owner.type == "map" and not scope.is_handler
            path = owner.path
        return self._positions[path], maps

    def _around(self, path: str) -> Iterator[tuple[PlannedScope, str, PlannedStep]]:
        """The sequences around a row inside the graph's step, from the nearest, each with its step around the row and its owner."""
        while path not in self._positions:
            scope = self._scope_of[path]
            assert scope.owner is not None
            yield scope, path, self._rows[scope.owner]
            path = scope.owner

    # --- parameters ---

    def _add_name(self, row: PlannedStep, name: str, argument: str) -> None:
        position = self._seeker(row, name)
        if position is None:
            return
        givers = [giver for giver in self._returns.get(name, ()) if giver != position]
        if len(givers) > 1:
            raise self._is_unclear(row, name, argument, givers)
        for giver in givers:
            self.add(giver, position, f"takes {name} of")

    def _seeker(self, row: PlannedStep, name: str) -> int | None:
        """The position of the step that takes a name from the graph for a row; None where it is surely found inside that step."""
        path = row.path
        if (
            row.type == "loop"
            and row.inside is not None
            and any(name in self._scopes[scope].returns or row.inside.item == name for scope in row.inside.scopes())
        ):
            return None
        for scope, step, owner in self._around(path):
            earlier = scope.earlier(scope.steps.index(step))
            if any(
                index in earlier and self._surely_returns(scope.steps[index], name)
                for index in scope.returns.get(name, ())
            ):
                return None
            if owner.inside is not None and owner.inside.item == name and not scope.is_handler:
                return None
            path = owner.path
        return self._positions[path]

    def _surely_returns(self, path: str, name: str) -> bool:
        """Whether a step has returned a name, one that it or a step in it returns, whenever it has succeeded."""
        row = self._rows[path]
        if row.handler is not None:
            return False
        if row.task is not None:
            return any(declared.name == name for declared in row.task.returns)
        if row.inside is None or row.type == "map":
            return False
        inner = [self._scopes[scope] for scope in row.inside.scopes()]
        if row.type == "conditional":
            return row.inside.default is not None and all(self._ends_with(scope, name) for scope in inner)
        return any(self._ends_with(scope, name) for scope in inner if not scope.is_handler)

    def _ends_with(self, scope: PlannedScope, name: str) -> bool:
        """Whether a sequence that has succeeded has a name: none of its steps may have ended it or have been handled before."""
        for path in scope.steps:
            if self._surely_returns(path, name):
                return scope.after is None or all(self._rows[each].handler is None for each in scope.steps)
            if scope.after is None and (self._rows[path].handler is not None or self._rows[path].ends):
                return False
        return False

    def _is_unclear(self, row: PlannedStep, name: str, argument: str, givers: Sequence[int]) -> BadInput:
        """A name that several steps return. The one that takes it itself is most likely the one that is meant."""
        takers = {later for (_, later), use in self._uses.items() if use == f"takes {name} of"}
        likely = self._steps[next((giver for giver in reversed(givers) if giver in takers), givers[-1])].name
        both = " and ".join(repr(self._steps[giver].name) for giver in givers)
        if row.type == "loop" or self._is_hidden(row, likely):
            remedy = "return one of the two under another name"
        elif row.type in ("map", "conditional"):
            setting = "iterate_on" if row.type == "map" else "parameter"
            remedy = f"say which, as in {setting}: {likely}.{name}"
        else:
            remedy = f"say which by bind, as in bind: {{{argument}: {likely}.{name}}}"
        return BadInput(
            f"the {row.type if row.task is None else 'step'} {row.name!r} takes {name}, which {both} return, and in a graph none "
            f"of them is the newer one: {remedy}",
            row.line,
        )

    def _is_hidden(self, row: PlannedStep, name: str) -> bool:
        """Whether a name of a step means another one where a row names it: one that is nearer, inside the graph's step."""
        return any(f"{scope.path}/{name}" in scope.steps for scope, _, _ in self._around(row.path))

    # --- files ---

    def _add_key(self, row: PlannedStep, key: str) -> None:
        assert row.task is not None
        position, _ = self._place(row.path)
        wanted = _as_pattern(row, key)
        if self._puts_inside(row.path, wanted):
            return
        alike = [giver for giver in self._putting.get(wanted, ()) if giver != position]
        givers = alike or sorted(
            {giver for put in self._overlapping(wanted) for giver in self._putting[put]} - {position}
        )
        if is_pattern(key):
            if givers and not self._steps[position].after:
                name = self._steps[givers[0]].name
                raise BadInput(
                    f"the step {row.name!r} gets {key}, a pattern, which in a graph would mean whatever has been put by then: "
                    f"name the step, as in {name}:{key}, or list steps in {self._after_of(row, position)}",
                    row.line,
                )
            return
        if len(alike) > 1:
            both = " and ".join(repr(self._steps[giver].name) for giver in alike)
            likely = self._steps[alike[-1]].name
            remedy = "give one another name" if self._is_hidden(row, likely) else f"say which, as in {likely}:{key}"
            raise BadInput(
                f"the step {row.name!r} gets {key}, which {both} put, and in a graph none of them is the newer one: {remedy}",
                row.line,
            )
        for giver in givers:
            self.add(giver, position, f"gets {key} of")

    def _overlapping(self, wanted: str) -> Iterator[str]:
        """The keys that are put and hold a file that a key which is got may stand for; some of them twice."""
        if wanted == ".":
            yield from self._putting
            return
        around = _folders(wanted)
        for name in (wanted, ".", *around):
            if name in self._putting:
                yield name
        yield from self._inside_folder.get(wanted, ())
        for folder in around:
            yield from (put for put in self._patterns_in.get(folder, ()) if matches(put, wanted))
        if is_pattern(wanted):
            yield from (put for put in self._putting if matches(wanted, put))

    def _after_of(self, row: PlannedStep, position: int) -> str:
        """The `after` that makes edges of the graph: that of the graph's own step, which a step may lie in."""
        is_own = self._positions.get(row.path) == position
        return "`after`" if is_own else f"the `after` of {self._steps[position].name!r}"

    def _puts_inside(self, path: str, wanted: str) -> bool:
        """Whether an earlier step beside the one that gets, or beside what is around it inside the graph's step, puts the key."""
        for scope, step, _ in self._around(path):
            if any(self._surely_puts(scope.steps[index], wanted) for index in scope.earlier(scope.steps.index(step))):
                return True
        return False

    def _surely_puts(self, path: str, wanted: str) -> bool:
        """Whether a step, or one inside it, has put a key whenever it has succeeded."""
        row = self._rows[path]
        if row.task is not None:
            return wanted in (_as_pattern(row, key) for key in row.task.catalog.put)
        if row.inside is None or row.type in ("map", "conditional"):
            return False
        # Inside, a step whose handler has succeeded need not have put anything.
        steps = (step for scope in row.inside.scopes() for step in self._surely_run(self._scopes[scope]))
        return any(self._surely_puts(step, wanted) for step in steps)

    def _surely_run(self, scope: PlannedScope) -> Iterator[str]:
        """The steps of a sequence that have succeeded whenever it has."""
        if scope.after is not None and any(self._rows[path].handler is not None for path in scope.steps):
            return
        for path in scope.steps:
            if self._rows[path].handler is not None:
                return
            yield path
            if self._rows[path].ends:
                return

    # --- cycles ---

    def check_cycles(self) -> None:
        done: set[int] = set()
        followers: list[list[int]] = [[] for _ in self._steps]
        for earlier, later in sorted(self._uses):
            followers[earlier].append(later)
        for start in range(len(self._steps)):
            # Each entry is a step with those that it still has to look at.
            trail: list[tuple[int, Iterator[int]]] = [(start, iter(followers[start]))]
            on_trail = {start}
            while trail:
                position, remaining = trail[-1]
                following = next(remaining, None)
                if following is None:
                    done.add(position)
                    on_trail.discard(position)
                    trail.pop()
                    continue
                if following in done:
                    continue
                if following in on_trail:
                    way = [each for each, _ in trail]
                    raise self._is_cycle([*way[way.index(following) :], following])
                on_trail.add(following)
                trail.append((following, iter(followers[following])))

    def _is_cycle(self, way: list[int]) -> BadInput:
        pairs = list(itertools.pairwise(way))
        uses = [
            f"{self._steps[later].name!r} {self._uses[earlier, later]} {self._steps[earlier].name!r}"
            for earlier, later in pairs
        ]
        if len(uses) > _LONGEST_CYCLE:
            left_out = len(uses) - _LONGEST_CYCLE
            uses[_LONGEST_CYCLE - 1 : -1] = [f"so on for {left_out} more steps"]
        return BadInput(f"the steps of the graph form a cycle: {', and '.join(uses)}", self._steps[way[0]].line)


def taken_names(row: PlannedStep) -> Iterator[tuple[str, str]]:
    """What a row takes by name alone: the name, and the argument that it is for."""
    if row.inside is not None:
        if row.inside.parameter and row.inside.source is None:
            yield row.inside.parameter, row.inside.parameter
        return
    if row.task is None:
        return
    arguments = row.task.takes.names if row.task.takes is not None else ()
    for argument in dict.fromkeys((*arguments, *keys.names_in(row), *row.bind)):
        binding = row.bind.get(argument) or {"name": argument}
        if "value" not in binding and "step" not in binding:
            yield binding["name"], argument


def _as_pattern(row: PlannedStep, key: str) -> str:
    """A key, normalised, with ``*`` for each value that the plan does not know."""
    assert row.task is not None
    known, unknown = keys.known_name(row.task, key)
    if not unknown:
        return known
    return os.path.normpath("".join("*" if is_name else escape_braces(text) for text, is_name in parse_key(key)))


def _folders(key: str) -> list[str]:
    """The folders that a key lies in, from the nearest to the root, which is empty."""
    return [key[:end] for end in range(len(key) - 1, 0, -1) if key[end] == "/"] + [""]
