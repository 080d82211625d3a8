"""What is done already of a run that continues: the tasks that are not run again, and the failures that were handled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.launcher import Verdict
from toolkit.runtime.shared import layout
from toolkit.runtime.shared.protocol import BEGIN_RECORD, END_RECORD, ENGINE_RECORD
from toolkit.runtime.shared.tree import Tree
from toolkit.store.states import states
from toolkit.store.verdict import LOST_WITH_CLIENT, Attempt, merge
from toolkit.store.writer import write_engine

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues


class CompletedWork:
    """The earlier parts of a run.

    Args:
        kept: template paths of the tasks whose successes still count. All other tasks run again.
        controls: control values that follow from the run's parameters.

    Attributes:
        states: the state of each row, by the attempts of the tasks that are kept.
        controls: the given control values, and those that the tasks that are kept computed.
    """

    def __init__(self, tree: Tree, run_folder: Path, kept: frozenset[str], controls: ControlValues) -> None:
        self._tree = tree
        self._run_folder = run_folder
        self._kept = kept
        self.states = states(tree, self._kept_attempts, controls, active=False)
        self.controls = self.states.controls
        self._done = {row.path for row in self.states.rows if row.attempts and row.status == "succeeded"}
        self._handled = {row.path for row in self.states.rows if row.is_handled}

    def first_attempt(self, path: str) -> int:
        """The number of a task's next attempt; 0 is one that has succeeded and is not run again."""
        if path in self._done:
            return 0
        numbers = layout.attempts(str(self._run_folder), path)
        return numbers[-1] + 1 if numbers else 1

    def handled(self, path: str) -> bool:
        """Whether a step had failed and its handler has succeeded."""
        return path in self._handled

    def _kept_attempts(self, path: str) -> list[Attempt]:
        numbers = layout.attempts(str(self._run_folder), path)
        for number in numbers:
            self._record_if_lost(path, number)
        trail = self._tree.trail(path)
        if not trail or trail[-1].row["path"] not in self._kept:
            return []
        return [merge(self._run_folder, path, number, run_active=False) for number in numbers]

    def _record_if_lost(self, path: str, number: int) -> None:
        """Records that an attempt is lost which has begun and has no end: else it would seem to run while the run continues."""
        folder = layout.attempt_folder(str(self._run_folder), path, number)
        has_ended = any(os.path.exists(os.path.join(folder, name)) for name in (END_RECORD, ENGINE_RECORD))
        if has_ended or not os.path.exists(os.path.join(folder, BEGIN_RECORD)):
            return
        lost = Verdict(None, message=LOST_WITH_CLIENT, fault=True)
        write_engine(self._run_folder, path, number, lost.record(cancelled=False))
