"""Why an image is built again: the differences between the inputs of the last build and of this one, as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_NAMED = 10
"""Files that are named; the rest is counted."""


@dataclass(frozen=True)
class BuildInputs:
    """Everything that an image depends on.

    Attributes:
        target: the repository that the image is tagged in.
        environment: hashes of the environment's inputs, by the names that sentences use.
        code: a digest of the user's code. The record has no line for each file: a large project has a hundred thousand.
        runtime: a digest of the runtime and the SDK of this installation of toolkit.
    """

    target: str
    environment: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    runtime: str = ""


CodeLines = tuple[Mapping[str, str] | None, Mapping[str, str]]
"""One line for each entry of the code, by its path in the project: of the last build, None where they are not known, and now."""


def rebuild_reasons(
    old: BuildInputs | None, new: BuildInputs, is_missing: bool, code_lines: Callable[[], CodeLines]
) -> list[str]:
    """One sentence for each difference; empty when nothing changed.

    Args:
        is_missing: the engine no longer has the image.
        code_lines: is asked for the lines when the code changed.
    """
    if old is None:
        return ["this machine has no record of an earlier build of this project"]
    reasons: list[str] = []
    if old.target != new.target:
        reasons.append(f"the image's name changed from {old.target} to {new.target}")
    for name in sorted(old.environment.keys() | new.environment.keys()):
        if old.environment.get(name) != new.environment.get(name):
            verb = (
                "was added"
                if name not in old.environment
                else "was removed"
                if name not in new.environment
                else "changed"
            )
            reasons.append(f"{name} {verb}")
    if old.code != new.code:
        before, now = code_lines()
        reasons += ["the code changed"] if before is None else _file_changes(before, now)
    if old.runtime != new.runtime:
        reasons.append("toolkit's own runtime or SDK changed")
    if is_missing and not reasons:
        reasons.append("the engine no longer has the image")
    return reasons


def _file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = [f"{path} was added" for path in sorted(new.keys() - old.keys())]
    changes += [f"{path} was removed" for path in sorted(old.keys() - new.keys())]
    changes += [f"{path} changed" for path in sorted(old.keys() & new.keys()) if old[path] != new[path]]
    if len(changes) > _NAMED:
        return [*changes[:_NAMED], f"and {len(changes) - _NAMED} more files"]
    return changes
