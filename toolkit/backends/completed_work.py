"""What of a run is done already, for one that goes on: tasks that need not run again, failures that were seen to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.backends.launcher import Verdict
from toolkit.runtime.shared import layout
from toolkit.runtime.shared.protocol import BEGIN_RECORD, END_RECORD, ENGINE_RECORD
from toolkit.runtime.shared.tree import Tree
from toolkit.store.states import states
from toolkit.store.verdict import Attempt, merge
from toolkit.store.writer import write_engine

_LOST = "lost: its client ended before it did"


class CompletedWork:
    """The earlier part of a run.

    Args:
        kept: template paths of the tasks whose successes still count; of the others all is run again.
        controls: control values that follow from the run's parameters.

    Attributes:
        states: what has become of each row, of what is kept. controls: those, and what the tasks that are kept computed.
    """

    def __init__(self, tree: Tree, run_folder: Path, kept: frozenset[str], controls: Mapping[str, Any]) -> None:
        self._tree = tree
        self._run_folder = run_folder
        self._kept = kept
        self.states = states(tree, self._kept_attempts, controls, active=False)
        self.controls = self.states.controls
        self._done = {row.path for row in self.states.rows if row.attempts and row.status == "succeeded"}
        self._handled = {row.path for row in self.states.rows if row.on_failure == "succeeded"}

    def first_attempt(self, path: str) -> int:
        """The number of a task's next attempt; 0 is one that has succeeded and is not run again."""
        if path in self._done:
            return 0
        numbers = layout.attempts(str(self._run_folder), path)
        return numbers[-1] + 1 if numbers else 1

    def handled(self, path: str) -> bool:
        """Whether a step had failed and its handler has made good for it."""
        return path in self._handled

    def _kept_attempts(self, path: str) -> list[Attempt]:
        numbers = layout.attempts(str(self._run_folder), path)
        for number in numbers:
            self._settle(path, number)
        trail = self._tree.trail(path)
        if not trail or trail[-1].row["path"] not in self._kept:
            return []
        return [merge(self._run_folder, path, number, run_active=False) for number in numbers]

    def _settle(self, path: str, number: int) -> None:
        """Records of an attempt that nobody saw end that it is lost: else it would seem to run as soon as the run goes on."""
        folder = layout.attempt_folder(str(self._run_folder), path, number)
        known = [name for name in (END_RECORD, ENGINE_RECORD) if os.path.exists(os.path.join(folder, name))]
        if known or not os.path.exists(os.path.join(folder, BEGIN_RECORD)):
            return
        lost = Verdict(None, message=_LOST, fault=True)
        write_engine(self._run_folder, path, number, lost.record(cancelled=False))
