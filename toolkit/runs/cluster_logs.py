"""The output of a run's steps on a cluster while they run, read from the volume.

The volume has exactly the bytes that a step wrote. The logs that Kubernetes keeps of a container do not: they are cut at a
size that the node sets, Argo adds lines of its own, also in front of a last line that has no line end, and they are gone when the
pod is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from toolkit.backends.argo.cluster import WORKFLOWS
from toolkit.backends.argo.follow.nodes import FINISHED
from toolkit.backends.argo.follow.outcome import workflow_status
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.report.view import states_of
from toolkit.runs.cluster_runs import ClusterRuns
from toolkit.runs.logs import AttemptOutputs, stream_attempts
from toolkit.store.reader import NoRun, Run
from toolkit.store.states import States

_PAUSE = 1.0
"""Seconds between two updates of the mirror."""
_PIECE = 1 << 16
"""Bytes that are read of a file at once."""


def follow_logs(remote: ClusterRuns, run_id: str, step: str | None) -> AttemptOutputs:
    """Path, number and output of each attempt in the order of the plan, until the run has ended.

    Args:
        step: the path of a step; the steps below it are included. None is all steps.

    Raises:
        Infrastructure: cluster or volume can't be read.
    """
    with remote.reader(run_id) as pod:
        tail = _Tail(remote, pod, run_id, step)
        yield from stream_attempts(tail.look, step, tail.pieces, _PAUSE)


class _Tail:
    """The mirror of one run, updated again and again."""

    def __init__(self, remote: ClusterRuns, pod: ReaderPod, run_id: str, step: str | None) -> None:
        self._remote = remote
        self._pod = pod
        self._run_id = run_id
        self._step = step

    def look(self) -> tuple[Run, States]:
        """Updates the mirror: with all of the step that is followed, and with the records of the other steps."""
        has_ended = self._has_ended()
        self._sync(None if self._step is None else [self._step])
        if self._step is not None:
            self._sync(None, logs=False)
        # The run may have ended since it was found.
        run = replace(self._remote.log.run(self._run_id), active=not has_ended)
        return run, states_of(self._remote.log, run)

    def _has_ended(self) -> bool:
        workflow = self._remote.cluster.find(WORKFLOWS, "workflows", self._run_id)
        return workflow is None or workflow_status(workflow) in FINISHED

    def _sync(self, steps: list[str] | None, logs: bool = True) -> None:
        try:
            self._remote.mirror.sync(self._pod, self._run_id, logs=logs, steps=steps)
        except NoRun:
            # No step has written to the volume yet.
            pass

    def pieces(self, path: str, number: int) -> Iterator[bytes]:
        """The output of an attempt, to its end."""
        position = 0
        while True:
            run_has_ended = self._has_ended()
            # The mirror gets an attempt's verdict after its output, unless only the records are asked for.
            self._sync([path])
            run = self._remote.log.run(self._run_id)
            attempts = {attempt.number: attempt for attempt in self._remote.log.attempts(run, path)}
            has_ended = run_has_ended or bool(attempts[number].end) or max(attempts) > number
            try:
                with open(self._remote.log.output(attempts[number]), "rb") as file:
                    file.seek(position)
                    while data := file.read(_PIECE):
                        position += len(data)
                        yield data
            except FileNotFoundError:
                pass
            if has_ended:
                return
            time.sleep(_PAUSE)
