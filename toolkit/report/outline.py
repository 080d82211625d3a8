"""Which rows of a run a person is shown, and how deep: of a long map or loop what failed, and nothing that was never to run.

``toolkit show --json`` always has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LONG = 20
"""Items or iterations above which only those are listed in which something failed."""
MOST = 10
"""How many of those are listed."""


@dataclass
class Line:
    """A row as it is printed.

    Attributes:
        row: as the JSON has it; None for a sentence in place of rows.
        label: the path from the row that it is in. started, ended: of all that is inside it.
    """

    row: dict[str, Any] | None
    label: str
    depth: int = 0
    started: str | None = None
    ended: str | None = None


@dataclass
class _Node:
    row: dict[str, Any]
    label: str
    inner: list[_Node] = field(default_factory=list)
    started: str | None = None
    ended: str | None = None
    failed: bool = False


def lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    """The rows of a run in the order of its plan, as they are printed."""
    found: list[Line] = []
    for node in _tree(rows):
        _add(node, 0, found)
    return found


def _tree(rows: Sequence[dict[str, Any]]) -> list[_Node]:
    top: list[_Node] = []
    around: list[_Node] = []
    for row in rows:
        while around and not row["path"].startswith(around[-1].row["path"] + "/"):
            _close(around)
        if around:
            node = _Node(row, row["path"][len(around[-1].row["path"]) + 1 :])
            around[-1].inner.append(node)
        else:
            node = _Node(row, row["path"])
            top.append(node)
        node.failed = row["status"] == "failed"
        if row["attempts"]:
            node.started, node.ended = row["attempts"][0]["started"], row["attempts"][-1]["ended"]
        around.append(node)
    while around:
        _close(around)
    return top


def _close(around: list[_Node]) -> None:
    """Tells the row around the last one what the last one has come to."""
    node = around.pop()
    if not around:
        return
    outer = around[-1]
    outer.failed = outer.failed or node.failed
    if node.started is not None:
        outer.started = min(outer.started or node.started, node.started)
    if node.ended is not None:
        outer.ended = max(outer.ended or node.ended, node.ended)


def _add(node: _Node, depth: int, found: list[Line]) -> None:
    row = node.row
    ended = node.ended if row["status"] not in ("running", "waiting") else None
    found.append(Line(row, node.label, depth, node.started, ended))
    inner = [one for one in node.inner if _is_shown(row, one)]
    count = row.get("items", row.get("iterations", 0))
    left = 0
    if count > LONG:
        wanted = list(dict.fromkeys(one.label.split("/")[0] for one in inner if one.failed))
        kept = {*wanted[:MOST], "on_failure"}
        inner = [one for one in inner if one.label.split("/")[0] in kept]
        left = len(wanted) - MOST
    for one in inner:
        _add(one, depth + 1, found)
    if left > 0:
        found.append(Line(None, f"… and {left:,} more with failures", depth + 1))


def _is_shown(outer: dict[str, Any], node: _Node) -> bool:
    """Not a branch that is not taken, no on_failure that has nothing to do, and nothing of what was skipped as a whole."""
    if outer["status"] == "skipped" and node.row["status"] == "skipped":
        return False
    first = node.label.split("/")[0]
    if node.row["status"] in ("skipped", "waiting"):
        if first == "on_failure" and "/" in node.label:
            return "on_failure" in outer
        if outer["type"] == "conditional" and "branch" in outer:
            return bool(first == outer["branch"])
    return True
