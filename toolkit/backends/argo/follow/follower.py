"""Follows a Workflow to its end: tells what happens, says why a pod does not start, and ends what never would by itself."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, KubernetesObject, NotFound, Unreachable
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.follow.nodes import FINISHED, NodeAttempt, TaskPaths, node_attempts, succeeded_tasks
from toolkit.backends.argo.follow.outcome import (
    attempt_from_engine,
    ended_at,
    engine_record,
    outcome_of,
    was_shut_down,
    workflow_status,
)
from toolkit.backends.argo.follow.watch import NoAnswer, ObjectEvent, ObjectStream
from toolkit.backends.argo.pods import (
    NODE_ANNOTATION,
    PERMANENT_WAIT_REASONS,
    WORKFLOW_LABEL,
    WaitReason,
    pod_has_ended,
    pod_has_started,
    wait_reason,
    wait_reason_of_events,
)
from toolkit.backends.argo.shutdown import shut_down_run
from toolkit.backends.scheduler import Cancel, Listener, Outcome
from toolkit.errors import Infrastructure
from toolkit.plan.plan import Plan, PlannedStep

_SILENCE_LIMIT = 600.0
"""Seconds without any answer of the API after which the client gives up; the run goes on without it."""
_ODD_AFTER = 5.0
"""Seconds after which a pod that has not started is looked into."""
_LOOK_AGAIN = (2.0, 10.0)
"""Seconds until the next look, at least and at most; in between, a quarter of what the oldest has waited."""
_HOPELESS_AFTER = 30.0
"""Seconds for which a reason that nothing mends by itself is waited for: somebody may be just about to mend it."""
_END_LIMIT = 120.0
"""Seconds, beside the grace period, in which Argo must have ended a run that it was told to end."""
_ARGO_LINE = re.compile(rb"(?:^|(?<=\n))time=[^\n]*argo=true[^\n]*\n(?:Error: exit status \d+\n)?")
"""What Argo's own process adds; behind it comes what of the step's output had no end of line."""
_NO_LOG = b"unable to retrieve container logs for "
_TAIL_BYTES = 1 << 20


class Follower:
    """Follows one Workflow.

    Args:
        keep: is given path, attempt and engine.json of each attempt that has ended.
        note: says a sentence to the user. private: a folder for the ends of failing steps' outputs.
        start_limit: seconds in which a pod must have started.
        omitted_work: of a run that goes on, what was before it.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        plan: Plan,
        listener: Listener,
        cancel: Cancel,
        note: Callable[[str], None],
        keep: Callable[[str, int, KubernetesObject], None],
        private: Path,
        start_limit: float,
        time_limit: int | None,
        omitted_work: OmittedWork | None = None,
    ) -> None:
        self._cluster = cluster
        self._first = omitted_work.attempts if omitted_work is not None else {}
        self._done = {
            one.path for one in plan.steps if omitted_work is not None and () in omitted_work.omitted(one.path)
        }
        self._name = name
        self._plan = plan
        self._steps = {step.path: step for step in plan.tasks()}
        self._paths = TaskPaths(self._steps)
        self._listener = listener
        self._cancel = cancel
        self._note = note
        self._keep = keep
        self._private = private
        self._start_limit = start_limit
        self._time_limit = time_limit
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workflow: KubernetesObject = {}
        self._pods: dict[str, KubernetesObject] = {}
        self._records: dict[tuple[str, int], KubernetesObject] = {}
        self._started: set[tuple[str, int]] = set()
        self._since: dict[str, float] = {}
        self._passed: set[str] = set()
        self._gone: set[str] = set()
        self._next_list = 0.0
        self._unstarted: dict[str, _PendingPod] = {}
        self._next_look = 0.0
        self._gave_up = ""
        self._asked = 0
        self._end_by: float | None = None
        cancel.listen(self._messages)

    def run(self) -> Outcome:
        """Follows to the end.

        Raises:
            Infrastructure: the API stays silent, or the run does not end when told to; the sentence says what is left.
        """
        stop = threading.Event()
        for kind, group, selector in (
            ("workflows", WORKFLOWS, {"fields": f"metadata.name={self._name}"}),
            ("pods", CORE, {"labels": f"{WORKFLOW_LABEL}={self._name}"}),
        ):
            stream = ObjectStream(self._cluster, group, kind, selector, self._messages, stop)
            threading.Thread(target=stream.run, daemon=True, name=f"watch-{kind}").start()
        began = heard = time.monotonic()
        try:
            while True:
                message = self._next()
                now = time.monotonic()
                if isinstance(message, NoAnswer):
                    if now - heard > _SILENCE_LIMIT:
                        raise Infrastructure(
                            f"{message.sentence}; the run goes on there: `toolkit run --run-id {self._name}` "
                            "with the same arguments follows it again"
                        )
                elif isinstance(message, ObjectEvent):
                    heard = now
                    self._take(message)
                if self._cancel.count > self._asked:
                    self._end(kill=self._cancel.count > 1, told=True)
                    self._asked = self._cancel.count
                self._look_at_unstarted(now, began)
                if workflow_status(self._workflow) in FINISHED:
                    if not self._still_runs(now):
                        return self._outcome()
                    self._end_by = self._end_by or now + _END_LIMIT + self._grace()
                if self._end_by is not None and now > self._end_by:
                    raise Infrastructure(
                        f"the Workflow {self._name} was told to end and did not: are Argo's controller and the nodes "
                        f"well? What may still be there: {', '.join(self.unfinished()) or 'no pods'}"
                    )
        finally:
            stop.set()

    def unfinished(self) -> list[str]:
        """Pods that may still run."""
        return [
            name
            for name, pod in sorted(self._pods.items())
            if name not in self._gone and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _still_runs(self, now: float) -> bool:
        """Whether a step of the Workflow, which has ended, may still run: Argo does not wait for those it told to end."""
        if not was_shut_down(self._workflow, self._time_limit):
            return False
        if now < self._next_list:
            return True
        self._next_list = now + 0.5
        try:
            pods = self._cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={self._name}")["items"]
        except (ApiError, Unreachable):
            return True
        for pod in pods:
            self._pods[pod["metadata"]["name"]] = pod
        return not all(map(pod_has_ended, pods))

    def _next(self) -> Any:
        try:
            return self._messages.get(timeout=1.0)
        except queue.Empty:
            return None

    def _take(self, news: ObjectEvent) -> None:
        if news.kind == "pods":
            self._take_pod(news)
            return
        if news.type == "DELETED":
            raise Infrastructure(f"the Workflow {self._name} was deleted while it ran")
        self._workflow = news.object
        self._take_attempts()

    def _take_pod(self, news: ObjectEvent) -> None:
        pod = news.object
        name = pod["metadata"]["name"]
        if news.type == "DELETED":
            self._unstarted.pop(name, None)
            self._gone.add(name)
        else:
            self._gone.discard(name)
        # As it was seen last: a pod that is deleted has said what it had to say.
        self._pods[name] = pod
        self._since.setdefault(name, time.monotonic())
        if news.type != "DELETED" and not pod_has_started(pod) and not pod["metadata"].get("deletionTimestamp"):
            self._unstarted.setdefault(name, _PendingPod(time.monotonic()))
        else:
            self._unstarted.pop(name, None)
        if pod_has_started(pod):
            self._take_attempts()

    def _take_attempts(self) -> None:
        found = [
            one
            for one in node_attempts(self._workflow, self._steps, self._first)
            if self._paths.template(one.path) is not None
        ]
        pods = {pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""): pod for pod in self._pods.values()}
        told = was_shut_down(self._workflow, self._time_limit)
        for one in sorted(found, key=lambda each: (self._paths.order(each.path), each.number)):
            key = (one.path, one.number)
            if key in self._records:
                continue
            step = self._step(one.path)
            pod = pods.get(one.node)
            if key not in self._started and (one.finished or (pod is not None and pod_has_started(pod))):
                if one.number > self._first.get(one.path, 1):
                    self._listener.retrying(step, one.number, 0)
                self._started.add(key)
                self._listener.started(step, one.number)
            ends = told and pod is not None and pod["metadata"]["name"] not in self._gone and not pod_has_ended(pod)
            if one.finished and not ends:
                self._ended(step, one, pod)
        self._pass_stubs()

    def _step(self, path: str) -> PlannedStep:
        """The plan's step as it runs at a path."""
        template = self._paths.template(path)
        assert template is not None
        return self._steps[template] if template == path else replace(self._steps[template], path=path)

    def _ended(self, step: PlannedStep, one: NodeAttempt, pod: KubernetesObject | None) -> None:
        record = engine_record(one, pod, self._workflow, self._time_limit)
        self._records[one.path, one.number] = record
        self._keep(one.path, one.number, record)
        folder = self._private / f"{len(self._records)}"
        attempt = attempt_from_engine(one.number, record, str(folder))
        if attempt.status == "failed" and pod is not None:
            self._save_tail(pod["metadata"]["name"], folder)
        # Kubernetes tells whole seconds only.
        since = self._since.get(pod["metadata"]["name"]) if pod is not None else None
        self._listener.ended(step, attempt, time.monotonic() - since if since is not None else one.seconds)

    def _save_tail(self, pod: str, folder: Path) -> None:
        """The end of a failing step's output, for the progress to show."""
        try:
            text = b"".join(self._cluster.log(pod, "main", follow=False))[-_TAIL_BYTES:]
            if text.startswith(_NO_LOG):
                return
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "output.log").write_bytes(without_argo_line(text))
        except (ApiError, Unreachable, OSError):
            # It is on the volume; `toolkit logs` shows it.
            return

    def _pass_stubs(self) -> None:
        """Tells of the stubs of the pipeline itself that were passed."""
        rows = {step.path: step for step in self._plan.steps}
        if not any(rows[path].type == "stub" for path in self._plan.scope("").steps):
            return
        ended = succeeded_tasks(self._workflow)
        for path in self._plan.scope("").steps:
            if rows[path].type == "stub":
                if path not in self._passed:
                    self._passed.add(path)
                    self._listener.passed(rows[path])
            elif path not in self._done and task_name(path) not in ended:
                return
            if rows[path].ends:
                return

    # --- what does not start ----------------------------------------------------------------------------------------

    def _look_at_unstarted(self, now: float, began: float) -> None:
        if self._asked or self._gave_up:
            return
        if not workflow_status(self._workflow) and now - began > self._start_limit:
            self._give_up(
                f"Argo's controller has not taken up the Workflow within {self._start_limit:g} s: is it running, and "
                f"does it look at the namespace {self._cluster.namespace}? (`toolkit doctor --env argo`)"
            )
            return
        if now < self._next_look:
            return
        waiting = [(name, one) for name, one in self._unstarted.items() if now - one.since >= _ODD_AFTER]
        if not waiting:
            return
        # Twenty pods that start at once on a small node wait long for nothing but each other.
        least, most = _LOOK_AGAIN
        self._next_look = now + min(max(least, (now - waiting[0][1].since) / 4), most)
        reasons = self._why([name for name, _ in waiting])
        for name, one in waiting:
            age, reason = now - one.since, reasons[name]
            if reason.word and reason.word != one.told:
                one.told = reason.word
                self._note(f"  the pod {name} has not started: {_short(reason.sentence)}")
            hopeless = reason.word in PERMANENT_WAIT_REASONS and age > _HOPELESS_AFTER
            if hopeless or age > self._start_limit:
                spent = f"within {self._start_limit:g} s" if not hopeless else f"and will not (waited {age:.0f} s)"
                self._give_up(f"the pod {name} has not started {spent}: {_short(reason.sentence or 'no reason given')}")
                return

    def _why(self, names: Sequence[str]) -> dict[str, WaitReason]:
        """Why pods have not started; where they don't say it themselves, by the events, which are asked for once for all."""
        found = {name: wait_reason(self._pods[name]) for name in names}
        silent = {name: list[KubernetesObject]() for name, reason in found.items() if not reason.word}
        if silent:
            # The API server reads all events of the namespace for any such question, so one of a single pod is no cheaper.
            fields = "involvedObject.kind=Pod,type=Warning"
            with suppress(ApiError, Unreachable):
                for event in self._cluster.list(CORE, "events", fields=fields)["items"]:
                    silent.get(event["involvedObject"].get("name", ""), []).append(event)
        return found | {name: wait_reason_of_events(events) for name, events in silent.items()}

    def _give_up(self, sentence: str) -> None:
        self._gave_up = sentence
        self._note(f"{sentence}; ending the run")
        self._end(kill=False, told=False)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _end(self, kill: bool, told: bool) -> None:
        """Asks Argo to end the run; with ``kill`` its pods are deleted at once as well."""
        if told:
            self._listener.cancelling(kill)
        try:
            shut_down_run(self._cluster, self._name, kill, "" if told else self._gave_up)
        except NotFound:
            raise Infrastructure(f"the Workflow {self._name} was deleted while it ran") from None
        self._end_by = time.monotonic() + _END_LIMIT + (0 if kill else self._grace())
        if not workflow_status(self._workflow):
            # No controller has seen it, so none would end it: without it, nothing is left.
            self._cluster.delete(WORKFLOWS, "workflows", self._name)
            raise Infrastructure(self._gave_up or f"cancelled; the Workflow {self._name} was deleted before it began")

    def ended(self) -> str | None:
        """When the run ended, by the cluster's clock, so that every client says the same."""
        return ended_at(self._workflow)

    def _grace(self) -> float:
        return float(max((one.grace_period for one in self._plan.settings), default=0))

    def _outcome(self) -> Outcome:
        # Whichever of them ended without a word of the watch.
        self._gone.update(self._pods)
        self._take_attempts()
        tasks = [step.path for step in self._plan.tasks()]
        return outcome_of(self._workflow, tasks, self._records, self._time_limit)


def without_argo_line(text: bytes) -> bytes:
    """A pod's output without the lines that Argo's own process adds at its end."""
    return _ARGO_LINE.sub(b"", text)


def _short(sentence: str) -> str:
    text = " ".join(sentence.split())
    return text if len(text) <= 400 else text[:399] + "…"


class _PendingPod:
    def __init__(self, since: float) -> None:
        self.since = since
        self.told = ""
