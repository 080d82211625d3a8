"""Shuts a Workflow down, sees to it that its pods end, and keeps in it why a client gave the run up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, KubernetesObject, Unreachable
from toolkit.backends.argo.compile.workflow import ASKED_ANNOTATION
from toolkit.backends.argo.pods import WORKFLOW_LABEL
from toolkit.backends.argo.workflow_status import FINISHED, has_exit, without_exit, workflow_status

STOP, TERMINATE = "Stop", "Terminate"
"""Argo's words for how a Workflow is shut down: its exit handler runs, or does not."""
_MARGIN = 10.0
"""Seconds, beyond what they are given, after which pods that still run are taken for forgotten."""
_DELETION_LIMIT = 60.0
"""Seconds in which a pod that was deleted without a grace period must be gone."""
_ASK_AGAIN = 10.0
"""Seconds after which a Workflow that goes on is asked to shut down once more."""
_AGAIN_ANNOTATION = "dev.toolkit/asked-again"
"""How often that was done: what changes nothing is no event for Argo's controller."""
GAVE_UP_ANNOTATION = "dev.toolkit/gave-up"
"""Why a client ended the run, which could not continue."""


def give_up_reason(workflow: KubernetesObject) -> str:
    """Why a client ended the run, which could not continue; empty when no client did."""
    return str((workflow["metadata"].get("annotations") or {}).get(GAVE_UP_ANNOTATION) or "")


class Reminder:
    """Asks Argo again to shut down a Workflow that goes on: its controller may have missed the event that asked first.

    Args:
        strategy: what it was asked for.
    """

    def __init__(self, cluster: Cluster, name: str, strategy: str = TERMINATE) -> None:
        self._cluster = cluster
        self._name = name
        self._strategy = strategy
        self._times = 0
        self._next = time.monotonic() + _ASK_AGAIN

    def look(self) -> None:
        """Asks again, when it is time to."""
        if time.monotonic() < self._next:
            return
        self._times += 1
        self._next = time.monotonic() + _ASK_AGAIN
        change: KubernetesObject = {"metadata": {"annotations": {_AGAIN_ANNOTATION: str(self._times)}}}
        if self._strategy == TERMINATE:
            # Another client may have asked for more than to stop.
            change["spec"] = {"shutdown": self._strategy}
        try:
            self._cluster.patch(WORKFLOWS, "workflows", self._name, change)
        except (ApiError, Unreachable):
            # Whoever waits for the end has a limit of its own.
            pass


class ForgottenPods:
    """The pods of a Workflow that is over because it was shut down, as long as they run.

    Argo does not wait for their ends. It asks them to stop by a command in each, keeps the request in its memory alone, and does
    not look whether it was carried out. A controller that starts again, or a node that is busy, loses it. Then these pods are
    deleted: first with their grace periods, as Argo would have asked them to stop, and after those without one.

    Args:
        grace: the longest grace period of the run's steps, in seconds. note: says a sentence to the user.
    """

    def __init__(self, cluster: Cluster, grace: float, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._note = note
        self._grace = grace
        self._deletions = 0
        self._next: float | None = None

    @property
    def limit(self) -> float:
        """Seconds in which all pods must have ended, from the first :meth:`look`."""
        return 2 * (self._grace + 2 * _MARGIN) + _DELETION_LIMIT

    def look(self, running: Sequence[KubernetesObject]) -> None:
        """Deletes the pods that still run, when it is time to."""
        now = time.monotonic()
        if self._next is None:
            self._next = now + self._grace + _MARGIN
        if not running or now < self._next or self._deletions == 2:
            return
        at_once = self._deletions == 1
        names = ", ".join(pod["metadata"]["name"] for pod in running)
        try:
            for pod in running:
                self._cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0 if at_once else None)
            self._note(f"Argo has not ended these pods, so they are deleted{' at once' if at_once else ''}: {names}")
        except Unreachable:
            return
        except ApiError as error:
            self._note(f"Argo has not ended these pods, and they can't be deleted: {names} ({error})")
        self._deletions += 1
        self._next = now + _MARGIN + max(pod["spec"].get("terminationGracePeriodSeconds") or 0 for pod in running)


def shut_down_run(cluster: Cluster, name: str, kill: bool, why: str = "") -> str:
    """Asks Argo to end a run. Its pods get their grace period; with ``kill`` they are deleted at once.

    What runs after the pipeline still runs, unless ``kill`` or ``why`` is given.

    Args:
        why: the run's reason as a sentence, where nobody cancelled it and it can't continue.

    Returns:
        what Argo was asked for; empty where nothing is left to stop, because only what runs after the pipeline goes on.

    Raises:
        NotFound: there is no such Workflow. ApiError, Unreachable.
    """
    workflow = cluster.find(WORKFLOWS, "workflows", name) or {}
    is_over = has_exit(workflow) and workflow_status(without_exit(workflow)) in FINISHED
    if is_over and not kill and not why:
        return ""
    # Terminate leaves out what runs after the pipeline.
    is_killed = kill or bool(why) or (workflow.get("spec") or {}).get("shutdown") == TERMINATE
    strategy = STOP if has_exit(workflow) and not is_killed else TERMINATE
    change: KubernetesObject = {"spec": {"shutdown": strategy}}
    if why:
        change["metadata"] = {"annotations": {GAVE_UP_ANNOTATION: why}}
    elif has_exit(workflow) and not is_over:
        change["metadata"] = {"annotations": {ASKED_ANNOTATION: "yes"}}
    cluster.patch(WORKFLOWS, "workflows", name, change)
    if kill:
        for pod in cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={name}")["items"]:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)
    return strategy
