"""What of a run is done already, for one that goes on: tasks that need not run again, failures that were seen to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.runtime import layout
from toolkit.runtime.protocol import BEGIN_RECORD, END_RECORD, ENGINE_RECORD
from toolkit.runtime.tree import HANDLER, Tree, branches, join, times
from toolkit.store.records import write_engine
from toolkit.store.verdict import Attempt, merge

Row = Mapping[str, Any]


class Earlier:
    """The earlier part of a run.

    Args:
        kept: template paths of the tasks whose successes still count; of the others all is run again.
        controls: control values by instance path; those of the succeeded tasks that are read are added.
    """

    def __init__(self, tree: Tree, run_folder: Path, kept: frozenset[str], controls: dict[str, Any]) -> None:
        self.controls = controls
        self._tree = tree
        self._run_folder = run_folder
        self._kept = kept
        self._last: dict[str, Attempt | None] = {}
        # In plan order, so that a later task's word on a value is the one that counts.
        self._done = self.sequence("", "")

    def first_attempt(self, path: str) -> int:
        """The number of a task's next attempt; 0 is one that has succeeded and is not run again."""
        last = self._attempt(path)
        if last is None:
            return 1
        trail = self._tree.trail(path)
        if last.status == "succeeded" and trail and trail[-1].row["path"] in self._kept:
            return 0
        return last.number + 1

    def handled(self, row: Row, path: str) -> bool:
        """Whether a step had failed and its handler has made good for it."""
        if row.get("handler") is None or self._row(row, path):
            return False
        return self.sequence(str(row["handler"]), join(path, HANDLER))

    def sequence(self, scope: str, instance: str) -> bool:
        """Whether a sequence has succeeded."""
        for row in self._tree.scope_rows(scope):
            path = join(instance, row["name"])
            if not self._row(row, path):
                return self.handled(row, path)
            if row.get("ends"):
                return bool(row["ends"] == "success")
        return True

    def _row(self, row: Row, path: str) -> bool:
        if row["type"] == "stub":
            return True
        if row["type"] == "task":
            return self._task(row, path)
        if row["type"] == "pipeline":
            return self.sequence(str(row["path"]), path)
        control = self.controls.get(path)
        if row["type"] == "conditional":
            scope = dict(branches(dict(row))).get(control) if isinstance(control, str) else None
            return scope is not None and self.sequence(scope, join(path, str(control)))
        if row["type"] == "map" and not isinstance(control, int):
            return False
        # Each is looked at, not only as far as the first that failed: what it has told of others is needed.
        if row["type"] == "loop":
            return self._loop(row, path)
        return all(
            [self.sequence(scope, where) for _, scope, where in self._tree.entered(dict(row), path, self.controls)]
        )

    def _loop(self, row: Row, path: str) -> bool:
        position = 0
        while True:
            [(_, scope)] = branches(dict(row))
            if not self.sequence(scope, f"{path}/{position}"):
                return False
            position += 1
            if times(dict(row), path, self.controls) <= position:
                return position == row["limit"] or self.controls.get(f"{path}/{position - 1}") is False

    def _task(self, row: Row, path: str) -> bool:
        last = self._attempt(path)
        if last is None or last.status != "succeeded" or row["path"] not in self._kept:
            return False
        self.controls.update(last.end.get("controls") or {})
        return True

    def _attempt(self, path: str) -> Attempt | None:
        if path not in self._last:
            numbers = layout.attempts(str(self._run_folder), path)
            for number in numbers:
                self._settle(path, number)
            self._last[path] = merge(self._run_folder, path, numbers[-1], run_active=False) if numbers else None
        return self._last[path]

    def _settle(self, path: str, number: int) -> None:
        """Records of an attempt that nobody saw end that it is lost: else it would seem to run as soon as the run goes on."""
        folder = layout.attempt_folder(str(self._run_folder), path, number)
        known = [name for name in (END_RECORD, ENGINE_RECORD) if os.path.exists(os.path.join(folder, name))]
        if known or not os.path.exists(os.path.join(folder, BEGIN_RECORD)):
            return
        lost = {
            "version": 1,
            "exit_code": None,
            "cancelled": False,
            "out_of_memory": False,
            "message": "lost: its client ended before it did",
            "container": "",
            "image": "",
            "fault": True,
        }
        write_engine(self._run_folder, path, number, lost)
