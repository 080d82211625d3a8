"""The values of a run's parameters, out of its records: each is recorded once, where it was produced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.runtime.shared import scope
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue
from toolkit.store.verdict import Attempt

LARGE = 4096
"""Characters as JSON above which a value that an item or an iteration takes from outside of it is shown by where it is from."""


class KnownRecords(RecordReader):
    """Records that were read before.

    Args:
        attempts: of each task, by its path.
    """

    def __init__(self, run_folder: Path, attempts: Mapping[str, list[Attempt]]) -> None:
        super().__init__(str(run_folder))
        self._attempts = attempts

    def record(self, path: str) -> dict[str, Any] | None:
        """The record of the newest attempt that succeeded, by the engine's verdict too."""
        if path not in self._attempts:
            return super().record(path)
        return next((one.end for one in reversed(self._attempts[path]) if one.status == "succeeded"), None)


class RunValues:
    """Finds values; what belongs to many steps (the list that a map iterates on, what it has returned) is looked for once."""

    def __init__(self, plan: RunPlan, known: KnownRecords) -> None:
        self._plan = plan
        self._known = known
        self._items: dict[str, list[Any]] = {}
        self._found: dict[tuple[str, str], tuple[Any, int]] = {}

    def taken(self, path: str, taken: Mapping[str, Any]) -> Any:
        """What the step at ``path`` took, of which its record says where it is from; None where that is not there any more."""
        if "value" in taken:
            return taken["value"]
        source, name = taken["from"], taken["name"]
        row = self._row(source) if source != scope.ROOT else {}
        inside = path[len(source) + 1 :].partition("/")[0] if path.startswith(source + "/") else ""
        if inside.isdigit() and row.get("item") == name:
            return self._item(row, source, int(inside))
        if (source, name) not in self._found:
            value = self._of(row, source, name)
            self._found[source, name] = value, len(json.dumps(value))
        value, size = self._found[source, name]
        if size > LARGE and any(part.isdigit() for part in path.split("/")):
            # Each of many items may take the whole list that they are of.
            return {"from": source, "name": name, "size": size}
        return value

    def last(self) -> dict[str, Any]:
        """The run's own parameters as they are at its end: the newest of each name, else what the run was given."""
        values = dict(self._plan.parameters)
        root = self._plan.scopes[scope.ROOT]
        top = Scope(self._plan, self._known, root["steps"][0])
        for name in root["returns"]:
            try:
                found = top.last(name, scope.ROOT, "")
            except UnsuitableValue as error:
                values[name] = {"error": str(error)}
                continue
            if found is not None:
                values[name] = describe_stored(found[1])
        return dict(sorted(values.items()))

    def _row(self, path: str) -> dict[str, Any]:
        trail = self._plan.trail(path)
        return trail[-1].row if trail else {}

    def _item(self, row: dict[str, Any], path: str, position: int) -> Any:
        """The item of a map, or the index of a loop's iteration."""
        if row["type"] == "loop":
            return position
        if path not in self._items:
            try:
                self._items[path] = Scope(self._plan, self._known, path).items(row, path)
            except UnsuitableValue:
                self._items[path] = []
        items = self._items[path]
        return items[position] if position < len(items) else None

    def _of(self, row: dict[str, Any], path: str, name: str) -> Any:
        """What the run was given, or a step has returned."""
        if path == scope.ROOT:
            return self._plan.parameters.get(name)
        if not row:
            return None
        if row["type"] == "task":
            record = self._known.record(path)
            stored = record["returns"].get(name) if record is not None else None
            return describe_stored(stored) if stored is not None else None
        try:
            found = Scope(self._plan, self._known, path).parameter(name, row["path"])
        except UnsuitableValue as error:
            return {"error": str(error)}
        return describe_stored(found[1]) if found is not None else None


def describe_stored(stored: Mapping[str, Any]) -> Any:
    """A stored parameter: its value, or a description of what is no JSON or is made where it is needed."""
    if stored["kind"] == "object":
        return {"object": stored["type"], "sha256": stored["sha256"], "size": stored["size"]}
    if stored["kind"] != "list":
        return stored["value"]
    reducer, items = stored["reducer"], stored["items"]
    if reducer is None or reducer == "list":
        return [describe_stored(one) for one in items]
    if reducer == "last":
        return describe_stored(items[-1])
    named = f"{reducer['module']}.{reducer['qualname']}" if isinstance(reducer, dict) else reducer
    return {"reducer": named, "items": len(items)}
