"""What a run that goes on on a cluster need not run again, as its Workflow has to know it.

All of it follows from the run's records and the plan before anything is submitted, so that no pod is made of what is done: of a
row, the positions at which it is; of what its tasks had computed for the composites after it, the values.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from toolkit.backends.completed_work import CompletedWork
from toolkit.runtime.shared import layout
from toolkit.runtime.shared.controls import ControlParameters, group_ranges
from toolkit.runtime.shared.scope import UnsuitableValue
from toolkit.runtime.shared.tree import ANY, GROUP, Tree, branches, depth
from toolkit.store.states import Row

Positions = tuple[str, ...]


class OmittedWork:
    """The earlier part of a run.

    Args:
        tree: of the plan as it is now. run_folder: where the run's records are on this machine. completed_work: what they say.

    Attributes:
        attempts: where a task, or a group of items, had attempts: the number of its next one, by instance path.
    """

    def __init__(self, tree: Tree, run_folder: Path, completed_work: CompletedWork) -> None:
        self._tree = tree
        self._keys = ControlParameters(tree)
        self._run_folder = str(run_folder)
        self._omitted: dict[str, dict[Positions, None]] = defaultdict(dict)
        self._handled: dict[str, dict[Positions, None]] = defaultdict(dict)
        self._done: set[str] = set()
        self._judge(completed_work.states.rows)
        self._texts = self._all_texts(completed_work.controls)
        self.attempts = {
            path: number
            for path in self._with_attempts()
            if (number := self._next_attempt(path)) and path not in self._done
        }
        for row in tree.rows.values():
            if row.get("grouped"):
                self._judge_groups(row, completed_work.controls)

    def omitted(self, path: str) -> list[Positions]:
        """The positions at which a row of the plan does not run again: done, or after what an on_failure has seen to."""
        return list(self._omitted[path])

    def handled(self, path: str) -> list[Positions]:
        """The positions at which a row, or one before it in its sequence, had failed and its on_failure has made good for it."""
        return list(self._handled[path])

    def value(self, name: str, composite: str, scope: str, positions: Positions, loop: str | None) -> str | None:
        """A control value that is known already, as the cluster takes it.

        Args:
            name: its key. composite: the plan's row that it is for. positions: of the scope in the plan that it comes from.
            loop: the path of the loop that it is for the next iteration of; None where it is for none.
        """
        wanted = list(positions)
        if name == self._keys.key(self._tree.rows[composite], "again"):
            return self._texts.get((name, positions))
        if loop is not None:
            level = depth(loop)
            wanted[level] = str(int(wanted[level]) + 1)
        # What lies in loops between the scope and the composite begins with their first iteration.
        wanted = (wanted + ["0"] * depth(composite))[: depth(composite)]
        return self._texts.get((name, tuple(wanted)))

    # --- what is done -------------------------------------------------------------------------------------------------

    def _judge(self, rows: Iterable[Row]) -> None:
        """Goes through the rows in the order of the plan; what holds others comes before them."""
        sequences: dict[str, _Sequence] = {"": _Sequence(True, "")}
        entered: dict[str, bool | None] = {}
        types: dict[str, str] = {}
        for row in rows:
            where = row.path.rpartition("/")[0]
            if where not in sequences:
                owner = where if where in entered else where.rpartition("/")[0]
                sequences[where] = _Sequence(entered[owner], owner if types[owner] == "loop" else "")
            sequence = sequences[where]
            types[row.path] = row.row["type"]
            if sequence.clean is None:
                # All around it is done.
                entered[row.path] = None
                continue
            handled = sequence.handled or row.on_failure == "succeeded"
            omitted = handled or self._is_done(row, sequence.clean)
            template, positions = row.row["path"], tuple(self._tree.positions(row.path))
            if handled:
                self._handled[template][positions] = None
            if omitted:
                self._omitted[template][positions] = None
                self._done.add(row.path)
            entered[row.path] = None if omitted else sequence.clean
            sequence.handled = handled
            sequence.clean = sequence.clean and omitted
            if sequence.loop and not sequence.clean:
                # Its further iterations begin with what comes of this one.
                entered[sequence.loop] = False

    @staticmethod
    def _is_done(row: Row, clean: bool) -> bool:
        """Whether a row is done by itself; of a composite that can be said only if nothing before it runs again."""
        if row.row["type"] == "task":
            return bool(row.attempts) and row.status == "succeeded"
        return clean and row.status == "succeeded"

    def _judge_groups(self, row: Mapping[str, Any], controls: Mapping[str, Any]) -> None:
        """Of a map whose items share containers: which of those have nothing to do, and the numbers of their attempts."""
        [(_, scope)] = branches(dict(row))
        for instance, count in controls.items():
            trail = self._tree.trail(instance)
            if not trail or trail[-1].row["path"] != row["path"] or not isinstance(count, int) or count <= row["pods"]:
                continue
            outer = tuple(self._tree.positions(instance))
            for number, items in enumerate(group_ranges(count, row["pods"])):
                for step in self._tree.scope_rows(scope):
                    paths = [f"{instance}/{position}/{step['name']}" for position in items]
                    group = f"{instance}/{GROUP}{number}/{step['name']}"
                    omitted = self._omitted[step["path"]]
                    for position in items:
                        omitted.pop((*outer, str(position)), None)
                    if all(path in self._done for path in paths):
                        position_of_group = (*outer, f"{GROUP}{number}")
                        omitted[position_of_group] = None
                    elif (attempt := max(map(self._next_attempt, [group, *paths]))) > 1:
                        self.attempts[group] = attempt

    # --- attempts -----------------------------------------------------------------------------------------------------

    def _next_attempt(self, path: str) -> int:
        return (layout.attempts(self._run_folder, path) or [0])[-1] + 1

    def _with_attempts(self) -> Iterator[str]:
        """The paths of tasks that have attempts, also of those that do not run as the plan is now."""
        for template, row in self._tree.rows.items():
            if row["type"] == "task":
                yield from self._paths_with_attempts(template.split("/"), [])

    def _paths_with_attempts(self, rest: list[str], path: list[str]) -> Iterator[str]:
        if not rest:
            if layout.attempts(self._run_folder, "/".join(path)):
                yield "/".join(path)
            return
        for part in [rest[0]] if rest[0] != ANY else self._positions_below("/".join(path)):
            yield from self._paths_with_attempts(rest[1:], [*path, part])

    def _positions_below(self, path: str) -> list[str]:
        try:
            names = os.listdir(layout.step_folder(self._run_folder, path))
        except FileNotFoundError:
            return []
        return [name for name in names if name.isdigit() or name.startswith(GROUP)]

    # --- control values -----------------------------------------------------------------------------------------------

    def _all_texts(self, controls: Mapping[str, Any]) -> dict[tuple[str, Positions], str]:
        """Each control value that the records hold, by its key and the positions that it is for."""
        found: dict[tuple[str, Positions], str] = {}
        for instance, value in controls.items():
            trail = self._tree.trail(instance)
            if trail is not None:
                row, positions = trail[-1].row, tuple(self._tree.positions(instance))
                try:
                    known = self._keys.of(row, instance, controls)
                except (UnsuitableValue, KeyError):
                    # Of another shape, or more than the cluster is set to take by now: its own task says so again.
                    continue
                found.update({(name, positions): text for name, text in known.items()})
            elif (trail := self._tree.trail(instance.rpartition("/")[0])) is not None and isinstance(value, bool):
                loop, _, iteration = instance.rpartition("/")
                positions = (*self._tree.positions(loop), iteration)
                found[self._keys.key(trail[-1].row, "again"), positions] = "true" if value else "false"
        return found


class _Sequence:
    """A sequence of rows on the way through them.

    Attributes:
        clean: whether all before was done; None where all around it is. loop: the path of the loop that it is an iteration of.
        handled: whether an on_failure has taken over the rest.
    """

    def __init__(self, clean: bool | None, loop: str) -> None:
        self.clean = clean
        self.loop = loop
        self.handled = False
