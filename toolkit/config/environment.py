"""Which environment a command works in, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import get_args

from toolkit.config.decode import nearest
from toolkit.config.settings import Config, EnvironmentName
from toolkit.errors import BadInput

ENVIRONMENTS: tuple[EnvironmentName, ...] = get_args(EnvironmentName)

_ENVIRONMENT_OF_TYPE: dict[str, EnvironmentName] = {
    "argo": "argo",
    "local-container": "local",
    "local": "process",
    "mocked": "process",
}


def choose_environment(
    option: str | None, config: Config, environ: Mapping[str, str] | None = None
) -> tuple[EnvironmentName, str]:
    """The environment, and why it was chosen, as the end of a sentence (``because --env says so``).

    Args:
        option: the value of ``--env``; None when it was not given.
        environ: the environment variables; None takes those of this process.

    Raises:
        BadInput: ``--env`` or TOOLKIT_ENV has the name of no environment.
    """
    if option is not None:
        return _environment_named(option, "--env"), "because --env says so"
    variable = (os.environ if environ is None else environ).get("TOOLKIT_ENV", "")
    if variable:
        return _environment_named(variable, "TOOLKIT_ENV"), "because TOOLKIT_ENV says so"
    if config.executor.type_given:
        source = config.source.name if config.source else "the configuration"
        return _ENVIRONMENT_OF_TYPE[
            config.executor.type
        ], f"because executor.type in {source} is {config.executor.type}"
    return "local", "the default"


def _environment_named(name: str, origin: str) -> EnvironmentName:
    for environment in ENVIRONMENTS:
        if name == environment:
            return environment
    suggestion = _ENVIRONMENT_OF_TYPE.get(name) or nearest(name, ENVIRONMENTS)
    hint = f"; did you mean {suggestion}?" if suggestion else ""
    raise BadInput(f"{origin} names the environment {name[:60]!r}, but there are {', '.join(ENVIRONMENTS)}{hint}")
