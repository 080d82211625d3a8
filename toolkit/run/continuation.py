"""A run that has ended and continues: which of its successes still count under the plan as it is now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import BadInput
from toolkit.plan.plan import Plan
from toolkit.run.request import Note
from toolkit.store.reader import Run


@dataclass(frozen=True)
class Continuation:
    """A run to go on with.

    Attributes:
        reshaped: whether a pipeline of another shape is accepted; then all is run again from the first step that differs.
    """

    run: Run
    reshaped: bool

    def kept(self, made: Plan, note: Note) -> frozenset[str]:
        """The template paths of the steps whose successes still count under the plan as it is now.

        Raises:
            BadInput: the shape is another, and that is not accepted.
        """
        before, after = _shape(json.loads(self.run.record["plan"])), _shape(made.document())
        if before == after:
            return frozenset(path for path, *_ in after)
        position = next(
            (number for number, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None
        )
        if position is None:
            position = min(len(before), len(after))
        what = _difference(before, after, position)
        if not self.reshaped:
            raise BadInput(
                f"the pipeline is not the one that the run {self.run.id} began with: {what}; "
                "--changed-shape goes on all the same, and runs all again from there on"
            )
        note(f"the pipeline has changed: {what}; all is run again from there on")
        # A composite that holds what differs is itself before it, and its other branches stay.
        return frozenset(path for path, *_ in after[:position])


def _shape(plan: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What a retry may not mend: steps, their order, their types and returns."""
    return [
        (row["path"], row["type"], row.get("kind"), tuple((one["name"], one["kind"]) for one in row.get("returns", ())))
        for row in plan["steps"]
    ]


def _difference(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]], position: int) -> str:
    old = before[position] if position < len(before) else None
    new = after[position] if position < len(after) else None
    if old is None and new is not None:
        return f"the step {new[0]} is new"
    if new is None and old is not None:
        return f"the step {old[0]} is gone"
    assert old is not None and new is not None
    if old[0] != new[0]:
        known = {row[0] for row in before}
        if new[0] not in known:
            return f"the step {new[0]} is new where {old[0]} was"
        return f"the step {new[0]} stands where {old[0]} was"
    if old[1:3] != new[1:3]:
        return f"the step {new[0]} was a {old[2] or old[1]} and is a {new[2] or new[1]}"
    return f"the step {new[0]} returned {_returns_text(old[3])} and returns {_returns_text(new[3])}"


def _returns_text(returns: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(name if kind == "json" else f"{name} ({kind})" for name, kind in returns) or "nothing"
