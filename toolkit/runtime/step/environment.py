"""The environment variables that user code sees."""

from __future__ import annotations

import os

from ..shared.protocol import GATE_VARIABLE, IMAGE_VARIABLE, PATH_VARIABLE, PROCESS_VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..shared.documents import SettingsRow
    from ..shared.locations import Locations
    from ..shared.scope import RunPlan


def user_environment(
    locations: Locations, settings: SettingsRow, indices: dict[str, str], secrets: dict[str, str], private: str
) -> dict[str, str]:
    """The image's and the plan's variables, the loops' indices and the step's secrets, without the engine's variables.

    Args:
        settings: the step's, as the plan has them. private: the attempt's private folder; a step that can't write its home
            gets one there.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARGO_", "KUBERNETES_"))
        and name not in (PROCESS_VARIABLE, GATE_VARIABLE, IMAGE_VARIABLE, PATH_VARIABLE, *locations.hidden)
        and not name.startswith(PATH_VARIABLE + "_")
    }
    variables.update(settings["environment"])
    variables.update(indices)
    variables.update(secrets)
    home = variables.get("HOME", "")
    if not (home and home != "/" and os.access(home, os.W_OK)):
        variables["HOME"] = os.path.join(private, "home")
        os.makedirs(variables["HOME"], exist_ok=True)
    variables["PWD"] = locations.work
    variables.setdefault("PYTHONHASHSEED", "0")
    return variables


def loop_indices(plan: RunPlan, path: str) -> dict[str, str]:
    """The index of each loop around a step, by the variable that the loop names for it."""
    indices = {}
    for segment in plan.trail(path) or ():
        if segment.row["type"] == "loop" and segment.row.get("item") and segment.path != path:
            indices[segment.row["item"]] = path[len(segment.path) + 1 :].split("/")[0]
    return {name: text for name, text in indices.items() if text.isdigit()}
