"""The rows of a run that a person is shown, as a tree with times; ``text`` prints them.

Of a long map or loop only the items in which something failed are shown, and nothing is shown that was never going to run.
``toolkit show --json`` always has all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.report.items import item_text

if TYPE_CHECKING:
    from toolkit.report.contract import StepDocument
    from toolkit.runtime.shared.documents import JsonValue

LONG = 20
"""A map or a loop with more items or iterations than this shows only those in which something failed."""
MOST_FAILED = 10
"""The most failed items or iterations that are shown then."""


@dataclass
class OutlineRow:
    """A row as it is printed.

    Attributes:
        step: as the JSON has it; None for a sentence in place of rows, which is the label.
        label: the step's path from the row that it is in. depth: how many rows it is in.
        started, ended: the first start and the last end of all that is inside it.
    """

    step: StepDocument | None
    label: str
    depth: int = 0
    started: str | None = None
    ended: str | None = None


@dataclass
class _Node:
    """A step with the steps inside it; ``failed`` also if one of those failed."""

    step: StepDocument
    label: str
    inner: list[_Node] = field(default_factory=list)
    started: str | None = None
    ended: str | None = None
    failed: bool = False


def outline(steps: Sequence[StepDocument]) -> list[OutlineRow]:
    """The rows that are printed of a run's steps, in the order of its plan."""
    return [row for node in _tree(steps) for row in _visible_rows(node, 0, {})]


def _tree(steps: Sequence[StepDocument]) -> list[_Node]:
    """The outermost steps with all that is inside them; a step's path begins with that of the step around it."""
    outermost: list[_Node] = []
    ancestors: list[_Node] = []
    for step in steps:
        while ancestors and not step["path"].startswith(ancestors[-1].step["path"] + "/"):
            _close(ancestors)
        if ancestors:
            node = _Node(step, step["path"][len(ancestors[-1].step["path"]) + 1 :])
            ancestors[-1].inner.append(node)
        else:
            node = _Node(step, step["path"])
            outermost.append(node)
        node.failed = step["status"] == "failed"
        if step["attempts"]:
            node.started, node.ended = step["attempts"][0]["started"], step["attempts"][-1]["ended"]
        ancestors.append(node)
    while ancestors:
        _close(ancestors)
    return outermost


def _close(ancestors: list[_Node]) -> None:
    """Removes the innermost node, and adds its failure and its times to the node around it."""
    node = ancestors.pop()
    if not ancestors:
        return
    outer = ancestors[-1]
    outer.failed = outer.failed or node.failed
    if node.started is not None:
        outer.started = min(outer.started or node.started, node.started)
    if node.ended is not None:
        outer.ended = max(outer.ended or node.ended, node.ended)


def _visible_rows(node: _Node, depth: int, around: dict[str, JsonValue]) -> Iterator[OutlineRow]:
    """The row of a node and those inside it; ``around`` has the items that the row around it names already."""
    step = node.step
    items = step.get("item", {})
    new = {name: value for name, value in items.items() if name not in around}
    label = f"{node.label} {item_text(new)}" if new else node.label
    has_ended = step["status"] not in ("running", "waiting")
    yield OutlineRow(step, label, depth, node.started, node.ended if has_ended else None)
    inner = [child for child in node.inner if _is_visible(step, child)]
    hidden = 0
    if step.get("items", step.get("iterations", 0)) > LONG:
        failed = list(dict.fromkeys(_first_part(child) for child in inner if child.failed))
        shown = {*failed[:MOST_FAILED], "on_failure"}
        inner = [child for child in inner if _first_part(child) in shown]
        hidden = len(failed) - MOST_FAILED
    for child in inner:
        yield from _visible_rows(child, depth + 1, items)
    if hidden > 0:
        yield OutlineRow(None, f"… and {hidden:,} more with failures", depth + 1)


def _first_part(node: _Node) -> str:
    """The item, the iteration, the branch or the step that a node's label begins with."""
    return node.label.split("/")[0]


def _is_visible(outer: StepDocument, node: _Node) -> bool:
    """Whether a node is shown: not in a branch that is not taken, an unused on_failure, or a step skipped as a whole."""
    if outer["status"] == "skipped" and node.step["status"] == "skipped":
        return False
    if node.step["status"] in ("skipped", "waiting"):
        if _first_part(node) == "on_failure" and "/" in node.label:
            return "on_failure" in outer
        if outer["type"] == "conditional" and "branch" in outer:
            return _first_part(node) == outer["branch"]
    return True
