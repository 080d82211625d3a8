"""What a run that resumes on a cluster need not run again, in the form that its Workflow needs.

It follows from the run's records and the plan, before anything is submitted, so that work which is done gets no pod. For each row
of the plan it is the positions at which the row is done, and the control values that its tasks had computed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.completed_work import CompletedWork
from toolkit.runtime.shared import layout
from toolkit.runtime.shared.controls import ControlParameters, group_ranges
from toolkit.runtime.shared.scope import UnsuitableValue
from toolkit.runtime.shared.tree import ANY, GROUP, ON_EXIT, Segment, Tree, branches, by_dependence, depth
from toolkit.store.states import Row

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues, StepRow

Positions = tuple[str, ...]
"""The positions of the items and iterations that a row lies in, from the outermost; none for a row that runs once."""


class OmittedWork:
    """What is done of a run.

    Args:
        tree: of the plan as it is now. run_folder: the run's records on this machine. completed_work: what they say.

    Attributes:
        attempts: the number of the next attempt of each task, or group of items, that had attempts; by instance path.
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
        """The positions at which a row of the plan does not run again: it is done, or comes after a failure that was handled."""
        return list(self._omitted[path])

    def handled(self, path: str) -> list[Positions]:
        """The positions at which a row, or one before it in its sequence, had failed and its on_failure has handled that."""
        return list(self._handled[path])

    def value(self, name: str, composite: str, scope: str, positions: Positions, loop: str | None) -> str | None:
        """A control value that was computed before, as the cluster takes it; None where there is none.

        Args:
            name: the value's key. composite: the path of the row that takes it. positions: of the scope that computed it.
            loop: the path of a loop, where the value is for the loop's next iteration.
        """
        target = list(positions)
        if name == self._keys.key(self._tree.rows[composite], "again"):
            return self._texts.get((name, positions))
        if loop is not None:
            level = depth(loop)
            target[level] = str(int(target[level]) + 1)
        # Loops between the scope and the composite begin with their first iteration.
        target = (target + ["0"] * depth(composite))[: depth(composite)]
        return self._texts.get((name, tuple(target)))

    # --- what is done -------------------------------------------------------------------------------------------------

    def _judge(self, rows: Iterable[Row]) -> None:
        """Judges the rows in the order of the plan, in which a composite comes before the rows inside it."""
        sequences: dict[str, _Sequence] = {"": _Sequence(True, "")}
        entered: dict[str, bool | None] = {}
        types: dict[str, str] = {}
        for row in self._by_dependence(rows):
            if self._tree.on_exit is not None and row.path.split("/")[0] == ON_EXIT:
                continue
            scope = row.path.rpartition("/")[0]
            if scope not in sequences:
                owner = scope if scope in entered else scope.rpartition("/")[0]
                sequences[scope] = _Sequence(entered[owner], owner if types[owner] == "loop" else "")
            sequence = sequences[scope]
            earlier = self._earlier_in_graph(row)
            if earlier is not None and sequence.clean is not None:
                sequence.look_behind(earlier)
            types[row.path] = row.row["type"]
            if sequence.clean is None:
                # The composite around it is done.
                entered[row.path] = None
                continue
            handled = sequence.handled or row.is_handled
            omitted = handled or self._is_done(row, sequence.clean)
            template, positions = row.row["path"], tuple(self._tree.positions(row.path))
            if handled:
                self._handled[template][positions] = None
            if omitted:
                self._omitted[template][positions] = None
                self._done.add(row.path)
            entered[row.path] = None if omitted else sequence.clean
            sequence.pass_row(template, handled, omitted)
            if sequence.loop and not sequence.clean:
                # The loop's further iterations depend on this one.
                entered[sequence.loop] = False

    def _by_dependence(self, rows: Iterable[Row]) -> list[Row]:
        """The rows in the order of the plan, but in a graph each step behind those that it follows."""
        ordered = list(rows)
        ranks: dict[str, int] = {}
        for scope in self._tree.scopes.values():
            if "after" in scope:
                order = by_dependence([scope["after"][path] for path in scope["steps"]])
                ranks.update({scope["steps"][position]: rank for rank, position in enumerate(order)})
        if not ranks:
            return ordered
        begun: dict[str, int] = {}
        places: dict[str, list[tuple[int, int]]] = {}
        for number, row in enumerate(ordered):
            trail = self._tree.trail(row.path) or []
            places[row.path] = [
                (begun.setdefault(f"{each.template}:{each.instance}", number), self._rank(each, ranks))
                for each in trail
            ]
        return sorted(ordered, key=lambda row: places[row.path])

    def _rank(self, segment: Segment, ranks: dict[str, int]) -> int:
        path = segment.row["path"]
        return ranks[path] if path in ranks else self._tree.scopes[segment.template]["positions"][path]

    def _earlier_in_graph(self, row: Row) -> list[str] | None:
        """The template paths of the steps that a step of a graph follows; None for one of a line."""
        trail = self._tree.trail(row.path)
        scope = self._tree.scopes[trail[-1].template] if trail else None
        if scope is None or "after" not in scope:
            return None
        return [scope["steps"][position] for position in scope["after"][row.row["path"]]]

    @staticmethod
    def _is_done(row: Row, clean: bool) -> bool:
        """Whether a row is done. A composite is done only if nothing before it runs again."""
        if row.row["type"] == "task":
            return bool(row.attempts) and row.status == "succeeded"
        return clean and row.status == "succeeded"

    def _judge_groups(self, row: StepRow, controls: ControlValues) -> None:
        """For a map whose items share containers: which groups are done, and the numbers of the others' next attempts."""
        [(_, scope)] = branches(row)
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
        """The paths of tasks that have attempts, those included that do not run by the plan as it is now."""
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

    def _all_texts(self, controls: ControlValues) -> dict[tuple[str, Positions], str]:
        """Each control value that the records hold, by its key and the positions that it is for."""
        texts: dict[tuple[str, Positions], str] = {}
        for instance, value in controls.items():
            trail = self._tree.trail(instance)
            if trail is not None:
                row, positions = trail[-1].row, tuple(self._tree.positions(instance))
                try:
                    values = self._keys.of(row, instance, controls)
                except (UnsuitableValue, KeyError):
                    # It has another shape, or is more than the configuration allows by now. The task that computes it says so.
                    continue
                texts.update({(name, positions): text for name, text in values.items()})
            elif (trail := self._tree.trail(instance.rpartition("/")[0])) is not None and isinstance(value, bool):
                loop, _, iteration = instance.rpartition("/")
                positions = (*self._tree.positions(loop), iteration)
                texts[self._keys.key(trail[-1].row, "again"), positions] = "true" if value else "false"
        return texts


class _Sequence:
    """What is known of a sequence while its rows are judged.

    Attributes:
        clean: whether all rows so far are done, of a graph those that the row follows; None where the composite around the
            sequence is done.
        loop: the path of the loop of which this is an iteration; empty of none.
        handled: whether a row has failed and its on_failure has handled that, of a graph one that the row follows.
    """

    def __init__(self, clean: bool | None, loop: str) -> None:
        self.clean = clean
        self.loop = loop
        self.handled = False
        self._judged: dict[str, tuple[bool, bool]] = {}

    def pass_row(self, path: str, handled: bool, omitted: bool) -> None:
        """Goes on behind a row, which is given by its template path."""
        self.handled, self.clean = handled, bool(self.clean) and omitted
        self._judged[path] = self.handled, self.clean

    def look_behind(self, earlier: Sequence[str]) -> None:
        """Goes to a row of a graph, which follows some others directly."""
        judged = [self._judged[path] for path in earlier]
        self.handled, self.clean = any(handled for handled, _ in judged), all(clean for _, clean in judged)
