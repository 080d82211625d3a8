"""Who ended a step, and what follows from it: the one table, for every environment.

The run's exit code and the further attempts depend on the cause alone. Whoever sees a step end (the supervisor, the launcher of an
engine, the reader of a Workflow) names one of the :data:`ENDINGS`, and takes the cause and the words from here. docs/running.md has
the same table, and a test holds the two together.
"""

from __future__ import annotations

CANCELLED, INFRASTRUCTURE, STEP = "cancelled", "infrastructure", "step"

ALWAYS, ON_ERROR, ON_FAILURE = "Always", "OnError", "OnFailure"
"""The policies of a retry strategy."""
RETRIED_BY: dict[str, tuple[str, ...]] = {
    CANCELLED: (),
    INFRASTRUCTURE: (ON_ERROR, ALWAYS),
    STEP: (ON_FAILURE, ALWAYS),
}
"""The policies by which an attempt that ended for a cause is followed by another."""
EXIT_CODES: dict[str, int] = {CANCELLED: 130, INFRASTRUCTURE: 3, STEP: 1}
"""What the command ends with, for each cause. (``toolkit/errors.py`` has all of its exit codes.)"""


class Ending:
    """A way in which a step ends without success.

    Attributes:
        cause: who ended it. who: what had happened, as the table in the docs says it.
        reason: the sentence of an attempt that ended so; empty where there is a better one.
    """

    __slots__ = ("cause", "reason", "who")

    def __init__(self, cause: str, who: str, reason: str = "") -> None:
        self.cause = cause
        self.who = who
        self.reason = reason

    @property
    def fault(self) -> bool:
        """Whether the infrastructure ended the step."""
        return self.cause == INFRASTRUCTURE


ASKED = Ending(CANCELLED, "Ctrl-C or SIGTERM to the client, or `toolkit cancel`", "cancelled")
SHUT_DOWN = Ending(CANCELLED, "the Workflow was shut down (`argo stop`, `argo terminate`)", "cancelled")
STOPPED = Ending(
    INFRASTRUCTURE,
    "a container or a process was stopped or killed from outside (`docker stop`, `docker kill`, another user's `kill`)",
    "it was stopped from outside",
)
REMOVED = Ending(
    INFRASTRUCTURE, "a container was removed from outside (`docker rm`)", "the container was removed by another program"
)
POD_REMOVED = Ending(
    INFRASTRUCTURE,
    "a pod was deleted, evicted or preempted, or its node was drained, shut down or lost",
    "the pod was stopped from outside: it was deleted or evicted",
)
NEVER_RAN = Ending(INFRASTRUCTURE, "a container could not be started", "the container could not be started")
CLIENT_GONE = Ending(
    INFRASTRUCTURE,
    "the client of a run on this machine was killed, and the step stopped after it",
    "its client is gone",
)
RUNTIME_FAULT = Ending(
    INFRASTRUCTURE, "the runtime could not do its part (a full disk, a catalog that fails)", "the runtime failed"
)
SIGNALLED = Ending(
    STEP,
    "a process of the step signalled the runtime or the container's first process (a library's watchdog)",
    "a process of the step sent a signal to end it",
)
RUNTIME_KILLED = Ending(STEP, "a process of the step killed the runtime, which left no record")
OUT_OF_MEMORY = Ending(STEP, "the kernel killed a process at the step's memory limit")
OUT_OF_TIME = Ending(STEP, "the step ran longer than its time limit")
FAILED = Ending(STEP, "the step's code ended with an exception, a signal or any exit code but 0 (117 too)")

ENDINGS = (
    ASKED,
    SHUT_DOWN,
    STOPPED,
    REMOVED,
    POD_REMOVED,
    NEVER_RAN,
    CLIENT_GONE,
    RUNTIME_FAULT,
    SIGNALLED,
    RUNTIME_KILLED,
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    FAILED,
)
"""The table."""

PASSED_ON = Ending(CANCELLED, "the container's first process passed a signal on", "it was asked to stop")
"""What the runtime records where it can't know more. It is none of the table: whoever runs the container resolves it."""


def unasked(reason: str) -> Ending:
    """Who ended a step that recorded itself as cancelled, although whoever runs it had not asked it to stop.

    Args:
        reason: the recorded one.
    """
    return SIGNALLED if reason == PASSED_ON.reason else STOPPED


RUNTIME_WORDS = "toolkit runtime: "
"""How the runtime's words begin where it blames the infrastructure: in end.json, in a container's termination message and on its
standard error. No exit code can tell that, because a step may end with any."""


def blaming(reason: str) -> str:
    """A reason of the runtime's that blames the infrastructure."""
    return RUNTIME_WORDS + reason


def not_blaming(reason: str) -> str:
    """A step's reason, in which it may say anything. It blames nobody else, whatever it says."""
    return f" {reason}" if reason.lstrip(" ").startswith(RUNTIME_WORDS) else reason


def plain_reason(reason: str) -> str:
    """A reason as it was before :func:`blaming` or :func:`not_blaming`."""
    return blame(reason) or (reason[1:] if reason.lstrip(" ").startswith(RUNTIME_WORDS) else reason)


def blame(reason: str) -> str:
    """What a reason says of the infrastructure; empty where it does not blame it."""
    return reason[len(RUNTIME_WORDS) :].strip() if reason.startswith(RUNTIME_WORDS) else ""


def last_blame(output: str) -> str:
    """What the runtime said last of the infrastructure on its standard error; empty where it said nothing."""
    return output.rpartition(RUNTIME_WORDS)[2].strip() if RUNTIME_WORDS in output else ""


_SIGNAL_WORDS = {
    4: "an illegal instruction",
    6: "an abort",
    7: "a bus error",
    8: "a floating point exception",
    11: "a segmentation fault",
    31: "a forbidden system call",
}
"""What signals that a fault of the code causes mean, by their numbers on Linux."""


def killed_by(number: int) -> str:
    """The words for a process that a signal has ended."""
    return (
        f"killed by {_SIGNAL_WORDS[number]} (signal {number})"
        if number in _SIGNAL_WORDS
        else f"killed by signal {number}"
    )
