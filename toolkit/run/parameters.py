"""The root parameters of a run: from files, from environment variables and from the command line; the last one wins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from toolkit import names
from toolkit.config.decode import nearest
from toolkit.config.json_file import is_json, parse_json_file
from toolkit.config.located import Located, read_text, shown
from toolkit.errors import BadInput
from toolkit.runtime.shared.values import RepeatedKey, as_text, from_text, parse_spelling, short_json, spelled_text

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue, StoredValue

_PREFIXES = ("RUNNABLE_PRM_", "TOOLKIT_PRM_")
_NOTHING: Mapping[str, JsonValue] = MappingProxyType({})


class Setting(NamedTuple):
    """What ``--param NAME.KEY=VALUE`` sets inside of a dictionary.

    Attributes:
        path: the parameter's name, and the keys inside it. stored: the value.
    """

    path: tuple[str, ...]
    stored: StoredValue


class GivenParameters(NamedTuple):
    """What a run is given.

    Attributes:
        values: by name. spellings: the texts that spelled them, where the values do not give them back (``1.10``).
        typed: the names that ``--param`` gave. A file or the environment may serve several pipelines, and what is typed is
            meant for this one.
        from_files: the names whose values are those of files, which are merged with what the pipeline's own file has.
        settings: what is set inside of dictionaries, once these are known.
    """

    values: dict[str, JsonValue]
    spellings: dict[str, str]
    typed: frozenset[str] = frozenset()
    from_files: frozenset[str] = frozenset()
    settings: tuple[Setting, ...] = ()

    def complete(
        self,
        note: Callable[[str], None],
        file: Mapping[str, JsonValue] = _NOTHING,
        defaults: Mapping[str, JsonValue] = _NOTHING,
    ) -> GivenParameters:
        """All parameters, over those that the pipeline itself has; with the settings inside of dictionaries, which come last.

        Args:
            note: is given a sentence for each key that a setting adds and that looks like another.
            file: of the pipeline's ``parameters_file``. Files that were given are merged into it. defaults: of the parameters that
                nothing else gives.

        Raises:
            BadInput: a setting is for something that is no dictionary.
        """
        values, spellings = dict(file), dict(self.spellings)
        for name, value in self.values.items():
            if name in file and name in self.from_files:
                values[name] = _merged(file[name], value)
            elif name in file:
                values[name] = _of_its_kind(file[name], value, spellings.pop(name, None))
                if values[name] is value and name in self.spellings:
                    spellings[name] = self.spellings[name]
            else:
                values[name] = value
        for name, value in defaults.items():
            values.setdefault(name, value)
        for setting in self.settings:
            _apply(setting, values, spellings, note)
        return GivenParameters(values, spellings, self.typed)


def read(files: Sequence[Path], options: Sequence[str], environ: Mapping[str, str]) -> GivenParameters:
    """The root parameters of a run.

    Args:
        files: YAML or JSON files with one mapping each. Dictionaries of the same name are merged, and the later value wins.
        options: ``key=value`` as typed, or ``key.inner=value``; the value is JSON, or else text.
        environ: the environment variables, of which TOOLKIT_PRM_key and RUNNABLE_PRM_key hold JSON, or else text.

    Raises:
        BadInput: a file is no mapping, a name can't be a parameter's, or a value is not JSON. It names file and line.
    """
    values: JsonValue = {}
    for file in files:
        values = _merged(values, dict(_of_file(file)))
    assert isinstance(values, dict)
    stored: dict[str, StoredValue] = {name: {"kind": "json", "value": value} for name, value in values.items()}
    from_files = set(stored)
    for prefix in _PREFIXES:
        for variable, text in environ.items():
            if variable.startswith(prefix):
                name = names.parameter_name(variable[len(prefix) :], variable)
                stored[name] = _of_text(text, variable)
                from_files.discard(name)
    typed = set()
    settings: list[Setting] = []
    for option in options:
        key, separator, text = option.partition("=")
        if not separator:
            raise BadInput(f"--param takes name=value, not {option!r}")
        name, *inner = key.split(".")
        names.parameter_name(name, "--param")
        if not all(inner):
            raise BadInput(
                f"{key!r} has an empty key: a dictionary's keys follow its name, each after one point", "--param"
            )
        typed.add(name)
        given = _of_text(text, f"--param {key}")
        if inner:
            settings.append(Setting((name, *inner), given))
            continue
        stored[name] = given
        from_files.discard(name)
        # They were set inside of what this replaces.
        settings = [setting for setting in settings if setting.path[0] != name]
    return GivenParameters(
        {name: value["value"] for name, value in stored.items()},
        {name: value["spelling"] for name, value in stored.items() if "spelling" in value},
        frozenset(typed),
        frozenset(from_files),
        tuple(settings),
    )


# --- one over the other ---------------------------------------------------------------------------------------------


def _merged(base: JsonValue, over: JsonValue) -> JsonValue:
    """Two values as one: dictionaries key by key, and anything else is the second."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: _merged(base[key], value) if key in base else value for key, value in over.items()}}


def _of_its_kind(old: JsonValue, new: JsonValue, spelling: str | None) -> JsonValue:
    """A value that came as text, in place of another: where that is a text, a number is the text that spelled it."""
    if isinstance(old, str) and isinstance(new, (int, float)) and not isinstance(new, bool):
        return as_text(new) if spelling is None else spelling
    return new


def _apply(
    setting: Setting, values: dict[str, JsonValue], spellings: dict[str, str], note: Callable[[str], None]
) -> None:
    """Sets a value inside of one of ``values``, and in the text that spells it."""
    name = setting.path[0]
    option = f"--param {'.'.join(setting.path)}"
    if name not in values:
        hint = nearest(name, (other for other, value in values.items() if isinstance(value, dict)))
        raise BadInput(
            f"{option} sets inside of a dictionary, and the run has no parameter {name}"
            + (f" (did you mean {hint}?)" if hint else f": give it with -p FILE or --param '{name}={{…}}'")
        )
    old = values[name]
    tree = parse_spelling(spellings[name]) if name in spellings else old

    def place(value: JsonValue, spelled: JsonValue, depth: int) -> tuple[JsonValue, JsonValue]:
        """The value, and the same with its numbers as they were spelled, with what is set at ``path[depth:]``."""
        if depth == len(setting.path):
            new = _of_its_kind(value, setting.stored["value"], setting.stored.get("spelling"))
            is_spelled = new is setting.stored["value"] and "spelling" in setting.stored
            return new, parse_spelling(setting.stored["spelling"]) if is_spelled else new
        above = ".".join(setting.path[:depth])
        if not isinstance(value, dict) or not isinstance(spelled, dict):
            raise BadInput(f"{option} sets inside of a dictionary, and {above} is {short_json(value)}")
        key = setting.path[depth]
        if key not in value:
            hint = nearest(key, value)
            if depth + 1 < len(setting.path):
                suffix = f" (did you mean {hint}?)" if hint else ""
                raise BadInput(f"{option} sets inside of a dictionary, and {above} has no {key}{suffix}")
            if hint:
                note(f"{option} adds {key} to {above}, which has {hint}")
        new, text = place(value.get(key), spelled.get(key), depth + 1)
        return {**value, key: new}, {**spelled, key: text}

    values[name], tree = place(old, tree, 1)
    spellings.pop(name, None)
    text = spelled_text(tree)
    if text != as_text(values[name]):
        spellings[name] = text


# --- one value, one file --------------------------------------------------------------------------------------------


def _of_text(text: str, where: str) -> StoredValue:
    try:
        return from_text(text)
    except RepeatedKey as error:
        raise BadInput(f"in this JSON {error}", where) from None


def read_file(path: Path) -> tuple[str, dict[str, JsonValue]]:
    """The text of a file of parameters, and its values by their keys, some of which may be no parameter's name.

    Raises:
        BadInput: as of :func:`read`.
    """
    text = read_text(path)
    return text, {key: value for key, value, _ in _items(text, path)}


def _of_file(path: Path) -> Iterator[tuple[str, JsonValue]]:
    """The parameters of a file."""
    if "=" in path.name and not path.exists():
        raise BadInput(
            "this file does not exist; -p takes a file, and a parameter is given with --param NAME=VALUE", shown(path)
        )
    for key, value, where in _items(read_text(path), path):
        yield names.parameter_name(key, where), value


def _items(text: str, path: Path) -> Iterator[tuple[str, JsonValue, str]]:
    """The keys and values of a file, each with its place. Its content decides whether it is JSON, unless its name does."""
    file = shown(path)
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
        yield key, _finite(item), tree.key_where(key)


def _of_json(text: str, file: str) -> Iterator[tuple[str, JsonValue, str]]:
    value, lines = parse_json_file(text, file)
    if value is None:
        return
    if not isinstance(value, dict):
        raise BadInput("parameters are an object of names and values", f"{file}:1")
    for key, item in value.items():
        yield key, item, f"{file}:{lines[key]}"


def _finite(tree: Located) -> JsonValue:
    value = tree.plain()
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        raise BadInput(
            "a parameter holds a value that JSON can't (.nan, .inf, a date?): put it in quotes", tree.where
        ) from None
    return value
