"""What a person sees of a run: a live line on a terminal, plain lines elsewhere. All of it goes to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.scheduler import Outcome
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.report.reporter import Reporter
from toolkit.runtime.shared.protocol import OUTPUT_FILE
from toolkit.runtime.shared.tree import ANY
from toolkit.store.verdict import Attempt

if TYPE_CHECKING:
    from rich.status import Status

_LINES = 100
"""Steps that are told of one by one; of a large map they are counted from then on."""
_TAIL_LINES = 40
_TAIL_BYTES = 16 * 1024
_MARK = {"succeeded": "ok", "failed": "FAILED", "cancelled": "cancelled"}


@contextmanager
def progress() -> Iterator[Progress]:
    """A reporter for the terminal, or for whatever standard error is."""
    reporter = LiveProgress() if sys.stderr.isatty() else Progress()
    try:
        yield reporter
    finally:
        reporter.close()


class Progress(Reporter):
    """One plain line for each thing that happened."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._width = 0
        self._total: int | None = 0
        self._said = 0
        self._done = 0
        self._run_id = ""
        self._failed: list[str] = []

    def close(self) -> None:
        """Gives the terminal back."""

    def note(self, sentence: str) -> None:
        self._line(sentence)

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        self._run_id = run_id
        self._began = time.monotonic()
        self._width = min(40, max(len(step.path) for step in plan.steps))
        tasks = [step for step in plan.steps if step.inside is None]
        # How often what is inside a map or a loop runs is not known yet.
        self._total = len(tasks) if not any(ANY in scope.path.split("/") for scope in plan.scopes) else None
        more = "" if self._total is not None else ", some of them several times"
        self._line(f"run {run_id} of {pipeline}: {len(tasks)} step{'s' if len(tasks) != 1 else ''}{more}")

    def started(self, step: PlannedStep, attempt: int) -> None:
        pass

    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None:
        self._done += 1 if attempt.status == "succeeded" else 0
        number = f" (attempt {attempt.number})" if attempt.number > 1 else ""
        reason = f"  {_first_line(attempt.reason)}" if attempt.reason else ""
        mark = _MARK.get(attempt.status, attempt.status)
        if attempt.status == "succeeded" and self._is_enough():
            return
        self._line(f"  {step.path:<{self._width}}  {mark:<6}  {seconds:6.2f} s{number}{reason}")
        if attempt.status == "failed":
            self._failed.append(step.path)
            self._tail(step, Path(attempt.folder) / OUTPUT_FILE)

    def passed(self, step: PlannedStep) -> None:
        self._done += 1
        if not self._is_enough():
            self._line(f"  {step.path:<{self._width}}  stub")

    def _is_enough(self) -> bool:
        """Whether so many lines stand there that a count says more; failures are always told."""
        self._said += 1
        if self._said <= _LINES:
            return False
        if self._done % _LINES == 0:
            self._line(f"  … {self._done} steps succeeded so far")
        return True

    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None:
        self._line(f"  {step.path}: attempt {attempt} in {seconds:g} s")

    def cancelling(self, kill: bool) -> None:
        self._line("cancelling: killing what runs" if kill else "cancelling: once more kills what runs at once")

    def finished(self, outcome: Outcome) -> None:
        spent = time.monotonic() - self._began
        # What a step failed of stands above, beside the step.
        told = any(path in outcome.reason for path in self._failed)
        reason = f": {_first_line(outcome.reason)}" if outcome.status == "failed" and not told else ""
        self._line(f"run {self._run_id} {outcome.status} in {spent:.1f} s{reason}")
        self._line(f"  toolkit show {self._run_id}")

    def _tail(self, step: PlannedStep, log: Path) -> None:
        """The end of what a failing step wrote, as it is: its own traceback is the best there is."""
        try:
            with open(log, "rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return
        lines = text.splitlines()
        if not lines:
            return
        cut = size > _TAIL_BYTES or len(lines) > _TAIL_LINES
        if cut:
            self._line(f"    … (all of it: toolkit logs {self._run_id} {step.path!r})")
        for line in lines[-_TAIL_LINES:]:
            self._line(f"    {_printable(line[:2000])}")

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class LiveProgress(Progress):
    """The same lines, and below them what runs now and for how long."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        super().began(run_id, pipeline, plan, run_folder)
        self._status = self._console.status("starting")
        self._status.start()

    def started(self, step: PlannedStep, attempt: int) -> None:
        from rich.markup import escape

        if self._status is not None:
            number = f", attempt {attempt}" if attempt > 1 else ""
            of = f" of {self._total}" if self._total is not None else ""
            self._status.update(f"{escape(_printable(step.path))} ({self._done + 1}{of}{number})")

    def finished(self, outcome: Outcome) -> None:
        self.close()
        super().finished(outcome)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, emoji=False)


def _first_line(text: str) -> str:
    lines = text.splitlines()
    return _printable(lines[0][:300]) if lines else ""


def _printable(text: str) -> str:
    """Without what would move the cursor or recolour the terminal."""
    return "".join(character if character.isprintable() or character == "\t" else "�" for character in text)
