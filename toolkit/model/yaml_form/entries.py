"""The entries of a pipeline's YAML file, each checked to be of the kind that it has to be."""

from __future__ import annotations

from toolkit.config.decode import suggested
from toolkit.config.located import Located
from toolkit.config.settings import StepSettings
from toolkit.errors import BadInput
from toolkit.model import step_settings

_OF_TASKS = (*StepSettings._fields, "overrides", "max_attempts")


def check_keys(
    tree: Located, entries: dict[str, Located], allowed: tuple[str, ...], owner: str, open_ended: bool = False
) -> None:
    """Refuses a key that is not allowed.

    Args:
        owner: what has the keys, for the message. open_ended: whether any key is allowed.
    """
    if open_ended:
        return
    for key in entries:
        if key not in allowed:
            if key == "parameters" and owner == "dag":
                raise BadInput(
                    "unknown key 'parameters' in dag: it stands beside the pipeline's dag", tree.key_where(key)
                )
            if "max_attempts" in allowed and key in step_settings.INSTEAD:
                instead = step_settings.INSTEAD[key]
                raise BadInput(f"unknown key {key!r} in {owner}: use {instead}", tree.key_where(key))
            if key in ("on_exit", "order") and "on_failure" in allowed:
                raise BadInput(f"unknown key {key!r} in {owner}: it stands in dag, beside steps", tree.key_where(key))
            if key in _OF_TASKS and "on_failure" in allowed:
                message = f"unknown key {key!r} in {owner}: give it to the tasks inside"
                raise BadInput(message, tree.key_where(key))
            raise BadInput(f"unknown key {key!r} in {owner}{suggested(key, allowed)}", tree.key_where(key))


def mapping_of(tree: Located, name: str) -> dict[str, Located]:
    if not isinstance(tree.value, dict):
        raise BadInput(f"{name} is a mapping, not {tree.described()}", tree.where)
    return tree.value


def items_of(tree: Located | None, name: str) -> tuple[Located, ...]:
    if tree is None or tree.value is None:
        return ()
    if not isinstance(tree.value, tuple):
        raise BadInput(f"{name} is a list, not {tree.described()}", tree.where)
    return tree.value


def one_or_more(tree: Located | None, name: str) -> tuple[Located, ...]:
    """The items of a list, or what stands in its place."""
    if tree is not None and not isinstance(tree.value, (str, tuple)) and tree.value is not None:
        raise BadInput(f"{name} is the name of a step or a list of names, not {tree.described()}", tree.where)
    return (tree,) if tree is not None and isinstance(tree.value, str) else items_of(tree, name)


def text_of(tree: Located, name: str) -> str:
    if not isinstance(tree.value, str):
        remedy = ": put it in quotes" if isinstance(tree.value, (bool, int, float)) else ""
        raise BadInput(f"{name} is text, not {tree.described()}{remedy}", tree.where)
    return tree.value


def truth_of(tree: Located, name: str) -> bool:
    if not isinstance(tree.value, bool):
        raise BadInput(f"{name} is true or false, not {tree.described()}", tree.where)
    return tree.value


def whole_number_of(tree: Located, name: str) -> int:
    if not isinstance(tree.value, int) or isinstance(tree.value, bool):
        raise BadInput(f"{name} is a whole number, not {tree.described()}", tree.where)
    return tree.value


def line_of(place: str) -> int:
    """The line of a place, which is ``file:line``."""
    return int(place.rpartition(":")[2])
