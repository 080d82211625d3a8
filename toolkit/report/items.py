"""The items of maps by their values, where those are short: ``genre=Comedy`` says more than a position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.report.table import printable
from toolkit.runtime.shared import records
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope, UnsuitableValue
from toolkit.store.reader import newest_part

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue

SHORT = 40
"""The most characters, as JSON, of an item that is shown."""


class ItemValues:
    """Looks up the items that a path leads through. The list of a map is looked up once.

    Args:
        plan: the run's, with its parameters. known: the records of the run.
    """

    def __init__(self, plan: RunPlan, known: RecordReader) -> None:
        self._plan = plan
        self._records = known
        self._lists: dict[str, list[JsonValue]] = {}

    def of(self, path: str) -> dict[str, JsonValue]:
        """The short items of the maps around the row at ``path``, the outermost first, by the name that the map gives them."""
        if not any(part.isdigit() for part in path.split("/")):
            return {}
        found: dict[str, JsonValue] = {}
        for segment in self._plan.trail(path) or ():
            position = path[len(segment.path) + 1 :].split("/")[0]
            if segment.row["type"] != "map" or not position.isdigit():
                continue
            items = self.all(segment.path)
            item = items[int(position)] if items is not None and int(position) < len(items) else None
            if isinstance(item, (str, int, float)) and len(json.dumps(item, ensure_ascii=False)) <= SHORT:
                found[segment.row["item"]] = item
        return found

    def all(self, path: str) -> list[JsonValue] | None:
        """The items of the map at ``path``; None while they are not known here."""
        if path not in self._lists:
            trail = self._plan.trail(path)
            try:
                if not trail:
                    return None
                self._lists[path] = Scope(self._plan, self._records, path).items(trail[-1].row, path)
            except (UnsuitableValue, StoreFault, OSError, ValueError):
                return None
        return self._lists[path]

    def text(self, path: str) -> str:
        """The same as text; empty where there is no short item."""
        return item_text(self.of(path))


def item_text(items: dict[str, JsonValue]) -> str:
    """Items as a person is shown them: ``genre=Comedy year=1994``."""
    return printable(
        " ".join(
            f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in items.items()
        )
    )


def items_of_run(run_folder: Path) -> ItemValues | None:
    """The items of a run whose records are in a folder; None where its own can't be read."""
    try:
        record = records.read_run(str(newest_part(run_folder) / RUN_RECORD))
        if record is None:
            return None
        plan = RunPlan(records.parse_plan(record["plan"]), record["parameters"], record.get("spellings"))
    except (OSError, ValueError, KeyError):
        return None
    return ItemValues(plan, RecordReader(str(run_folder)))
