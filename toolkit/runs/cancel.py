"""Ends a run from another terminal: of this machine through its client, on a cluster through Argo."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable

from toolkit.backends import driver
from toolkit.errors import BadInput, Infrastructure
from toolkit.runs.find import RunHandle

_LIMIT = 120.0
"""Seconds, beside the longest grace period, until the run must have ended."""


def cancel_run(found: RunHandle, kill: bool) -> str:
    """Cancels, waits for the end, and returns the sentence that says how it ended.

    Raises:
        BadInput: the run has ended, or is driven from another machine. Infrastructure: it does not end.
    """
    run = found.run
    if not run.active:
        ended = f"has ended ({run.end['status']})" if run.end is not None else "is not going on"
        raise BadInput(f"the run {run.id} {ended}")
    if found.remote is not None:
        return _on_cluster(found, kill)
    record = run.record["driver"]
    if record["host"] != socket.gethostname():
        raise BadInput(f"the run {run.id} is driven on {record['host']}: cancel it there")
    for _ in range(2 if kill else 1):
        try:
            os.kill(record["pid"], signal.SIGTERM)
        except (ProcessLookupError, PermissionError) as error:
            raise Infrastructure(f"the client of the run {run.id} can't be told: {error.strerror}") from None
        time.sleep(0.2)
    _wait(lambda: not driver.is_driven(found.log.run(run.id).record) or found.log.run(run.id).end is not None, run.id)
    return f"the run {run.id} is cancelled"


def _on_cluster(found: RunHandle, kill: bool) -> str:
    from toolkit.backends.argo.cluster import CORE, WORKFLOWS
    from toolkit.backends.argo.follow.nodes import FINISHED
    from toolkit.backends.argo.follow.outcome import workflow_status
    from toolkit.backends.argo.pods import WORKFLOW_LABEL, pod_has_ended
    from toolkit.backends.argo.shutdown import shut_down_run

    assert found.remote is not None
    cluster, run_id = found.remote.cluster, found.run.id
    shut_down_run(cluster, run_id, kill)

    def over() -> bool:
        workflow = cluster.find(WORKFLOWS, "workflows", run_id)
        if workflow is not None and workflow_status(workflow) not in FINISHED:
            return False
        return all(map(pod_has_ended, cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={run_id}")["items"]))

    settings = json.loads(found.run.record["plan"])["settings"]
    _wait(over, run_id, 0 if kill else max((one["grace_period"] for one in settings), default=0))
    return f"the run {run_id} is cancelled"


def _wait(over: Callable[[], bool], run_id: str, grace: float = 0) -> None:
    until = time.monotonic() + _LIMIT + grace
    while not over():
        if time.monotonic() > until:
            raise Infrastructure(f"the run {run_id} was told to end and has not: see `toolkit show {run_id}`")
        time.sleep(0.3)
