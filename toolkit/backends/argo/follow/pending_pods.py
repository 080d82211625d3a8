"""The pods of a Workflow that have not started: why they wait, and when a run is given up because of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from toolkit.backends.argo.cluster import CORE, ApiError, Cluster, KubernetesObject, Unreachable
from toolkit.backends.argo.pods import WaitReason, newest_warning, wait_reason

_FIRST_LOOK = 5.0
"""Seconds after which a pod that has not started is looked into."""
_NEXT_LOOK = (2.0, 10.0)
"""Seconds until the next look, at least and at most; in between, a quarter of what the oldest pod has waited."""
_PERMANENT_AFTER = 30.0
"""Seconds that a pod with a permanent reason to wait is given: somebody may be about to fix it."""


class PendingPods:
    """The pods of one Workflow that have not started.

    Args:
        note: says a sentence to the user. start_limit: seconds in which a pod must have started.
    """

    def __init__(self, cluster: Cluster, note: Callable[[str], None], start_limit: float) -> None:
        self._cluster = cluster
        self._note = note
        self._start_limit = start_limit
        self._pending: dict[str, _PendingPod] = {}
        self._next_look = 0.0

    def add(self, name: str, now: float) -> None:
        """Notes that a pod has not started; ``now`` counts if it was not known before."""
        self._pending.setdefault(name, _PendingPod(now))

    def discard(self, name: str) -> None:
        """Notes that a pod has started or is gone."""
        self._pending.pop(name, None)

    def look(self, now: float, pods: Mapping[str, KubernetesObject]) -> str:
        """Tells the user why pods wait, when it is time to look.

        Args:
            pods: all pods of the Workflow by name, as they were seen last.

        Returns:
            why the run has to be given up, as a sentence; empty while it may succeed.
        """
        if now < self._next_look:
            return ""
        waiting = [(name, pod) for name, pod in self._pending.items() if now - pod.since >= _FIRST_LOOK]
        if not waiting:
            return ""
        # Twenty pods that start at once on a small node wait long for nothing but each other.
        least, most = _NEXT_LOOK
        self._next_look = now + min(max(least, (now - waiting[0][1].since) / 4), most)
        reasons = self._reasons([name for name, _ in waiting], pods)
        for name, pod in waiting:
            age, reason = now - pod.since, reasons[name]
            if reason.word and reason.word != pod.noted:
                pod.noted = reason.word
                self._note(f"  the pod {name} has not started: {_short(reason.sentence)}")
            permanent = reason.permanent_for_step and age > _PERMANENT_AFTER
            if permanent or age > self._start_limit:
                limit = f"and will not start (waited {age:.0f} s)" if permanent else f"within {self._start_limit:g} s"
                return f"the pod {name} has not started {limit}: {_short(reason.sentence or 'no reason given')}"
        return ""

    def _reasons(self, names: Sequence[str], pods: Mapping[str, KubernetesObject]) -> dict[str, WaitReason]:
        """Why pods have not started: by their status or, where it names no reason, by their events."""
        reasons = {name: wait_reason(pods[name]) for name in names}
        events = {name: list[KubernetesObject]() for name, reason in reasons.items() if not reason.word}
        if events:
            # The API server reads all events of the namespace for any such question, so one of a single pod is no cheaper.
            fields = "involvedObject.kind=Pod,type=Warning"
            with suppress(ApiError, Unreachable):
                for event in self._cluster.list(CORE, "events", fields=fields)["items"]:
                    events.get(event["involvedObject"].get("name", ""), []).append(event)
        warnings = {name: newest_warning(of_pod) for name, of_pod in events.items()}
        return reasons | {name: warning for name, warning in warnings.items() if warning.word}


class _PendingPod:
    """Since when a pod is waited for, and the last reason that the user was shown."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.noted = ""


def _short(sentence: str) -> str:
    text = " ".join(sentence.split())
    return text if len(text) <= 400 else text[:399] + "…"
