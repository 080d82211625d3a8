"""What only the run can tell: which files branches of a parallel, or steps of a graph, put side by side under one name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope
from toolkit.runtime.shared.tree import REPEATED, branches, join

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ScopeRow

_MOST = 3
"""Names in the sentence."""


def put_side_by_side(plan: RunPlan, run_folder: Path) -> list[str]:
    """A sentence about the names that several branches put, or nothing. Keys that the plan has allowed are left out.

    Records that are not on this machine, or damaged, say nothing.
    """
    try:
        names = _names(plan, RecordReader(str(run_folder)))
    except Exception:
        # The run has ended, whatever its records are like.
        return []
    if not names:
        return []
    shown = [f"{name} by {' and '.join(steps[:2])}" for name, steps in list(names.items())[:_MOST]]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return [f"put side by side under one name: {', '.join(shown)}{more} (toolkit catalog lists each with its step)"]


def _names(plan: RunPlan, reader: RecordReader) -> dict[str, list[str]]:
    """The names that several branches or steps put and that are no key of theirs, each with the steps."""
    names: dict[str, list[str]] = {}
    if any(_puts_in_branches(plan, path) for path in plan.rows) or any(map(_puts_in_graph, plan.scopes.values())):
        for path in _places(plan, reader, "", ""):
            for name, steps in Scope(plan, reader, path).put_side_by_side().items():
                if not all(_is_a_key_of(plan, step, name) for step in steps):
                    names.setdefault(name, steps)
    return names


def _puts_in_branches(plan: RunPlan, path: str) -> bool:
    row = plan.rows[path]
    return row["type"] == "parallel" and sum(bool(plan.scopes[scope]["puts"]) for _, scope in branches(row)) > 1


def _puts_in_graph(scope: ScopeRow) -> bool:
    return "after" in scope and len(scope["puts"]) > 1


def _places(plan: RunPlan, reader: RecordReader, scope: str, instance: str) -> Iterator[str]:
    """The instance paths of all parallels below a scope, and of the first step of each graph, if that is none."""
    if _puts_in_graph(plan.scopes[scope]):
        first = next((row for row in plan.scope_rows(scope) if row["type"] != "parallel"), None)
        if first is not None:
            yield join(instance, first["name"])
    for row in plan.scope_rows(scope):
        path = join(instance, row["name"])
        if row["type"] == "parallel":
            yield path
        handler = row.get("handler")
        if handler is not None:
            yield from _places(plan, reader, handler, f"{path}/{handler.rpartition('/')[2]}")
        if row["type"] == "pipeline":
            yield from _places(plan, reader, row["path"], path)
            continue
        for label, inner in branches(row):
            labels = map(str, reader.positions(path)) if row["type"] in REPEATED else [label]
            for position in labels:
                yield from _places(plan, reader, inner, join(path, position))


def _is_a_key_of(plan: RunPlan, path: str, name: str) -> bool:
    """Whether a step has a file's very name among its keys, so that the plan has shown the two."""
    step = plan.step(path)
    return step is not None and name in map(os.path.normpath, step["catalog"]["put"])
