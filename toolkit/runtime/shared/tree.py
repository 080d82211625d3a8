"""The shape of a plan as the runtime and the client walk it: rows, scopes, template paths and instance paths.

A row of the plan has a template path, in which ``*`` stands for each position inside a map or a loop. What runs has an instance
path, with the positions in place.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional, Union

    from .documents import ControlValues, PlanDocument, ScopeRow, StepRow

HANDLER = "on_failure"
"""The part of a path that stands for the pipeline that runs when a step has failed."""
ON_EXIT = "on_exit"
"""The path of the row that holds what runs after the pipeline, however it has ended."""
TOLD = STATUS, FAILED_STEPS = "run_status", "failed_steps"
"""The parameters that the steps of on_exit have of their own."""
ANY = "*"
GROUP = "group-"
"""Before a number in place of a position: several items of a map in one container, on a cluster alone."""
REPEATED = ("map", "loop")
"""Types of rows whose branch runs at positions."""


class Segment:
    """One row on the way from the pipeline to a step, with the sequence of steps that the row is in.

    Attributes:
        template, instance: the sequence's template path and its instance path. row: the plan's row. path: the row's instance
            path.
    """

    def __init__(self, template: str, instance: str, row: StepRow) -> None:
        self.template = template
        self.instance = instance
        self.row = row
        self.path = join(instance, row["name"])


def join(scope: str, name: str) -> str:
    """A path below a scope's."""
    return f"{scope}/{name}" if scope else name


def fill(template: str, positions: list[str]) -> str:
    """The instance path of a template path; where a position is missing, it is that of a loop's first iteration."""
    if ANY not in template:
        return template
    remaining = iter(positions)
    return "/".join(next(remaining, "0") if part == ANY else part for part in template.split("/"))


def paths_to(path: str) -> list[str]:
    """The paths of all that is around a path, the outermost first, and last the path itself."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]


def depth(template: str) -> int:
    """How many positions a template path has."""
    return template.split("/").count(ANY)


def ancestors(after: Sequence[Sequence[int]], position: int) -> frozenset[int]:
    """The positions of all steps of a graph that have ended when the one at a position starts.

    Args:
        after: for each step the positions of those that it follows directly.
    """
    found: set[int] = set()
    waiting = list(after[position])
    while waiting:
        earlier = waiting.pop()
        if earlier not in found:
            found.add(earlier)
            waiting.extend(after[earlier])
    return frozenset(found)


def by_dependence(after: Sequence[Sequence[int]]) -> Iterator[int]:
    """The positions of a graph's steps, each behind those that it follows, and else in order of definition."""
    from heapq import heappop, heappush  # the steps themselves never need it

    followers: list[list[int]] = [[] for _ in after]
    for position, each in enumerate(after):
        for earlier in each:
            followers[earlier].append(position)
    missing = [len(each) for each in after]
    ready = [position for position, count in enumerate(missing) if not count]
    while ready:
        position = heappop(ready)
        yield position
        for follower in followers[position]:
            missing[follower] -= 1
            if not missing[follower]:
                heappush(ready, follower)


class Tree:
    """The rows and scopes of a plan.

    Args:
        document: the plan's JSON.
    """

    def __init__(self, document: PlanDocument) -> None:
        self.document = document
        self.rows: dict[str, StepRow] = {row["path"]: row for row in document["steps"]}
        self.scopes: dict[str, ScopeRow] = document["scopes"]
        self.on_exit: Optional[StepRow] = self.rows[document["on_exit"]] if "on_exit" in document else None
        """The row, of no sequence, that holds the steps of on_exit."""

    def scope_rows(self, scope: str) -> list[StepRow]:
        """The rows of a sequence, in order."""
        return [self.rows[path] for path in self.scopes[scope]["steps"]]

    def earlier(self, scope: str, path: str) -> Union[range, frozenset[int]]:
        """The positions in a sequence of the steps that have ended when the one with the template path ``path`` starts."""
        sequence = self.scopes[scope]
        after = sequence.get("after")
        if after is None:
            return range(sequence["positions"][path])
        return ancestors([after[step] for step in sequence["steps"]], sequence["positions"][path])

    def trail(self, path: str) -> Optional[list[Segment]]:
        """The rows that lead to the one at the instance path ``path``, the outermost first; None when there is no such row."""
        trail: list[Segment] = []
        template = instance = ""
        parts = path.split("/")
        if self.on_exit is not None and parts[0] == ON_EXIT and len(parts) > 1:
            # The row around the steps of on_exit is in no sequence.
            template, instance, parts = ON_EXIT, ON_EXIT, parts[1:]
        while parts:
            row = self.rows.get(join(template, parts[0]))
            if row is None or row["name"] != parts[0]:
                return None
            trail.append(Segment(template, instance, row))
            parts = parts[1:]
            if not parts:
                return trail
            instance = trail[-1].path
            entered = self._enter(row, instance, parts)
            if entered is None:
                return None
            template, instance, parts = entered
        return None

    def _enter(self, row: StepRow, instance: str, parts: list[str]) -> Optional[tuple[str, str, list[str]]]:
        """The scope that the rest of a path leads into: its template path, its instance path and what is left of the path."""
        handler = row.get("handler")
        if handler is not None and parts[0] == HANDLER:
            return handler, join(instance, HANDLER), parts[1:]
        if row["type"] == "pipeline":
            return row["path"], instance, parts
        label = ANY if row["type"] in REPEATED else parts[0]
        if label == ANY and not parts[0].isdigit() and not parts[0].startswith(GROUP):
            return None
        for branch, scope in branches(row):
            if branch == label:
                return scope, join(instance, parts[0]), parts[1:]
        return None

    def is_of_exit(self, path: str) -> bool:
        """Whether the path is that of a step of on_exit."""
        return self.on_exit is not None and path.startswith(ON_EXIT + "/")

    def positions(self, path: str) -> list[str]:
        """The positions in an instance path, from the outermost."""
        positions = []
        for segment in (self.trail(path) or [])[:-1]:
            if segment.row["type"] in REPEATED:
                part = path[len(segment.path) + 1 :].split("/")[0]
                if part != HANDLER:
                    positions.append(part)
        return positions

    def expand(self, scope: str, instance: str, controls: ControlValues) -> Iterator[tuple[StepRow, str]]:
        """Each row below a scope with its instance path, in plan order, for the positions that are known so far.

        Args:
            controls: control values by instance path (see ``runtime/shared/controls.py``).
        """
        for row in self.scope_rows(scope):
            path = join(instance, row["name"])
            yield row, path
            for _, inner, inner_instance in self.entered(row, path, controls):
                yield from self.expand(inner, inner_instance, controls)
            handler = row.get("handler")
            if handler is not None:
                yield from self.expand(handler, join(path, HANDLER), controls)
        if scope == "" and self.on_exit is not None:
            yield self.on_exit, ON_EXIT
            yield from self.expand(ON_EXIT, ON_EXIT, controls)

    def entered(self, row: StepRow, path: str, controls: ControlValues) -> Iterator[tuple[str, str, str]]:
        """The branches of a composite as (label, scope, instance path): of a map and a loop one for each known position."""
        if row["type"] == "pipeline":
            yield "", row["path"], path
            return
        if row["type"] not in REPEATED:
            for label, scope in branches(row):
                yield label, scope, join(path, label)
            return
        [(_, scope)] = branches(row)
        for position in range(times(row, path, controls)):
            yield str(position), scope, f"{path}/{position}"


def branches(row: StepRow) -> list[tuple[str, str]]:
    """The branches of a composite as (label, scope), a conditional's default last."""
    pairs = [(label, scope) for label, scope in row.get("branches", ())]
    default = row.get("default")
    if default is not None:
        pairs.append((DEFAULT, default))
    return pairs


DEFAULT = "default"
"""The label of a conditional's default branch in paths."""


def times(row: StepRow, path: str, controls: ControlValues) -> int:
    """How many items a map has, or how many iterations of a loop are known to run so far (at least the first)."""
    if row["type"] == "map":
        count = controls.get(path)
        return count if isinstance(count, int) else 0
    done = 0
    while done + 1 < row["limit"] and controls.get(f"{path}/{done}") is True:
        done += 1
    return done + 1
