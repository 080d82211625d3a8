"""Control values: how many items a map has, which branch a conditional takes, whether a loop goes on.

The task that ended last before a composite computes its value, so that a cluster can go on without a container of ours; the
same values, out of the same records, lead a run on this machine. A value is kept by the instance path of what it is for: of a map
its count, of a conditional the label of its branch, of a loop's iteration whether another one follows. What can't be computed is an
error with its sentence (:func:`failed`), and fails the composite.
"""

from __future__ import annotations

import json
import os

from .scope import Plan, Records, Scope, Unsuitable
from .tree import ANY, DEFAULT, branches, fill
from .values import parsed, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reduce = Callable[[dict[str, Any], list[dict[str, Any]]], Any]
    """Applies a reducer that is a function to stored values; gives JSON data."""

CONTROL_FOLDER = "/tmp/toolkit-control"
"""Where a cluster reads the values from, in a container that has ended."""
LARGEST_FAN_OUT = 131_072
"""Bytes of the items of one fan-out over values of its own; a cluster keeps each in its own status again."""
ERROR = "error"
"""The key of a value that is no value but the sentence that says why there is none."""


def failed(value: Any) -> str:
    """Why there is no control value; empty where there is one."""
    return value[ERROR] if isinstance(value, dict) else ""


class Controls:
    """Computes control values.

    Args:
        reduce: applies a reducer that is the user's own function.
    """

    def __init__(self, plan: Plan, records: Records, reduce: Reduce) -> None:
        self._plan = plan
        self._records = records
        self._reduce = reduce
        self._numbers = {path: number for number, path in enumerate(plan.rows)}

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
                self._again(row, instance, positions[template.count(ANY)], values, files)
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

    def key(self, row: dict[str, Any], when: str = "start") -> str:
        """The name of a value as a cluster knows it."""
        return key(self._numbers[row["path"]], when)

    def _start(self, row: dict[str, Any], instance: str, values: dict[str, Any]) -> dict[str, str]:
        """Computes what a composite needs before it starts, with all that is to be computed with it."""
        try:
            if row["type"] == "conditional":
                label = self._choice(row, instance)
                values[instance] = label
                # Its position, as a label may be any text.
                return {self.key(row): str([one for one, _ in branches(row)].index(label))}
            return self._map(row, instance, values)
        except Unsuitable as error:
            values[instance] = {ERROR: str(error)}
            return {self.key(row): _told(error), **({self.key(row, "groups"): "0"} if row.get("grouped") else {})}

    def _map(self, row: dict[str, Any], instance: str, values: dict[str, Any]) -> dict[str, str]:
        count = self._count(row, instance)
        return (self._each if row.get("parts") else self._counted)(row, instance, count, values)

    def _count(self, row: dict[str, Any], instance: str) -> int:
        """How many items a map has.

        Raises:
            Unsuitable: what it iterates on is nowhere, or no list.
        """
        if row.get("as_long_as"):
            # Its list is not there yet, and will be as long as that map has items.
            other = self._plan.rows[row["as_long_as"]]
            return self._count(other, fill(other["path"], self._plan.positions(instance)))
        name = row["parameter"]
        stored = Scope(self._plan, self._records, instance).parameter(name)
        if stored is None:
            raise Unsuitable(f"the map {instance} iterates on {name}, which is nowhere")
        if isinstance(stored[1].get("reducer"), dict):
            raise Unsuitable(
                f"the map {instance} iterates on {name}, which a reducer makes and no record holds: return it from a task first"
            )
        found = parsed(self._plain(stored))
        if not isinstance(found, list):
            raise Unsuitable(f"the map {instance} iterates on {name}, which is no list but {shown(found)}")
        return len(found)

    def _each(self, row: dict[str, Any], instance: str, count: int, values: dict[str, Any]) -> dict[str, str]:
        """A count, with what the composites inside need that nothing in the branch runs before."""
        values[instance] = count
        if count > row["pods"]:
            raise Unsuitable(
                f"the map {instance} has {count} items, and {row['pods']} is the most that may run on a cluster where a branch "
                "begins with a map, a conditional or a loop (executor.config.pods_per_map)"
            )
        items = []
        for position in range(count):
            item: dict[str, Any] = {"i": str(position)}
            for part in row["parts"]:
                where = self._below(part, row["path"], f"{instance}/{position}")
                for name, text in self._start(self._plan.rows[part], where, values).items():
                    # A list within the list: of a text a cluster would hand on the escapes too.
                    item[name] = json.loads(text) if text.startswith("[") else text
            items.append(item)
        text = json.dumps(items, separators=(",", ":"))
        if len(text) > LARGEST_FAN_OUT:
            raise Unsuitable(
                f"the map {instance} has {count} items whose own counts and choices take {len(text):,} bytes, "
                f"and a cluster takes {LARGEST_FAN_OUT:,}: begin its branch with a task"
            )
        return {self.key(row): text}

    def _counted(self, row: dict[str, Any], instance: str, count: int, values: dict[str, Any]) -> dict[str, str]:
        """How a cluster runs that many items: each in a pod, or in groups that run one after the other in a pod."""
        values[instance] = count
        if not row.get("grouped"):
            if count > row["pods"]:
                raise Unsuitable(
                    f"the map {instance} has {count} items, more than the {row['pods']} pods that it may have on a cluster "
                    "(executor.config.pods_per_map), and a branch of more than tasks can't run several items in one"
                )
            return {self.key(row): str(count)}
        groups = 0 if count <= row["pods"] else len(group_ranges(count, row["pods"]))
        return {self.key(row): str(count if not groups else 0), self.key(row, "groups"): str(groups)}

    def _below(self, part: str, owner: str, instance: str) -> str:
        """The instance path of a composite inside a branch; a loop in between has its first iteration."""
        return instance + fill(part[len(owner) + len("/*") :], [])

    def _choice(self, row: dict[str, Any], instance: str) -> str:
        """The label of the branch that a conditional takes.

        Raises:
            Unsuitable: no branch has the value, and there is no default.
        """
        name = row["parameter"]
        value = self._value(instance, name)
        if value is _NOWHERE:
            raise Unsuitable(f"the conditional {instance} decides by {name}, which is nowhere")
        labels: list[str] = [label for label, _ in row["branches"]]
        chosen = next((label for text in _texts(value) for label in labels if label == text), None)
        if chosen is None and row.get("default") is not None:
            return DEFAULT
        if chosen is None:
            raise Unsuitable(
                f"the conditional {instance} has no branch for {name} = {shown(value)}: it has {', '.join(labels)}"
            )
        return chosen

    def _again(
        self, row: dict[str, Any], loop: str, position: str, values: dict[str, Any], files: dict[str, str]
    ) -> None:
        """Whether a loop goes on after an iteration, and what its next one needs before it starts."""
        name = row["parameter"]
        iteration = f"{loop}/{position}"
        where = self.key(row, "again")
        [(_, scope)] = branches(row)
        try:
            found = Scope(self._plan, self._records, loop).last(name, scope, iteration)
            value = self._plain(found) if found is not None else _NOWHERE
            if value is _NOWHERE:
                raise Unsuitable(f"the loop {loop} breaks on {name}, which is nowhere after iteration {position}")
            again = not _truth(value, loop, name) and int(position) + 1 < row["limit"]
        except Unsuitable as error:
            values[iteration] = {ERROR: str(error)}
            files[where] = _told(error)
            return
        values[iteration] = again
        files[where] = "true" if again else "false"
        for part in row.get("parts", ()):
            if again:
                inner = self._below(part, row["path"], f"{loop}/{int(position) + 1}")
                files.update(self._start(self._plan.rows[part], inner, values))

    def _value(self, path: str, name: str) -> Any:
        found = Scope(self._plan, self._records, path).parameter(name)
        return self._plain(found) if found is not None else _NOWHERE

    def _plain(self, found: tuple[str, dict[str, Any]]) -> Any:
        stored = found[1]
        if stored["kind"] == "list" and isinstance(stored["reducer"], dict):
            return self._reduce(stored["reducer"], stored["items"])
        if stored["kind"] in ("list", "object"):
            raise Unsuitable(
                f"a value of {found[0]} is a pickled object, which can't be counted or decided by: return JSON"
            )
        return stored["value"]


_NOWHERE = object()


def key(number: int, when: str = "start") -> str:
    """The name under which a cluster knows the value of the plan's row ``number``: without characters of the user's."""
    return {"start": "c", "again": "a", "groups": "g"}[when] + str(number)


def _told(error: Unsuitable) -> str:
    """Why there is no value, as a cluster may pass it on: it would look for variables in braces, and spoil rare characters."""
    text = "".join(one if one.isprintable() and ord(one) < 0x10000 else "?" for one in str(error)[:1000])
    return "error: " + text.replace("{", "(").replace("}", ")")


def group_ranges(count: int, pods: int) -> list[range]:
    """The items of each pod, where there are more items than pods; as even as can be, in order."""
    size = -(-count // pods)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def write_files(files: dict[str, str], folder: str = CONTROL_FOLDER) -> None:
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
        Unsuitable: it is neither.
    """
    if value is None:
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "1", "yes"):
        return True
    if isinstance(value, str) and value.strip().lower() in ("false", "0", "no", ""):
        return False
    raise Unsuitable(f"the loop {loop} breaks on {name}, which is neither true nor false but {shown(value)}")


__all__ = ["CONTROL_FOLDER", "ERROR", "Controls", "failed", "group_ranges", "key", "write_files"]
