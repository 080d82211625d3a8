"""The shape of a plan as the runtime and the client walk it: rows, scopes, and the paths of what really runs.

A row of the plan has a template path, in which ``*`` stands for each position inside a map or a loop; what runs has an instance
path, with the positions in place.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

HANDLER = "on_failure"
"""The part of a path that stands for the pipeline that runs when a step has failed."""
ANY = "*"
GROUP = "group-"
"""Before a number in place of a position: several items of a map in one container, on a cluster alone."""
REPEATED = ("map", "loop")
"""Types of rows whose branch runs at positions."""


class Segment:
    """A sequence of steps that runs, and the row of it that holds what was asked for.

    Attributes:
        template, instance: the scope's path in the plan, and as it runs. row: the plan's row. path: the row's instance path.
    """

    def __init__(self, template: str, instance: str, row: dict[str, Any]) -> None:
        self.template = template
        self.instance = instance
        self.row = row
        self.path = join(instance, row["name"])


def join(scope: str, name: str) -> str:
    """A path below a scope's."""
    return f"{scope}/{name}" if scope else name


def fill(template: str, positions: list[str]) -> str:
    """A template path with positions; one more than are given is the first of a loop."""
    if ANY not in template:
        return template
    left = iter(positions)
    return "/".join(next(left, "0") if part == ANY else part for part in template.split("/"))


def depth(template: str) -> int:
    """How many positions a template path has."""
    return template.split("/").count(ANY)


class Tree:
    """The rows and scopes of a plan.

    Args:
        document: the plan's JSON.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.rows: dict[str, dict[str, Any]] = {row["path"]: row for row in document["steps"]}
        self.scopes: dict[str, dict[str, Any]] = document["scopes"]

    def scope_rows(self, scope: str) -> list[dict[str, Any]]:
        """The rows of a sequence, in order."""
        return [self.rows[path] for path in self.scopes[scope]["steps"]]

    def trail(self, path: str) -> Optional[list[Segment]]:
        """The places from the outermost to the one whose row is at the instance path ``path``; None when there is none."""
        places: list[Segment] = []
        template = instance = ""
        parts = path.split("/")
        while parts:
            row = self.rows.get(join(template, parts[0]))
            if row is None or row["name"] != parts[0]:
                return None
            places.append(Segment(template, instance, row))
            parts = parts[1:]
            if not parts:
                return places
            instance = places[-1].path
            entered = self._enter(row, instance, parts)
            if entered is None:
                return None
            template, instance, parts = entered
        return None

    def _enter(self, row: dict[str, Any], instance: str, parts: list[str]) -> Optional[tuple[str, str, list[str]]]:
        """The scope that the rest of a path leads into."""
        if row.get("handler") is not None and parts[0] == HANDLER:
            return row["handler"], join(instance, HANDLER), parts[1:]
        if row["type"] == "pipeline":
            return row["path"], instance, parts
        label = ANY if row["type"] in REPEATED else parts[0]
        if label == ANY and not parts[0].isdigit() and not parts[0].startswith(GROUP):
            return None
        for known, scope in branches(row):
            if known == label:
                return scope, join(instance, parts[0]), parts[1:]
        return None

    def positions(self, path: str) -> list[str]:
        """The positions in an instance path, from the outermost."""
        found = []
        for place in (self.trail(path) or [])[:-1]:
            if place.row["type"] in REPEATED:
                rest = path[len(place.path) + 1 :].split("/")[0]
                if rest != HANDLER:
                    found.append(rest)
        return found

    def expand(self, scope: str, instance: str, controls: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
        """Each row below a scope with its instance path, in plan order, as far as it is known by now how often each runs.

        Args:
            controls: control values by instance path (see ``runtime/shared/controls.py``).
        """
        for row in self.scope_rows(scope):
            path = join(instance, row["name"])
            yield row, path
            for _, inner, where in self.entered(row, path, controls):
                yield from self.expand(inner, where, controls)
            if row.get("handler") is not None:
                yield from self.expand(row["handler"], join(path, HANDLER), controls)

    def entered(self, row: dict[str, Any], path: str, controls: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        """The branches of a composite as (label, scope, instance path): of a map and a loop one for each position that is known."""
        if row["type"] == "pipeline":
            yield "", row["path"], path
            return
        if row["type"] not in REPEATED:
            for label, scope in branches(row):
                yield label, scope, join(path, label)
            return
        ((_, scope),) = row.get("branches", ())
        for position in range(times(row, path, controls)):
            yield str(position), scope, f"{path}/{position}"


def branches(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The branches of a composite as (label, scope), a conditional's default last."""
    found = [(label, scope) for label, scope in row.get("branches", ())]
    if row.get("default") is not None:
        found.append((DEFAULT, row["default"]))
    return found


DEFAULT = "default"
"""The label of a conditional's default branch in paths."""


def times(row: dict[str, Any], path: str, controls: dict[str, Any]) -> int:
    """How many items a map has, or how many iterations of a loop are known to run by now (the first one always)."""
    if row["type"] == "map":
        count = controls.get(path)
        return count if isinstance(count, int) else 0
    done = 0
    while done + 1 < row["limit"] and controls.get(f"{path}/{done}") is True:
        done += 1
    return done + 1
