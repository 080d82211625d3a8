"""The environment variables that user code finds, in a step and while a pipeline is described."""

from __future__ import annotations

import os

from ..shared.protocol import (
    ENDED_VARIABLE,
    GATE_VARIABLE,
    IMAGE_HOME,
    IMAGE_VARIABLE,
    PATH_VARIABLE,
    PROCESS_VARIABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..shared.locations import Locations

NAMELESS = "toolkit"
"""USER and LOGNAME of a user id that has no name, as is usual in a container."""


def inherited_variables(locations: Locations) -> dict[str, str]:
    """The variables of this process, without those of the runtime's and of the engine's own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARGO_", "KUBERNETES_"))
        and name
        not in (PROCESS_VARIABLE, GATE_VARIABLE, IMAGE_VARIABLE, PATH_VARIABLE, ENDED_VARIABLE, *locations.hidden)
        and not name.startswith(PATH_VARIABLE + "_")
    }


def add_own_variables(variables: dict[str, str], locations: Locations, private: str) -> None:
    """Adds the variables of the user and the folder: HOME, USER, LOGNAME and PWD.

    Args:
        private: a folder of this process alone; a user who can't write their home gets one there.
    """
    home = variables.get("HOME", "")
    if home == IMAGE_HOME:
        home = variables["HOME"] = _home()
    if not (home and home != "/" and os.access(home, os.W_OK)):
        variables["HOME"] = os.path.join(private, "home")
        os.makedirs(variables["HOME"], exist_ok=True)
    if not _has_name(os.getuid()):
        name = variables.get("USER") or variables.get("LOGNAME") or NAMELESS
        for variable in ("USER", "LOGNAME"):
            variables.setdefault(variable, name)
    variables["PWD"] = locations.work
    variables.setdefault("PYTHONHASHSEED", "0")


def _home() -> str:
    """The home that the image knows for this user id, as an engine gives it where the image's config names none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir or "/"
    except KeyError:
        return "/"


def _has_name(user: int) -> bool:
    """Whether the image names the user id. Some engines name one that it does not know, by the number itself."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_name != str(user)
    except KeyError:
        return False
