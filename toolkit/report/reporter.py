"""The interface that a run reports its progress to."""

from __future__ import annotations

from pathlib import Path

from toolkit.backends.scheduler import Listener, Outcome
from toolkit.plan.plan import Plan


class Reporter(Listener):
    """A listener that is also told of the run as a whole."""

    def note(self, sentence: str) -> None:
        """A sentence about what is done or noticed before the steps."""

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        """The run exists from now on."""

    def finished(self, outcome: Outcome) -> None:
        """The run has ended."""
