"""How an attempt ended, as the supervisor gathers it: the exit status, what the child reported, and the kernel's memory kills."""

from __future__ import annotations

import json

from ..shared.causes import killed_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ..shared.causes import Ending
    from ..shared.documents import ExceptionRecord, InputRecord, StoredValue

OUT_OF_MEMORY = 137
"""The exit code of an attempt that lost a process to the kernel's memory limit, where its own would be 0."""

_ONLY_BASH = (
    b'Syntax error: "(" unexpected',
    b"Bad substitution",
    b"[[: not found",
    b"Syntax error: redirection unexpected",
)
_NOT_SET = (": unbound variable", ": parameter not set")
"""What bash and dash say of a variable that a command names under ``set -u``."""


class AttemptOutcome:
    """How an attempt ended.

    Attributes:
        exit_code: 0 only where the attempt succeeded. reason: why it did not; empty where nothing is known yet.
        signal: the number of the signal that ended the child. ending: why it had to stop; None where it ended by itself.
        out_of_memory: whether the kernel killed a process for memory. exception: the exception of the user's code.
        inputs, returns: as end.json holds them. fault: why the runtime could not do its part.
    """

    def __init__(self, exit_code: int, reason: str = "") -> None:
        self.exit_code = exit_code
        self.reason = reason
        self.signal: Optional[int] = None
        self.ending: Optional[Ending] = None
        self.out_of_memory = False
        self.exception: Optional[ExceptionRecord] = None
        self.inputs: Optional[dict[str, InputRecord]] = None
        self.returns: Optional[dict[str, StoredValue]] = None
        self.fault: Optional[str] = None

    def fail(self, exit_code: int, reason: str) -> None:
        self.exit_code = exit_code
        self.reason = reason

    def add_report(self, line: bytes) -> None:
        """Adds the child's own report. A reason or fault that is known already stays. A report that is no JSON is ignored."""
        try:
            report = json.loads(line) if line else {}
        except ValueError:
            report = {}
        self.returns = report.get("returns")
        self.inputs = report.get("inputs")
        self.exception = report.get("exception")
        self.fault = self.fault or report.get("fault")
        self.reason = self.reason or report.get("reason") or ""

    def add_shell_error(self, tail: bytes, shell: str) -> None:
        """Gives a failure its reason where the shell says it: what only bash understands, or a variable that is not set.

        Args:
            tail: the end of the output, where the shell says so. By sh, dash is meant, which it is in Debian's images.
        """
        if self.exit_code == 0 or self.reason or self.signal:
            return
        last = tail.decode("utf-8", "replace").strip().split("\n")[-1]
        if last == "bdb.BdbQuit":
            self.reason = f"ended with exit code {self.exit_code}: a debugger has no terminal in a shell step"
        elif last.startswith(f"{shell}: ") and last.endswith(_NOT_SET):
            self.reason = f"ended with exit code {self.exit_code}: {last}"
        elif shell == "sh" and self.exit_code in (2, 127) and any(words in tail for words in _ONLY_BASH):
            self.reason = f"ended with exit code {self.exit_code}: {last} (sh has no arrays and no [[; shell: bash has)"

    def add_memory_kill(self, limit: Optional[int]) -> None:
        """A memory kill of any process fails the attempt, whatever the other processes did.

        Args:
            limit: the container's, in bytes; None is no limit.
        """
        shown = f" of {limit} bytes" if limit else ""
        self.out_of_memory = True
        self.reason = f"out of memory: the kernel killed a process at the limit{shown}"
        self.exit_code = self.exit_code or OUT_OF_MEMORY

    def explain(self) -> None:
        """Gives a failure that has no reason yet the best one there is."""
        if self.exit_code == 0 or self.reason:
            return
        if self.exception:
            first_line = self.exception["message"].strip().split("\n")[0]
            self.reason = f"{self.exception['type']}: {first_line}" if first_line else self.exception["type"]
        elif self.signal:
            self.reason = killed_by(self.signal)
        else:
            self.reason = f"ended with exit code {self.exit_code}"
