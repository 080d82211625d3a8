"""Which item of a map, and which iteration of a loop, a step that is run by hand is of: variables of its container say so."""

from __future__ import annotations

import json
import os

from ..shared.item_variables import item_variables
from ..shared.scope import RecordReader, Scope, UnsuitableValue
from ..shared.tree import fill
from ..shared.values import short_json
from .attempt import RuntimeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..shared.documents import JsonValue, StepRow
    from ..shared.scope import RunPlan

_MOST_SHOWN = 10


def chosen_path(plan: RunPlan, run_folder: str, path: str) -> str:
    """The instance path of the step at a template path. The variables are taken out of the environment.

    Raises:
        RuntimeFault: a variable is missing or names no item, or the items are not known yet.
    """
    positions: list[str] = []
    for row, variable in item_variables(plan, path):
        text = os.environ.pop(variable, "")
        if row["type"] == "loop":
            positions.append(_iteration(row, variable, text))
        else:
            positions.append(str(_position(plan, run_folder, row, fill(row["path"], positions), variable, text)))
    return fill(path, positions) if positions else path


def _iteration(row: StepRow, variable: str, text: str) -> str:
    text = text or "0"
    if not (text.isascii() and text.isdigit()) or int(text) >= row["limit"]:
        raise RuntimeFault(
            f"{variable} is {text!r}, and the loop {row['path']} has the iterations 0 to {row['limit'] - 1}"
        )
    return str(int(text))


def _position(plan: RunPlan, run_folder: str, row: StepRow, path: str, variable: str, text: str) -> int:
    try:
        items = Scope(plan, RecordReader(run_folder), path).items(row, path)
    except UnsuitableValue as error:
        raise RuntimeFault(f"{error}: run the step that returns it first") from None
    if not text and len(items) == 1:
        return 0
    if text:
        for position, item in enumerate(items):
            if _is(item, text):
                return position
    shown = ", ".join(short_json(item) for item in items[:_MOST_SHOWN])
    if len(items) > _MOST_SHOWN:
        shown += f" and {len(items) - _MOST_SHOWN} more"
    problem = f"{variable} is {text!r}, which is no item of the map {path}" if text else f"{variable} is not set"
    raise RuntimeFault(
        f"{problem}: the step runs for one item, which {variable} holds (a text as it is, all else as JSON); "
        + (f"the items are {shown}" if items else "the map has no items")
    )


def _is(item: JsonValue, text: str) -> bool:
    """Whether a text is the item's JSON, or the very item where that is a text."""
    if item == text:
        return True
    try:
        given = json.loads(text)
    except ValueError:
        return False
    # As JSON: to Python, 1, 1.0 and true are equal.
    return json.dumps(given, sort_keys=True) == json.dumps(item, sort_keys=True)
