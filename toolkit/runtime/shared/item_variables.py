"""The variables that choose a map's item, or a loop's iteration, for a step that is run by hand."""

from __future__ import annotations

from .tree import ANY, REPEATED, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .documents import StepRow

PREFIX = "TOOLKIT_ITEM_"


def item_variables(plan: Tree, path: str) -> list[tuple[StepRow, str]]:
    """The maps and loops around the step at a template path, the outermost first, each with the name of its variable.

    It is made of the name that the map gives its item, or the loop its index, and is unique among those around one step.
    """
    found: list[tuple[StepRow, str]] = []
    parts = path.split("/")
    for index, part in enumerate(parts):
        row = plan.rows.get("/".join(parts[:index]))
        if part != ANY or row is None or row["type"] not in REPEATED:
            continue
        name = row.get("item") or row["name"]
        variable = PREFIX + "".join(one if one.isascii() and one.isalnum() else "_" for one in name)
        taken = {taken for _, taken in found}
        number = 1
        while (unique := variable if number == 1 else f"{variable}_{number}") in taken:
            number += 1
        found.append((row, unique))
    return found
