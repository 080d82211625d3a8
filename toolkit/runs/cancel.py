"""Cancels a run from another terminal: on this machine through its client, on a cluster through Argo."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from toolkit.backends import driver
from toolkit.errors import BadInput, Infrastructure
from toolkit.runs.find import RunHandle
from toolkit.runtime.shared.records import parse_plan
from toolkit.runtime.shared.tree import ON_EXIT
from toolkit.store.reader import DamagedRun, NoRun

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PlanDocument

_LIMIT = 120.0
"""Seconds until a run on this machine, or the Workflow of one on a cluster, must have ended."""


def cancel_run(handle: RunHandle, kill: bool, note: Callable[[str], None]) -> str:
    """Cancels a run and waits for its end; returns the sentence that says so.

    Args:
        kill: whether the steps get no grace period. note: says a sentence to the user meanwhile.

    Raises:
        BadInput: the run has ended, or its client is on another machine. Infrastructure: the run does not end.
    """
    run = handle.run
    if handle.remote is None and driver.holds_lock(handle.project, run.id):
        return _cancel_here(handle, kill)
    if not run.active:
        state = f"has ended ({run.end['status']})" if run.end is not None else "is not running"
        raise BadInput(f"the run {run.id} {state}")
    if handle.remote is not None:
        return _cancel_on_cluster(handle, kill, note)
    if run.is_open:
        raise BadInput(f"the run {run.id} is one of compose: stop its containers with docker-compose")
    host = (run.record.get("driver") or {}).get("host")
    # Steps can write the record. It may name a machine to a person, but no process to this command.
    raise BadInput(
        f"no client of this project on this machine holds the lock of the run {run.id}; its record names the machine "
        f"{host!r}: cancel the run there, or end it in its terminal (Ctrl-C)"
    )


def _cancel_here(handle: RunHandle, kill: bool) -> str:
    """Cancels a run through the process that holds its lock, whatever the run's records say."""
    project, run_id = handle.project, handle.run.id
    for _ in range(2 if kill else 1):
        if not driver.ask_to_stop(project, run_id):
            break
        # Two signals that are not delivered yet become one.
        time.sleep(0.2)
    grace_period = 0.0 if kill else project.config.executor.config.grace_period_in_seconds + _exit_limit(handle)
    _wait(lambda: not driver.holds_lock(project, run_id), run_id, _LIMIT + grace_period)
    try:
        end = handle.log.run(run_id).end
    except NoRun:
        end = None
    if end is not None and end["status"] != "cancelled":
        # It had come to its own end meanwhile.
        return f"the run {run_id} has ended ({end['status']})"
    return f"the run {run_id} is cancelled"


def _exit_limit(handle: RunHandle) -> float:
    """The seconds that the steps of the run's on_exit may take at most, as far as its plan says it."""
    try:
        plan = handle.run.plan()
        return on_exit_seconds(plan)
    except (DamagedRun, KeyError, TypeError, ValueError):
        # Steps can write the record.
        return 0.0


def on_exit_seconds(plan: PlanDocument) -> float:
    """The seconds that the steps of a plan's on_exit may take at most, one after the other, each item of a map as one step."""
    seconds = 0.0
    for row in plan["steps"] if "on_exit" in plan else ():
        if row["type"] == "task" and row["path"].startswith(f"{ON_EXIT}/"):
            settings = plan["settings"][row["settings"]]
            attempts = 1 + settings["retry"]["limit"]
            seconds += attempts * ((settings["time_limit"] or 0) + settings["grace_period"])
    return seconds


def _cancel_on_cluster(handle: RunHandle, kill: bool, note: Callable[[str], None]) -> str:
    from toolkit.backends.argo.cluster import CORE, WORKFLOWS
    from toolkit.backends.argo.pods import WORKFLOW_LABEL, pod_has_ended
    from toolkit.backends.argo.shutdown import ForgottenPods, Reminder, shut_down_run
    from toolkit.backends.argo.workflow_status import FINISHED, workflow_status

    assert handle.remote is not None
    cluster, run_id = handle.remote.cluster, handle.run.id
    # By what was asked for: a plan in the run's records may be a step's, and have any period.
    asked = handle.remote.request_of(run_id) or {}
    plan = parse_plan(asked["plan"]) if "plan" in asked else None
    settings = plan["settings"] if plan is not None else []
    own = handle.project.config.executor.config.grace_period_in_seconds
    grace_period = 0 if kill else max((row["grace_period"] for row in settings), default=own)
    forgotten = ForgottenPods(cluster, grace_period, note)
    strategy = shut_down_run(cluster, run_id, kill)
    reminder = Reminder(cluster, run_id, strategy) if strategy else None
    exit_limit = on_exit_seconds(plan) if plan is not None and not kill else 0.0

    def has_ended() -> bool:
        workflow = cluster.find(WORKFLOWS, "workflows", run_id)
        if workflow is not None and workflow_status(workflow) not in FINISHED:
            if reminder is not None:
                reminder.look()
            return False
        pods = cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={run_id}")["items"]
        running = [pod for pod in pods if not pod_has_ended(pod)]
        forgotten.look(running)
        return not running

    _wait(has_ended, run_id, _LIMIT + forgotten.limit + exit_limit)
    if not strategy:
        return f"the run {run_id} had come to its end; its on_exit has ended now"
    return f"the run {run_id} is cancelled"


def _wait(has_ended: Callable[[], bool], run_id: str, limit: float) -> None:
    until = time.monotonic() + limit
    while not has_ended():
        if time.monotonic() > until:
            raise Infrastructure(f"the run {run_id} was asked to stop and has not ended: see `toolkit show {run_id}`")
        time.sleep(0.3)
