"""What steps left in their folders and nobody put, in a few words: for a run's end and for `show`."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.report.table import counted, sized
from toolkit.runtime.shared.tree import ANY, GROUP, join

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import LeftRecord

_MOST_NAMED = 3
"""Files that are named at a run's end; and in `show` for each step."""
_MOST_STEPS = 20


@dataclass
class _Name:
    """The files of one name that a step left, in all items of a map."""

    step: str
    name: str
    project: bool
    count: int = 0
    size: int = 0

    def text(self) -> str:
        times = f"{self.count:,} times, " if self.count > 1 else ""
        project = "; the next step reads the project's" if self.project else ""
        return f"{self.name} ({times}{sized(self.size)}{project})"


@dataclass
class _Step:
    names: dict[str, _Name] = field(default_factory=dict)
    count: int = 0
    size: int = 0
    incomplete: bool = False


class LeftFiles:
    """Gathers the files that steps left. The items of a map are one step, and their files of one name are one."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {}

    def add(self, step: str, left: LeftRecord) -> None:
        """Adds what one attempt left.

        Args:
            step: the step's path, as :func:`template_of` gives it.
        """
        known = self._steps.setdefault(step, _Step())
        known.count += left["count"]
        known.size += left["size"]
        known.incomplete |= left.get("incomplete", False)
        for file in left["files"]:
            name = known.names.setdefault(file["name"], _Name(step, file["name"], file.get("project", False)))
            name.count += file.get("items", 1)
            name.size += file["size"]

    def sentence(self) -> str:
        """All of them in one line that names the first: those of the project, then the largest. Empty where there are none."""
        count = sum(step.count for step in self._steps.values())
        if not count:
            return ""
        shown = _first(name for step in self._steps.values() for name in step.names.values())
        named = [
            f"{step} {_verb(names)} {', '.join(name.text() for name in names)}"
            for step in self._steps
            if (names := [name for name in shown if name.step == step])
        ]
        size = sum(step.size for step in self._steps.values())
        rest = _rest(shown, count, size) if named else f"{counted(count, 'file')} ({sized(size)})"
        return f"{_NOT_KEPT}: {'; '.join(named)}{rest}: {_remedy(count)}"

    def heading(self) -> str:
        """What stands above the :meth:`lines`."""
        return f"{_NOT_KEPT} ({_remedy(sum(step.count for step in self._steps.values()))})"

    def lines(self) -> list[str]:
        """A line for each step, of very many for the first."""
        width = min(40, max(map(len, self._steps), default=0))
        lines = []
        for path, step in list(self._steps.items())[:_MOST_STEPS]:
            shown = _first(step.names.values())
            parts = [", ".join(name.text() for name in shown) + _rest(shown, step.count, step.size)]
            if step.incomplete:
                parts.append("there were too many files to look at them all")
            lines.append(f"{path:<{width}}  {'; '.join(filter(None, parts))}")
        if len(self._steps) > _MOST_STEPS:
            lines.append(f"and {counted(len(self._steps) - _MOST_STEPS, 'more step')}")
        return lines


_NOT_KEPT = "not kept"


def _remedy(count: int) -> str:
    return "add it to put to keep it" if count == 1 else "add to put what is to be kept"


def _verb(names: list[_Name]) -> str:
    return "changed" if all(name.project for name in names) else "wrote"


def _first(names: Iterable[_Name]) -> list[_Name]:
    return sorted(names, key=lambda name: (not name.project, -name.size, name.step, name.name))[:_MOST_NAMED]


def _rest(shown: list[_Name], count: int, size: int) -> str:
    """The files that are not named."""
    more = count - sum(name.count for name in shown)
    if more <= 0:
        return ""
    return f" and {counted(more, 'more file')} ({sized(max(0, size - sum(name.size for name in shown)))})"


def template_of(path: str, repeated: Container[str]) -> str:
    """The path of a step with ``*`` in place of each position.

    Args:
        repeated: the paths of the maps and loops, in the same form.
    """
    template = ""
    for part in path.split("/"):
        is_position = template in repeated and (part.isdigit() or part.startswith(GROUP))
        template = join(template, ANY if is_position else part)
    return template
