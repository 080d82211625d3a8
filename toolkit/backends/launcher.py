"""What the scheduler needs of an engine: attempts that are started up to their gate, released, waited for and stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from toolkit.plan.plan import PlannedStep

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord


@dataclass(frozen=True)
class Verdict:
    """What the engine says of an attempt that has ended.

    Attributes:
        exit_code: the container's or process's; None when the engine knows none.
        out_of_memory: whether the engine counted a memory kill.
        message: what the runtime or the engine said; used where the runtime wrote no record.
        container: the engine's id of the container, for a search in the engine's own logs. image: the id of its image.
        fault: whether something happened to the container and not in it: it was stopped from outside, removed or never created.
    """

    exit_code: int | None
    out_of_memory: bool = False
    message: str = ""
    container: str = ""
    image: str = ""
    fault: bool = False

    def record(self, cancelled: bool) -> EngineRecord:
        """The record engine.json; ``cancelled`` says whether the client had asked the attempt to stop."""
        record: EngineRecord = {
            "version": 1,
            "exit_code": self.exit_code,
            "cancelled": cancelled,
            "out_of_memory": self.out_of_memory,
            "message": self.message,
            "container": self.container,
            "image": self.image,
        }
        if self.fault:
            record["fault"] = True
        return record


OnEnd = Callable[["Job", Verdict | None, BaseException | None], None]
"""Called once, from another thread: with the verdict when a job has ended, or with the error that ended the wait for it."""


def gate_line(secrets: Mapping[str, str]) -> bytes:
    """The line of standard input that opens a gate, with the secrets of the step (read by ``runtime/step/supervisor.py``)."""
    return json.dumps({"secrets": dict(secrets)}).encode("ascii") + b"\n"


class Job(Protocol):
    """One attempt: started before its turn, released in its turn, stopped or ended."""

    path: str
    attempt: int

    def release(self, secrets: Mapping[str, str]) -> None:
        """Opens the gate: the attempt runs, with these secrets."""

    def stop(self, kill: bool) -> None:
        """Stops the attempt: with the grace period, or at once when ``kill``. Does not wait for its end."""

    def discard(self) -> None:
        """Removes an attempt whose gate was not opened; it leaves no record."""

    def name(self) -> str:
        """What a user finds it by: the name of the container, or the id of the process."""


class Launcher(Protocol):
    """An engine on this machine that runs attempts."""

    ahead: int
    """How many attempts may be started before their turn."""

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> Job:
        """Starts an attempt up to its gate, in the background."""

    def held(self) -> float:
        """The seconds for which steps have waited for a person at a debugger. They count for no limit of time."""

    def close(self) -> None:
        """Waits until the engine has removed all that was started."""
