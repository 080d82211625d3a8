"""Prints a run's progress to standard error: plain lines, and on a terminal also a live line below them."""

from __future__ import annotations

import codecs
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.scheduler import Outcome
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.report.left import LeftFiles, template_of
from toolkit.report.reporter import Harmless, Reporter
from toolkit.report.table import as_left, printable
from toolkit.runtime.shared.protocol import OUTPUT_FILE
from toolkit.runtime.shared.tree import ANY, REPEATED
from toolkit.store.verdict import Attempt

# A run without a map, or whose lines are not shown, does not pay for what only these need.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from toolkit.report.items import ItemValues
    from toolkit.report.map_progress import MapProgress
    from toolkit.report.step_lines import RunningOutputs, StepLines

_MOST_STEP_LINES = 100
"""Steps that get a line each. After that many, successes are only counted."""
_TAIL_LINES = 40
_TAIL_BYTES = 16 * 1024
_MARK = {"succeeded": "ok", "failed": "FAILED", "cancelled": "cancelled"}


@contextmanager
def progress(logs: bool = False, on_this_machine: bool = True) -> Iterator[Reporter]:
    """A reporter that suits what standard error is: a terminal, a file or a pipe.

    Args:
        logs: whether to print the lines that the steps write, as they come. on_this_machine: whether the steps write them here.
    """
    reporter = _suited()
    reporter.shows_output, reporter.output_is_here = logs, on_this_machine
    try:
        yield Harmless(reporter)
    finally:
        reporter.close()


def _suited() -> Progress:
    try:
        # The live line has characters that only UTF-8 has.
        if sys.stderr.isatty() and codecs.lookup(sys.stderr.encoding).name == "utf-8":
            return LiveProgress()
    except Exception:
        # Whatever rich finds wrong with this terminal.
        pass
    return Progress()


class Progress(Reporter):
    """Prints one plain line for each event.

    Attributes:
        shows_output: whether to print the lines that the steps write. output_is_here: whether they are in the run's folder; else
            :meth:`output` is called with them.
    """

    shows_output = False
    output_is_here = True

    def __init__(self) -> None:
        # While a live line is shown, what is printed by other means goes through the live line.
        self._stream = sys.stderr
        self._began = time.monotonic()
        self._width = 0
        self._total: int | None = 0
        self._step_lines = 0
        self._succeeded = 0
        self._run_id = ""
        self._failed: list[str] = []
        self._repeated: frozenset[str] = frozenset()
        self._left = LeftFiles()
        self._printing = threading.RLock()
        self._kept: list[str] | None = None
        self._lines: StepLines | None = None
        self._outputs: RunningOutputs | None = None
        self._items: ItemValues | None = None

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._outputs is not None:
            self._outputs.close()

    def note(self, sentence: str) -> None:
        self._line(sentence)

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        self._run_id = run_id
        self._began = time.monotonic()
        self._repeated = frozenset(step.path for step in plan.steps if step.type in REPEATED)
        self._width = min(40, max(len(step.path) for step in plan.steps))
        tasks = [step for step in plan.steps if step.inside is None]
        # It is not known yet how often the steps inside a map or a loop run.
        self._total = len(tasks) if not any(ANY in scope.path.split("/") for scope in plan.scopes) else None
        more = "" if self._total is not None else ", some of them several times"
        self._line(f"run {run_id} of {pipeline}: {len(tasks)} step{'s' if len(tasks) != 1 else ''}{more}")
        if any(step.type == "map" for step in plan.steps):
            from toolkit.report.items import items_of_run

            self._items = items_of_run(run_folder)
        if self.shows_output:
            from toolkit.report.step_lines import RunningOutputs, StepLines

            self._lines = StepLines(self._line, self._items)
            if self.output_is_here:
                self._outputs = RunningOutputs(run_folder, self._lines)

    def started(self, step: PlannedStep, attempt: int) -> None:
        if self._outputs is not None:
            self._outputs.begin(step.path, attempt)

    def output(self, path: str, number: int, data: bytes) -> None:
        if self._lines is None:
            return
        if data:
            self._lines.feed(path, number, data)
        else:
            self._lines.end(path, number)

    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None:
        if self._outputs is not None:
            self._outputs.end(step.path, attempt.number)
        if attempt.status == "succeeded":
            self._succeeded += 1
            if "left" in attempt.end:
                self._left.add(template_of(step.path, self._repeated), attempt.end["left"])
        number = f" (attempt {attempt.number})" if attempt.number > 1 else ""
        reason = f"  {_first_line(attempt.reason)}" if attempt.reason else ""
        mark = _MARK.get(attempt.status, attempt.status)
        if attempt.status == "succeeded" and (self._is_summed_up(step) or self._only_counts()):
            return
        self._line(f"  {step.path:<{self._width}}  {mark:<6}  {seconds:6.2f} s{number}{self._item(step.path)}{reason}")
        if attempt.status == "failed":
            self._failed.append(step.path)
            if not self.shows_output:
                self._print_tail(step, Path(attempt.folder) / OUTPUT_FILE)

    def passed(self, step: PlannedStep) -> None:
        self._succeeded += 1
        if not (self._is_summed_up(step) or self._only_counts()):
            self._line(f"  {step.path:<{self._width}}  stub")

    def _is_summed_up(self, step: PlannedStep) -> bool:
        """Whether a success is told in another way than by a line of its own."""
        return False

    def _item(self, path: str) -> str:
        text = self._items.text(path) if self._items is not None else ""
        return f"  {text}" if text else ""

    def _only_counts(self) -> bool:
        """Whether a success gets no line of its own any more; then prints how many there are, now and then."""
        self._step_lines += 1
        if self._step_lines <= _MOST_STEP_LINES:
            return False
        if self._succeeded % _MOST_STEP_LINES == 0:
            self._line(f"  … {self._succeeded} steps succeeded so far")
        return True

    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None:
        when = f"in {seconds:g} s" if seconds else "follows"
        self._line(f"  {step.path}: attempt {attempt} {when}")

    def cancelling(self, kill: bool, exiting: bool = False) -> None:
        if kill:
            self._line("cancelling: killing the running steps")
        elif exiting:
            self._line("the pipeline has ended, and its on_exit goes on: cancel again to kill that at once")
        else:
            self._line("cancelling: do it again to kill the running steps at once")

    def finished(self, outcome: Outcome) -> None:
        spent = time.monotonic() - self._began
        # The reason of a step's failure was printed with the step.
        is_printed = any(path in outcome.reason for path in self._failed)
        reason = f": {_first_line(outcome.reason)}" if outcome.status == "failed" and not is_printed else ""
        self._line(f"run {self._run_id} {outcome.status} in {spent:.1f} s{reason}")
        if outcome.on_exit:
            self._line(
                f"  on_exit did not succeed, which does not change the run's status: {_first_line(outcome.on_exit)}"
            )
        if left := self._left.sentence():
            self._line(f"  {printable(left)}")
        self._line(f"  toolkit show {self._run_id}")

    def _print_tail(self, step: PlannedStep, log: Path) -> None:
        """Prints the end of a failed step's output, which is where its traceback is."""
        try:
            with open(log, "rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return
        if not text:
            return
        lines = [as_left(line) for line in text.removesuffix("\n").split("\n")]
        cut = size > _TAIL_BYTES or len(lines) > _TAIL_LINES
        if cut:
            self._line(f"    … (all of it: toolkit logs {self._run_id} {step.path!r})")
        for line in lines[-_TAIL_LINES:]:
            text = printable(line[:2000], "\t")
            self._line(f"    {text}")

    def hold(self, path: str) -> None:
        if self._outputs is not None:
            self._outputs.hold(path)
        with self._printing:
            item = self._item(path).strip()
            self._line(f"  {path}{item and ' ' + item}: at a breakpoint (q ends the step; time limits wait meanwhile)")
            self._kept = []

    def resume(self) -> None:
        if self._outputs is not None:
            self._outputs.resume()
        with self._printing:
            kept, self._kept = self._kept or [], None
            for text in kept:
                self._line(text)

    def _line(self, text: str) -> None:
        with self._printing:
            if self._kept is not None:
                self._kept.append(text)
            else:
                self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveProgress(Progress):
    """Prints the same lines, and below them a live line with the step that started last. A map's items share that line, and
    have one line together when they have ended; only those that fail have their own.

    Where the live line fails, there is none from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self._console: Console | None = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._maps: MapProgress | None = None

    def close(self) -> None:
        super().close()
        status, self._status = self._status, None
        if status is not None:
            try:
                status.stop()
            except Exception:
                self._console = None

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        super().began(run_id, pipeline, plan, run_folder)
        if any(step.type == "map" for step in plan.steps):
            from toolkit.report.map_progress import MapProgress

            self._maps = MapProgress(plan, self._items)
        self._show(self._start)

    def started(self, step: PlannedStep, attempt: int) -> None:
        super().started(step, attempt)
        if self._maps is not None and (line := self._maps.started(step.path)):
            self._update(line)
            return
        number = f", attempt {attempt}" if attempt > 1 else ""
        of = f" of {self._total}" if self._total is not None else ""
        self._update(f"{step.path} ({self._succeeded + 1}{of}{number})")

    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None:
        line = self._maps.ended(step.path, attempt.status) if self._maps is not None else ""
        super().ended(step, attempt, seconds)
        if line:
            self._update(line)
        self._print_maps(over=False)

    def passed(self, step: PlannedStep) -> None:
        if self._maps is not None:
            self._maps.ended(step.path, "succeeded")
        super().passed(step)
        self._print_maps(over=False)

    def _is_summed_up(self, step: PlannedStep) -> bool:
        return self._maps is not None and self._maps.around(step.path) is not None

    def _print_maps(self, over: bool) -> None:
        """Prints the line of each map whose items have all ended, or, when the run is over, of each."""
        for path, mark, sentence, seconds in self._maps.over(over) if self._maps is not None else ():
            self._line(f"  {path:<{self._width}}  {mark:<6}  {seconds:6.2f} s  {sentence}")

    def _update(self, line: str) -> None:
        from rich.markup import escape

        status = self._status
        if status is not None and self._kept is None:
            self._show(lambda _: status.update(escape(printable(line))))

    def finished(self, outcome: Outcome) -> None:
        self._print_maps(over=True)
        self.close()
        super().finished(outcome)

    def hold(self, path: str) -> None:
        super().hold(path)
        with self._printing:
            if self._status is not None:
                self._show(lambda _: status.stop() if (status := self._status) is not None else None)

    def resume(self) -> None:
        with self._printing:
            if self._status is not None:
                self._show(lambda _: status.start() if (status := self._status) is not None else None)
        super().resume()

    def _print(self, text: str) -> None:
        if not self._show(lambda console: console.print(text, markup=False, emoji=False)):
            super()._print(text)

    def _start(self, console: Console) -> None:
        self._status = console.status("starting")
        self._status.start()

    def _show(self, on: Callable[[Console], None]) -> bool:
        """Has rich show something; returns whether it could."""
        if self._console is None:
            return False
        try:
            on(self._console)
            return True
        except Exception:
            self._console = None
            self.close()
            return False


def _first_line(text: str) -> str:
    lines = text.splitlines()
    return printable(lines[0][:300]) if lines else ""
