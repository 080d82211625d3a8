"""The client's own limits of time while a person is at a debugger. The engine is a fake: only what the scheduler does counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.plans import planned, task
from toolkit.backends.launcher import OnEnd, Verdict
from toolkit.backends.scheduler import Cancel, Scheduler
from toolkit.plan.plan import PlannedStep
from toolkit.report.progress import Progress

HELD = 1.0
"""Seconds at the prompt; the run may last a fifth of that."""


class HeldJob:
    """A step that waits for its user, and then ends."""

    def __init__(self, path: str, ended: OnEnd) -> None:
        self.path, self.attempt = path, 1
        self.stopped = False
        self._ended = ended

    def name(self) -> str:
        return self.path

    def release(self, secrets: Mapping[str, str]) -> None:
        threading.Timer(HELD, lambda: self._ended(self, Verdict(1), None)).start()

    def stop(self, kill: bool) -> None:
        self.stopped = True

    def discard(self) -> None:
        pass


class HeldLauncher:
    ahead = 0

    def __init__(self) -> None:
        self.jobs: list[HeldJob] = []
        self._began = time.monotonic()

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> HeldJob:
        self.jobs.append(HeldJob(step.path, ended))
        return self.jobs[-1]

    def held(self) -> float:
        return time.monotonic() - self._began

    def close(self) -> None:
        pass


def test_a_run_does_not_reach_its_limit_while_a_person_is_at_a_prompt(tmp_path: Path) -> None:
    launcher = HeldLauncher()
    scheduler = Scheduler(
        planned(task("step")), launcher, tmp_path, lambda _: {}, Progress(), Cancel(), time_limit=HELD / 5
    )
    outcome = scheduler.run()
    # It ended as the engine said, and nobody asked it to stop.
    assert not launcher.jobs[0].stopped and "time limit" not in outcome.reason, outcome
