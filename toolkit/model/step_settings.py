"""What a step says of its own settings: the names of its overrides, and the settings beside it.

They are decoded and checked as those of the configuration are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from toolkit.config.consistency import contradiction
from toolkit.config.decode import decode, nearest
from toolkit.config.located import Located
from toolkit.config.rules import RULES
from toolkit.config.settings import EnvironmentName, ExecutorType, Resources, Retries, StepSettings
from toolkit.errors import BadInput

INSTEAD = {
    "retry": "retries or max_attempts",
    "retry_strategy": "retries",
    "max_step_duration_in_seconds": "timeout",
    "docker_image": "image",
}
"""For other words, of the configuration too, what they are called beside a step."""
_CHOOSE: tuple[str, ...] = tuple(dict.fromkeys((*get_args(ExecutorType), *get_args(EnvironmentName))))
"""What a step may choose its override by."""


def read_settings(step: Mapping[str, Located], name: str) -> dict[str, Any]:
    """The settings beside a step of a YAML file, as plain data.

    Args:
        step: its entries, among others.

    Raises:
        BadInput: with the line of the setting that is wrong.
    """
    given = {key: item for key, item in step.items() if key in StepSettings._fields and item.value is not None}
    if not given:
        return {}
    first = next(iter(given.values()))
    tree = Located(given, first.file, first.line)
    decode_settings(tree, name)
    plain: dict[str, Any] = tree.plain()
    return plain


def decode_settings(tree: Located, name: str, where: str | None = None) -> StepSettings:
    """The settings beside a step.

    Args:
        where: the place of an error; None is the place in the tree.

    Raises:
        BadInput: as for an entry of the configuration's overrides.
    """
    try:
        assert isinstance(tree.value, dict)
        retries = tree.value.get("retries")
        if retries is not None and retries.value is not None and not isinstance(retries.value, dict):
            number = Located({"limit": _number_of_retries(retries)}, retries.file, retries.line)
            tree = Located({**tree.value, "retries": number}, tree.file, tree.line)
        settings = decode(tree, StepSettings, "", RULES)
        if settings.resources is not None:
            _check_resources(settings.resources, tree)
    except BadInput as error:
        raise BadInput(f"the step {name!r}: {error.message}", where or error.where) from None
    return settings


def _number_of_retries(tree: Located) -> Located:
    if not isinstance(tree.value, int) or isinstance(tree.value, bool):
        raise BadInput(
            f"retries is the number of attempts after the first, or a mapping of {', '.join(Retries._fields)}, "
            f"but this is {tree.described()}",
            tree.where,
        )
    if tree.value < 0:
        raise BadInput(f"retries must be at least 0, not {tree.value}", tree.where)
    return tree


def _check_resources(resources: Resources, tree: Located) -> None:
    found = contradiction(resources)
    if found is not None:
        place = tree
        for key in ("resources", "requests", found[0]):
            place = place.value.get(key, place) if isinstance(place.value, dict) else place
        raise BadInput(found[1], place.where)


def read_overrides(tree: Located | None, name: str) -> dict[str, str] | str:
    """The ``overrides`` of a step of a YAML file.

    Raises:
        BadInput: with the line of what is wrong.
    """
    if tree is None or tree.value is None:
        return {}
    if isinstance(tree.value, dict):
        for key, item in tree.value.items():
            checked_overrides({key: item.plain()}, name, tree.key_where(key))
    return checked_overrides(tree.plain(), name, tree.where)


def checked_overrides(given: Any, name: str, where: str) -> dict[str, str] | str:
    """The ``overrides`` of a step: the name of an entry, or such names by executor type or environment.

    Raises:
        BadInput: it is neither, or a key is no executor type and no environment.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        if not given.strip():
            raise BadInput(f"overrides of the step {name!r} is the name of an entry, and this is empty", where)
        return given
    if not isinstance(given, dict):
        shown = json.dumps(given)
        raise BadInput(
            f"overrides of the step {name!r} is the name of an entry of executor.config.overrides, or such names by executor "
            f"type, not {shown if len(shown) <= 60 else shown[:57] + '...'}",
            where,
        )
    for key, entry in given.items():
        if key not in _CHOOSE:
            hint = nearest(key, _CHOOSE)
            raise BadInput(
                f"overrides of the step {name!r} has the key {key[:60]!r}, which is no executor type and no environment: "
                + (f"did you mean {hint!r}? (one of " if hint else "use one of ")
                + f"{', '.join(_CHOOSE)}; the name of the entry alone holds for all"
                + (")" if hint else ""),
                where,
            )
        if not isinstance(entry, str) or not entry.strip():
            raise BadInput(
                f"overrides of the step {name!r} has for {key} {json.dumps(entry)[:60]}, which is no name of an entry",
                where,
            )
    return dict(given)


def located(value: Any) -> Located:
    """A tree of plain data, whose places are unknown."""
    if isinstance(value, dict):
        return Located({key: located(item) for key, item in value.items()}, "", 0)
    if isinstance(value, list):
        return Located(tuple(located(item) for item in value), "", 0)
    text = value if value is None or isinstance(value, str) else json.dumps(value)
    return Located(value, "", 0, text)
