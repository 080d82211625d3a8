"""The values of a run's parameters as a person is shown them.

A run's records hold each value once, where it was produced. Here the value is looked up for each step that took it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.runtime.shared import records, scope
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import LARGEST_IN_RECORD, REDUCED_RECORD
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue
from toolkit.runtime.shared.stored_values import load_value, value_digest
from toolkit.runtime.shared.values import encode_value
from toolkit.store.verdict import Attempt

if TYPE_CHECKING:
    from toolkit.report.contract import LargeDocument, ObjectDocument, ReducedDocument, ReferenceDocument
    from toolkit.runtime.shared.documents import EndRecord, InputRecord, JsonValue, StepRow, StoredValue
    from toolkit.runtime.shared.scope import ResolvedValue

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

    def newest(self, path: str) -> EndRecord | None:
        """The record of the attempt that counts for the files of a step (:func:`counting_attempt`)."""
        if path not in self._attempts:
            return super().newest(path)
        counting = counting_attempt(self._attempts[path])
        return counting.end if counting is not None else None

    def reduced(self) -> dict[str, StoredValue]:
        """What reducers made of the values of maps' items, by the hash of those, as far as an attempt recorded it."""
        known: dict[str, StoredValue] = {}
        for attempt in (attempt for attempts in self._attempts.values() for attempt in attempts):
            try:
                record = records.read_reduced(os.path.join(attempt.folder, REDUCED_RECORD))
            except (OSError, ValueError):
                record = None
            known.update(record["reduced"] if record is not None else {})
            known.update(
                (taken["sha256"], taken["reduced"])
                for taken in attempt.end.get("inputs", {}).values()
                if "reduced" in taken
            )
        return known


def counting_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt whose files count: the newest that succeeded; without one, the newest that has a record of its end."""
    ended = [attempt for attempt in attempts if attempt.end and not attempt.unread]
    return next((attempt for attempt in reversed(ended) if attempt.status == "succeeded"), ended[-1] if ended else None)


_NOTHING = object()


def _large(kind: str, size: int, sha256: str) -> LargeDocument:
    return {"kind": kind, "size": size, "sha256": sha256}


class RunValues:
    """Looks up values. What many steps share, such as the list that a map iterates on, is looked up once.

    Args:
        whole: whether values above 1 MiB are shown, too, and not only described. Then a missing one is a StoreFault.
    """

    def __init__(self, plan: RunPlan, known: KnownRecords, whole: bool = False) -> None:
        self._plan = plan
        self._records = known
        self._whole = whole
        self._items: dict[str, list[JsonValue]] = {}
        self._sized_values: dict[tuple[str, str], tuple[JsonValue, int]] = {}

    def input_value(self, path: str, record: InputRecord) -> JsonValue:
        """The value that the step at ``path`` took.

        Args:
            record: says where the value is from. The result is None if the value is not there any more.
        """
        if "value" in record:
            return self._sized(record["value"])[0]
        source, name = record["from"], record["name"]
        row = self._row(source) if source != scope.ROOT else None
        inside = path[len(source) + 1 :].partition("/")[0] if path.startswith(source + "/") else ""
        if row is not None and inside.isdigit() and row.get("item") == name:
            return self._sized(self._item(row, source, int(inside)))[0]
        if "reduced" in record:
            value, size = self._sized_stored(record["reduced"])
        else:
            if (source, name) not in self._sized_values:
                self._sized_values[source, name] = self._returned_value(row, source, name)
            value, size = self._sized_values[source, name]
        if size > LARGE and any(part.isdigit() for part in path.split("/")):
            # Each of many items may take the whole list that the items are from.
            reference: ReferenceDocument = {"from": source, "name": name, "size": size}
            return reference
        return value

    def output_value(self, stored: StoredValue) -> JsonValue:
        """A value that a step returned."""
        return self._sized_stored(stored)[0]

    def final_parameters(self) -> dict[str, JsonValue]:
        """The run's own parameters at its end: the newest value of each name, or else what the run was given."""
        values = {name: self._sized(value)[0] for name, value in self._plan.parameters.items()}
        root = self._plan.scopes[scope.ROOT]
        pipeline = Scope(self._plan, self._records, root["steps"][0])
        for name in root["returns"]:
            shown, _ = self._sized_resolved(partial(pipeline.last, name, scope.ROOT, ""))
            if shown is not _NOTHING:
                values[name] = shown
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
            except StoreFault:
                if self._whole:
                    raise
                self._items[path] = []
        items = self._items[path]
        return items[position] if position < len(items) else None

    def _returned_value(self, row: StepRow | None, path: str, name: str) -> tuple[JsonValue, int]:
        """The value that a step returned, or that the run was given, with its size."""
        if path == scope.ROOT:
            return self._sized(self._plan.parameters.get(name))
        if row is None:
            return None, 0
        if row["type"] == "task":
            record = self._records.record(path)
            stored = record["returns"].get(name) if record is not None else None
            return self._sized_stored(stored) if stored is not None else (None, 0)
        shown, size = self._sized_resolved(partial(Scope(self._plan, self._records, path).parameter, name, row["path"]))
        return (None, 0) if shown is _NOTHING else (shown, size)

    # --- how a value is shown ---------------------------------------------------------------------------------------

    def _sized_resolved(self, find: Callable[[], ResolvedValue | None]) -> tuple[JsonValue, int]:
        """The value that is found as it is shown, with its size; _NOTHING where there is none."""
        try:
            resolved = find()
            return (_NOTHING, 0) if resolved is None else self._sized_stored(resolved[1])
        except UnsuitableValue as error:
            return {"error": str(error)}, 0
        except StoreFault as error:
            if self._whole:
                raise
            return {"error": str(error)}, 0

    def _sized_stored(self, stored: StoredValue) -> tuple[JsonValue, int]:
        if "offset" in stored and not self._whole:
            return _large(stored["kind"], stored["size"], stored["sha256"]), stored["size"]
        return self._sized(self._described(stored), "metric" if stored["kind"] == "metric" else "json")

    def _sized(self, value: JsonValue, kind: str = "json") -> tuple[JsonValue, int]:
        """A value as it is shown, and its size: its characters as JSON."""
        size = len(json.dumps(value))
        if size > LARGEST_IN_RECORD and not self._whole:
            data = encode_value(value)
            if len(data) > LARGEST_IN_RECORD:
                return _large(kind, len(data), hashlib.sha256(data).hexdigest()), size
        return value, size

    def _described(self, stored: StoredValue) -> JsonValue:
        """A stored value, or a description of one that is not JSON or that nobody has made."""
        if stored["kind"] == "object":
            described: ObjectDocument = {
                "object": stored["type"],
                "sha256": stored["sha256"],
                "size": stored["size"],
            }
            return described
        if stored["kind"] != "list":
            return load_value(stored)
        reducer, items = stored["reducer"], stored["items"]
        if reducer is None or reducer == "list":
            return [self._described(item) for item in items]
        if reducer == "last":
            return self._described(items[-1])
        known = self._reduced.get(value_digest(stored))
        if known is not None:
            return load_value(known)
        name = reducer if isinstance(reducer, str) else f"{reducer['module']}.{reducer['qualname']}"
        reduced: ReducedDocument = {"reducer": name, "items": len(items)}
        return reduced

    @cached_property
    def _reduced(self) -> dict[str, StoredValue]:
        """What reducers made, by the hash of what they made it of, as far as an attempt recorded it."""
        return self._records.reduced()
