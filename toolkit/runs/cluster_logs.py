"""The output of a run's steps on a cluster while they run, from the volume.

Not from the pods: what Kubernetes keeps of a container is cut at a size of the node's, has Argo's own lines in it, puts a
last line without its end behind them, and is gone with the pod. On the volume are the bytes that the step wrote.
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
"""Seconds between two looks."""
_PIECE = 1 << 16


def follow_logs(remote: ClusterRuns, run_id: str, step: str | None) -> AttemptOutputs:
    """Path, number and output of each attempt, in the order of the plan, as they come; ends when the run has ended.

    Args:
        step: the path of one step, or of all that is below it; None is all.

    Raises:
        Infrastructure: cluster or volume can't be read.
    """
    with remote.reader(remote.log.run(run_id).record) as pod:
        tail = _Tail(remote, pod, run_id, step)
        yield from stream_attempts(tail.look, step, tail.pieces, _PAUSE)


class _Tail:
    """The mirror of one run, brought up to date look by look.

    Attributes:
        over: whether the run had ended before the last look, which then saw all there is.
    """

    def __init__(self, remote: ClusterRuns, pod: ReaderPod, run_id: str, step: str | None) -> None:
        self._remote = remote
        self._pod = pod
        self._run_id = run_id
        self._step = step
        self.over = False

    def look(self) -> tuple[Run, States]:
        """Fetches what is new: of what is wanted all of it, of the other steps what they say of how the run goes on."""
        over = self._is_over()
        self._sync(None if self._step is None else [self._step])
        if self._step is not None:
            self._sync(None, logs=False)
        self.over = over
        # What the cluster said when the run was found may be over by now.
        run = replace(self._remote.log.run(self._run_id), active=not over)
        return run, states_of(self._remote.log, run)

    def _is_over(self) -> bool:
        workflow = self._remote.cluster.find(WORKFLOWS, "workflows", self._run_id)
        return workflow is None or workflow_status(workflow) in FINISHED

    def _sync(self, steps: list[str] | None, logs: bool = True) -> None:
        try:
            self._remote.mirror.sync(self._pod, self._run_id, logs=logs, steps=steps)
        except NoRun:
            # No step has come as far as the volume yet.
            pass

    def pieces(self, path: str, number: int) -> Iterator[bytes]:
        """What an attempt writes, to its end."""
        position = 0
        while True:
            over = self._is_over()
            # The mirror never has a verdict before the output that it is about, unless its record alone was asked for.
            self._sync([path])
            run = self._remote.log.run(self._run_id)
            known = {one.number: one for one in self._remote.log.attempts(run, path)}
            ended = over or bool(known[number].end) or max(known) > number
            try:
                with open(self._remote.log.output(known[number]), "rb") as file:
                    file.seek(position)
                    while data := file.read(_PIECE):
                        position += len(data)
                        yield data
            except FileNotFoundError:
                pass
            if ended:
                return
            time.sleep(_PAUSE)
