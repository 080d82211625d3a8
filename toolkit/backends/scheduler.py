"""Runs a plan on this machine: one step after the other, the next ones started up to their gate ahead of their turn."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from toolkit.backends.launcher import Job, Launcher, Verdict
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.store import records
from toolkit.store.verdict import Attempt, merge

_BACKSTOP = 30.0
"""Seconds beyond time limit and grace after which the client itself ends a step whose runtime did not."""


class Listener(Protocol):
    """Is told what happens, in the order in which it does."""

    def started(self, step: PlannedStep, attempt: int) -> None: ...
    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None: ...
    def passed(self, step: PlannedStep) -> None: ...
    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None: ...
    def cancelling(self, kill: bool) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How the plan ended.

    Attributes:
        status: succeeded, failed or cancelled.
        fault: whether what failed was the engine's or the disk's doing, not the step's.
        reason: empty when it succeeded.
    """

    status: str
    reason: str = ""
    fault: bool = False


class Cancel:
    """How often the user asked for the end; safe to call from a signal handler."""

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


class Scheduler:
    """Runs one plan.

    Args:
        run_folder: the run's records on this machine.
        secrets: gives the secrets of a step, by name.
        time_limit: seconds for the whole run; None is no limit.
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
    ) -> None:
        self._plan = plan
        self._launcher = launcher
        self._run_folder = run_folder
        self._secrets = secrets
        self._listener = listener
        self._cancel = cancel
        self._deadline = time.monotonic() + time_limit if time_limit is not None else None
        self._time_limit = time_limit
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._prepared: dict[str, Job] = {}
        self._running: Job | None = None
        cancel.listen(self._messages)

    def run(self) -> Outcome:
        """Runs the plan to its end; whatever happens, nothing is left in the engine afterwards.

        Raises:
            Infrastructure: the engine stopped answering.
        """
        try:
            return self._sequence()
        finally:
            if self._running is not None:
                self._running.stop(kill=True)
            for job in self._prepared.values():
                job.discard()
            self._launcher.close()

    def unfinished(self) -> list[str]:
        """What may still run in the engine: names to look for."""
        jobs = [self._running] if self._running is not None else []
        return [job.name() for job in [*jobs, *self._prepared.values()]]

    def _sequence(self) -> Outcome:
        tasks = self._plan.tasks()
        done = 0
        for step in self._plan.steps:
            if self._cancel.count:
                return Outcome("cancelled", "cancelled")
            if step.task is None:
                self._listener.passed(step)
                continue
            self._prepare_ahead(tasks[done : done + 1 + self._launcher.ahead])
            outcome = self._step(step, tasks[done + 1 : done + 1 + self._launcher.ahead])
            if outcome is not None:
                return outcome
            done += 1
        return Outcome("succeeded")

    def _prepare_ahead(self, steps: list[PlannedStep]) -> None:
        for step in steps:
            if step.path not in self._prepared:
                self._prepared[step.path] = self._launcher.prepare(step, 1, self._ended)

    def _step(self, step: PlannedStep, following: list[PlannedStep]) -> Outcome | None:
        """Runs a step with its retries; None when it succeeded."""
        retry = self._plan.settings_of(step).retry
        began = time.monotonic()
        wait = float(retry.back_off.duration_in_seconds)
        number = 1
        while True:
            attempt = self._attempt(step, number, following)
            if attempt.status == "succeeded":
                return None
            if self._cancel.count:
                return Outcome("cancelled", "cancelled")
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return Outcome("failed", f"the run took longer than its time limit of {self._time_limit:g} s")
            if attempt.status == "cancelled":
                return Outcome("cancelled", "cancelled")
            spent = time.monotonic() - began
            if not _worth_retrying(attempt, retry.retry_policy, number, retry.limit) or (
                retry.back_off.max_duration is not None and spent + wait > retry.back_off.max_duration
            ):
                return Outcome("failed", f"the step {step.path} failed: {attempt.reason}", attempt.fault)
            number += 1
            self._listener.retrying(step, number, wait)
            if self._pause(wait):
                return Outcome("cancelled", "cancelled")
            wait *= retry.back_off.factor

    def _pause(self, seconds: float) -> bool:
        """Waits; returns whether the run was cancelled meanwhile."""
        until = time.monotonic() + seconds
        while not self._cancel.count:
            left = until - time.monotonic()
            if left <= 0:
                return False
            try:
                self._messages.get(timeout=left)
            except queue.Empty:
                return False
        return True

    def _attempt(self, step: PlannedStep, number: int, following: list[PlannedStep]) -> Attempt:
        job = self._prepared.pop(step.path, None) if number == 1 else None
        job = job or self._launcher.prepare(step, number, self._ended)
        self._running = job
        began = time.monotonic()
        self._listener.started(step, number)
        job.release(self._secrets(step))
        # While this one runs there is time to start the ones after it.
        self._prepare_ahead(following)
        verdict = self._follow(job, step)
        self._running = None
        records.write_engine(self._run_folder, step.path, number, verdict.record(self._cancel.count > 0))
        attempt = merge(self._run_folder, step.path, number, run_active=False)
        self._listener.ended(step, attempt, time.monotonic() - began)
        return attempt

    def _follow(self, job: Job, step: PlannedStep) -> Verdict:
        """Waits for the end of a job; asks it to end when the user or a time limit says so."""
        settings = self._plan.settings_of(step)
        backstop = None
        if settings.time_limit is not None:
            backstop = time.monotonic() + settings.time_limit + settings.grace_period + _BACKSTOP
        asked = 0
        while True:
            if self._cancel.count > asked:
                asked = self._cancel.count
                self._listener.cancelling(kill=asked > 1)
                job.stop(kill=asked > 1)
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline and not asked:
                asked = 1
                job.stop(kill=False)
            if backstop is not None and now >= backstop:
                backstop = None
                job.stop(kill=True)
            waits = [one - now for one in (self._deadline if not asked else None, backstop) if one is not None]
            try:
                message = self._messages.get(timeout=max(0.01, min(waits)) if waits else None)
            except queue.Empty:
                continue
            if message.error is not None:
                # A container that could not even be prepared is known only by now.
                raise message.error
            if message.job is job and message.verdict is not None:
                return message.verdict
            if message.job is not None and message.verdict is not None:
                self._gone_early(message.job, message.verdict)

    def _gone_early(self, job: Job, verdict: Verdict) -> None:
        """A prepared attempt ended at its gate: forgotten here, so that it is started again in its turn."""
        self._prepared.pop(job.path, None)

    def _ended(self, job: Job, verdict: Verdict | None, error: BaseException | None) -> None:
        self._messages.put(_Message(job, verdict, error))


def _worth_retrying(attempt: Attempt, policy: str, number: int, limit: int) -> bool:
    if number > limit:
        return False
    return policy == "Always" or (policy == "OnError") == attempt.fault
