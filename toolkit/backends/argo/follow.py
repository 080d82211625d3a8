"""Follows a Workflow to its end: tells what happens, says why a pod does not start, and ends what never would by itself."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, NotFound, Unreachable
from toolkit.backends.argo.names import task_name
from toolkit.backends.argo.nodes import (
    FINISHED,
    NEVER_MENDED,
    NODE_ANNOTATION,
    WORKFLOW_LABEL,
    Ends,
    Paths,
    Seen,
    Waits,
    attempts,
    has_started,
    is_over,
    parse_time,
    succeeded_rows,
    waits,
    waits_by_events,
    workflow_nodes,
)
from toolkit.backends.argo.resumed import Resumed
from toolkit.backends.scheduler import Cancel, Listener, Outcome
from toolkit.errors import Infrastructure
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.store.verdict import Attempt, judge

Object = dict[str, Any]

GAVE_UP_ANNOTATION = "dev.toolkit/gave-up"
"""Of a Workflow that a client ended because it could not go on: why."""
_WATCH_SECONDS = 240.0
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


def ended_at(workflow: Object) -> str | None:
    """When a Workflow ended, as records have it; Kubernetes does not tell the milliseconds."""
    ended = (workflow.get("status") or {}).get("finishedAt")
    return ended.replace("Z", ".000Z") if ended and "." not in ended else ended


def workflow_status(workflow: Object) -> str:
    """The phase of a Workflow: Pending, Running, Succeeded, Failed or Error; empty before the controller saw it."""
    return str((workflow.get("status") or {}).get("phase") or "")


def outcome_of(
    workflow: Object, tasks: Sequence[str], records: Mapping[tuple[str, int], Object], time_limit: int | None
) -> Outcome:
    """How a finished Workflow ended.

    Args:
        tasks: paths of the plan, in its order. records: engine.json of each attempt.
        time_limit: seconds for the whole run, as the configuration has it.
    """
    phase = workflow_status(workflow)
    if phase == "Succeeded":
        return Outcome("succeeded")
    if why := gave_up(workflow):
        return Outcome("failed", why, fault=True)
    if (workflow.get("spec") or {}).get("shutdown"):
        return Outcome("cancelled", "cancelled")
    message = str((workflow.get("status") or {}).get("message") or "")
    if time_limit is not None and _ran_out(workflow, time_limit):
        return Outcome("failed", f"the run took longer than its time limit of {time_limit} s")
    paths = Paths(tasks)
    ends = Ends(workflow, paths)
    last: dict[str, int] = {}
    for path, number in records:
        last[path] = max(number, last.get(path, 0))
    for path in sorted(last, key=paths.order):
        attempt = judged(last[path], records[path, last[path]])
        if attempt.status != "succeeded" and not ends.handled(path):
            return Outcome("failed", f"the step {path} failed: {attempt.reason}", attempt.fault)
    if why := ends.reason():
        return Outcome("failed", why)
    return Outcome("failed", f"Argo says: {message or phase}", fault=True)


def _ran_out(workflow: Object, limit: int) -> bool:
    """Whether what ended last did so when the time of the whole run was over; times have whole seconds."""
    status = workflow.get("status") or {}
    ends = [status.get("finishedAt"), *(node.get("finishedAt") for node in workflow_nodes(workflow).values())]
    ended = max((parse_time(one) for one in ends if one), default=None)
    if ended is None or not status.get("startedAt"):
        return False
    return (ended - parse_time(status["startedAt"])).total_seconds() >= limit


def was_told(workflow: Object, time_limit: int | None) -> bool:
    """Whether the run as a whole was told to end: by somebody, or by its time limit."""
    shut_down = bool((workflow.get("spec") or {}).get("shutdown"))
    return shut_down or (time_limit is not None and _ran_out(workflow, time_limit))


def gave_up(workflow: Object) -> str:
    """Why a client ended the run that could not go on; empty when none did."""
    return str((workflow["metadata"].get("annotations") or {}).get(GAVE_UP_ANNOTATION) or "")


def engine_record(one: Seen, pod: Object | None, workflow: Object, time_limit: int | None) -> Object:
    """engine.json of an attempt that has ended: the same from whichever client sees it.

    Args:
        pod: as it was seen last, None when it never was. time_limit: as for :func:`outcome_of`.
    """
    told, why = was_told(workflow, time_limit), gave_up(workflow)
    verdict = one.verdict(pod, told)
    if why and (verdict.exit_code is None or one.shut_down):
        verdict = replace(verdict, exit_code=None, message=why, fault=True)
    return verdict.record(told and not why)


def judged(number: int, engine: Object, folder: str = "") -> Attempt:
    """An attempt by the engine's word alone, as a client that does not see the volume knows it.

    Exit code 0 is the runtime's promise that its record was written, and its last words are the reason in its record: they
    stand for the record here.
    """
    code = engine["exit_code"]
    end = {"status": "succeeded", "exit_code": 0} if code == 0 else None
    if code and engine["message"] and not engine.get("fault") and not engine["cancelled"]:
        end = {"status": "failed", "exit_code": code, "reason": engine["message"]}
    status, code, reason, fault = judge(end, engine, run_active=False)
    return Attempt(number, status, code, reason, fault, folder)


class Follower:
    """Follows one Workflow.

    Args:
        keep: is given path, attempt and engine.json of each attempt that has ended.
        note: says a sentence to the user. private: a folder for the ends of failing steps' outputs.
        start_limit: seconds in which a pod must have started.
        resumed: of a run that goes on, what was before it.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        plan: Plan,
        listener: Listener,
        cancel: Cancel,
        note: Callable[[str], None],
        keep: Callable[[str, int, Object], None],
        private: Path,
        start_limit: float,
        time_limit: int | None,
        resumed: Resumed | None = None,
    ) -> None:
        self._cluster = cluster
        self._first = resumed.attempts if resumed is not None else {}
        self._done = {one.path for one in plan.steps if resumed is not None and () in resumed.passed(one.path)}
        self._name = name
        self._plan = plan
        self._steps = {step.path: step for step in plan.tasks()}
        self._paths = Paths(self._steps)
        self._listener = listener
        self._cancel = cancel
        self._note = note
        self._keep = keep
        self._private = private
        self._start_limit = start_limit
        self._time_limit = time_limit
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workflow: Object = {}
        self._pods: dict[str, Object] = {}
        self._records: dict[tuple[str, int], Object] = {}
        self._started: set[tuple[str, int]] = set()
        self._since: dict[str, float] = {}
        self._passed: set[str] = set()
        self._gone: set[str] = set()
        self._next_list = 0.0
        self._unstarted: dict[str, _Unstarted] = {}
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
            stream = _Stream(self._cluster, group, kind, selector, self._messages, stop)
            threading.Thread(target=stream.run, daemon=True, name=f"watch-{kind}").start()
        began = heard = time.monotonic()
        try:
            while True:
                message = self._next()
                now = time.monotonic()
                if isinstance(message, _Silence):
                    if now - heard > _SILENCE_LIMIT:
                        raise Infrastructure(
                            f"{message.sentence}; the run goes on there: `toolkit run --run-id {self._name}` "
                            "with the same arguments follows it again"
                        )
                elif isinstance(message, _News):
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
        if not was_told(self._workflow, self._time_limit):
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
        return not all(map(is_over, pods))

    def _next(self) -> Any:
        try:
            return self._messages.get(timeout=1.0)
        except queue.Empty:
            return None

    def _take(self, news: _News) -> None:
        if news.kind == "pods":
            self._take_pod(news)
            return
        if news.type == "DELETED":
            raise Infrastructure(f"the Workflow {self._name} was deleted while it ran")
        self._workflow = news.object
        self._take_attempts()

    def _take_pod(self, news: _News) -> None:
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
        if news.type != "DELETED" and not has_started(pod) and not pod["metadata"].get("deletionTimestamp"):
            self._unstarted.setdefault(name, _Unstarted(time.monotonic()))
        else:
            self._unstarted.pop(name, None)
        if has_started(pod):
            self._take_attempts()

    def _take_attempts(self) -> None:
        found = [
            one
            for one in attempts(self._workflow, self._steps, self._first)
            if self._paths.template(one.path) is not None
        ]
        pods = {pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""): pod for pod in self._pods.values()}
        told = was_told(self._workflow, self._time_limit)
        for one in sorted(found, key=lambda each: (self._paths.order(each.path), each.number)):
            key = (one.path, one.number)
            if key in self._records:
                continue
            step = self._step(one.path)
            pod = pods.get(one.node)
            if key not in self._started and (one.finished or (pod is not None and has_started(pod))):
                if one.number > self._first.get(one.path, 1):
                    self._listener.retrying(step, one.number, 0)
                self._started.add(key)
                self._listener.started(step, one.number)
            ends = told and pod is not None and pod["metadata"]["name"] not in self._gone and not is_over(pod)
            if one.finished and not ends:
                self._ended(step, one, pod)
        self._pass_stubs()

    def _step(self, path: str) -> PlannedStep:
        """The plan's step as it runs at a path."""
        template = self._paths.template(path)
        assert template is not None
        return self._steps[template] if template == path else replace(self._steps[template], path=path)

    def _ended(self, step: PlannedStep, one: Seen, pod: Object | None) -> None:
        record = engine_record(one, pod, self._workflow, self._time_limit)
        self._records[one.path, one.number] = record
        self._keep(one.path, one.number, record)
        folder = self._private / f"{len(self._records)}"
        attempt = judged(one.number, record, str(folder))
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
        ended = succeeded_rows(self._workflow)
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
            hopeless = reason.word in NEVER_MENDED and age > _HOPELESS_AFTER
            if hopeless or age > self._start_limit:
                spent = f"within {self._start_limit:g} s" if not hopeless else f"and will not (waited {age:.0f} s)"
                self._give_up(f"the pod {name} has not started {spent}: {_short(reason.sentence or 'no reason given')}")
                return

    def _why(self, names: Sequence[str]) -> dict[str, Waits]:
        """Why pods have not started; where they don't say it themselves, by the events, which are asked for once for all."""
        found = {name: waits(self._pods[name]) for name in names}
        silent = {name: list[Object]() for name, reason in found.items() if not reason.word}
        if silent:
            # The API server reads all events of the namespace for any such question, so one of a single pod is no cheaper.
            fields = "involvedObject.kind=Pod,type=Warning"
            with suppress(ApiError, Unreachable):
                for event in self._cluster.list(CORE, "events", fields=fields)["items"]:
                    silent.get(event["involvedObject"].get("name", ""), []).append(event)
        return found | {name: waits_by_events(events) for name, events in silent.items()}

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
            end_run(self._cluster, self._name, kill, "" if told else self._gave_up)
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


def end_run(cluster: Cluster, name: str, kill: bool, why: str = "") -> None:
    """Asks Argo to end a run; the pods get their grace period, or with ``kill`` none.

    Args:
        why: the sentence that is the run's reason, where nobody cancelled it and it can't go on.

    Raises:
        NotFound: there is no such Workflow. ApiError, Unreachable.
    """
    change: Object = {"spec": {"shutdown": "Terminate"}}
    if why:
        change["metadata"] = {"annotations": {GAVE_UP_ANNOTATION: why}}
    cluster.patch(WORKFLOWS, "workflows", name, change)
    if kill:
        for pod in cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={name}")["items"]:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                cluster.delete(CORE, "pods", pod["metadata"]["name"], grace=0)


def without_argo_line(text: bytes) -> bytes:
    """A pod's output without the lines that Argo's own process adds at its end."""
    return _ARGO_LINE.sub(b"", text)


def _short(sentence: str) -> str:
    text = " ".join(sentence.split())
    return text if len(text) <= 400 else text[:399] + "…"


class _Unstarted:
    def __init__(self, since: float) -> None:
        self.since = since
        self.told = ""


class _News:
    """Something that a watch saw."""

    def __init__(self, kind: str, type: str, object: Object) -> None:
        self.kind = kind
        self.type = type
        self.object = object


class _Silence:
    """The API does not answer."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class _Stream:
    """One kind of objects as news in a queue: a list, then a watch from there, again and again."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        kind: str,
        selector: dict[str, Any],
        messages: queue.SimpleQueue[Any],
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._group = group
        self._kind = kind
        self._selector = selector
        self._messages = messages
        self._stop = stop
        self._known: dict[str, Object] = {}

    def run(self) -> None:
        wait = 0.2
        while not self._stop.is_set():
            try:
                for news in self._round():
                    self._messages.put(news)
                    wait = 0.2
                    if self._stop.is_set():
                        return
            except (ApiError, Unreachable) as error:
                gone = isinstance(error, ApiError) and error.status == 410
                if not gone:
                    self._messages.put(_Silence(str(error)))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)
            except Exception as error:
                # Whatever it is, the follower must not wait for news for ever.
                self._messages.put(_Silence(f"watching the {self._kind} failed: {type(error).__name__}: {error}"))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)

    def _round(self) -> Iterator[_News]:
        listed = self._cluster.list(self._group, self._kind, **self._selector)
        found = {one["metadata"]["name"]: one for one in listed["items"]}
        for name in set(self._known) - set(found):
            # It went while nobody watched.
            yield _News(self._kind, "DELETED", self._known.pop(name))
        for one in found.values():
            yield _News(self._kind, "ADDED", one)
        self._known = found
        version = listed["metadata"]["resourceVersion"]
        while not self._stop.is_set():
            watched = self._cluster.watch(self._group, self._kind, version, **self._selector, seconds=_WATCH_SECONDS)
            for event in watched:
                version = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                name = event.object["metadata"]["name"]
                if event.type == "DELETED":
                    self._known.pop(name, None)
                else:
                    self._known[name] = event.object
                yield _News(self._kind, event.type, event.object)
