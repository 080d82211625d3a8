"""The output of a run's steps on a cluster while they run, from the volume.

Not from the pods: what Kubernetes keeps of a container is cut at a size of the node's, has Argo's own lines in it, puts a
last line without its end behind them, and is gone with the pod. On the volume are the bytes that the step wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from toolkit.backends.argo.cluster import WORKFLOWS
from toolkit.backends.argo.follow import workflow_status
from toolkit.backends.argo.nodes import FINISHED
from toolkit.backends.argo.reader_pod import ReaderPod
from toolkit.run.remote import Remote
from toolkit.runtime import layout
from toolkit.store.reader import NoRun

_PAUSE = 1.0
"""Seconds between two looks."""
_PIECE = 1 << 16


def follow_logs(remote: Remote, run_id: str, paths: list[str]) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Path, number and output of each attempt, in the order of the plan, as they come; ends when the run has ended.

    Args:
        paths: of the steps that are wanted.

    Raises:
        Infrastructure: cluster or volume can't be read.
    """
    with remote.reader(remote.log.run(run_id).record) as pod:
        tail = _Tail(remote, pod, run_id)
        for path in paths:
            number = 0
            tail.look(path)
            while True:
                following = [one for one in tail.numbers(path) if one > number]
                if following:
                    number = following[0]
                    yield path, number, tail.pieces(path, number)
                elif tail.over or tail.has_succeeded(path):
                    break
                else:
                    time.sleep(_PAUSE)
                    tail.look(path)


class _Tail:
    """The mirror of one run, brought up to date step by step.

    Attributes:
        over: whether the run had ended before the last look, which then saw all there is.
    """

    def __init__(self, remote: Remote, pod: ReaderPod, run_id: str) -> None:
        self._remote = remote
        self._pod = pod
        self._run_id = run_id
        self._folder = remote.mirror.run_folder(run_id)
        self.over = False

    def look(self, path: str) -> None:
        """Fetches what is new of a step."""
        workflow = self._remote.cluster.find(WORKFLOWS, "workflows", self._run_id)
        over = workflow is None or workflow_status(workflow) in FINISHED
        try:
            self._remote.mirror.sync(self._pod, self._run_id, logs=True, steps=[path])
        except NoRun:
            # No step has come as far as the volume yet.
            pass
        self.over = over

    def numbers(self, path: str) -> list[int]:
        return sorted(layout.attempts(str(self._folder), path))

    def has_succeeded(self, path: str) -> bool:
        attempts = self._remote.log.attempts(self._remote.log.run(self._run_id), path)
        return bool(attempts) and attempts[-1].status == "succeeded"

    def pieces(self, path: str, number: int) -> Iterator[bytes]:
        """What an attempt writes, to its end."""
        position = 0
        while True:
            run = self._remote.log.run(self._run_id)
            known = {one.number: one for one in self._remote.log.attempts(run, path)}
            # The mirror never has a verdict before the output that it is about.
            ended = self.over or bool(known[number].end) or max(known) > number
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
            self.look(path)
