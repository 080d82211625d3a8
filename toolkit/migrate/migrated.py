"""What has become of one file of a project that is moved."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Migrated:
    """One file.

    Attributes:
        text: the file as it is to be.
        changes: how many places of it differ from what it was.
        left: what a person has to do, as (line, sentence).
    """

    text: str
    changes: int = 0
    left: list[tuple[int, str]] = field(default_factory=list)
