"""The root parameters: from a file, from the environment and from the command line, later ones first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import names
from toolkit.config.located import Located, read_yaml
from toolkit.errors import BadInput

_VARIABLES = ("RUNNABLE_PRM_", "TOOLKIT_PRM_")


def read(file: Path | None, options: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """The root parameters of a run.

    Args:
        file: a YAML or JSON file with one mapping. options: ``key=value`` as typed, the value JSON or else text.
        environ: variables TOOLKIT_PRM_key and RUNNABLE_PRM_key, JSON or else text.

    Raises:
        BadInput: with file and line, for a file that is no mapping, a name that can't be a parameter's, a bad number.
    """
    found: dict[str, Any] = {}
    if file is not None:
        tree = read_yaml(file)
        if tree.value is not None:
            if not isinstance(tree.value, dict):
                raise BadInput(f"parameters are a mapping of names to values, not {tree.described()}", tree.where)
            for key, item in tree.value.items():
                found[names.parameter_name(key, tree.key_where(key))] = _finite(item)
    for prefix in _VARIABLES:
        for variable, text in environ.items():
            if variable.startswith(prefix):
                found[names.parameter_name(variable[len(prefix) :], variable)] = _value(text)
    for option in options:
        key, separator, text = option.partition("=")
        if not separator:
            raise BadInput(f"--param takes name=value, not {option!r}")
        found[names.parameter_name(key, "--param")] = _value(text)
    return found


def _finite(tree: Located) -> Any:
    value = tree.plain()
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        raise BadInput(
            "a parameter holds a value that JSON can't (.nan, .inf, a date?): put it in quotes", tree.where
        ) from None
    return value


def _value(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
        # A number that is too large for any reads as infinite, which no record could hold.
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
