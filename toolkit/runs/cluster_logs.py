"""The output of a run's steps on a cluster, read from the volume while they run, or from the containers' logs.

The volume has exactly the bytes that a step wrote. The logs that Kubernetes keeps of a container do not: they are cut at a
size that the node sets, Argo adds lines of its own, also in front of a last line that has no line end, and they are gone when the
pod is. They are for a user who can't read the volume.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

from toolkit.backends.argo.cluster import ApiError, Cluster, NotFound
from toolkit.backends.argo.follow.follower import NO_LOG, without_argo_line
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.backends.argo.workflow_status import FINISHED, workflow_status
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.report.view import states_of
from toolkit.runs.cluster_runs import ClusterRuns
from toolkit.runs.logs import AttemptOutputs, interleaved, select_tasks, stream_attempts
from toolkit.store.engine_view import EngineView
from toolkit.store.reader import NoRun, Run, follow_file
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


def follow_lines(remote: ClusterRuns, run_id: str, step: str | None) -> Generator[tuple[str, int, bytes], None, None]:
    """The outputs of all attempts as they come (:func:`toolkit.runs.logs.interleaved`).

    Args:
        step: as of :func:`follow_logs`.

    Raises:
        Infrastructure: cluster or volume can't be read.
    """
    with remote.reader(run_id) as pod:
        yield from interleaved(remote.log, _Tail(remote, pod, run_id, step).look, step, _PAUSE)


def run_lines(project: Project, cluster: Cluster, run_id: str) -> Generator[tuple[str, int, bytes], None, None]:
    """The same of a run that this client has submitted.

    Raises:
        Infrastructure: as of :func:`follow_lines`.
    """
    yield from follow_lines(ClusterRuns(project, cluster, lambda _: None), run_id, None)


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
        workflow = self._remote.find_workflow(self._run_id)
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


def container_logs(remote: ClusterRuns, run: Run, step: str | None, follow: bool) -> AttemptOutputs:
    """Path, number and output of each attempt of a run whose volume can't be read, as far as the cluster has the logs.

    Args:
        step: as of :func:`follow_logs`. follow: whether until the run has ended; else as they are now.

    Raises:
        Infrastructure: at the end, where some output is on the volume alone. The message names the steps.
    """
    logs = _ContainerLogs(remote, run.id)
    if follow:
        yield from stream_attempts(logs.look, step, lambda path, number: logs.pieces(path, number, True), _PAUSE)
    else:
        for row in select_tasks(states_of(remote.log, run).rows, step):
            for attempt in row.attempts:
                yield row.path, attempt.number, logs.pieces(row.path, attempt.number, False)
    logs.check(step)


class _ContainerLogs:
    """The logs of the containers of a run whose volume can't be read."""

    def __init__(self, remote: ClusterRuns, run_id: str) -> None:
        self._remote = remote
        self._run_id = run_id
        self._missing: dict[str, str] = {}

    def look(self) -> tuple[Run, States]:
        """The run as the cluster knows it now."""
        run = self._remote.run(self._run_id)
        return run, states_of(self._remote.log, run)

    def _view(self, run: Run) -> EngineView:
        return self._remote.log.engine_view(run) or EngineView("")

    def pieces(self, path: str, number: int, follow: bool) -> Iterator[bytes]:
        """The output of an attempt."""
        run = self._remote.log.run(self._run_id)
        attempt = next(each for each in self._remote.log.attempts(run, path) if each.number == number)
        output = self._remote.log.output(attempt)
        if not attempt.unread and output.exists():
            # It had ended when the mirror was updated last, so this is all of it.
            yield from follow_file(output, lambda: True, lambda: None)
            return
        pod = self._view(run).pods.get((path, number))
        if pod is None:
            self._missing[path] = "its pod is gone"
            return
        try:
            yield from _without_argo_lines(self._remote.cluster.log(pod, "main", follow))
        except NotFound:
            self._missing[path] = "its pod is gone"
        except ApiError as error:
            self._missing[path] = error.message

    def check(self, step: str | None) -> None:
        """Says which output could not be read.

        Raises:
            Infrastructure: there is some.
        """
        run = self._remote.log.run(self._run_id)
        rows = states_of(self._remote.log, run).rows
        own = [row for row in rows if step is None or row.path == step or row.path.startswith(step + "/")]
        for row in own:
            if row.status == "unknown" or (row.row["type"] == "map" and row.items is None and row.status != "skipped"):
                self._missing.setdefault(row.path, "the cluster does not say what ran in it")
        if step is not None and not own:
            self._missing.setdefault(step, "the cluster does not say whether it ran")
        if self._missing:
            steps = ", ".join(f"{path} ({why})" for path, why in self._missing.items())
            raise Infrastructure(f"the output of these steps is on the volume alone, which can't be read: {steps}")


def _without_argo_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A container's log in whole lines, without those that Argo's own process adds."""
    held = b""
    for piece in pieces:
        if piece.startswith(NO_LOG):
            raise ApiError("the node does not have it any more", 404)
        held += piece
        end = held.rfind(b"\n") + 1
        last_line = held.rfind(b"\n", 0, max(0, end - 1)) + 1
        if held.startswith(b"time=", last_line):
            # It may be Argo's, whose next line is removed together with it.
            end = last_line
        if text := without_argo_line(held[:end]):
            yield text
        held = held[end:]
    if text := without_argo_line(held):
        yield text
