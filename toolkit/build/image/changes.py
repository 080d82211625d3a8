"""Why an image is built again: what differs between the inputs of the last build and of this one, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_NAMED = 10
"""Files named one by one; the rest is counted."""


@dataclass(frozen=True)
class BuildInputs:
    """Everything that an image depends on.

    Attributes:
        target: the repository that is tagged.
        environment: hashes of what decides the environment, by a name to show.
        code: one line for each of the user's files, by path in the image.
        runtime: the same for the runtime and the SDK of this installation of toolkit.
    """

    target: str
    environment: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)


def rebuild_reasons(old: BuildInputs | None, new: BuildInputs, engine_lost_it: bool) -> list[str]:
    """One sentence for each difference; empty when nothing changed."""
    if old is None:
        return ["no earlier build of this project is remembered here"]
    found: list[str] = []
    if old.target != new.target:
        found.append(f"the image's name changed from {old.target} to {new.target}")
    for name in sorted(old.environment.keys() | new.environment.keys()):
        if old.environment.get(name) != new.environment.get(name):
            verb = "is new" if name not in old.environment else "is gone" if name not in new.environment else "changed"
            found.append(f"{name} {verb}")
    found += _files(old.code, new.code)
    if old.runtime != new.runtime:
        found.append("toolkit's own runtime or SDK changed")
    if engine_lost_it and not found:
        found.append("the engine no longer has the image")
    return found


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = [f"{_value_text(path)} was added" for path in sorted(new.keys() - old.keys())]
    changes += [f"{_value_text(path)} was removed" for path in sorted(old.keys() - new.keys())]
    changes += [f"{_value_text(path)} changed" for path in sorted(old.keys() & new.keys()) if old[path] != new[path]]
    if len(changes) > _NAMED:
        return [*changes[:_NAMED], f"and {len(changes) - _NAMED} more files"]
    return changes


def _value_text(path: str) -> str:
    return path.partition("/workspace/")[2] or path
