"""The root parameters of a run: from a file, from environment variables and from the command line; the last one wins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from toolkit import names
from toolkit.config.located import Located, read_yaml
from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue

_PREFIXES = ("RUNNABLE_PRM_", "TOOLKIT_PRM_")


def read(file: Path | None, options: Sequence[str], environ: Mapping[str, str]) -> dict[str, JsonValue]:
    """The root parameters of a run.

    Args:
        file: a YAML or JSON file with one mapping. options: ``key=value`` as typed; the value is JSON, or else text.
        environ: the environment variables, of which TOOLKIT_PRM_key and RUNNABLE_PRM_key hold JSON, or else text.

    Raises:
        BadInput: the file is no mapping, a name can't be a parameter's, or a value is not JSON. It names file and line.
    """
    values: dict[str, JsonValue] = {}
    if file is not None:
        tree = read_yaml(file)
        if tree.value is not None:
            if not isinstance(tree.value, dict):
                raise BadInput(f"parameters are a mapping of names to values, not {tree.described()}", tree.where)
            for key, item in tree.value.items():
                values[names.parameter_name(key, tree.key_where(key))] = _finite(item)
    for prefix in _PREFIXES:
        for variable, text in environ.items():
            if variable.startswith(prefix):
                values[names.parameter_name(variable[len(prefix) :], variable)] = _value(text)
    for option in options:
        key, separator, text = option.partition("=")
        if not separator:
            raise BadInput(f"--param takes name=value, not {option!r}")
        values[names.parameter_name(key, "--param")] = _value(text)
    return values


def _finite(tree: Located) -> JsonValue:
    value = tree.plain()
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        raise BadInput(
            "a parameter holds a value that JSON can't (.nan, .inf, a date?): put it in quotes", tree.where
        ) from None
    return value


def _value(text: str) -> JsonValue:
    try:
        value = json.loads(text, parse_constant=_refuse)
        # A number that is too large is read as infinite, which no record can hold.
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
