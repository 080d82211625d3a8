"""A run on a cluster as its engine sees it, for whoever can't read the records on its volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from toolkit.store.verdict import Attempt


class CompositeOutcome(NamedTuple):
    """What the engine says of a composite: its status, and why it failed or was cancelled."""

    status: str
    reason: str = ""


@dataclass(frozen=True)
class EngineView:
    """What the engine knows of a run.

    Attributes:
        why: why the volume can't be read, as a sentence.
        attempts: of the tasks, by instance path; their ends have only the control values.
        composites: by instance path, those that have begun.
        pods: the name of the pod of each attempt that there is one of, by path and number.
        complete: whether these are all attempts of the run. If not, a task without one may have run nevertheless.
    """

    why: str
    attempts: Mapping[str, Sequence[Attempt]] = field(default_factory=dict)
    composites: Mapping[str, CompositeOutcome] = field(default_factory=dict)
    pods: Mapping[tuple[str, int], str] = field(default_factory=dict)
    complete: bool = False
