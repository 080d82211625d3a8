"""A run as the JSON contract has it: pure data out of the records (docs/json.md and the schemas beside this file)."""

from __future__ import annotations

import json
from typing import Any

from toolkit.store.reader import Run, RunLog
from toolkit.store.verdict import Attempt

LOST_ON_CLUSTER = "lost: its Workflow is gone, and nobody saw how it ended"


def status_of(log: RunLog, run: Run) -> str:
    """The run's status; one that nothing drives any more and that has no end has failed."""
    if run.end is not None:
        return str(run.end["status"])
    if run.is_open:
        return _status_of_open(log, run)
    return "running" if run.active else "failed"


def _status_of_open(log: RunLog, run: Run) -> str:
    """What the last attempts of the steps come to, of a run whose steps are run singly."""
    tasks = [step["path"] for step in json.loads(run.record["plan"])["steps"] if step["type"] == "task"]
    last = [attempts[-1].status if (attempts := log.attempts(run, path)) else "waiting" for path in tasks]
    for status in ("running", "failed", "cancelled", "waiting"):
        if status in last:
            return status
    return "succeeded"


def summary(log: RunLog, run: Run) -> dict[str, Any]:
    """A row of ``toolkit runs``."""
    record = run.record
    return {
        "run_id": run.id,
        "pipeline": record["pipeline"],
        "environment": record["environment"],
        "tag": record["tag"],
        "status": status_of(log, run),
        "reason": reason_of(run),
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
    """Reads each record once and puts the document together."""

    def __init__(self, log: RunLog, run: Run) -> None:
        self._run = run
        self._summary = summary(log, run)
        self._plan: dict[str, Any] = json.loads(run.record["plan"])
        self._attempts = {step["path"]: log.attempts(run, step["path"]) for step in self._plan["steps"]}

    def document(self) -> dict[str, Any]:
        record = self._run.record
        return {
            **self._summary,
            "plan_hash": record["plan_hash"],
            "image": record["image"],
            "context": record["context"],
            "without_effect": record["without_effect"],
            "parameters": self._parameters(),
            "steps": self._steps(),
        }

    def _steps(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        all_succeeded = True
        for step in self._plan["steps"]:
            attempts = self._attempts[step["path"]]
            status = self._status(step, attempts, all_succeeded)
            all_succeeded = all_succeeded and status == "succeeded"
            rows.append(
                {
                    "path": step["path"],
                    "type": step["type"],
                    "kind": step.get("kind"),
                    "status": status,
                    "attempts": [self._attempt(step, attempt) for attempt in attempts],
                }
            )
        return rows

    def _status(self, step: dict[str, Any], attempts: list[Attempt], all_succeeded: bool) -> str:
        active = self._summary["status"] == "running" or self._run.is_open
        if step["type"] == "stub":
            # A stub has no container and no record: it succeeds when it is passed.
            return "succeeded" if all_succeeded else "waiting" if active else "skipped"
        if attempts:
            return attempts[-1].status
        return "waiting" if active else "skipped"

    def _attempt(self, step: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
        end = attempt.end
        document: dict[str, Any] = {
            "number": attempt.number,
            "status": attempt.status,
            "started": attempt.begin.get("started"),
            "ended": end.get("ended"),
            "exit_code": attempt.exit_code,
            "reason": attempt.reason,
            "input_parameters": {
                name: self._input(taken) for name, taken in sorted(end.get("inputs", {}).items()) if taken is not None
            },
            "output_parameters": {name: _shown(stored) for name, stored in end.get("returns", {}).items()},
            "catalog": {
                "get": [_entry(one) for one in end.get("catalog", {}).get("get", [])],
                "put": [_entry(one) for one in end.get("catalog", {}).get("put", [])],
            },
            "log": attempt.folder + "/output.log",
        }
        if "exception" in end:
            document["exception"] = end["exception"]
        return document

    def _input(self, taken: dict[str, Any]) -> Any:
        """The value that an input refers to: recorded once, where it was produced."""
        if "value" in taken:
            return taken["value"]
        if taken["from"] == "":
            return self._run.record["parameters"].get(taken["name"])
        stored = self._returned(taken["from"], taken["name"])
        return _shown(stored) if stored is not None else None

    def _returned(self, path: str, name: str) -> dict[str, Any] | None:
        for attempt in reversed(self._attempts.get(path, [])):
            if attempt.status == "succeeded" and name in attempt.end.get("returns", {}):
                stored: dict[str, Any] = attempt.end["returns"][name]
                return stored
        return None

    def _parameters(self) -> dict[str, Any]:
        """The root scope's values at the end: the newest of each name, else what the run was given."""
        values = dict(self._run.record["parameters"])
        scope = self._plan["scopes"][""]
        for name, positions in sorted(scope["returns"].items()):
            for position in reversed(positions):
                stored = self._returned(scope["steps"][position], name)
                if stored is not None:
                    values[name] = _shown(stored)
                    break
        return dict(sorted(values.items()))


def _shown(stored: dict[str, Any]) -> Any:
    """A stored parameter: its value, or of an object a description."""
    if stored["kind"] == "object":
        return {"object": stored["type"], "sha256": stored["sha256"], "size": stored["size"]}
    return stored["value"]


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
