"""The interface to which a run reports its progress."""

from __future__ import annotations

from pathlib import Path

from toolkit.backends.scheduler import Listener, Outcome
from toolkit.plan.plan import Plan


class Reporter(Listener):
    """A listener that is also informed about the run as a whole. Each method may be left as it is, and then does nothing."""

    def note(self, sentence: str) -> None:
        """Something is done, or was noticed, before the steps start; ``sentence`` says what."""

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        """The run exists now; its steps have not started yet."""

    def finished(self, outcome: Outcome) -> None:
        """The run has ended."""
