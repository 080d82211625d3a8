"""When a failed attempt is tried again, and how long the pause before it is.

The scheduler on this machine decides by it, and the host's reading of the records tells by it whether a step that has failed is
still running. On a cluster Argo decides: ``toolkit/backends/argo/compile/pod.py`` writes the same rule as a ``retryStrategy``, with
an expression for the policies (its function ``_retries``). Whoever changes one changes both. Which policy tries again what is in
the table of ``causes.py``.
"""

from __future__ import annotations

from .causes import INFRASTRUCTURE, RETRIED_BY, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional


def may_be_retried(policy: str, limit: int, attempts: int, fault: bool) -> bool:
    """Whether the step has a further attempt after one that failed.

    Args:
        policy: what is tried again: everything (``Always``), faults alone (``OnError``), or failures alone (``OnFailure``).
        limit: the number of further attempts after the first. attempts: how many there were, the failed one included.
        fault: whether the infrastructure ended the attempt, and not the step.
    """
    if attempts > limit:
        return False
    return policy in RETRIED_BY[INFRASTRUCTURE if fault else STEP]


def pauses(duration: float, factor: float) -> Iterator[float]:
    """The seconds before the second attempt, before the third, and so on: each pause is the one before times ``factor``."""
    while True:
        yield duration
        duration *= factor


def is_too_late(spent: float, pause: float, max_duration: Optional[float]) -> bool:
    """Whether a further attempt would begin too late: ``max_duration`` seconds after the first one began, or None."""
    return max_duration is not None and spent + pause > max_duration
