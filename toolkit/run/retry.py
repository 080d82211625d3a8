"""Goes on with a run that has ended without success: what succeeded is taken as it is, the rest runs again, as further attempts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.config.settings import Environment
from toolkit.errors import BadInput
from toolkit.plan.plan import Plan
from toolkit.project import Project
from toolkit.run.found import Found, Where
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.store.reader import Run, moved_to


@dataclass(frozen=True)
class Going:
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
    return f"the step {new[0]} returned {_named(old[3])} and returns {_named(new[3])}"


def _named(returns: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(name if kind == "json" else f"{name} ({kind})" for name, kind in returns) or "nothing"


def request_of(
    project: Project, found: Found, reference: PipelineReference | None, environment: str | None, where: Where
) -> tuple[Request, str]:
    """What is asked for when a run goes on, and the environment as an option would name it.

    Args:
        reference: the pipeline, if the user names one; else the run's own file. environment: what ``--env`` says; None is
            the run's own. where: the cluster that options name; else it is the run's own, or the configuration's.

    Raises:
        BadInput: the run goes on, or has succeeded; or it is one of compose.
    """
    run = found.run
    if run.is_open:
        raise BadInput(f"the run {run.id} is one of compose, whose steps are run again singly")
    if run.active:
        raise BadInput(
            f"the run {run.id} is going on: `toolkit logs -f {run.id}` follows it, `toolkit cancel {run.id}` ends it"
        )
    if run.end is not None and run.end["status"] == "succeeded":
        raise BadInput(f"the run {run.id} has succeeded: there is nothing to go on with")
    chosen: Environment = environment or run.record["environment"]  # type: ignore[assignment]
    if chosen != "argo" and found.remote is None and moved_to(run.folder) is not None:
        raise BadInput(
            f"the run {run.id} was on its way to a cluster and has not arrived: `toolkit retry {run.id} --env argo` goes on with it"
        )
    source = run.record.get("source")
    if reference is None and source is None:
        raise BadInput(f"the run {run.id} does not say which file its pipeline is in: name it after the run's id")
    if reference is None:
        reference = PipelineReference.of_record(project, source or {})
    known = run.record["context"] if not where.is_cluster else {}
    request = Request(
        project,
        chosen,
        reference,
        run.record["parameters"],
        run.id,
        run.record["tag"],
        where.context or known.get("context") or None,
        where.namespace or known.get("namespace"),
    )
    return request, chosen
