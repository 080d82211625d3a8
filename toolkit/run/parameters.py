"""The root parameters of a run: from a file, from environment variables and from the command line; the last one wins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from toolkit import names
from toolkit.config.json_file import is_json, parse_json_file
from toolkit.config.located import Located, read_text, shown
from toolkit.errors import BadInput
from toolkit.runtime.shared.values import RepeatedKey, from_text

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue, StoredValue

_PREFIXES = ("RUNNABLE_PRM_", "TOOLKIT_PRM_")


class GivenParameters(NamedTuple):
    """What a run is given.

    Attributes:
        values: by name. spellings: the texts that spelled them, where the values do not give them back (``1.10``).
        typed: the names that ``--param`` gave. A file or the environment may serve several pipelines, and what is typed is
            meant for this one.
    """

    values: dict[str, JsonValue]
    spellings: dict[str, str]
    typed: frozenset[str] = frozenset()


def read(file: Path | None, options: Sequence[str], environ: Mapping[str, str]) -> GivenParameters:
    """The root parameters of a run.

    Args:
        file: a YAML or JSON file with one mapping. options: ``key=value`` as typed; the value is JSON, or else text.
        environ: the environment variables, of which TOOLKIT_PRM_key and RUNNABLE_PRM_key hold JSON, or else text.

    Raises:
        BadInput: the file is no mapping, a name can't be a parameter's, or a value is not JSON. It names file and line.
    """
    stored: dict[str, StoredValue] = {}
    if file is not None:
        stored.update((name, {"kind": "json", "value": value}) for name, value in _of_file(file))
    for prefix in _PREFIXES:
        for variable, text in environ.items():
            if variable.startswith(prefix):
                stored[names.parameter_name(variable[len(prefix) :], variable)] = _of_text(text, variable)
    typed = set()
    for option in options:
        key, separator, text = option.partition("=")
        if not separator:
            raise BadInput(f"--param takes name=value, not {option!r}")
        typed.add(key)
        stored[names.parameter_name(key, "--param")] = _of_text(text, f"--param {key}")
    return GivenParameters(
        {name: value["value"] for name, value in stored.items()},
        {name: value["spelling"] for name, value in stored.items() if "spelling" in value},
        frozenset(typed),
    )


def _of_text(text: str, where: str) -> StoredValue:
    try:
        return from_text(text)
    except RepeatedKey as error:
        raise BadInput(f"in this JSON {error}", where) from None


def _of_file(path: Path) -> Iterator[tuple[str, JsonValue]]:
    """The parameters of a file. Its content decides whether it is JSON, unless its name does."""
    text, file = read_text(path), shown(path)
    if path.suffix.lower() == ".json" or is_json(text):
        yield from _of_json(text, file)
        return
    # The parser of YAML is imported where there is a file of it.
    from toolkit.config.yaml_tree import parse_yaml

    tree = parse_yaml(text, file)
    if tree.value is None:
        return
    if not isinstance(tree.value, dict):
        raise BadInput(f"parameters are a mapping of names to values, not {tree.described()}", tree.where)
    for key, item in tree.value.items():
        yield names.parameter_name(key, tree.key_where(key)), _finite(item)


def _of_json(text: str, file: str) -> Iterator[tuple[str, JsonValue]]:
    value, lines = parse_json_file(text, file)
    if value is None:
        return
    if not isinstance(value, dict):
        raise BadInput("parameters are an object of names and values", f"{file}:1")
    for key, item in value.items():
        yield names.parameter_name(key, f"{file}:{lines[key]}"), item


def _finite(tree: Located) -> JsonValue:
    value = tree.plain()
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        raise BadInput(
            "a parameter holds a value that JSON can't (.nan, .inf, a date?): put it in quotes", tree.where
        ) from None
    return value
