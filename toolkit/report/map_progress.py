"""How far the maps of a run are: the items of each are counted, not listed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.plan.plan import Plan
from toolkit.report.items import ItemValues
from toolkit.runtime.shared.tree import Tree, branches

_MARK = {"failed": "FAILED", "cancelled": "cancelled"}


@dataclass
class _Map:
    """One map as it runs. Positions are kept as text.

    Attributes:
        last: the last step of each item, if that is a task; else empty.
    """

    last: str
    total: int | None = None
    running: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    is_told: bool = False

    def succeeded(self) -> int:
        return len(self.done - self.failed.keys())

    def sentence(self) -> str:
        of = f" of {self.total:,}" if self.total is not None else ""
        noun = "item" if (self.total or self.succeeded()) == 1 else "items"
        parts = [f"{self.succeeded():,}{of} {noun} done"]
        if running := len(self.running):
            parts.append(f"{running} running")
        if failed := len(self.failed):
            parts.append(f"{failed:,} failed")
        return ", ".join(parts)


class MapProgress:
    """Counts the items of the outermost maps of a run.

    Args:
        items: of the run, which tell how many there are.
    """

    def __init__(self, plan: Plan, items: ItemValues | None) -> None:
        self._tree = Tree(plan.document())
        self._items = items
        self._maps: dict[str, _Map] = {}

    def around(self, path: str) -> str | None:
        """The outermost map that a step is inside; None where it is in none."""
        if not any(part.isdigit() for part in path.split("/")):
            return None
        for segment in self._tree.trail(path) or ():
            if segment.row["type"] == "map" and segment.path != path:
                return segment.path
        return None

    def started(self, path: str) -> str:
        """A step begins; returns its map's line, empty where it is in none."""
        found = self._find(path)
        if found is None:
            return ""
        around, progress, position = found
        progress.seen.add(position)
        progress.running[position] = progress.running.get(position, 0) + 1
        # A further attempt, or a handler, may make up for the one that has failed.
        progress.failed.pop(position, None)
        return f"{around}: {progress.sentence()}"

    def ended(self, path: str, status: str) -> str:
        """A step has ended; returns its map's line, empty where it is in none."""
        found = self._find(path)
        if found is None:
            return ""
        around, progress, position = found
        progress.seen.add(position)
        left = progress.running.pop(position, 1) - 1
        if left > 0:
            progress.running[position] = left
        if status != "succeeded":
            progress.failed[position] = status
        elif path == f"{around}/{position}/{progress.last}" or not (progress.last or left):
            progress.done.add(position)
        return f"{around}: {progress.sentence()}"

    def over(self, run_is_over: bool) -> Iterator[tuple[str, str, str, float]]:
        """Path, mark, sentence and seconds of each map that has ended since the last time."""
        for path, progress in self._maps.items():
            all_done = progress.total is not None and progress.succeeded() >= progress.total and bool(progress.last)
            if progress.is_told or not (all_done or run_is_over):
                continue
            progress.is_told = True
            statuses = set(progress.failed.values())
            mark = _MARK["failed" if "failed" in statuses else "cancelled"] if statuses else "ok"
            yield path, mark, progress.sentence(), time.monotonic() - progress.began

    def _find(self, path: str) -> tuple[str, _Map, str] | None:
        around = self.around(path)
        if around is None:
            return None
        progress = self._maps.get(around)
        if progress is None:
            trail = self._tree.trail(around)
            assert trail is not None
            [(_, scope)] = branches(trail[-1].row)
            last = self._tree.scope_rows(scope)[-1]
            progress = self._maps[around] = _Map(last["name"] if last["type"] in ("task", "stub") else "")
        if progress.total is None and self._items is not None:
            items = self._items.all(around)
            progress.total = len(items) if items is not None else None
        return around, progress, path[len(around) + 1 :].split("/")[0]
