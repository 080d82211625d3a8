"""Finds what a step takes: which earlier record holds a parameter or a file, reading only the records that it needs.

It walks the plan outwards from a step's place: what ran before it in its own sequence, then in the one around it, up to the
run's own parameters. A composite's value is that of what ran inside it (design, Parameters).
"""

from __future__ import annotations

import gzip
import json
import os

from . import layout, records
from .catalog import BadKey, is_pattern, matches
from .protocol import END_RECORD, PARAMETERS_FILE, PLAN_FILE
from .tree import ANY, HANDLER, Segment, Tree, branches, fill, join
from .values import parse_json_text, short_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    Stored = dict[str, Any]
    """A parameter as records have it: kind json or metric with value, kind object with sha256, size and type; or, out of a map
    whose items returned objects or that has a function for its reducer, kind list with items and reducer."""
    ResolvedValue = tuple[str, Stored]
    """The path of what returned it (ROOT for the run) and the value."""

ROOT = ""
"""As a source of a parameter: the run's own parameters."""


class UnsuitableValue(Exception):
    """A value is not what its use needs; the message names both."""


class RunPlan(Tree):
    """The plan of this run as the runtime needs it.

    Args:
        document: the plan's JSON. parameters: of the run.
    """

    def __init__(self, document: dict[str, Any], parameters: Mapping[str, Any]) -> None:
        super().__init__(document)
        self.parameters = dict(parameters)

    def step(self, path: str) -> Optional[dict[str, Any]]:
        """The row of the task that an instance path names, or None."""
        trail = self.trail(path)
        return trail[-1].row if trail and trail[-1].row["type"] == "task" else None

    def settings(self, step: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.document["settings"][step["settings"]]
        return found


def read_plan(folder: str) -> RunPlan:
    """The plan and the root parameters that lie in ``folder``.

    Raises:
        OSError, ValueError, EOFError: they can't be read.
    """
    return RunPlan(load_json(os.path.join(folder, PLAN_FILE)), load_json(os.path.join(folder, PARAMETERS_FILE)))


def load_json(path: str) -> dict[str, Any]:
    """A compressed JSON object."""
    with gzip.open(path, "rb") as file:
        document: dict[str, Any] = json.loads(file.read())
    return document


class RecordReader:
    """The records of succeeded attempts, each read once.

    Args:
        run_folder: the folder of the run's records, on this side.
        known: records that are not written yet, by path. least: the number of the first attempt whose success counts.
    """

    def __init__(self, run_folder: str, known: Optional[dict[str, dict[str, Any]]] = None, least: int = 1) -> None:
        self._run_folder = run_folder
        self._least = least
        self._read: dict[str, Optional[dict[str, Any]]] = dict(known or {})

    def record(self, path: str) -> Optional[dict[str, Any]]:
        """The record of the newest attempt of ``path`` that succeeded, or None."""
        if path not in self._read:
            self._read[path] = None
            for attempt in reversed(layout.attempts(self._run_folder, path)):
                if attempt < self._least:
                    break
                record = records.read(os.path.join(layout.attempt_folder(self._run_folder, path, attempt), END_RECORD))
                if record is not None and record.get("status") == "succeeded":
                    self._read[path] = record
                    break
        return self._read[path]

    def newest(self, path: str) -> Optional[dict[str, Any]]:
        """The record of the newest attempt of ``path`` that has one, however it ended: of what it put into the catalog."""
        found = self.record(path)
        if found is not None:
            return found
        for attempt in reversed(layout.attempts(self._run_folder, path)):
            record = records.read(os.path.join(layout.attempt_folder(self._run_folder, path, attempt), END_RECORD))
            if record is not None:
                return record
        return None

    def positions(self, path: str) -> list[int]:
        """The iterations of a loop that have records, in ascending order."""
        return layout.attempts(self._run_folder, path)


class Scope:
    """What the row at ``path`` can see.

    Args:
        plan: the run's plan. path: an instance path, of a task or of a composite.
    """

    def __init__(self, plan: RunPlan, records: RecordReader, path: str) -> None:
        self._plan = plan
        self._records = records
        self._path = path
        trail = plan.trail(path)
        if trail is None:
            raise UnsuitableValue(f"the plan has no step {path}")
        self._trail = trail

    # --- parameters ---------------------------------------------------------------------------------------------------

    def parameter(self, name: str, step: Optional[str] = None) -> Optional[ResolvedValue]:
        """A parameter by name as its source (a path, or ROOT) and its stored form; None when nothing has it.

        Args:
            step: the template path of the one step whose return it is, or ROOT.

        Raises:
            UnsuitableValue: a reducer can't make a value of what it is given.
        """
        if step is not None and step != ROOT:
            path = fill(step, self._plan.positions(self._path))
            trail = self._plan.trail(path)
            return self._of_row(trail[-1].row, path, name) if trail else None
        if step is None:
            for place in reversed(self._trail):
                before = self._plan.scopes[place.template]["positions"][place.row["path"]]
                found = self._of_sequence(place.template, place.instance, name, before)
                found = found or self._of_entry(place, name)
                if found is not None:
                    return found
        if name in self._plan.parameters:
            return ROOT, {"kind": "json", "value": self._plan.parameters[name]}
        return None

    def last(self, name: str, scope: str, instance: str) -> Optional[ResolvedValue]:
        """A parameter as it is when a sequence inside the place of this scope has ended."""
        found = self._of_sequence(scope, instance, name, None)
        return found or self._of_entry(self._inside(scope, instance), name) or self.parameter(name)

    def names(self) -> list[str]:
        """All the names that can be seen, sorted."""
        found = set(self._plan.parameters)
        for place in self._trail:
            scope = self._plan.scopes[place.template]
            before = scope["positions"][place.row["path"]]
            found.update(name for name, indices in scope["returns"].items() if indices[0] < before)
            owner = self._owner(place)
            if owner is not None:
                if owner.row.get("item") and owner.row["type"] in ("map", "loop"):
                    found.add(owner.row["item"])
                if owner.row["type"] == "loop":
                    found.update(scope["returns"])
        return sorted(found)

    def _inside(self, scope: str, instance: str) -> Segment:
        return Segment(scope, instance, {"name": ""})

    def _owner(self, place: Segment) -> Optional[Segment]:
        """The row in one of whose branches a place is; None in the pipeline itself and in a handler."""
        if not place.instance:
            return None
        trail = self._plan.trail(place.instance)
        if trail is not None and trail[-1].row["type"] == "pipeline" and place.template == trail[-1].row["path"]:
            return trail[-1]
        if self._handled(place) is not None:
            return None
        owner = self._plan.trail(place.instance.rpartition("/")[0])
        return owner[-1] if owner is not None else None

    def _handled(self, place: Segment) -> Optional[Segment]:
        """The step whose handler a place is in; None elsewhere."""
        outer, _, label = place.instance.rpartition("/")
        trail = self._plan.trail(outer) if label == HANDLER else None
        return trail[-1] if trail and trail[-1].row.get("handler") == place.template else None

    def _of_entry(self, place: Segment, name: str) -> Optional[ResolvedValue]:
        """What a branch is given by its composite: its item, its index, and in a loop what came before."""
        owner = self._owner(place)
        if owner is None or owner.row["type"] not in ("map", "loop"):
            return None
        position = int(place.instance.rpartition("/")[2])
        if owner.row["type"] == "map":
            return self._item(owner, position) if owner.row["item"] == name else None
        if owner.row.get("item") == name:
            return owner.path, {"kind": "json", "value": position}
        for earlier in range(position - 1, -1, -1):
            found = self._of_sequence(place.template, join(owner.path, str(earlier)), name, None)
            if found is not None:
                return found
        return None

    def _item(self, owner: Segment, position: int) -> Optional[ResolvedValue]:
        items = self.items(owner.row, owner.path)
        return (owner.path, {"kind": "json", "value": items[position]}) if position < len(items) else None

    def items(self, row: dict[str, Any], path: str) -> list[Any]:
        """What a map iterates on.

        Raises:
            UnsuitableValue: it is nowhere, or no list of JSON data.
        """
        name = row["parameter"]
        found = Scope(self._plan, self._records, path).parameter(name)
        if found is None:
            raise UnsuitableValue(f"the map {path} iterates on {name}, which is nowhere")
        if isinstance(found[1].get("reducer"), dict):
            raise UnsuitableValue(
                f"the map {path} iterates on {name}, which a reducer makes and no record holds: return it from a task first"
            )
        if found[1]["kind"] in ("list", "object"):
            raise UnsuitableValue(
                f"the map {path} iterates on {name}, a pickled object, which can't be counted: return JSON"
            )
        value = parse_json_text(found[1]["value"])
        if not isinstance(value, list):
            raise UnsuitableValue(f"the map {path} iterates on {name}, which is no list but {short_json(value)}")
        return value

    def _of_sequence(self, scope: str, instance: str, name: str, before: Optional[int]) -> Optional[ResolvedValue]:
        """The newest of a name among the steps of a sequence before a position (None: among all)."""
        known = self._plan.scopes[scope]
        for index in reversed(known["returns"].get(name, ())):
            if before is None or index < before:
                row = self._plan.rows[known["steps"][index]]
                found = self._of_row(row, join(instance, row["name"]), name)
                if found is not None:
                    return found
        return None

    def _of_row(self, row: dict[str, Any], path: str, name: str) -> Optional[ResolvedValue]:
        """What a step returned, or its handler in its place: of a run that goes on after a failure, whichever is newer."""
        own = self._of_itself(row, path, name)
        if row.get("handler") is None:
            return own
        handled = self._of_sequence(row["handler"], join(path, HANDLER), name, None)
        if own is None or handled is None:
            return own or handled
        ended = [(self._records.record(found[0]) or {}).get("ended", "") for found in (own, handled)]
        return own if ended[0] > ended[1] else handled

    def _of_itself(self, row: dict[str, Any], path: str, name: str) -> Optional[ResolvedValue]:
        """What a step returned, by itself or by what runs inside it."""
        kind = row["type"]
        if kind == "task":
            record = self._records.record(path)
            return (path, record["returns"][name]) if record is not None and name in record["returns"] else None
        if kind == "pipeline":
            return self._of_sequence(row["path"], path, name, None)
        if kind == "map":
            return self._of_map(row, path, name)
        if kind == "loop":
            [(_, scope)] = branches(row)
            for position in reversed(self._records.positions(path)):
                found = self._of_sequence(scope, join(path, str(position)), name, None)
                if found is not None:
                    return found
            return None
        # Of a conditional at most one branch has run.
        for label, scope in reversed(branches(row)):
            found = self._of_sequence(scope, join(path, label), name, None)
            if found is not None:
                return found
        return None

    def _of_map(self, row: dict[str, Any], path: str, name: str) -> Optional[ResolvedValue]:
        """The values of all items, as a list or as the reducer makes of them; None of a map none of whose items has one."""
        [(_, scope)] = branches(row)
        if name not in self._plan.scopes[scope]["returns"]:
            return None
        try:
            count = len(self.items(row, path))
        except UnsuitableValue:
            return None
        found = [self._of_sequence(scope, f"{path}/{position}", name, None) for position in range(count)]
        if count and all(one is None for one in found):
            return None
        items = [one[1] if one is not None else {"kind": "json", "value": None} for one in found]
        reducer = row.get("reducer")
        if isinstance(reducer, dict) or any(one["kind"] in ("object", "list") for one in items):
            return path, {"kind": "list", "items": items, "reducer": reducer, "map": path, "name": name}
        value = reduce_values(reducer, [one["value"] for one in items], path, name)
        return path, {"kind": "json", "value": value}

    # --- files --------------------------------------------------------------------------------------------------------

    def files(self, key: str, step: Optional[str]) -> list[tuple[dict[str, Any], str]]:
        """The catalog entries that ``key`` stands for, each with the path of the step that put it; the newest win.

        A file that an item of a map put is named POSITION/key outside of it.

        Args:
            step: the template path of the one step whose files are meant.

        Raises:
            BadKey: nothing was put under it, or two steps of which neither follows the other did.
        """
        name = os.path.normpath(key)
        wanted = _KeyPattern(name)
        found: dict[str, list[tuple[dict[str, Any], str]]] = {}
        if step is not None:
            path = fill(step, self._plan.positions(self._path))
            trail = self._plan.trail(path)
            if trail is not None:
                found = self._put_by_row(trail[-1].row, path, wanted)
        else:
            for place in reversed(self._trail):
                before = self._plan.scopes[place.template]["positions"][place.row["path"]]
                _add_older(found, self._put_by_sequence(place.template, place.instance, wanted, before))
                failed = self._handled(place)
                if failed is not None:
                    # What a failing step had written is kept, and its handler may look at it.
                    _add_older(found, self._put_by_row({**failed.row, "handler": None}, failed.path, wanted))
                owner = self._owner(place)
                if owner is not None and owner.row["type"] == "loop":
                    for earlier in range(int(place.instance.rpartition("/")[2]) - 1, -1, -1):
                        there = join(owner.path, str(earlier))
                        _add_older(found, self._put_by_sequence(place.template, there, wanted, None))
                if name in found:
                    break
        if not found:
            whose = f"the step {step}" if step is not None else "no earlier step"
            raise BadKey(
                f"the step gets {key} from the catalog, but {whose} {'did not put' if step else 'put'} it there"
            )
        for one in sorted(found):
            if len(found[one]) > 1:
                first, second = (source for _, source in found[one][:2])
                raise BadKey(
                    f"the step gets {one} from the catalog, which both {first} and {second} put, side by side: "
                    f"name one of them, as in {first}:{one}"
                )
        return [found[one][0] for one in sorted(found)]

    def _put_by_sequence(
        self, scope: str, instance: str, wanted: _KeyPattern, before: Optional[int]
    ) -> dict[str, list[tuple[dict[str, Any], str]]]:
        known = self._plan.scopes[scope]
        found: dict[str, list[tuple[dict[str, Any], str]]] = {}
        for index in reversed(known["puts"]):
            if before is None or index < before:
                row = self._plan.rows[known["steps"][index]]
                _add_older(found, self._put_by_row(row, join(instance, row["name"]), wanted))
                if wanted.name in found:
                    break
        return found

    def _put_by_row(
        self, row: dict[str, Any], path: str, wanted: _KeyPattern
    ) -> dict[str, list[tuple[dict[str, Any], str]]]:
        found: dict[str, list[tuple[dict[str, Any], str]]] = {}
        if row.get("handler") is not None:
            found = self._put_by_sequence(row["handler"], join(path, HANDLER), wanted, None)
        kind = row["type"]
        if kind == "task":
            record = self._records.newest(path)
            for entry in record["catalog"]["put"] if record is not None else ():
                if wanted.fits(entry["name"]) and entry["name"] not in found:
                    found[entry["name"]] = [(entry, path)]
        elif kind == "pipeline":
            _add_older(found, self._put_by_sequence(row["path"], path, wanted, None))
        elif kind == "map":
            self._put_by_map(row, path, wanted, found)
        elif kind == "loop":
            [(_, scope)] = branches(row)
            for position in reversed(self._records.positions(path)):
                _add_older(found, self._put_by_sequence(scope, join(path, str(position)), wanted, None))
        else:
            beside: dict[str, list[tuple[dict[str, Any], str]]] = {}
            for label, scope in branches(row):
                for name, entries in self._put_by_sequence(scope, join(path, label), wanted, None).items():
                    beside.setdefault(name, []).extend(entries)
            _add_older(found, beside)
        return found

    def _put_by_map(
        self, row: dict[str, Any], path: str, wanted: _KeyPattern, found: dict[str, list[tuple[dict[str, Any], str]]]
    ) -> None:
        [(_, scope)] = branches(row)
        first = wanted.name.split("/")[0]
        try:
            count = len(self.items(row, path))
        except UnsuitableValue:
            return
        for position in [int(first)] if first.isdigit() else range(count):
            if position >= count:
                continue
            inner = self._put_by_sequence(scope, f"{path}/{position}", wanted.below(str(position)), None)
            for name, entries in inner.items():
                outer = f"{position}/{name}"
                if wanted.fits(outer) and outer not in found:
                    found[outer] = [({**entry, "name": outer}, source) for entry, source in entries]


class _KeyPattern:
    """What a key stands for: one file, all files of a folder, or all that a pattern matches."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fits(self, name: str) -> bool:
        if name == self.name or name.startswith(self.name + "/") or self.name == ".":
            return True
        return is_pattern(self.name) and matches(self.name, name)

    def below(self, position: str) -> _KeyPattern:
        """What is asked of an item's own files; where that can't be said, all of them."""
        first, _, rest = self.name.partition("/")
        return _KeyPattern(rest) if first == position and rest and not is_pattern(rest) else _KeyPattern(".")


def _add_older(
    found: dict[str, list[tuple[dict[str, Any], str]]], older: dict[str, list[tuple[dict[str, Any], str]]]
) -> None:
    """Adds what was put earlier, under names that nothing newer has."""
    for name, entries in older.items():
        found.setdefault(name, entries)


def reduce_values(reducer: Optional[str], values: list[Any], path: str, name: str) -> Any:
    """What a reducer that has a name makes of the values of a map's items.

    Raises:
        UnsuitableValue: they are not what it takes.
    """
    if reducer is None or reducer == "list":
        return values
    try:
        if reducer == "last":
            return values[-1]
        if reducer == "sum":
            return sum(values)
        return max(values) if reducer == "max" else min(values)
    except (TypeError, ValueError, IndexError) as error:
        what = "there are no items" if not values else str(error)
        raise UnsuitableValue(
            f"the reducer {reducer} of the map {path} can't make one value of {name}: {what}"
        ) from None


__all__ = [
    "ANY",
    "ROOT",
    "RecordReader",
    "RunPlan",
    "Scope",
    "UnsuitableValue",
    "load_json",
    "read_plan",
    "reduce_values",
]
