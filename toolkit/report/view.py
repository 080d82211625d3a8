"""A run as the JSON contract has it, made of the run's records (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.plan.plan import shape_hash
from toolkit.report.items import ItemValues
from toolkit.report.values import KnownRecords, RunValues
from toolkit.runtime.shared.scope import RunPlan
from toolkit.store.reader import Run, RunLog
from toolkit.store.states import Row, State, States, states
from toolkit.store.verdict import LOST_RUN, LOST_RUN_ON_CLUSTER, Attempt

if TYPE_CHECKING:
    from toolkit.report.contract import (
        AttemptDocument,
        FileDocument,
        LeftDocument,
        LeftFileDocument,
        RunDocument,
        RunRow,
        StepDocument,
    )
    from toolkit.runtime.shared.documents import CatalogEntry, CatalogRecord, GotEntry, JsonValue, LeftRecord


def status_of(log: RunLog, run: Run) -> str:
    """The run's status. A run without an end that nothing drives any more has failed."""
    return _status_and_reason(log, run)[0]


def _status_and_reason(log: RunLog, run: Run) -> tuple[str, str]:
    """Status and reason. Steps are read only where the run itself does not say them."""
    if _depends_on_steps(run):
        root = states_of(log, run).root
        return root.status, root.reason
    if run.end is not None:
        return str(run.end["status"]), reason_of(run)
    return ("running", "") if run.active else ("failed", reason_of(run))


def _depends_on_steps(run: Run) -> bool:
    """Whether the status of the run follows from its steps alone."""
    return run.is_open and run.end is None


def states_of(log: RunLog, run: Run) -> States:
    """The states of all steps that are known to run, in the order of the plan. Their attempts are read here."""
    return _states(log, run, _plan_of(run))


def _plan_of(run: Run) -> RunPlan:
    return RunPlan(run.plan(), run.record["parameters"], run.record.get("spellings"))


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
        engine=log.engine_view(run),
    )


def summary(log: RunLog, run: Run, run_states: States | None = None) -> RunRow:
    """A row of ``toolkit runs``.

    Args:
        run_states: the run's states, if they were read already.
    """
    record = run.record
    status, reason = (
        run_states.root[:2] if run_states is not None and _depends_on_steps(run) else _status_and_reason(log, run)
    )
    return {
        "run_id": run.id,
        "pipeline": record["pipeline"],
        "environment": record["environment"],
        "tag": record["tag"],
        "status": status,
        "reason": reason,
        "started": record["started"],
        "ended": run.end.get("ended") if run.end is not None else None,
    }


def reason_of(run: Run) -> str:
    """Why the run did not succeed; empty while it runs and when it succeeded."""
    if run.end is not None:
        status = str(run.end["status"])
        return "" if status == "succeeded" else str(run.end.get("reason") or status)
    if run.active:
        return ""
    if "workflow" in (run.record["driver"] or {}):
        return LOST_RUN_ON_CLUSTER
    return LOST_RUN


def view(log: RunLog, run: Run, whole: bool = False) -> RunDocument:
    """All of ``toolkit show RUN --json``.

    Args:
        whole: whether values above 1 MiB are in it, and not only described.

    Raises:
        StoreFault: such a value is missing or damaged.
    """
    return View(log, run, whole).document()


class View:
    """Reads each record once and makes the document of them.

    Args:
        whole: as of :func:`view`.

    Attributes:
        id: the run's. plan: the run's. plan_hash: of its shape. rows: all rows that are known to run, in the order of the plan.
        status: the run's. known_records: the records of the rows' attempts. unread: why the volume can't be read, else None.
    """

    def __init__(self, log: RunLog, run: Run, whole: bool = False) -> None:
        self.id = run.id
        self.plan = _plan_of(run)
        self.plan_hash = run.record["plan_hash"] or shape_hash(self.plan.document)
        self._engine_view = log.engine_view(run)
        self.unread = self._engine_view.why if self._engine_view is not None else None
        run_states = _states(log, run, self.plan)
        self.rows = run_states.rows
        self._on_exit = run_states.on_exit
        self._run = run
        self._summary = summary(log, run, run_states)
        self.status = self._summary["status"]
        attempts = {row.path: row.attempts for row in self.rows if row.row["type"] == "task"}
        self.known_records = KnownRecords(run.folder, attempts)
        self._values = RunValues(self.plan, self.known_records, whole)
        self._items = ItemValues(self.plan, self.known_records)

    def document(self) -> RunDocument:
        record = self._run.record
        summary = self._summary
        document: RunDocument = {
            "run_id": summary["run_id"],
            "pipeline": summary["pipeline"],
            "environment": summary["environment"],
            "tag": summary["tag"],
            "status": summary["status"],
            "reason": summary["reason"],
            "started": summary["started"],
            "ended": summary["ended"],
            "plan_hash": self.plan_hash,
            "image": record["image"],
            "context": record["context"],
            "without_effect": record["without_effect"],
            "parameters": self.parameters(),
            "steps": [self._step(row) for row in self.rows],
        }
        if "revision" in record:
            document["revision"] = record["revision"]
        if self._on_exit is not None:
            document["on_exit"] = self._on_exit.status
        if self._engine_view is not None:
            document["unread"] = self._engine_view.why
            document["unknown"] = ["parameters"]
        return document

    def parameters(self) -> dict[str, JsonValue]:
        """The run's own parameters as they are at its end."""
        return self._values.final_parameters()

    def _step(self, row: Row) -> StepDocument:
        document: StepDocument = {
            "path": row.path,
            "type": row.row["type"],
            "kind": row.row.get("kind"),
            "status": row.status,
            "attempts": [self._attempt(row.path, attempt) for attempt in row.attempts],
        }
        if item := self._items.of(row.path):
            document["item"] = item
        if row.reason:
            document["reason"] = row.reason
        if row.branch is not None:
            document["branch"] = row.branch
        if row.items is not None:
            document["items"] = row.items.total()
            document["item_status"] = dict(sorted(row.items.items()))
        if row.iterations is not None:
            document["iterations"] = row.iterations
        if "patched" in row.row:
            document["patched"] = True
        if row.on_failure:
            document["on_failure"] = row.on_failure
        if row.row.get("keep_failure"):
            document["keep_failure"] = True
        return document

    def _attempt(self, path: str, attempt: Attempt) -> AttemptDocument:
        end = attempt.end
        files: CatalogRecord = end.get("catalog") or {"get": [], "put": []}
        document: AttemptDocument = {
            "number": attempt.number,
            "status": attempt.status,
            "started": attempt.begin.get("started"),
            "ended": end.get("ended"),
            "exit_code": attempt.exit_code,
            "reason": attempt.reason,
            "input_parameters": {
                name: self._values.input_value(path, record)
                for name, record in sorted(end.get("inputs", {}).items())
                if record is not None
            },
            "output_parameters": {
                name: self._values.output_value(stored) for name, stored in end.get("returns", {}).items()
            },
            "catalog": {
                "get": [_file(entry) for entry in files.get("get", ())],
                "put": [_file(entry) for entry in files.get("put", ())],
            },
            "log": attempt.folder + "/output.log",
        }
        if "left" in end:
            document["left"] = _left(end["left"])
        if "exception" in end:
            document["exception"] = end["exception"]
        if attempt.unread:
            unknown = [] if attempt.status == "running" else [key for key in _OF_END if key != "left" or key not in end]
            document["unknown"] = [*([] if attempt.begin else ["started"]), *unknown, "log"]
        elif self._engine_view is not None and None in document["input_parameters"].values():
            # The record of the step that returned the value may be one of those that can't be read.
            document["unknown"] = ["input_parameters"]
        return document


_OF_END = ("ended", "input_parameters", "output_parameters", "catalog", "left")
"""The keys of an attempt that only the runtime's record of its end gives; what a step left, its pod may have said as well."""


def _file(entry: CatalogEntry | GotEntry) -> FileDocument:
    document: FileDocument = {"name": entry["name"], "sha256": entry["sha256"], "size": entry["size"]}
    if entry.get("executable"):
        document["executable"] = True
    return document


def _left(record: LeftRecord) -> LeftDocument:
    document: LeftDocument = {"files": [], "count": record["count"], "size": record["size"]}
    for file in record["files"]:
        shown: LeftFileDocument = {"name": file["name"], "size": file["size"]}
        if file.get("project"):
            shown["project"] = True
        document["files"].append(shown)
    if record.get("incomplete"):
        document["incomplete"] = True
    return document
