"""Finds what a step takes: which earlier record holds a parameter or a file, reading only the records that it needs.

It walks the plan outwards from a step: first what ran before the step in its own sequence, then what ran before in the sequence
around that, up to the run's own parameters. A composite's value is that of what ran inside it.
"""

from __future__ import annotations

import gzip
import os

from . import layout, records
from .catalog import BadKey, is_pattern, matches
from .protocol import END_RECORD, PARAMETERS_FILE, PLAN_FILE, SPELLINGS_FILE
from .stored_values import load_value
from .tree import ANY, HANDLER, ON_EXIT, STATUS, TOLD, Segment, Tree, branches, fill, join
from .values import as_json_text, item_spelling, list_spelling, parse_json_text, short_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from typing import Any, Optional

    from .documents import (
        CatalogEntry,
        EndingRecord,
        EndRecord,
        JsonValue,
        Parameters,
        PlanDocument,
        SettingsRow,
        StepRow,
        StoredValue,
    )

    ResolvedValue = tuple[str, StoredValue]
    """The path of the step that returned the value (ROOT for the run), and the value."""
    Sources = dict[str, list[tuple[CatalogEntry, str]]]
    """By the name of a file, its entries, each with the path of the step that put it. Several are of steps side by side."""

ROOT = ""
"""As a source of a parameter: the run's own parameters."""


class UnsuitableValue(Exception):
    """A value is not what its use needs; the message names both."""


class RunPlan(Tree):
    """The plan of this run as the runtime needs it.

    Args:
        document: the plan's JSON. parameters: of the run. spellings: the texts that spelled them, as far as they are kept.
    """

    def __init__(
        self, document: PlanDocument, parameters: Parameters, spellings: Optional[Mapping[str, str]] = None
    ) -> None:
        super().__init__(document)
        self.parameters: dict[str, JsonValue] = dict(parameters)
        self.spellings: dict[str, str] = dict(spellings or {})

    def step(self, path: str) -> Optional[StepRow]:
        """The row of the task that an instance path names, or None."""
        trail = self.trail(path)
        return trail[-1].row if trail and trail[-1].row["type"] == "task" else None

    def settings(self, step: StepRow) -> SettingsRow:
        """The settings of a task."""
        return self.document["settings"][step["settings"]]


def read_plan(folder: str) -> RunPlan:
    """The plan and the run's parameters out of the files in ``folder``.

    Raises:
        OSError, ValueError, EOFError: they can't be read.
    """
    plan = records.checked_plan(load_json(os.path.join(folder, PLAN_FILE)))
    spellings = os.path.join(folder, SPELLINGS_FILE)
    return RunPlan(
        plan,
        load_json(os.path.join(folder, PARAMETERS_FILE)),
        load_json(spellings) if os.path.exists(spellings) else None,
    )


def load_json(path: str) -> dict[str, Any]:
    """A compressed JSON object.

    Raises:
        OSError, ValueError, EOFError: it can't be read.
    """
    with gzip.open(path, "rb") as file:
        return records.parse(file.read())


class RecordReader:
    """The records of succeeded attempts, each read once.

    Args:
        run_folder: the folder of the run's records, as this process sees it.
        known: records that are not written yet, by path. least: the number of the first attempt whose success counts.
    """

    def __init__(self, run_folder: str, known: Optional[Mapping[str, EndRecord]] = None, least: int = 1) -> None:
        self._run_folder = run_folder
        self._least = least
        self.ending: Optional[EndingRecord] = None
        """How the run has ended, for the steps of on_exit."""
        self._read: dict[str, Optional[EndRecord]] = dict(known or {})

    def record(self, path: str) -> Optional[EndRecord]:
        """The record of the newest attempt of ``path`` that succeeded, or None."""
        if path not in self._read:
            self._read[path] = None
            for attempt in reversed(layout.attempts(self._run_folder, path)):
                if attempt < self._least:
                    break
                record = self._end(path, attempt)
                if record is not None and record.get("status") == "succeeded":
                    self._read[path] = record
                    break
        return self._read[path]

    def newest(self, path: str) -> Optional[EndRecord]:
        """The record of the newest successful attempt of ``path``; without one, that of the newest attempt that ended."""
        success = self.record(path)
        if success is not None:
            return success
        for attempt in reversed(layout.attempts(self._run_folder, path)):
            record = self._end(path, attempt)
            if record is not None:
                return record
        return None

    def _end(self, path: str, attempt: int) -> Optional[EndRecord]:
        return records.read_end(os.path.join(layout.attempt_folder(self._run_folder, path, attempt), END_RECORD))

    def positions(self, path: str) -> list[int]:
        """The iterations of a loop that have records, in ascending order."""
        return layout.attempts(self._run_folder, path)


class Scope:
    """The parameters and the files that the row at ``path`` can see.

    Args:
        plan: the run's plan. path: an instance path, of a task or of a composite.
        whole: whether a map gives a value only where each of its items has one.

    Raises:
        UnsuitableValue: the plan has no such row.
    """

    def __init__(self, plan: RunPlan, records: RecordReader, path: str, whole: bool = False) -> None:
        self._plan = plan
        self._records = records
        self._path = path
        self._whole = whole
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
            for segment in reversed(self._trail):
                before = self._plan.earlier(segment.template, segment.row["path"])
                resolved = self._of_sequence(segment.template, segment.instance, name, before)
                resolved = resolved or self._of_entry(segment.template, segment.instance, name)
                if resolved is not None:
                    return resolved
            if self._plan.is_of_exit(self._path):
                resolved = self._told(name) or self._of_sequence("", "", name, None)
                if resolved is not None:
                    return resolved
        if name in self._plan.parameters:
            return ROOT, _given(self._plan.parameters[name], self._plan.spellings.get(name))
        return None

    def last(self, name: str, scope: str, instance: str) -> Optional[ResolvedValue]:
        """A parameter as it is when a sequence inside this row has ended."""
        resolved = self._of_sequence(scope, instance, name, None)
        return resolved or self._of_entry(scope, instance, name) or self.parameter(name)

    def names(self) -> list[str]:
        """All the names that can be seen, sorted."""
        names = set(self._plan.parameters)
        for segment in self._trail:
            scope = self._plan.scopes[segment.template]
            before = self._plan.earlier(segment.template, segment.row["path"])
            names.update(
                name for name, indices in scope["returns"].items() if any(index in before for index in indices)
            )
            owner = self._owner(segment.template, segment.instance)
            if owner is not None:
                if owner.row.get("item") and owner.row["type"] in ("map", "loop"):
                    names.add(owner.row["item"])
                if owner.row["type"] == "loop":
                    names.update(scope["returns"])
        if self._plan.is_of_exit(self._path):
            names.update(self._plan.scopes[""]["returns"])
            names.update(TOLD)
        return sorted(names)

    def _told(self, name: str) -> Optional[ResolvedValue]:
        """What the steps of on_exit are told of the run's end; None for any other name, and where nobody knows it."""
        ending = self._records.ending
        if name not in TOLD or ending is None:
            return None
        return ON_EXIT, {"kind": "json", "value": ending["status"] if name == STATUS else list(ending["failed"])}

    def _owner(self, scope: str, instance: str) -> Optional[Segment]:
        """The row that a sequence is a branch of; None for the pipeline itself and for a handler."""
        if not instance:
            return None
        trail = self._plan.trail(instance)
        if trail is not None and trail[-1].row["type"] == "pipeline" and scope == trail[-1].row["path"]:
            return trail[-1]
        if self._failed_step(scope, instance) is not None:
            return None
        owner = self._plan.trail(instance.rpartition("/")[0])
        return owner[-1] if owner is not None else None

    def _failed_step(self, scope: str, instance: str) -> Optional[Segment]:
        """The step that a sequence is the handler of; None for other sequences."""
        outer, _, label = instance.rpartition("/")
        trail = self._plan.trail(outer) if label == HANDLER else None
        return trail[-1] if trail and trail[-1].row.get("handler") == scope else None

    def _of_entry(self, scope: str, instance: str, name: str) -> Optional[ResolvedValue]:
        """What a composite gives to its branch: the item, the index, and in a loop what earlier iterations returned."""
        owner = self._owner(scope, instance)
        if owner is None or owner.row["type"] not in ("map", "loop"):
            return None
        position = int(instance.rpartition("/")[2])
        if owner.row["type"] == "map":
            return self._item(owner, position) if owner.row["item"] == name else None
        if owner.row.get("item") == name:
            return owner.path, {"kind": "json", "value": position}
        for earlier in range(position - 1, -1, -1):
            resolved = self._of_sequence(scope, join(owner.path, str(earlier)), name, None)
            if resolved is not None:
                return resolved
        return None

    def _item(self, owner: Segment, position: int) -> Optional[ResolvedValue]:
        items, spelling = self._spelled_items(owner.row, owner.path)
        if position >= len(items):
            return None
        item = items[position]
        return owner.path, _given(item, item_spelling(spelling, position, item) if spelling is not None else None)

    def items(self, row: StepRow, path: str) -> list[JsonValue]:
        """The items of the map at the instance path ``path``.

        Raises:
            UnsuitableValue: the parameter that it iterates on has no value, or no list of JSON data.
        """
        return self._spelled_items(row, path)[0]

    def _spelled_items(self, row: StepRow, path: str) -> tuple[list[JsonValue], Optional[str]]:
        """The items, and the text that spelled their list, if one did."""
        name = row["parameter"]
        resolved = Scope(self._plan, self._records, path).parameter(name, row.get("source"))
        if resolved is None:
            raise UnsuitableValue(f"the map {path} iterates on {name}, which has no value")
        stored = resolved[1]
        if isinstance(stored.get("reducer"), dict):
            raise UnsuitableValue(
                f"the map {path} iterates on {name}, which a reducer makes and no record holds: return it from a task first"
            )
        if stored["kind"] in ("list", "object"):
            raise UnsuitableValue(
                f"the map {path} iterates on {name}, a pickled object, which can't be counted: return JSON"
            )
        given = load_value(stored)
        value = parse_json_text(given)
        if not isinstance(value, list):
            raise UnsuitableValue(f"the map {path} iterates on {name}, which is no list but {short_json(value)}")
        return value, given if isinstance(given, str) else stored.get("spelling")

    def _of_sequence(
        self, scope: str, instance: str, name: str, before: Optional[Container[int]]
    ) -> Optional[ResolvedValue]:
        """The newest of a name among the steps of a sequence at some positions (None: among all)."""
        sequence = self._plan.scopes[scope]
        for index in reversed(sequence["returns"].get(name, ())):
            if before is None or index in before:
                row = self._plan.rows[sequence["steps"][index]]
                resolved = self._of_row(row, join(instance, row["name"]), name)
                if resolved is not None:
                    return resolved
        return None

    def _of_row(self, row: StepRow, path: str, name: str) -> Optional[ResolvedValue]:
        """What a step or its handler returned. After a retry both may have run: then the newer one counts."""
        own = self._of_step(row, path, name)
        handler = row.get("handler")
        if handler is None:
            return own
        handled = self._of_sequence(handler, join(path, HANDLER), name, None)
        if own is None or handled is None:
            return own or handled
        return own if self._ended(own[0]) > self._ended(handled[0]) else handled

    def _ended(self, path: str) -> str:
        """When the attempt that succeeded ended; empty without one."""
        record = self._records.record(path)
        return record.get("ended", "") if record is not None else ""

    def _of_step(self, row: StepRow, path: str, name: str) -> Optional[ResolvedValue]:
        """What a step returned, or what runs inside it."""
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
                resolved = self._of_sequence(scope, join(path, str(position)), name, None)
                if resolved is not None:
                    return resolved
            return None
        # At most one branch of a conditional has run.
        for label, scope in reversed(branches(row)):
            resolved = self._of_sequence(scope, join(path, label), name, None)
            if resolved is not None:
                return resolved
        return None

    def _of_map(self, row: StepRow, path: str, name: str) -> Optional[ResolvedValue]:
        """The values of all items as a list, or what the reducer makes of them; None when no item has a value."""
        [(_, scope)] = branches(row)
        if name not in self._plan.scopes[scope]["returns"]:
            return None
        try:
            count = len(self.items(row, path))
        except UnsuitableValue:
            return None
        resolved: list[Optional[ResolvedValue]] = [None] * count
        for position in self._positions(path, count):
            resolved[position] = self._of_sequence(scope, f"{path}/{position}", name, None)
            if self._whole and resolved[position] is None:
                return None
        if count and not any(resolved):
            return None
        nothing: StoredValue = {"kind": "json", "value": None}
        items = [pair[1] if pair is not None else nothing for pair in resolved]
        reducer = row.get("reducer")
        if isinstance(reducer, dict) or any(item["kind"] in ("object", "list") for item in items):
            return path, {"kind": "list", "items": items, "reducer": reducer, "map": path, "name": name}
        value = reduce_values(reducer, [load_value(item) for item in items], path, name)
        return path, _given(value, _spelling_of_items(reducer, items, value))

    def _positions(self, path: str, count: int) -> Iterable[int]:
        """The positions of a map's items; where one without a value ends the search, those first that most likely have none.

        Items begin in order, also those that share a container. So these are the items after the one that this step is in.
        """
        inside = self._path[len(path) + 1 :].partition("/")[0] if self._path.startswith(path + "/") else ""
        first = int(inside) + 1 if self._whole and inside.isdigit() else 0
        return [*range(first, count), *range(min(first, count))]

    def for_functions(self, names: Iterable[str]) -> Iterator[StoredValue]:
        """The values of all items of each map around this step, under these names, where a function reduces them."""
        for segment in reversed(self._trail):
            reducer = segment.row.get("reducer")
            if segment.row["type"] == "map" and isinstance(reducer, dict):
                for name in names:
                    resolved = self._of_map(segment.row, segment.path, name)
                    if resolved is not None:
                        yield resolved[1]

    # --- files --------------------------------------------------------------------------------------------------------

    def files(self, key: str, step: Optional[str], is_name: bool = False) -> list[tuple[CatalogEntry, str]]:
        """The catalog entries that ``key`` stands for, each with the path of the step that put it. Newer ones hide older ones.

        A file that an item of a map put is named POSITION/key outside of the map.

        Args:
            step: the template path of the one step whose files are meant. is_name: whether the key is no pattern, whatever
                characters it has.

        Raises:
            BadKey: nothing was put under it, or two steps of which neither follows the other did.
        """
        name = os.path.normpath(key)
        pattern = _KeyPattern(name, is_name)
        sources = self._visible(pattern, step)
        if not sources:
            from .nearby import what_is_there

            everything = _KeyPattern(".")
            own, visible = self._visible(everything, step), self._visible(everything, None)
            whose = f"the step {step}" if step is not None else "no earlier step"
            raise BadKey(
                f"the step gets {key} from the catalog, but {whose} {'did not put' if step else 'put'} it there"
                + what_is_there(name, own, visible, step is not None)
            )
        for name in sorted(sources):
            if len(sources[name]) > 1:
                first, second = (source for _, source in sources[name][:2])
                raise BadKey(
                    f"the step gets {name} from the catalog, which both {first} and {second} put, side by side: "
                    + self._way_out(first, name)
                )
        return [sources[name][0] for name in sorted(sources)]

    def _way_out(self, source: str, name: str) -> str:
        """How a step gets one of two files of one name: by the other's path from a sequence around it, if there is one."""
        nearer: list[str] = []
        for segment in reversed(self._trail):
            own, template = (path and path + "/" for path in (segment.instance, segment.template))
            below = source[len(own) :]
            if source.startswith(own):
                positions = self._plan.positions
                is_hidden = any(around + below in self._plan.rows for around in nearer)
                if not is_hidden and len(positions(source)) == len(positions(segment.path)):
                    return f"name one of them, as in {below}:{name}"
                break
            nearer.append(template)
        return "give one of them another name"

    def put_side_by_side(self) -> dict[str, list[str]]:
        """The names that are put by several branches of this parallel, or else by the graph of which this is a step.

        Returns:
            For each name the paths of the steps that put it.
        """
        segment = self._trail[-1]
        if segment.row["type"] == "parallel":
            sources = self._put_by_row({**segment.row, "handler": None}, self._path, _KeyPattern("."))
        else:
            sources = self._put_by_graph(segment.template, segment.instance, _KeyPattern("."), None)
        return {name: [source for _, source in sources[name]] for name in sorted(sources) if len(sources[name]) > 1}

    def _visible(self, pattern: _KeyPattern, step: Optional[str]) -> Sources:
        """The files that a key stands for."""
        sources: Sources = {}
        if step is not None:
            path = fill(step, self._plan.positions(self._path))
            trail = self._plan.trail(path)
            if trail is not None:
                sources = self._put_by_row(trail[-1].row, path, pattern)
        else:
            for segment in reversed(self._trail):
                scope, instance = segment.template, segment.instance
                before = self._plan.earlier(scope, segment.row["path"])
                _add_older(sources, self._put_by_sequence(scope, instance, pattern, before))
                failed = self._failed_step(scope, instance)
                if failed is not None:
                    # What a failed step had written is kept, and its handler may read it.
                    _add_older(sources, self._put_by_row({**failed.row, "handler": None}, failed.path, pattern))
                owner = self._owner(scope, instance)
                if owner is not None and owner.row["type"] == "loop":
                    for earlier in range(int(instance.rpartition("/")[2]) - 1, -1, -1):
                        iteration = join(owner.path, str(earlier))
                        _add_older(sources, self._put_by_sequence(scope, iteration, pattern, None))
                if pattern.name in sources:
                    break
            if self._plan.is_of_exit(self._path) and pattern.name not in sources:
                _add_older(sources, self._put_by_sequence("", "", pattern, None))
        return sources

    def files_of(self, path: str) -> Sources:
        """All files that a step would find which comes after the row, the branch or the item at an instance path.

        Args:
            path: is around this row, or its own; the empty path is that of the pipeline.
        """
        everything = _KeyPattern(".")
        for segment in self._trail:
            if segment.instance == path:
                return self._put_by_sequence(segment.template, path, everything, None)
            if segment.path == path:
                return self._put_by_row(segment.row, path, everything)
        return {}

    def _put_by_sequence(
        self, scope: str, instance: str, pattern: _KeyPattern, before: Optional[Container[int]]
    ) -> Sources:
        """The files that the steps of a sequence at some positions (None: all of them) put."""
        sequence = self._plan.scopes[scope]
        sources: Sources = {}
        if "after" in sequence:
            return self._put_by_graph(scope, instance, pattern, before)
        for index in reversed(sequence["puts"]):
            if before is None or index in before:
                row = self._plan.rows[sequence["steps"][index]]
                _add_older(sources, self._put_by_row(row, join(instance, row["name"]), pattern))
                if pattern.name in sources:
                    break
        return sources

    def _put_by_graph(
        self, scope: str, instance: str, pattern: _KeyPattern, before: Optional[Container[int]]
    ) -> Sources:
        """As ``_put_by_sequence``, of a graph: of two steps that put one name, one is the newer only if it follows the other."""
        sequence = self._plan.scopes[scope]
        found: dict[str, list[tuple[int, list[tuple[CatalogEntry, str]]]]] = {}
        for index in sequence["puts"]:
            if before is None or index in before:
                row = self._plan.rows[sequence["steps"][index]]
                for name, entries in self._put_by_row(row, join(instance, row["name"]), pattern).items():
                    found.setdefault(name, []).append((index, entries))
        sources: Sources = {}
        for name, puts in found.items():
            older: set[int] = set()
            for index, _ in puts if len(puts) > 1 else ():
                older.update(self._plan.earlier(scope, sequence["steps"][index]))
            sources[name] = [entry for index, entries in puts if index not in older for entry in entries]
        return sources

    def _put_by_row(self, row: StepRow, path: str, pattern: _KeyPattern) -> Sources:
        """The files that a step put, what runs inside it, or its handler."""
        sources: Sources = {}
        handler = row.get("handler")
        if handler is not None:
            sources = self._put_by_sequence(handler, join(path, HANDLER), pattern, None)
        kind = row["type"]
        if kind == "task":
            record = self._records.newest(path)
            for entry in record["catalog"]["put"] if record is not None else ():
                if pattern.fits(entry["name"]) and entry["name"] not in sources:
                    sources[entry["name"]] = [(entry, path)]
        elif kind == "pipeline":
            _add_older(sources, self._put_by_sequence(row["path"], path, pattern, None))
        elif kind == "map":
            self._put_by_map(row, path, pattern, sources)
        elif kind == "loop":
            [(_, scope)] = branches(row)
            for position in reversed(self._records.positions(path)):
                _add_older(sources, self._put_by_sequence(scope, join(path, str(position)), pattern, None))
        else:
            beside: Sources = {}
            for label, scope in branches(row):
                for name, entries in self._put_by_sequence(scope, join(path, label), pattern, None).items():
                    beside.setdefault(name, []).extend(entries)
            _add_older(sources, beside)
        return sources

    def _put_by_map(self, row: StepRow, path: str, pattern: _KeyPattern, sources: Sources) -> None:
        """Adds the files that the items of a map put."""
        [(_, scope)] = branches(row)
        first = pattern.name.split("/")[0]
        try:
            count = len(self.items(row, path))
        except UnsuitableValue:
            return
        for position in [int(first)] if first.isdigit() else range(count):
            if position >= count:
                continue
            inner = self._put_by_sequence(scope, f"{path}/{position}", pattern.below(str(position)), None)
            for name, entries in inner.items():
                outer = f"{position}/{name}"
                if pattern.fits(outer) and outer not in sources:
                    sources[outer] = [({**entry, "name": outer}, source) for entry, source in entries]


def _spelling_of_items(reducer: Optional[str], items: list[StoredValue], value: JsonValue) -> Optional[str]:
    """The spelling of what a reducer has made of the values of a map's items, where one of those has a spelling."""
    if reducer == "sum" or not any("spelling" in item for item in items):
        return None
    if reducer is None or reducer == "list":
        return list_spelling([item.get("spelling") or as_json_text(load_value(item)) for item in items])
    # The last, the largest and the smallest are one of the items.
    return next((item.get("spelling") for item in reversed(items) if load_value(item) is value), None)


def _given(value: JsonValue, spelling: Optional[str]) -> StoredValue:
    return (
        {"kind": "json", "value": value} if spelling is None else {"kind": "json", "value": value, "spelling": spelling}
    )


class _KeyPattern:
    """What a key stands for: a file, all files of a folder, or all that a glob pattern matches."""

    def __init__(self, name: str, is_name: bool = False) -> None:
        self.name = name
        self.is_pattern = not is_name and is_pattern(name)

    def fits(self, name: str) -> bool:
        """Whether the key stands for the file ``name``, among others."""
        if name == self.name or name.startswith(self.name + "/") or self.name == ".":
            return True
        return self.is_pattern and matches(self.name, name)

    def below(self, position: str) -> _KeyPattern:
        """The key for an item's own files, without the position; where there is no such key, one for all files."""
        first, _, rest = self.name.partition("/")
        return _KeyPattern(rest, True) if first == position and rest and not self.is_pattern else _KeyPattern(".")


def _add_older(sources: Sources, older: Sources) -> None:
    """Adds files that were put earlier, under names that nothing newer has."""
    for name, entries in older.items():
        sources.setdefault(name, entries)


def reduce_values(reducer: Optional[str], values: list[Any], path: str, name: str) -> JsonValue:
    """Applies one of the reducers that have a name to the values of a map's items.

    Args:
        reducer: list, last, sum, max or min; None is list. path, name: the map's and the parameter's, for the message.

    Raises:
        UnsuitableValue: the reducer does not take these values.
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
        why = "there are no items" if not values else str(error)
        raise UnsuitableValue(
            f"the reducer {reducer} of the map {path} can't make one value of {name}: {why}"
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
