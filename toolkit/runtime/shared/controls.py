"""Control values: how many items a map has, which branch a conditional takes, whether a loop goes on.

The task that ended last before a composite computes its value, so that a cluster can go on without a container of ours; the
same values, out of the same records, lead a run on this machine. A value is kept by the instance path of what it is for: of a map
its count, of a conditional the label of its branch, of a loop's iteration whether another one follows. What can't be computed is an
error with its sentence (:func:`control_error`), and fails the composite.
"""

from __future__ import annotations

import json
import os

from .scope import RecordReader, RunPlan, Scope, UnsuitableValue
from .tree import DEFAULT, branches, depth, fill
from .values import short_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from .tree import Tree

    Reduce = Callable[[dict[str, Any], list[dict[str, Any]]], Any]
    """Applies a reducer that is a function to stored values; gives JSON data."""

CONTROL_FOLDER = "/tmp/toolkit-control"
"""Where a cluster reads the values from, in a container that has ended."""
LARGEST_FAN_OUT = 131_072
"""Bytes of the items of one fan-out over values of its own; a cluster keeps each in its own status again."""
ERROR = "error"
"""The key of a value that is no value but the sentence that says why there is none."""


def control_error(value: Any) -> str:
    """Why there is no control value; empty where there is one."""
    return value[ERROR] if isinstance(value, dict) else ""


class Controls:
    """Computes control values.

    Args:
        reduce: applies a reducer that is the user's own function.
    """

    def __init__(self, plan: RunPlan, records: RecordReader, reduce: Reduce) -> None:
        self._plan = plan
        self._records = records
        self._reduce = reduce
        self._texts = ControlParameters(plan)

    def of_emissions(self, emissions: list[list[str]], path: str) -> tuple[dict[str, Any], dict[str, str]]:
        """What the task at the instance path ``path`` emits: the values by instance path, and the same as a cluster takes them.

        Args:
            emissions: [composite's template path, start or again] of the plan's row.
        """
        positions = self._plan.positions(path)
        values: dict[str, Any] = {}
        files: dict[str, str] = {}
        for template, when in emissions:
            row = self._plan.rows[template]
            instance = fill(template, positions)
            if when == "again":
                self._again(row, instance, positions[depth(template)], values, files)
            else:
                files.update(self._start(row, instance, values))
        return values, files

    def given(self, templates: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values that follow from the run's parameters alone."""
        values: dict[str, Any] = {}
        files: dict[str, str] = {}
        for template in templates:
            files.update(self._start(self._plan.rows[template], fill(template, []), values))
        return values, files

    def _start(self, row: dict[str, Any], instance: str, values: dict[str, Any]) -> dict[str, str]:
        """Computes what a composite needs before it starts, with all that is to be computed with it."""
        try:
            if row["type"] == "conditional":
                values[instance] = self._choice(row, instance)
            else:
                values[instance] = self._count(row, instance)
                self._texts.check_pods(row, instance, values[instance])
                for _, part, where in self._texts.parts(row, instance, values[instance]):
                    self._start(self._plan.rows[part], where, values)
            return self._texts.of(row, instance, values)
        except UnsuitableValue as error:
            values[instance] = {ERROR: str(error)}
            return self._texts.of(row, instance, values)

    def _count(self, row: dict[str, Any], instance: str) -> int:
        """How many items a map has.

        Raises:
            UnsuitableValue: what it iterates on is nowhere, or no list.
        """
        if row.get("as_long_as"):
            # Its list is not there yet, and will be as long as that map has items.
            other = self._plan.rows[row["as_long_as"]]
            return self._count(other, fill(other["path"], self._plan.positions(instance)))
        return len(Scope(self._plan, self._records, instance).items(row, instance))

    def _choice(self, row: dict[str, Any], instance: str) -> str:
        """The label of the branch that a conditional takes.

        Raises:
            UnsuitableValue: no branch has the value, and there is no default.
        """
        name = row["parameter"]
        value = self._value(instance, name)
        if value is _NOWHERE:
            raise UnsuitableValue(f"the conditional {instance} decides by {name}, which is nowhere")
        labels: list[str] = [label for label, _ in row["branches"]]
        chosen = next((label for text in _texts(value) for label in labels if label == text), None)
        if chosen is None and row.get("default") is not None:
            return DEFAULT
        if chosen is None:
            raise UnsuitableValue(
                f"the conditional {instance} has no branch for {name} = {short_json(value)}: it has {', '.join(labels)}"
            )
        return chosen

    def _again(
        self, row: dict[str, Any], loop: str, position: str, values: dict[str, Any], files: dict[str, str]
    ) -> None:
        """Whether a loop goes on after an iteration, and what its next one needs before it starts."""
        name = row["parameter"]
        iteration = f"{loop}/{position}"
        where = self._texts.key(row, "again")
        [(_, scope)] = branches(row)
        try:
            found = Scope(self._plan, self._records, loop).last(name, scope, iteration)
            value = self._plain(found) if found is not None else _NOWHERE
            if value is _NOWHERE:
                raise UnsuitableValue(f"the loop {loop} breaks on {name}, which is nowhere after iteration {position}")
            again = not _truth(value, loop, name) and int(position) + 1 < row["limit"]
        except UnsuitableValue as error:
            values[iteration] = {ERROR: str(error)}
            files[where] = _error_parameter(str(error))
            return
        values[iteration] = again
        files[where] = "true" if again else "false"
        for part in row.get("parts", ()):
            if again:
                inner = instance_below(part, row["path"], f"{loop}/{int(position) + 1}")
                files.update(self._start(self._plan.rows[part], inner, values))

    def _value(self, path: str, name: str) -> Any:
        found = Scope(self._plan, self._records, path).parameter(name)
        return self._plain(found) if found is not None else _NOWHERE

    def _plain(self, found: tuple[str, dict[str, Any]]) -> Any:
        stored = found[1]
        if stored["kind"] == "list" and isinstance(stored["reducer"], dict):
            return self._reduce(stored["reducer"], stored["items"])
        if stored["kind"] in ("list", "object"):
            raise UnsuitableValue(
                f"a value of {found[0]} is a pickled object, which can't be counted or decided by: return JSON"
            )
        return stored["value"]


_NOWHERE = object()


class ControlParameters:
    """Control values as a cluster takes them, each under a key: texts without anything of the user's."""

    def __init__(self, plan: Tree) -> None:
        self._rows = plan.rows
        self._numbers = {path: number for number, path in enumerate(plan.rows)}

    def key(self, row: dict[str, Any], when: str = "start") -> str:
        """The name of a value as a cluster knows it."""
        return parameter_key(self._numbers[row["path"]], when)

    def of(self, row: dict[str, Any], instance: str, values: Mapping[str, Any]) -> dict[str, str]:
        """What a map or a conditional needs before it starts.

        Args:
            values: those of the composite at ``instance``, and of what is computed with it, by instance path.

        Raises:
            UnsuitableValue: a cluster can't take so much.
        """
        value = values[instance]
        if control_error(value):
            return {
                self.key(row): _error_parameter(control_error(value)),
                **({self.key(row, "groups"): "0"} if row.get("grouped") else {}),
            }
        if row["type"] == "conditional":
            # Its position, as a label may be any text.
            return {self.key(row): str([one for one, _ in branches(row)].index(value))}
        if row.get("parts"):
            return {self.key(row): self._each(row, instance, values)}
        self.check_pods(row, instance, value)
        if not row.get("grouped"):
            return {self.key(row): str(value)}
        groups = 0 if value <= row["pods"] else len(group_ranges(value, row["pods"]))
        return {self.key(row): str(value if not groups else 0), self.key(row, "groups"): str(groups)}

    def check_pods(self, row: dict[str, Any], instance: str, count: int) -> None:
        """Refuses more items than may have pods, where several can't run in one.

        Raises:
            UnsuitableValue
        """
        if count <= row["pods"] or row.get("grouped"):
            return
        if row.get("parts"):
            raise UnsuitableValue(
                f"the map {instance} has {count} items, and {row['pods']} is the most that may run on a cluster where a branch "
                "begins with a map, a conditional or a loop (executor.config.pods_per_map)"
            )
        raise UnsuitableValue(
            f"the map {instance} has {count} items, more than the {row['pods']} pods that it may have on a cluster "
            "(executor.config.pods_per_map), and a branch of more than tasks can't run several items in one"
        )

    def parts(self, row: dict[str, Any], instance: str, count: int) -> Iterator[tuple[int, str, str]]:
        """What is computed with a map: the position, its path in the plan, and where it runs."""
        for position in range(count):
            for part in row.get("parts", ()):
                yield position, part, instance_below(part, row["path"], f"{instance}/{position}")

    def _each(self, row: dict[str, Any], instance: str, values: Mapping[str, Any]) -> str:
        """The items with what the composites need that come first in their branch."""
        items: list[dict[str, Any]] = [{"i": str(position)} for position in range(values[instance])]
        for position, part, where in self.parts(row, instance, len(items)):
            for name, text in self.of(self._rows[part], where, values).items():
                # A list within the list: of a text a cluster would hand on the escapes too.
                items[position][name] = json.loads(text) if text.startswith("[") else text
        text = json.dumps(items, separators=(",", ":"))
        if len(text) > LARGEST_FAN_OUT:
            raise UnsuitableValue(
                f"the map {instance} has {len(items)} items whose own counts and choices take {len(text):,} bytes, "
                f"and a cluster takes {LARGEST_FAN_OUT:,}: begin its branch with a task"
            )
        return text


def instance_below(part: str, owner: str, instance: str) -> str:
    """The instance path of a composite inside a branch; a loop in between has its first iteration.

    Args:
        part, owner: paths in the plan, the one inside the other. instance: of an item or iteration of the owner.
    """
    return instance + fill(part[len(owner) + len("/*") :], [])


def parameter_key(number: int, when: str = "start") -> str:
    """The name under which a cluster knows the value of the plan's row ``number``: without characters of the user's."""
    return {"start": "c", "again": "a", "groups": "g"}[when] + str(number)


def _error_parameter(why: str) -> str:
    """Why there is no value, as a cluster may pass it on: it would look for variables in braces, and spoil rare characters."""
    text = "".join(one if one.isprintable() and ord(one) < 0x10000 else "?" for one in why[:1000])
    return "error: " + text.replace("{", "(").replace("}", ")")


def group_ranges(count: int, pods: int) -> list[range]:
    """The items of each pod, where there are more items than pods; as even as can be, in order."""
    size = -(-count // pods)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def write_control_files(files: dict[str, str], folder: str = CONTROL_FOLDER) -> None:
    """Leaves the values where a cluster reads them."""
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _texts(value: Any) -> list[str]:
    """How a value may be written as a branch's name: true and false also as Python writes them."""
    if isinstance(value, bool):
        return [str(value), str(value).lower()]
    if value is None:
        return ["null", "None"]
    if isinstance(value, str):
        return [value]
    return [json.dumps(value)]


def _truth(value: Any, loop: str, name: str) -> bool:
    """A value as true or false.

    Raises:
        UnsuitableValue: it is neither.
    """
    if value is None:
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "1", "yes"):
        return True
    if isinstance(value, str) and value.strip().lower() in ("false", "0", "no", ""):
        return False
    raise UnsuitableValue(f"the loop {loop} breaks on {name}, which is neither true nor false but {short_json(value)}")


__all__ = [
    "CONTROL_FOLDER",
    "ERROR",
    "ControlParameters",
    "Controls",
    "control_error",
    "group_ranges",
    "instance_below",
    "parameter_key",
    "write_control_files",
]
