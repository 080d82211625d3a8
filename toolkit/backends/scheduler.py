"""Runs a plan on this machine: steps side by side where the plan has them so, and the next attempts started up to their gate.

Each sequence of steps is a routine: a generator that yields what it waits for (a slot to run in, an attempt's end, a time, inner
sequences). One thread resumes whichever routine has what it waited for.
"""

from __future__ import annotations

import heapq
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from toolkit.backends.completed_work import CompletedWork
from toolkit.backends.launcher import Job, Launcher, Verdict
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.runtime.shared.controls import control_error, missing_value_reason
from toolkit.runtime.shared.retry_policy import is_too_late, may_be_retried, pauses
from toolkit.runtime.shared.tree import HANDLER, ON_EXIT, Tree, branches, join
from toolkit.store import writer
from toolkit.store.verdict import Attempt, merge

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues, JsonValue, StepRow

_BACKSTOP = 30.0
"""Seconds beyond time limit and grace period after which the client kills a step that its runtime did not stop."""


class Listener(Protocol):
    """Receives the events of a run in their order. Each step has its instance path."""

    def started(self, step: PlannedStep, attempt: int) -> None: ...
    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None: ...
    def passed(self, step: PlannedStep) -> None: ...
    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None: ...
    def cancelling(self, kill: bool, exiting: bool = False) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How the plan ended.

    Attributes:
        status: succeeded, failed or cancelled.
        fault: whether the engine or the disk failed, and not the step.
        reason: empty when it succeeded.
        on_exit: why what ran after the pipeline did not succeed; empty where it did, or where nothing ran.
    """

    status: str
    reason: str = ""
    fault: bool = False
    on_exit: str = ""


class Cancel:
    """Counts the user's requests to cancel the run; safe to call from a signal handler."""

    def __init__(self) -> None:
        self.count = 0
        self._queue: queue.SimpleQueue[_Message] | None = None

    def __call__(self) -> None:
        self.count += 1
        if self._queue is not None:
            self._queue.put(_Message(None))

    def listen(self, messages: queue.SimpleQueue[_Message]) -> None:
        self._queue = messages


@dataclass(frozen=True)
class _Message:
    job: Job | None
    verdict: Verdict | None = None
    error: BaseException | None = None


_SUCCEEDED = Outcome("succeeded")
_CANCELLED = Outcome("cancelled", "cancelled")

_Resume = Callable[[Any], None]
"""Resumes a routine with the answer to what it waited for."""
_Wait = Callable[[_Resume], None]
"""What a routine yields: it is called with a :data:`_Resume`, and calls that once, when what is waited for has happened."""
_Routine = Generator[_Wait, Any, Outcome]


class Scheduler:
    """Runs one plan.

    Args:
        run_folder: the folder of the run's records on this machine.
        secrets: gives the secrets of a step, by name.
        time_limit: seconds for the whole run; None is no limit.
        parallelism: attempts that run at once; None is as many as there are processors.
        controls: control values that follow from the run's parameters.
        completed_work: what is done already of a run that continues.
        before_exit: called with the run's status before the steps of on_exit begin.
    """

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        run_folder: Path,
        secrets: Callable[[PlannedStep], Mapping[str, str]],
        listener: Listener,
        cancel: Cancel,
        time_limit: float | None = None,
        parallelism: int | None = None,
        controls: ControlValues | None = None,
        completed_work: CompletedWork | None = None,
        before_exit: Callable[[str], None] = lambda status: None,
    ) -> None:
        self._plan = plan
        self._tree = Tree(plan.document())
        self._steps = {step.path: step for step in plan.steps}
        self._launcher = launcher
        self._run_folder = run_folder
        self._secrets = secrets
        self._listener = listener
        self._cancel = cancel
        self._deadline = time.monotonic() + time_limit if time_limit is not None else None
        self._time_limit = time_limit
        self._controls: dict[str, JsonValue] = {
            **(controls or {}),
            **(completed_work.controls if completed_work is not None else {}),
        }
        self._completed_work = completed_work
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._at_once = self._slots = parallelism or max(1, os.cpu_count() or 1)
        self._prepared: dict[str, Job] = {}
        self._running: dict[Job, _Resume] = {}
        self._waiting: deque[tuple[PlannedStep, _Resume]] = deque()
        self._pausing: dict[object, _Resume] = {}
        self._ready: deque[tuple[_Resume, Any]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._before_exit = before_exit
        self._exiting = False
        self._handled_cancels = 0
        self._out_of_time = False
        self._numbers = iter(range(1 << 62))
        cancel.listen(self._messages)

    def run(self) -> Outcome:
        """Runs the plan to its end. Nothing is left in the engine afterwards, also when this raises.

        Raises:
            Infrastructure: the engine stopped answering.
        """
        try:
            if self._deadline is not None:
                self._at(self._deadline, self._run_out_of_time)
            outcome = self._final_outcome(self._run_to_end("", ""))
            if self._tree.on_exit is not None and self._cancel.count < 2:
                self._exiting = True
                for job in self._prepared.values():
                    job.discard()
                self._prepared.clear()
                self._before_exit(outcome.status)
                outcome = replace(outcome, on_exit=self._run_to_end(ON_EXIT, ON_EXIT).reason)
            return outcome
        finally:
            for job in self._running:
                job.stop(kill=True)
            for job in self._prepared.values():
                job.discard()
            self._launcher.close()

    def _run_to_end(self, scope: str, instance: str) -> Outcome:
        """Runs a sequence to its end."""
        ended: list[Outcome] = []
        self._begin(self._sequence(scope, instance), ended.append)
        while not ended:
            self._resume_ready()
            if not ended:
                self._handle_next()
        return ended[0]

    def unfinished(self) -> list[str]:
        """The names of what may still run in the engine."""
        return [job.name() for job in [*self._running, *self._prepared.values()]]

    # --- routines -----------------------------------------------------------------------------------------------------

    def _begin(self, routine: _Routine, done: Callable[[Outcome], None]) -> None:
        """Starts a routine; ``done`` is called with its outcome."""

        def resume(answer: Any) -> None:
            try:
                wait = routine.send(answer)
            except StopIteration as stop:
                done(stop.value)
                return
            wait(lambda value: self._ready.append((resume, value)))

        self._ready.append((resume, None))

    def _resume_ready(self) -> None:
        while self._ready:
            resume, answer = self._ready.popleft()
            resume(answer)

    def _handle_next(self) -> None:
        """Waits for the next timer or message, and handles it."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if self._ready:
            return
        try:
            message = self._messages.get(timeout=max(0.0, self._timers[0][0] - now) if self._timers else None)
        except queue.Empty:
            return
        if message.error is not None:
            # Containers are started in the background: an error of one that was not released yet comes here as well.
            raise message.error
        if self._cancel.count > self._handled_cancels:
            self._handled_cancels = self._cancel.count
            self._listener.cancelling(kill=self._handled_cancels > 1, exiting=self._exiting)
            if self._stopping:
                self._stop(kill=self._handled_cancels > 1)
        if message.job is None or message.verdict is None:
            return
        resume = self._running.pop(message.job, None)
        if resume is not None:
            resume(message.verdict)
        elif self._prepared.get(message.job.path) is message.job:
            # It ended at its gate: in its turn it is started again.
            del self._prepared[message.job.path]

    def _at(self, when: float, call: Callable[[], None]) -> None:
        """Has ``call`` called at a time of the monotonic clock."""
        heapq.heappush(self._timers, (when, next(self._numbers), call))

    @property
    def _stopping(self) -> bool:
        if self._exiting:
            # Only a kill ends the steps of on_exit, which run after a first request to cancel.
            return self._cancel.count > 1
        return self._cancel.count > 0 or self._out_of_time

    def _stop(self, kill: bool) -> None:
        """Asks the attempts that run to stop, and lets no further one begin."""
        for job in self._running:
            job.stop(kill)
        for _, resume in self._waiting:
            resume(False)
        self._waiting.clear()
        for resume in self._pausing.values():
            resume(None)
        self._pausing.clear()

    def _run_out_of_time(self, held: float = 0.0) -> None:
        if (now_held := self._launcher.held()) > held:
            self._at(time.monotonic() + now_held - held, lambda: self._run_out_of_time(now_held))
        elif not self._stopping and not self._exiting:
            self._out_of_time = True
            self._stop(kill=False)

    def _final_outcome(self, outcome: Outcome) -> Outcome:
        if self._cancel.count:
            return _CANCELLED if outcome.status != "succeeded" else outcome
        if self._out_of_time and outcome.status != "succeeded":
            return Outcome("failed", f"the run took longer than its time limit of {self._time_limit:g} s")
        return outcome

    # --- the steps of a plan ------------------------------------------------------------------------------------------

    def _sequence(self, scope: str, instance: str) -> _Routine:
        """Runs the steps of a scope, in their order or as a graph; ``instance`` is the instance path of what holds them."""
        rows = self._tree.scope_rows(scope)
        steps = [replace(self._steps[row["path"]], path=join(instance, row["name"])) for row in rows]
        after = self._tree.scopes[scope].get("after")
        if after is not None:
            return (yield from _Graph(self, rows, steps, [after[row["path"]] for row in rows]).run())
        for position, step in enumerate(steps):
            if self._stopping:
                return _CANCELLED
            following = []
            for next_step in steps[position + 1 : position + 1 + self._launcher.ahead]:
                if next_step.type != "task":
                    break
                following.append(next_step)
            if self._is_handled(step):
                return _SUCCEEDED
            outcome = yield from self._row(rows[position], step, following)
            if outcome.status == "succeeded" and not step.ends:
                continue
            self._discard_prepared(following)
            if outcome.status == "succeeded":
                if step.ends == "success":
                    return _SUCCEEDED
                return Outcome("failed", f"the step {step.path} ends its pipeline with a failure")
            return (yield from self._after_handler(step, outcome))
        return _SUCCEEDED

    def _is_handled(self, step: PlannedStep) -> bool:
        """Whether the step had failed in the run that continues, and its handler has succeeded."""
        return self._completed_work is not None and self._completed_work.handled(step.path)

    def _after_handler(self, step: PlannedStep, outcome: Outcome) -> _Routine:
        """What becomes of a step that has not succeeded: the outcome of its handler, where one runs."""
        if outcome.status == "failed" and step.handler is not None and not self._stopping:
            handled = yield from self._sequence(step.handler, join(step.path, HANDLER))
            return outcome if step.keep_failure and handled.status != "cancelled" else handled
        return outcome

    def _row(self, row: StepRow, step: PlannedStep, following: Iterable[PlannedStep]) -> _Routine:
        if step.type == "task":
            return (yield from self._task(step, following))
        if step.type == "stub":
            self._listener.passed(step)
            return _SUCCEEDED
        if step.type == "pipeline":
            return (yield from self._sequence(row["path"], step.path))
        if step.type == "parallel":
            inner = ((scope, join(step.path, label)) for label, scope in branches(row))
            return (yield from self._all(inner, len(row["branches"])))
        if step.type == "loop":
            return (yield from self._loop(row, step))
        control, scopes = self._controls.get(step.path), dict(branches(row))
        if step.type == "conditional" and isinstance(control, str) and control in scopes:
            return (yield from self._sequence(scopes[control], join(step.path, control)))
        if step.type == "map" and isinstance(control, int):
            [scope] = scopes.values()
            items = ((scope, f"{step.path}/{position}") for position in range(control))
            # No more at once than can run or be started ahead: a routine that waits costs memory.
            return (yield from self._all(items, row.get("limit") or self._at_once + self._launcher.ahead))
        return Outcome("failed", control_error(control) or missing_value_reason(step.type, step.path))

    def _loop(self, row: StepRow, step: PlannedStep) -> _Routine:
        [(_, scope)] = branches(row)
        for position in range(row["limit"]):
            instance = f"{step.path}/{position}"
            outcome = yield from self._sequence(scope, instance)
            if outcome.status != "succeeded" or position + 1 == row["limit"]:
                return outcome
            again = self._controls.get(instance)
            if not isinstance(again, bool):
                reason = control_error(again) or missing_value_reason(step.type, step.path)
                return Outcome("failed", reason)
            if not again:
                break
        return _SUCCEEDED

    def _all(self, inner: Iterator[tuple[str, str]], at_once: int) -> _Routine:
        """Runs sequences side by side, each to its end. The outcome is that of the first that did not succeed, in their order."""
        first_failed: list[tuple[int, Outcome]] = []
        active = 0
        resume_all: list[_Resume] = []
        numbered = enumerate(inner)

        def begin_more() -> None:
            nonlocal active
            while active < at_once and not self._stopping:
                following = next(numbered, None)
                if following is None:
                    return
                number, (scope, instance) = following
                active += 1
                self._begin(self._sequence(scope, instance), lambda outcome, number=number: ended(number, outcome))  # type: ignore[misc]

        def ended(number: int, outcome: Outcome) -> None:
            nonlocal active
            active -= 1
            if outcome.status != "succeeded" and (not first_failed or number < first_failed[0][0]):
                first_failed[:] = [(number, outcome)]
            begin_more()
            if not active and resume_all:
                resume_all.pop()(None)

        begin_more()
        if active:
            yield resume_all.append
        if first_failed:
            return first_failed[0][1]
        has_left = self._stopping and next(numbered, None) is not None
        return _CANCELLED if has_left else _SUCCEEDED

    # --- one task -----------------------------------------------------------------------------------------------------

    def _task(self, step: PlannedStep, following: Iterable[PlannedStep]) -> _Routine:
        """Runs a task with its retries."""
        retry = self._plan.settings_of(step).retry
        first = number = self._first_attempt(step.path)
        if not number:
            return _SUCCEEDED
        if not (yield partial(self._wait_for_slot, step)):
            return _CANCELLED
        began = time.monotonic()
        back_off = retry.back_off
        for pause in pauses(float(back_off.duration_in_seconds), back_off.factor):
            attempt = yield from self._attempt(step, number, first, following)
            self._controls.update(attempt.end.get("controls") or {} if attempt.status == "succeeded" else {})
            outcome = self._outcome(step, attempt)
            is_last = (
                outcome.status != "failed"
                or self._stopping
                or self._out_of_time
                or self._cancel.count > 0
                or is_too_late(time.monotonic() - began, pause, back_off.max_duration)
                or not may_be_retried(retry.retry_policy, retry.limit, number - first + 1, attempt.fault)
            )
            if is_last:
                self._free_slot()
                return outcome
            number += 1
            self._listener.retrying(step, number, pause)
            self._free_slot()
            yield partial(self._wait_until, time.monotonic() + pause)
            if not (yield partial(self._wait_for_slot, step, first=False)):
                return _CANCELLED
        raise AssertionError

    def _outcome(self, step: PlannedStep, attempt: Attempt) -> Outcome:
        if attempt.status == "succeeded":
            return _SUCCEEDED
        if attempt.status == "cancelled":
            return _CANCELLED
        return Outcome("failed", f"the step {step.path} failed: {attempt.reason}", attempt.fault)

    def _wait_for_slot(self, step: PlannedStep, resume: _Resume, first: bool = True) -> None:
        """Resumes with True when the attempt may run, with False when the run ends first."""
        if self._stopping:
            resume(False)
        elif self._slots > 0:
            self._slots -= 1
            resume(True)
        else:
            self._waiting.append((step, resume))
            if first:
                self._prepare_ahead([step])

    def _free_slot(self) -> None:
        if self._waiting:
            self._waiting.popleft()[1](True)
            self._prepare_ahead([step for step, _ in list(self._waiting)[: self._launcher.ahead]])
        else:
            self._slots += 1

    def _wait_until(self, when: float, resume: _Resume) -> None:
        key = object()
        self._pausing[key] = resume

        def end_pause() -> None:
            resume_now = self._pausing.pop(key, None)
            if resume_now is not None:
                resume_now(None)

        self._at(when, end_pause)

    def _first_attempt(self, path: str) -> int:
        return self._completed_work.first_attempt(path) if self._completed_work is not None else 1

    def _prepare_ahead(self, steps: Iterable[PlannedStep]) -> None:
        for step in steps:
            if len(self._prepared) >= self._launcher.ahead:
                return
            first = self._first_attempt(step.path)
            if step.path not in self._prepared and first and not self._stopping:
                self._prepared[step.path] = self._launcher.prepare(step, first, self._ended)

    def _discard_prepared(self, steps: Sequence[PlannedStep]) -> None:
        """Removes attempts that were started ahead and whose turn does not come."""
        for step in steps:
            job = self._prepared.pop(step.path, None)
            if job is not None:
                job.discard()

    def _attempt(
        self, step: PlannedStep, number: int, first: int, following: Iterable[PlannedStep]
    ) -> Generator[_Wait, Any, Attempt]:
        job = self._prepared.pop(step.path, None) if number == first else None
        job = job or self._launcher.prepare(step, number, self._ended)
        began = time.monotonic()
        self._listener.started(step, number)

        def wait(resume: _Resume) -> None:
            self._running[job] = resume
            self._set_backstop(step, job)
            job.release(self._secrets(step))
            # While this attempt runs there is time to start those after it.
            self._prepare_ahead(following)

        verdict = yield wait
        writer.write_engine(self._run_folder, step.path, number, verdict.record(self._stopping))
        attempt = merge(self._run_folder, step.path, number, run_active=False)
        self._listener.ended(step, attempt, time.monotonic() - began)
        return attempt

    def _set_backstop(self, step: PlannedStep, job: Job) -> None:
        """Kills a step later, unless its runtime stops it in time."""
        settings = self._plan.settings_of(step)
        if settings.time_limit is not None:
            after = settings.time_limit + settings.grace_period + _BACKSTOP

            def end(held: float) -> None:
                if (now_held := self._launcher.held()) > held:
                    self._at(time.monotonic() + now_held - held, lambda: end(now_held))
                elif job in self._running:
                    job.stop(kill=True)

            held_before = self._launcher.held()
            self._at(time.monotonic() + after, lambda: end(held_before))

    def _ended(self, job: Job, verdict: Verdict | None, error: BaseException | None) -> None:
        self._messages.put(_Message(job, verdict, error))


class _Graph:
    """The steps of one graph as they run: each as soon as what it follows has succeeded.

    Args:
        after: for each step the positions of those that it follows.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        rows: Sequence[StepRow],
        steps: Sequence[PlannedStep],
        after: Sequence[Sequence[int]],
    ) -> None:
        self._scheduler = scheduler
        self._rows = rows
        self._steps = steps
        self._missing = [set(each) for each in after]
        self._followers: list[list[int]] = [[] for _ in steps]
        for position, each in enumerate(after):
            for earlier in each:
                self._followers[earlier].append(position)
        self._running: set[int] = set()
        self._ended_or_skipped: set[int] = set()
        self._first_failed: tuple[int, Outcome] | None = None
        self._resume: list[_Resume] = []

    def run(self) -> _Routine:
        """Runs it to its end. The outcome is that of the first step, in order of definition, that did not succeed."""
        self._begin_all(position for position, missing in enumerate(self._missing) if not missing)
        if self._running:
            yield self._resume.append
        if self._first_failed is not None:
            return self._first_failed[1]
        return _SUCCEEDED if len(self._ended_or_skipped) == len(self._steps) else _CANCELLED

    def _begin_all(self, positions: Iterable[int]) -> None:
        begun = []
        for position in positions:
            if self._scheduler._stopping:
                return
            self._running.add(position)
            if self._may_be_prepared(position):
                begun.append(self._steps[position])
            self._scheduler._begin(self._row(position), partial(self._ended, position))
        # Those that begin now come before those that are started ahead, which a task has started once it is released.
        self._scheduler._prepare_ahead(begun or self)

    def _may_be_prepared(self, position: int) -> bool:
        step = self._steps[position]
        return step.type == "task" and not self._scheduler._is_handled(step)

    def _row(self, position: int) -> _Routine:
        step = self._steps[position]
        if self._scheduler._is_handled(step):
            return _HANDLED
        outcome = yield from self._scheduler._row(self._rows[position], step, self)
        if outcome.status == "succeeded":
            return outcome
        outcome = yield from self._scheduler._after_handler(step, outcome)
        return _HANDLED if outcome.status == "succeeded" else outcome

    def _ended(self, position: int, outcome: Outcome) -> None:
        self._running.discard(position)
        self._ended_or_skipped.add(position)
        if outcome is not _HANDLED and outcome.status == "succeeded":
            for follower in self._followers[position]:
                self._missing[follower].discard(position)
            followers = self._followers[position]
            self._begin_all(
                each for each in followers if not self._missing[each] and each not in self._ended_or_skipped
            )
        else:
            if outcome is not _HANDLED and (self._first_failed is None or position < self._first_failed[0]):
                self._first_failed = position, outcome
            self._skip_behind(position)
        if not self._running and self._resume:
            self._resume.pop()(None)

    def _skip_behind(self, position: int) -> None:
        """Gives up the steps that depend on one: they never run, and one that was started ahead is removed."""
        waiting = [position]
        while waiting:
            for follower in self._followers[waiting.pop()]:
                if follower not in self._ended_or_skipped:
                    self._ended_or_skipped.add(follower)
                    self._scheduler._discard_prepared([self._steps[follower]])
                    waiting.append(follower)

    def __iter__(self) -> Iterator[PlannedStep]:
        """The tasks that lack only what runs now, which may be started ahead."""
        for position, missing in enumerate(self._missing):
            is_next = len(missing) == 1 and missing <= self._running
            if is_next and position not in self._ended_or_skipped and self._may_be_prepared(position):
                yield self._steps[position]


_HANDLED = Outcome("succeeded", "its on_failure succeeded")
"""Of a step of a graph: what depends on it is skipped, and the rest counts."""
