"""What the scheduler needs of an engine: attempts that are started up to their gate, let go, waited for and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from toolkit.plan.plan import PlannedStep


@dataclass(frozen=True)
class Verdict:
    """How the engine saw an attempt end.

    Attributes:
        exit_code: the container's or process's; None when the engine knows none.
        out_of_memory: whether the engine counted a memory kill.
        message: what the runtime or the engine said where there is no record to say it.
        container: the engine's id of it, for who looks into the engine's own logs.
        fault: whether something happened to the container rather than in it: it was deleted, evicted or never made.
    """

    exit_code: int | None
    out_of_memory: bool = False
    message: str = ""
    container: str = ""
    image: str = ""
    fault: bool = False

    def record(self, cancelled: bool) -> dict[str, Any]:
        """engine.json; ``cancelled`` says whether the client had asked the attempt to end."""
        known: dict[str, Any] = {
            "version": 1,
            "exit_code": self.exit_code,
            "cancelled": cancelled,
            "out_of_memory": self.out_of_memory,
            "message": self.message,
            "container": self.container,
            "image": self.image,
        }
        if self.fault:
            known["fault"] = True
        return known


OnEnd = Callable[["Job", Verdict | None, BaseException | None], None]
"""Called from another thread, once, when a job has ended or can't be followed any more."""


class Job(Protocol):
    """One attempt, from its start before its turn to its end."""

    path: str
    attempt: int

    def release(self, secrets: Mapping[str, str]) -> None:
        """Opens the gate: the attempt runs from now on, with these secrets."""

    def stop(self, kill: bool) -> None:
        """Ends the attempt: politely, with the grace period, or at once. Does not wait."""

    def discard(self) -> None:
        """Takes back an attempt whose gate was never opened; it leaves nothing."""

    def name(self) -> str:
        """What the user would look for in the engine: the container's name or the process's id."""


class Launcher(Protocol):
    """An engine on this machine that runs attempts."""

    ahead: int
    """How many attempts may be started before their turn."""

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> Job:
        """Starts an attempt up to its gate, in the background."""

    def close(self) -> None:
        """Waits until all that was started is gone from the engine."""
