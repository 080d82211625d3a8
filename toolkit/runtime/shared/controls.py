"""Control values: how many items a map has, which branch a conditional takes, whether a loop runs again.

The task that ends last before a composite computes the composite's value, because a cluster has no container of ours that could.
A run on this machine reads the same values out of the same records. A value is kept by an instance path: a map's count and the
label of a conditional's branch by the path of the composite, and whether another iteration of a loop follows by the path of the
iteration. Where a value can't be computed there is an error with its sentence (:func:`control_error`), which fails the composite.
"""

from __future__ import annotations

import json
import os

from .scope import RecordReader, RunPlan, Scope, UnsuitableValue
from .stored_values import load_value
from .tree import DEFAULT, branches, depth, fill
from .values import short_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    from .documents import ControlValues, FunctionRow, JsonValue, StepRow, StoredValue
    from .scope import ResolvedValue
    from .tree import Tree

    Reduce = Callable[[FunctionRow, list[StoredValue]], JsonValue]
    """Applies a reducer that is a function to stored values; gives JSON data."""

CONTROL_FOLDER = "/tmp/toolkit-control"
"""The folder in a container from which a cluster reads the values when the container has ended."""
LARGEST_FAN_OUT = 131_072
"""Bytes of the items of one fan-out with values of their own; a cluster repeats each item in the run's status."""
ERROR = "error"
"""The key of the sentence that stands in place of a control value and says why there is none."""


def control_error(value: JsonValue) -> str:
    """Why there is no control value; empty where there is one."""
    return str(value[ERROR]) if isinstance(value, dict) else ""


def missing_value_reason(kind: str, path: str) -> str:
    """Why a composite fails whose control value is in no record.

    Args:
        kind: map, conditional or loop.
    """
    if kind == "loop":
        return f"no task has computed whether the loop {path} runs again"
    if kind == "conditional":
        return f"no task has computed which branch the conditional {path} takes"
    return f"no task has computed how many items the map {path} has"


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

    def of_emissions(self, emissions: list[list[str]], path: str) -> tuple[dict[str, JsonValue], dict[str, str]]:
        """What the task at the instance path ``path`` emits: the values by instance path, and as texts for a cluster.

        Args:
            emissions: [composite's template path, start or again] of the plan's row.
        """
        positions = self._plan.positions(path)
        values: dict[str, JsonValue] = {}
        files: dict[str, str] = {}
        for template, when in emissions:
            row = self._plan.rows[template]
            instance = fill(template, positions)
            if when == "again":
                self._again(row, instance, positions[depth(template)], values, files)
            else:
                files.update(self._start(row, instance, values))
        return values, files

    def given(self, templates: list[str]) -> tuple[dict[str, JsonValue], dict[str, str]]:
        """The values that follow from the run's parameters alone."""
        values: dict[str, JsonValue] = {}
        files: dict[str, str] = {}
        for template in templates:
            files.update(self._start(self._plan.rows[template], fill(template, []), values))
        return values, files

    def count(self, template: str, instance: str) -> int:
        """How many items the map of a row of the plan has.

        Raises:
            UnsuitableValue: the parameter that it iterates on has no value, or no list.
        """
        return self._count(self._plan.rows[template], instance)

    def choice(self, template: str, instance: str) -> str:
        """The label of the branch that the conditional of a row of the plan takes.

        Raises:
            UnsuitableValue: no branch has the value, and there is no default.
        """
        return self._choice(self._plan.rows[template], instance)

    def _start(self, row: StepRow, instance: str, values: dict[str, JsonValue]) -> dict[str, str]:
        """Computes what a composite needs before it starts, and the values of the composites in ``parts`` of its row.

        Returns:
            The texts for a cluster.
        """
        try:
            if row["type"] == "conditional":
                values[instance] = self._choice(row, instance)
            else:
                count = values[instance] = self._count(row, instance)
                self._texts.check_pods(row, instance, count)
                for _, part, inner in self._texts.parts(row, instance, count):
                    self._start(self._plan.rows[part], inner, values)
            return self._texts.of(row, instance, values)
        except UnsuitableValue as error:
            values[instance] = {ERROR: str(error)}
            return self._texts.of(row, instance, values)

    def _count(self, row: StepRow, instance: str) -> int:
        """How many items a map has.

        Raises:
            UnsuitableValue: the parameter that it iterates on has no value, or no list.
        """
        if row.get("as_long_as"):
            # Its list is not there yet. It will have as many elements as the map before it has items.
            before = self._plan.rows[row["as_long_as"]]
            return self._count(before, fill(before["path"], self._plan.positions(instance)))
        return len(Scope(self._plan, self._records, instance).items(row, instance))

    def _choice(self, row: StepRow, instance: str) -> str:
        """The label of the branch that a conditional takes.

        Raises:
            UnsuitableValue: no branch has the value, and there is no default.
        """
        name = row["parameter"]
        resolved = Scope(self._plan, self._records, instance).parameter(name, row.get("source"))
        if resolved is None:
            raise UnsuitableValue(f"the conditional {instance} depends on {name}, which has no value")
        value = self._plain(resolved)
        texts = _texts(value, resolved[1].get("spelling"))
        labels: list[str] = [label for label, _ in row["branches"]]
        chosen = next((label for text in texts for label in labels if label == text), None)
        if chosen is None and row.get("default") is not None:
            return DEFAULT
        if chosen is None:
            shown = resolved[1].get("spelling") or short_json(value)
            raise UnsuitableValue(
                f"the conditional {instance} has no branch for {name} = {shown}: it has {', '.join(labels)}"
            )
        return chosen

    def _again(
        self, row: StepRow, loop: str, position: str, values: dict[str, JsonValue], files: dict[str, str]
    ) -> None:
        """Computes whether a loop runs again after an iteration, and what the next iteration needs before it starts."""
        name = row["parameter"]
        iteration = f"{loop}/{position}"
        key = self._texts.key(row, "again")
        [(_, scope)] = branches(row)
        try:
            resolved = Scope(self._plan, self._records, loop).last(name, scope, iteration)
            value = self._plain(resolved) if resolved is not None else _NOWHERE
            if value is _NOWHERE:
                raise UnsuitableValue(
                    f"the loop {loop} breaks on {name}, which has no value after iteration {position}"
                )
            again = not loop_ends(value, loop, name) and int(position) + 1 < row["limit"]
        except UnsuitableValue as error:
            values[iteration] = {ERROR: str(error)}
            files[key] = _error_parameter(str(error))
            return
        values[iteration] = again
        files[key] = "true" if again else "false"
        for part in row.get("parts", ()):
            if again:
                inner = instance_below(part, row["path"], f"{loop}/{int(position) + 1}")
                files.update(self._start(self._plan.rows[part], inner, values))

    def _plain(self, resolved: ResolvedValue) -> JsonValue:
        source, stored = resolved
        reducer = stored.get("reducer")
        if stored["kind"] == "list" and isinstance(reducer, dict):
            return self._reduce(reducer, stored["items"])
        if stored["kind"] in ("list", "object"):
            raise UnsuitableValue(
                f"a value of {source} is a pickled object, which no map, conditional or loop can read: return JSON"
            )
        return load_value(stored)


_NOWHERE = object()


class ControlParameters:
    """Control values as texts for a cluster, each under a key. Neither holds anything that the user wrote."""

    def __init__(self, plan: Tree) -> None:
        self._rows = plan.rows
        self._numbers = {path: number for number, path in enumerate(plan.rows)}

    def key(self, row: StepRow, when: str = "start") -> str:
        """The name of a value on a cluster."""
        return parameter_key(self._numbers[row["path"]], when)

    def of(self, row: StepRow, instance: str, values: ControlValues) -> dict[str, str]:
        """What a map or a conditional needs before it starts, as texts by their keys.

        Args:
            values: of the composite at ``instance`` and of the composites that are computed with it, by instance path.

        Raises:
            UnsuitableValue: a cluster can't take so many items, or so long a text.
        """
        value = values[instance]
        if control_error(value):
            return {
                self.key(row): _error_parameter(control_error(value)),
                **({self.key(row, "groups"): "0"} if row.get("grouped") else {}),
            }
        if row["type"] == "conditional":
            # The branch's position, because a label may be any text.
            return {self.key(row): str([label for label, _ in branches(row)].index(str(value)))}
        assert isinstance(value, int)
        if row.get("parts"):
            return {self.key(row): self._items_text(row, instance, value, values)}
        self.check_pods(row, instance, value)
        if not row.get("grouped"):
            return {self.key(row): str(value)}
        groups = 0 if value <= row["pods"] else len(group_ranges(value, row["pods"]))
        return {self.key(row): str(value if not groups else 0), self.key(row, "groups"): str(groups)}

    def check_pods(self, row: StepRow, instance: str, count: int) -> None:
        """Refuses a map with more items than pods, where a pod can't run several items.

        Raises:
            UnsuitableValue: the map is one.
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
            "(executor.config.pods_per_map), and a pod runs several items only of a branch of tasks alone"
        )

    def parts(self, row: StepRow, instance: str, count: int) -> Iterator[tuple[int, str, str]]:
        """The composites whose values are computed with a map's: position of the item, template path, instance path."""
        for position in range(count):
            for part in row.get("parts", ()):
                yield position, part, instance_below(part, row["path"], f"{instance}/{position}")

    def _items_text(self, row: StepRow, instance: str, count: int, values: ControlValues) -> str:
        """The items as a JSON list, each with the values that the composites at the beginning of its branch need."""
        items: list[dict[str, JsonValue]] = [{"i": str(position)} for position in range(count)]
        for position, part, inner in self.parts(row, instance, count):
            for name, text in self.of(self._rows[part], inner, values).items():
                # A list within the list: a cluster would pass a text on with its escapes.
                items[position][name] = json.loads(text) if text.startswith("[") else text
        text = json.dumps(items, separators=(",", ":"))
        if len(text) > LARGEST_FAN_OUT:
            raise UnsuitableValue(
                f"the map {instance} has {len(items)} items whose control values take {len(text):,} bytes, "
                f"and a cluster takes {LARGEST_FAN_OUT:,}: begin its branch with a task"
            )
        return text


def instance_below(part: str, owner: str, instance: str) -> str:
    """The instance path of a composite inside a branch; of a loop between the two it is the first iteration.

    Args:
        part, owner: template paths, the part's inside the owner's. instance: of an item or an iteration of the owner.
    """
    return instance + fill(part[len(owner) + len("/*") :], [])


def parameter_key(number: int, when: str = "start") -> str:
    """The name on a cluster of the value of the plan's row ``number``."""
    return {"start": "c", "again": "a", "groups": "g"}[when] + str(number)


def _error_parameter(why: str) -> str:
    """Why there is no value, as a text for a cluster, which looks for variables in braces and damages rare characters."""
    text = "".join(char if char.isprintable() and ord(char) < 0x10000 else "?" for char in why[:1000])
    return "error: " + text.replace("{", "(").replace("}", ")")


def group_ranges(count: int, pods: int) -> list[range]:
    """The items of each pod, where there are more items than pods: in order, and as many in one pod as in another."""
    size = -(-count // pods)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def write_control_files(files: dict[str, str], folder: str = CONTROL_FOLDER) -> None:
    """Writes the values into the files that a cluster reads."""
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _texts(value: JsonValue, spelling: Optional[str]) -> list[str]:
    """The texts of a value as a branch's name; true and false also as Python writes them.

    A number that was spelled ``1.10`` is the branch 1.10, and not 1.1.
    """
    if isinstance(value, bool):
        return [str(value), str(value).lower()]
    if value is None:
        return ["null", "None"]
    if isinstance(value, str):
        return [value]
    if spelling is not None and isinstance(value, (int, float)):
        return [spelling.strip()]
    return [json.dumps(value)]


def loop_ends(value: JsonValue, loop: str, name: str) -> bool:
    """Whether a loop ends by a value.

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
    "loop_ends",
    "missing_value_reason",
    "parameter_key",
    "write_control_files",
]
