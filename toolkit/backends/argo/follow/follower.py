"""Follows a Workflow to its end: reports what happens, and ends a run that can't continue."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, KubernetesObject, NotFound, Unreachable
from toolkit.backends.argo.compile.dag import ENTRY, on_exit_template
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.follow.nodes import NodeAttempt, TaskPaths, node_attempts, succeeded_tasks
from toolkit.backends.argo.follow.outcome import attempt_from_engine, ended_at, engine_record, outcome_of, was_shut_down
from toolkit.backends.argo.follow.pending_pods import PendingPods
from toolkit.backends.argo.follow.watch import NoAnswer, ObjectEvent, ObjectStream
from toolkit.backends.argo.pods import NODE_ANNOTATION, WORKFLOW_LABEL, pod_has_ended, pod_has_started
from toolkit.backends.argo.shutdown import ForgottenPods, Reminder, shut_down_run
from toolkit.backends.argo.workflow_status import FINISHED, exit_node, has_exit, without_exit, workflow_status
from toolkit.backends.scheduler import Cancel, Listener, Outcome
from toolkit.errors import Infrastructure
from toolkit.plan.plan import Plan, PlannedScope, PlannedStep
from toolkit.runtime.shared.tree import by_dependence

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord

_SILENCE_LIMIT = 600.0
"""Seconds without any answer of the API after which the client gives up; the run continues without it."""
_END_LIMIT = 120.0
"""Seconds, beyond the grace period, in which Argo must have ended a Workflow that it was asked to stop."""
_ARGO_LINE = re.compile(rb"(?:^|(?<=\n))time=[^\n]*argo=true[^\n]*\n(?:Error: exit status \d+\n)?")
"""A line that Argo's own process adds. Output of the step that lacked an end of line comes after it."""
NO_LOG = b"unable to retrieve container logs for "
"""How an answer begins that stands for a log that the node does not have."""
_TAIL_BYTES = 1 << 20


class Follower:
    """Follows one Workflow.

    Args:
        keep: stores the engine.json of an attempt that has ended; called with path, number and record.
        note: says a sentence to the user. private: a folder for the ends of failing steps' outputs.
        start_limit: seconds in which the Workflow and each of its pods must have started.
        time_limit: seconds for the whole run; None is no limit.
        omitted_work: what a run that resumes need not do again. ending: called as soon as the last step's container has ended;
            it may be called again, and not at all when a run fails.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        plan: Plan,
        listener: Listener,
        cancel: Cancel,
        note: Callable[[str], None],
        keep: Callable[[str, int, EngineRecord], None],
        private: Path,
        start_limit: float,
        time_limit: int | None,
        omitted_work: OmittedWork | None = None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._ending = ending
        self._first = omitted_work.attempts if omitted_work is not None else {}
        self._done = {
            step.path for step in plan.steps if omitted_work is not None and () in omitted_work.omitted(step.path)
        }
        self._name = name
        self._plan = plan
        self._steps = {step.path: step for step in plan.tasks()}
        self._paths = TaskPaths(self._steps)
        self._last = self._last_task(plan.scope(plan.on_exit or ""))
        self._kept = frozenset(step.path for step in plan.steps if step.keep_failure)
        self._listener = listener
        self._cancel = cancel
        self._note = note
        self._keep = keep
        self._private = private
        self._start_limit = start_limit
        self._pending = PendingPods(cluster, note, start_limit)
        self._time_limit = time_limit
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workflow: KubernetesObject = {}
        self._pods: dict[str, KubernetesObject] = {}
        self._records: dict[tuple[str, int], EngineRecord] = {}
        self._started: set[tuple[str, int]] = set()
        self._since: dict[str, float] = {}
        self._passed_stubs: set[str] = set()
        self._gone: set[str] = set()
        self._next_list = 0.0
        self._gave_up = ""
        self._cancels = 0
        self._end_by: float | None = None
        self._forgotten: ForgottenPods | None = None
        self._reminder: Reminder | None = None
        cancel.listen(self._messages)

    def run(self) -> Outcome:
        """Follows to the end.

        Raises:
            Infrastructure: the API stays silent, or the run does not end when it is asked to stop. The sentence says what
                is left.
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
                message = self._next_message()
                now = time.monotonic()
                if isinstance(message, NoAnswer):
                    if now - heard > _SILENCE_LIMIT:
                        raise Infrastructure(
                            f"{message.sentence}; the run continues on the cluster: `toolkit run --run-id {self._name}` "
                            "with the same arguments follows it again"
                        )
                elif isinstance(message, ObjectEvent):
                    heard = now
                    self._handle_event(message)
                if self._cancel.count > self._cancels:
                    self._shut_down(kill=self._cancel.count > 1, cancelled=True)
                    self._cancels = self._cancel.count
                goes_on = not self._cancels or (self._plan.on_exit is not None and self._cancels == 1)
                if goes_on and not self._gave_up and (reason := self._start_failure(now, began)):
                    self._give_up(reason)
                if workflow_status(self._workflow) in FINISHED:
                    if self._forgotten is None:
                        self._forgotten = ForgottenPods(self._cluster, self._grace(), self._note)
                        self._end_by = now + self._forgotten.limit
                    if not self._still_runs(now, self._forgotten):
                        return self._outcome()
                elif self._reminder is not None:
                    self._reminder.look()
                if self._end_by is not None and now > self._end_by and not self._exits():
                    raise Infrastructure(
                        f"the Workflow {self._name} was asked to stop and did not: are Argo's controller and the nodes "
                        f"healthy? Pods that may still run: {', '.join(self.unfinished()) or 'none'}"
                    )
        finally:
            stop.set()

    def _last_task(self, scope: PlannedScope) -> str:
        """The path of the task after which the pipeline ends; empty where that may be one of several."""
        if scope.after is None:
            return next((path for path in reversed(scope.steps) if path in self._steps), "")
        followed = {earlier for each in scope.after for earlier in each}
        leaves = [path for position, path in enumerate(scope.steps) if position not in followed]
        return leaves[0] if len(leaves) == 1 and leaves[0] in self._steps else ""

    def _exits(self) -> bool:
        """Whether what runs after the pipeline goes on, each pod of which has limits of its own."""
        if self._cancels > 1 or self._gave_up or not has_exit(self._workflow):
            return False
        return (
            workflow_status(self._workflow) not in FINISHED
            and workflow_status(without_exit(self._workflow)) in FINISHED
        )

    def unfinished(self) -> list[str]:
        """Pods that may still run."""
        return [
            name
            for name, pod in sorted(self._pods.items())
            if name not in self._gone and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _still_runs(self, now: float, forgotten: ForgottenPods) -> bool:
        """Whether a step of a Workflow that has ended may still run: Argo does not wait for those it asked to stop."""
        has_exit_killed = has_exit(self._workflow) and bool((self._workflow.get("spec") or {}).get("shutdown"))
        if not was_shut_down(self._workflow, self._time_limit) and not has_exit_killed:
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
        running = [pod for pod in pods if not pod_has_ended(pod)]
        forgotten.look(running)
        return bool(running)

    def _next_message(self) -> Any:
        try:
            return self._messages.get(timeout=1.0)
        except queue.Empty:
            return None

    def _handle_event(self, event: ObjectEvent) -> None:
        if event.kind == "pods":
            self._handle_pod(event)
            return
        if event.type == "DELETED":
            raise Infrastructure(f"the Workflow {self._name} was deleted while it ran")
        self._workflow = event.object
        self._update_attempts()

    def _handle_pod(self, event: ObjectEvent) -> None:
        pod, now = event.object, time.monotonic()
        name = pod["metadata"]["name"]
        if event.type == "DELETED":
            self._gone.add(name)
        else:
            self._gone.discard(name)
        # A pod that is deleted stays here as it was seen last: its status is still needed.
        self._pods[name] = pod
        self._since.setdefault(name, now)
        if event.type != "DELETED" and not pod_has_started(pod) and not pod["metadata"].get("deletionTimestamp"):
            self._pending.add(name, now)
        else:
            self._pending.discard(name)
        if pod_has_started(pod):
            self._update_attempts()
            if pod_has_ended(pod) and self._is_last(pod):
                self._ending()

    def _update_attempts(self) -> None:
        """Reports the attempts that have started or ended since the last time."""
        attempts = [
            attempt
            for attempt in node_attempts(self._workflow, self._steps, self._first)
            if self._paths.template(attempt.path) is not None
        ]
        pods = {pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""): pod for pod in self._pods.values()}
        shut_down = was_shut_down(self._workflow, self._time_limit)
        for attempt in sorted(attempts, key=lambda each: (self._paths.order(each.path), each.number)):
            key = (attempt.path, attempt.number)
            if key in self._records:
                continue
            step = self._step(attempt.path)
            pod = pods.get(attempt.node)
            if key not in self._started and (attempt.finished or (pod is not None and pod_has_started(pod))):
                if attempt.number > self._first.get(attempt.path, 1):
                    self._listener.retrying(step, attempt.number, 0)
                self._started.add(key)
                self._listener.started(step, attempt.number)
            # A pod may still use its grace period after Argo has written it off.
            stopping = shut_down and pod is not None and self._is_running(pod)
            if attempt.finished and not stopping:
                self._record_end(step, attempt, pod)
        self._pass_stubs()

    def _is_last(self, pod: KubernetesObject) -> bool:
        """Whether a pod is of the last step of the pipeline itself, after which the Workflow ends."""
        node = pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, "")
        path = next(
            (each.path for each in node_attempts(self._workflow, self._steps, self._first) if each.node == node), ""
        )
        return path == self._last

    def _is_running(self, pod: KubernetesObject) -> bool:
        return pod["metadata"]["name"] not in self._gone and not pod_has_ended(pod)

    def _step(self, path: str) -> PlannedStep:
        """The plan's step as it runs at a path."""
        template = self._paths.template(path)
        assert template is not None
        return self._steps[template] if template == path else replace(self._steps[template], path=path)

    def _record_end(self, step: PlannedStep, node: NodeAttempt, pod: KubernetesObject | None) -> None:
        record = engine_record(node, pod, self._workflow, self._time_limit)
        self._records[node.path, node.number] = record
        self._keep(node.path, node.number, record)
        folder = self._private / f"{len(self._records)}"
        attempt = attempt_from_engine(node.number, record, str(folder))
        if attempt.status == "failed" and pod is not None:
            self._save_tail(pod["metadata"]["name"], folder)
        # Kubernetes gives whole seconds only.
        since = self._since.get(pod["metadata"]["name"]) if pod is not None else None
        self._listener.ended(step, attempt, time.monotonic() - since if since is not None else node.seconds)

    def _save_tail(self, pod: str, folder: Path) -> None:
        """The end of a failing step's output, for the progress to show."""
        try:
            text = b"".join(self._cluster.log(pod, "main", follow=False))[-_TAIL_BYTES:]
            if text.startswith(NO_LOG):
                return
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "output.log").write_bytes(without_argo_line(text))
        except (ApiError, Unreachable, OSError):
            # The whole output is on the volume; `toolkit logs` shows it.
            return

    def _pass_stubs(self) -> None:
        """Reports the stubs of the pipeline itself that were passed, and those of its on_exit."""
        self._pass_stubs_of("", ENTRY)
        if self._plan.on_exit is not None and self._workflow and exit_node(self._workflow) is not None:
            self._pass_stubs_of(self._plan.on_exit, on_exit_template())

    def _pass_stubs_of(self, scope: str, template: str) -> None:
        rows = {step.path: step for step in self._plan.steps}
        if not any(rows[path].type == "stub" for path in self._plan.scope(scope).steps):
            return
        ended = succeeded_tasks(self._workflow, template)
        sequence = self._plan.scope(scope)
        behind: set[int] = set()
        for position in by_dependence(sequence.after) if sequence.after is not None else range(len(sequence.steps)):
            path = sequence.steps[position]
            if sequence.after is not None and not behind.issuperset(sequence.after[position]):
                continue
            if rows[path].type == "stub":
                if path not in self._passed_stubs:
                    self._passed_stubs.add(path)
                    self._listener.passed(rows[path])
            elif path not in self._done and task_name(path) not in ended:
                if sequence.after is None:
                    return
                continue
            behind.add(position)
            if rows[path].ends:
                return

    # --- a run that can't continue ----------------------------------------------------------------------------------

    def _start_failure(self, now: float, began: float) -> str:
        """Why the Workflow or one of its pods will not start, as a sentence; empty while it may."""
        if not workflow_status(self._workflow) and now - began > self._start_limit:
            return (
                f"Argo's controller has not picked up the Workflow within {self._start_limit:g} s: is it running, and "
                f"does it watch the namespace {self._cluster.namespace}? (`toolkit doctor --env argo`)"
            )
        return self._pending.look(now, self._pods)

    def _give_up(self, sentence: str) -> None:
        self._gave_up = sentence
        self._note(f"{sentence}; ending the run")
        self._shut_down(kill=False, cancelled=False)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _shut_down(self, kill: bool, cancelled: bool) -> None:
        """Asks Argo to end the run; with ``kill`` its pods are deleted at once as well."""
        if cancelled:
            self._listener.cancelling(kill, exiting=self._exits())
        try:
            asked = shut_down_run(self._cluster, self._name, kill, "" if cancelled else self._gave_up)
            if not asked:
                return
            self._reminder = Reminder(self._cluster, self._name, asked)
        except NotFound:
            raise Infrastructure(f"the Workflow {self._name} was deleted while it ran") from None
        self._end_by = time.monotonic() + _END_LIMIT + (0 if kill else self._grace())
        if not workflow_status(self._workflow):
            # No controller has seen the Workflow, so none would end it. Nothing is left once it is deleted.
            self._cluster.delete(WORKFLOWS, "workflows", self._name)
            raise Infrastructure(self._gave_up or f"cancelled; the Workflow {self._name} was deleted before it began")

    def ended(self) -> str | None:
        """When the run ended, by the cluster's clock, so that every client says the same."""
        return ended_at(self._workflow)

    def has_begun(self) -> bool:
        """Whether a step's container ran, so that there may be something on the volume."""
        return any(pod_has_started(pod) for pod in self._pods.values())

    def _grace(self) -> float:
        return float(max((settings.grace_period for settings in self._plan.settings), default=0))

    def _outcome(self) -> Outcome:
        # The watch may not have reported the end of every pod.
        self._gone.update(self._pods)
        self._update_attempts()
        tasks = [step.path for step in self._plan.tasks()]
        return outcome_of(self._workflow, tasks, self._records, self._time_limit, self._kept)


def without_argo_line(text: bytes) -> bytes:
    """A pod's output without the lines that Argo's own process adds at its end."""
    return _ARGO_LINE.sub(b"", text)
