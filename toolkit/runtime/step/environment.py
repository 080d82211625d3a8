"""The environment variables that a step's code sees."""

from __future__ import annotations

from ..shared.protocol import volume_variable
from ..user.environment import add_own_variables, inherited_variables

INTERPRETER_VARIABLES = ("PATH", "VIRTUAL_ENV", "PYTHONHOME")
"""Those by which a plain process's Python is found (``backends/interpreter.py``)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..shared.documents import SettingsRow
    from ..shared.locations import Locations
    from ..shared.scope import RunPlan


def user_environment(
    locations: Locations, settings: SettingsRow, indices: dict[str, str], secrets: dict[str, str], private: str
) -> dict[str, str]:
    """The image's and the plan's variables, the volumes' folders, the loops' indices and the step's secrets.

    The engine's own variables are not among them.

    Args:
        settings: the step's, as the plan has them. private: the attempt's private folder; a step that can't write its home
            gets one there.
    """
    variables = inherited_variables(locations)
    variables.update(
        (name, value)
        for name, value in settings["environment"].items()
        # The client has given a plain process the configuration's variables, and made those name its interpreter.
        if locations.in_container or name not in INTERPRETER_VARIABLES
    )
    for row in settings["volumes"]:
        variables[volume_variable(row["name"])] = locations.volume_folder(row["mount_path"])
    variables.update(indices)
    variables.update(secrets)
    add_own_variables(variables, locations, private)
    return variables


def loop_indices(plan: RunPlan, path: str) -> dict[str, str]:
    """The index of each loop around a step, by the variable that the loop names for it."""
    indices = {}
    for segment in plan.trail(path) or ():
        if segment.row["type"] == "loop" and segment.row.get("item") and segment.path != path:
            indices[segment.row["item"]] = path[len(segment.path) + 1 :].split("/")[0]
    return {name: text for name, text in indices.items() if text.isdigit()}
