"""A run as the JSON contract has it: pure data out of the records (docs/json.md and the schemas beside this file)."""

from __future__ import annotations

import json
from typing import Any

from toolkit.report.values import KnownRecords, RunValues, describe_stored
from toolkit.runtime.shared.scope import RunPlan
from toolkit.store.reader import Run, RunLog
from toolkit.store.states import Row, State, States, states
from toolkit.store.verdict import Attempt

LOST_ON_CLUSTER = "lost: its Workflow is gone, and nobody saw how it ended"


def status_of(log: RunLog, run: Run) -> str:
    """The run's status; one that nothing drives any more and that has no end has failed."""
    return _outcome(log, run)[0]


def _outcome(log: RunLog, run: Run) -> tuple[str, str]:
    """Status and reason; of a run that has a driver or an end, no step is looked at."""
    if _is_undriven(run):
        root = states_of(log, run).root
        return root.status, root.reason
    if run.end is not None:
        return str(run.end["status"]), reason_of(run)
    return ("running", "") if run.active else ("failed", reason_of(run))


def _is_undriven(run: Run) -> bool:
    """Whether what has become of the run is only in its steps."""
    return run.is_open and run.end is None


def states_of(log: RunLog, run: Run) -> States:
    """All that is known to run, in the order of the plan, each with its attempts, which are read here."""
    plan = RunPlan(json.loads(run.record["plan"]), run.record["parameters"])
    return _states(log, run, plan)


def _states(log: RunLog, run: Run, plan: RunPlan) -> States:
    unfinished = State("failed", reason_of(run) or "the run ended before it did")
    if run.end is not None and run.end["status"] == "cancelled":
        unfinished = State("cancelled", "cancelled")
    return states(
        plan,
        lambda path: log.attempts(run, path),
        run.record.get("controls") or {},
        active=run.active or run.is_open,
        single=run.is_open,
        unfinished=unfinished,
    )


def summary(log: RunLog, run: Run, known: States | None = None) -> dict[str, Any]:
    """A row of ``toolkit runs``.

    Args:
        known: the run's states, if they were read already.
    """
    record = run.record
    status, reason = known.root[:2] if known is not None and _is_undriven(run) else _outcome(log, run)
    return {
        "run_id": run.id,
        "pipeline": record["pipeline"],
        "environment": record["environment"],
        "tag": record["tag"],
        "status": status,
        "reason": reason,
        "started": record["started"],
        "ended": run.end["ended"] if run.end is not None else None,
    }


def reason_of(run: Run) -> str:
    """Why the run is not a success; empty while it runs and when it succeeded."""
    if run.end is not None:
        return str(run.end.get("reason") or "")
    if run.active:
        return ""
    if "workflow" in (run.record["driver"] or {}):
        return LOST_ON_CLUSTER
    return "lost: its client ended before the run did"


def view(log: RunLog, run: Run) -> dict[str, Any]:
    """All of ``toolkit show RUN --json``."""
    return View(log, run).document()


class View:
    """Reads each record once and puts the document together.

    Attributes:
        plan: the run's. rows: all that is known to run, in the order of the plan. status: the run's.
    """

    def __init__(self, log: RunLog, run: Run) -> None:
        self.plan = RunPlan(json.loads(run.record["plan"]), run.record["parameters"])
        found = _states(log, run, self.plan)
        self.rows = found.rows
        self._run = run
        self._summary = summary(log, run, found)
        self.status: str = self._summary["status"]
        attempts = {row.path: row.attempts for row in self.rows if row.row["type"] == "task"}
        self._values = RunValues(self.plan, KnownRecords(run.folder, attempts))

    def document(self) -> dict[str, Any]:
        record = self._run.record
        return {
            **self._summary,
            "plan_hash": record["plan_hash"],
            "image": record["image"],
            "context": record["context"],
            "without_effect": record["without_effect"],
            "parameters": self.parameters(),
            "steps": [self._row(row) for row in self.rows],
        }

    def parameters(self) -> dict[str, Any]:
        """The run's own parameters as they are at its end."""
        return self._values.last()

    def _row(self, row: Row) -> dict[str, Any]:
        document: dict[str, Any] = {
            "path": row.path,
            "type": row.row["type"],
            "kind": row.row.get("kind"),
            "status": row.status,
            "attempts": [self._attempt(row.path, attempt) for attempt in row.attempts],
        }
        if row.reason:
            document["reason"] = row.reason
        if row.branch is not None:
            document["branch"] = row.branch
        if row.items is not None:
            document["items"] = row.items.total()
            document["item_status"] = dict(sorted(row.items.items()))
        if row.iterations is not None:
            document["iterations"] = row.iterations
        if row.on_failure:
            document["on_failure"] = row.on_failure
        return document

    def _attempt(self, path: str, attempt: Attempt) -> dict[str, Any]:
        end = attempt.end
        document: dict[str, Any] = {
            "number": attempt.number,
            "status": attempt.status,
            "started": attempt.begin.get("started"),
            "ended": end.get("ended"),
            "exit_code": attempt.exit_code,
            "reason": attempt.reason,
            "input_parameters": {
                name: self._values.taken(path, taken)
                for name, taken in sorted(end.get("inputs", {}).items())
                if taken is not None
            },
            "output_parameters": {name: describe_stored(stored) for name, stored in end.get("returns", {}).items()},
            "catalog": {
                "get": [_entry(one) for one in end.get("catalog", {}).get("get", [])],
                "put": [_entry(one) for one in end.get("catalog", {}).get("put", [])],
            },
            "log": attempt.folder + "/output.log",
        }
        if "exception" in end:
            document["exception"] = end["exception"]
        return document


def _entry(one: dict[str, Any]) -> dict[str, Any]:
    return {"name": one["name"], "sha256": one["sha256"], "size": one["size"]}


def catalog(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that a run put, each with its step, in plan order; of one name the last is what a later step gets."""
    rows = []
    for step in document["steps"]:
        for attempt in step["attempts"]:
            for entry in attempt["catalog"]["put"]:
                rows.append({"step": step["path"], "attempt": attempt["number"], **entry})
    return rows
