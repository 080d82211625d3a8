"""Cancels a run from another terminal: on this machine through its client, on a cluster through Argo."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

from toolkit.backends import driver
from toolkit.errors import BadInput, Infrastructure
from toolkit.runs.find import RunHandle

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
    if not run.active:
        state = f"has ended ({run.end['status']})" if run.end is not None else "is not running"
        raise BadInput(f"the run {run.id} {state}")
    if handle.remote is not None:
        return _cancel_on_cluster(handle, kill, note)
    client = run.record["driver"]
    if client is None:
        raise BadInput(f"the run {run.id} is one of compose: stop its containers with docker-compose")
    if client["host"] != socket.gethostname():
        raise BadInput(f"the client of the run {run.id} is on {client['host']}: cancel the run there")
    for _ in range(2 if kill else 1):
        try:
            os.kill(client["pid"], signal.SIGTERM)
        except (ProcessLookupError, PermissionError) as error:
            raise Infrastructure(f"the client of the run {run.id} can't be signalled: {error.strerror}") from None
        time.sleep(0.2)

    def has_ended() -> bool:
        now = handle.log.run(run.id)
        return not driver.is_driven(now.record) or now.end is not None

    _wait(has_ended, run.id, _LIMIT)
    return f"the run {run.id} is cancelled"


def _cancel_on_cluster(handle: RunHandle, kill: bool, note: Callable[[str], None]) -> str:
    from toolkit.backends.argo.cluster import CORE, WORKFLOWS
    from toolkit.backends.argo.follow.nodes import FINISHED
    from toolkit.backends.argo.follow.outcome import workflow_status
    from toolkit.backends.argo.pods import WORKFLOW_LABEL, pod_has_ended
    from toolkit.backends.argo.shutdown import ForgottenPods, shut_down_run

    assert handle.remote is not None
    cluster, run_id = handle.remote.cluster, handle.run.id
    settings = handle.run.plan()["settings"]
    grace_period = 0 if kill else max((row["grace_period"] for row in settings), default=0)
    forgotten = ForgottenPods(cluster, grace_period, note)
    shut_down_run(cluster, run_id, kill)

    def has_ended() -> bool:
        workflow = cluster.find(WORKFLOWS, "workflows", run_id)
        if workflow is not None and workflow_status(workflow) not in FINISHED:
            return False
        pods = cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={run_id}")["items"]
        running = [pod for pod in pods if not pod_has_ended(pod)]
        forgotten.look(running)
        return not running

    _wait(has_ended, run_id, _LIMIT + forgotten.limit)
    return f"the run {run_id} is cancelled"


def _wait(has_ended: Callable[[], bool], run_id: str, limit: float) -> None:
    until = time.monotonic() + limit
    while not has_ended():
        if time.monotonic() > until:
            raise Infrastructure(f"the run {run_id} was asked to stop and has not ended: see `toolkit show {run_id}`")
        time.sleep(0.3)
