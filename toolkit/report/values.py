"""The values of a run's parameters as a person is shown them.

A run's records hold each value once, where it was produced. Here the value is looked up for each step that took it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.runtime.shared import scope
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue
from toolkit.store.verdict import Attempt

if TYPE_CHECKING:
    from toolkit.report.contract import ObjectDocument, ReducedDocument, ReferenceDocument
    from toolkit.runtime.shared.documents import EndRecord, InputRecord, JsonValue, StepRow, StoredValue

LARGE = 4096
"""Characters as JSON. A larger value that an item or an iteration takes from outside is shown by where it is from."""


class KnownRecords(RecordReader):
    """The end records of attempts that were read before.

    Args:
        attempts: of each task, by its path.
    """

    def __init__(self, run_folder: Path, attempts: Mapping[str, list[Attempt]]) -> None:
        super().__init__(str(run_folder))
        self._attempts = attempts

    def record(self, path: str) -> EndRecord | None:
        """The record of the newest attempt that succeeded, also by the engine's verdict; None if it can't be read."""
        if path not in self._attempts:
            return super().record(path)
        attempts = reversed(self._attempts[path])
        newest = next((attempt for attempt in attempts if attempt.status == "succeeded"), None)
        return newest.end if newest is not None and not newest.unread else None


class RunValues:
    """Looks up values. What many steps share, such as the list that a map iterates on, is looked up once."""

    def __init__(self, plan: RunPlan, records: KnownRecords) -> None:
        self._plan = plan
        self._records = records
        self._items: dict[str, list[JsonValue]] = {}
        self._sized_values: dict[tuple[str, str], tuple[JsonValue, int]] = {}

    def input_value(self, path: str, record: InputRecord) -> JsonValue:
        """The value that the step at ``path`` took.

        Args:
            record: says where the value is from. The result is None if the value is not there any more.
        """
        if "value" in record:
            return record["value"]
        source, name = record["from"], record["name"]
        row = self._row(source) if source != scope.ROOT else None
        inside = path[len(source) + 1 :].partition("/")[0] if path.startswith(source + "/") else ""
        if row is not None and inside.isdigit() and row.get("item") == name:
            return self._item(row, source, int(inside))
        if (source, name) not in self._sized_values:
            value = self._returned_value(row, source, name)
            self._sized_values[source, name] = value, len(json.dumps(value))
        value, size = self._sized_values[source, name]
        if size > LARGE and any(part.isdigit() for part in path.split("/")):
            # Each of many items may take the whole list that the items are from.
            reference: ReferenceDocument = {"from": source, "name": name, "size": size}
            return reference
        return value

    def final_parameters(self) -> dict[str, JsonValue]:
        """The run's own parameters at its end: the newest value of each name, or else what the run was given."""
        values = dict(self._plan.parameters)
        root = self._plan.scopes[scope.ROOT]
        pipeline = Scope(self._plan, self._records, root["steps"][0])
        for name in root["returns"]:
            try:
                resolved = pipeline.last(name, scope.ROOT, "")
            except UnsuitableValue as error:
                values[name] = {"error": str(error)}
                continue
            if resolved is not None:
                values[name] = describe_stored(resolved[1])
        return dict(sorted(values.items()))

    def _row(self, path: str) -> StepRow | None:
        trail = self._plan.trail(path)
        return trail[-1].row if trail else None

    def _item(self, row: StepRow, path: str, position: int) -> JsonValue:
        """The item of a map, or the number of a loop's iteration."""
        if row["type"] == "loop":
            return position
        if path not in self._items:
            try:
                self._items[path] = Scope(self._plan, self._records, path).items(row, path)
            except UnsuitableValue:
                self._items[path] = []
        items = self._items[path]
        return items[position] if position < len(items) else None

    def _returned_value(self, row: StepRow | None, path: str, name: str) -> JsonValue:
        """The value that a step returned, or that the run was given."""
        if path == scope.ROOT:
            return self._plan.parameters.get(name)
        if row is None:
            return None
        if row["type"] == "task":
            record = self._records.record(path)
            stored = record["returns"].get(name) if record is not None else None
            return describe_stored(stored) if stored is not None else None
        try:
            resolved = Scope(self._plan, self._records, path).parameter(name, row["path"])
        except UnsuitableValue as error:
            return {"error": str(error)}
        return describe_stored(resolved[1]) if resolved is not None else None


def describe_stored(stored: StoredValue) -> JsonValue:
    """The value of a stored parameter, or a description of one that is not JSON or is only made where a step takes it."""
    if stored["kind"] == "object":
        described: ObjectDocument = {
            "object": stored["type"],
            "sha256": stored["sha256"],
            "size": stored["size"],
        }
        return described
    if stored["kind"] != "list":
        return stored["value"]
    reducer, items = stored["reducer"], stored["items"]
    if reducer is None or reducer == "list":
        return [describe_stored(item) for item in items]
    if reducer == "last":
        return describe_stored(items[-1])
    name = reducer if isinstance(reducer, str) else f"{reducer['module']}.{reducer['qualname']}"
    reduced: ReducedDocument = {"reducer": name, "items": len(items)}
    return reduced
