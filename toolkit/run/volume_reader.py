"""The pod that reads a project's volume on a cluster, and what it is made for when a run that was followed has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.compile.pod import toleration
from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT
from toolkit.backends.argo.submit import submitted_record
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.backends.scheduler import Cancel
from toolkit.errors import ToolkitError
from toolkit.project import Project
from toolkit.run.request import Note
from toolkit.spec.container import steps_user

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import SubmittedRecord

_START_LIMIT = 60.0
"""Seconds for a pod that a command waits for."""
_START_LIMIT_AT_END = 30.0
"""The same for the pod of a run that has ended: its outcome is told by then, and a later command can read the volume as well."""


def image_in_pods(record: SubmittedRecord | None) -> tuple[str, str] | None:
    """The image of a run, and how to pull it. An image that is on no registry has no digest in its reference."""
    image = record.get("image") if record is not None else None
    if not image:
        return None
    name = image.get("name", image["reference"])
    return name, "IfNotPresent" if "@" in name else "Never"


def reader_pod(
    project: Project, cluster: Cluster, mirror: Mirror, image: tuple[str, str], start_limit: float = _START_LIMIT
) -> ReaderPod:
    """A pod that reads the volume, placed as the steps' pods are.

    Args:
        image: with the runtime, and how to pull it. start_limit: seconds until it must answer.
    """
    executor = project.config.executor.config
    return ReaderPod(
        cluster,
        image=image[0],
        pull_policy=image[1],
        claims=mirror.claims,
        user=steps_user(executor),
        service_account=executor.service_account_name or DEFAULT_ACCOUNT,
        node_selector=executor.node_selector,
        tolerations=[toleration(settings) for settings in executor.tolerations],
        image_pull_secrets=executor.image_pull_secrets,
        labels=executor.labels,
        start_limit=start_limit,
    )


class EndedRun:
    """Brings the records of a run here once it has ended, so that it can be shown when its cluster is gone.

    Its pod starts while Argo ends the Workflow, which takes about as long. What fails here changes nothing of the run.
    """

    def __init__(self, project: Project, cluster: Cluster, mirror: Mirror, run_id: str, note: Note) -> None:
        self._mirror = mirror
        self._run_id = run_id
        self._note = note
        self._make: Callable[[], ReaderPod | None] = lambda: _pod_of_run(project, cluster, mirror, run_id)
        self._pod: ReaderPod | None = None
        self._error: ToolkitError | None = None

    def start(self) -> None:
        """Creates the pod, once; does not wait until it runs."""
        if self._pod is not None or self._error is not None:
            return
        try:
            self._pod = self._make()
            if self._pod is not None:
                self._pod.start()
        except ToolkitError as error:
            self._error = error

    def keep(self, cancel: Cancel) -> None:
        """Fetches the records and publishes what only this client has seen. A further signal ends the wait for it."""
        self.start()
        signals = cancel.count
        if self._pod is not None and self._error is None:
            with self._pod as pod:
                worker = threading.Thread(target=self._fetch, args=(pod,), daemon=True)
                worker.start()
                while worker.is_alive() and cancel.count == signals:
                    worker.join(0.1)
        if self._error is not None:
            self._note(
                f"the records of the run are on its volume alone, until `toolkit show` reads them: {self._error}"
            )

    def discard(self) -> None:
        """Removes the pod of a run whose end was not seen."""
        if self._pod is not None:
            with self._pod:
                pass

    def _fetch(self, pod: ReaderPod) -> None:
        try:
            self._mirror.publish(pod, self._run_id)
            self._mirror.sync(pod, self._run_id, logs=False)
        except ToolkitError as error:
            self._error = error


def _pod_of_run(project: Project, cluster: Cluster, mirror: Mirror, run_id: str) -> ReaderPod | None:
    """The pod, of the image that the run was submitted with; None where the cluster does not say which."""
    try:
        image = image_in_pods(submitted_record(cluster, run_id))
    except (ValueError, OSError, EOFError):
        return None
    return reader_pod(project, cluster, mirror, image, _START_LIMIT_AT_END) if image is not None else None
