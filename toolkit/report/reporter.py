"""The interface to which a run reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.backends.scheduler import Listener, Outcome
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.store.verdict import Attempt


class Reporter(Listener):
    """A listener that is also informed about the run as a whole. Each method may be left as it is, and then does nothing."""

    def note(self, sentence: str) -> None:
        """Something is done, or was noticed, before the steps start or after they have ended; ``sentence`` says what."""

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        """The run exists now; its steps have not started yet."""

    def finished(self, outcome: Outcome) -> None:
        """The run has ended."""

    def output(self, path: str, number: int, data: bytes) -> None:
        """What an attempt has written, where that is not on this machine; nothing is its end. Called from any thread."""

    def hold(self, path: str) -> None:
        """A step's debugger gets the terminal: until :meth:`resume` nothing else is printed. Called from any thread."""

    def resume(self) -> None:
        """The terminal is back."""


class Harmless(Reporter):
    """Passes everything on to another reporter. Where that one fails, the run does not hear of it, and goes on."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def note(self, sentence: str) -> None:
        self._tell(lambda: self._reporter.note(sentence))

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        self._tell(lambda: self._reporter.began(run_id, pipeline, plan, run_folder))

    def finished(self, outcome: Outcome) -> None:
        self._tell(lambda: self._reporter.finished(outcome))

    def output(self, path: str, number: int, data: bytes) -> None:
        self._tell(lambda: self._reporter.output(path, number, data))

    def hold(self, path: str) -> None:
        self._tell(lambda: self._reporter.hold(path))

    def resume(self) -> None:
        self._tell(self._reporter.resume)

    def started(self, step: PlannedStep, attempt: int) -> None:
        self._tell(lambda: self._reporter.started(step, attempt))

    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None:
        self._tell(lambda: self._reporter.ended(step, attempt, seconds))

    def passed(self, step: PlannedStep) -> None:
        self._tell(lambda: self._reporter.passed(step))

    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None:
        self._tell(lambda: self._reporter.retrying(step, attempt, seconds))

    def cancelling(self, kill: bool, exiting: bool = False) -> None:
        self._tell(lambda: self._reporter.cancelling(kill, exiting))

    def _tell(self, event: Callable[[], None]) -> None:
        try:
            event()
        except Exception:
            # What the run has done is in its records, whatever could be shown of it.
            pass
