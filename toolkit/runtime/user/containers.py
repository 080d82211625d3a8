"""Lists, tuples, sets and mappings as JSON, with their items as the annotation says."""

from __future__ import annotations

from ..shared.casts import CannotConvert, not_a, same_json
from ..shared.values import parse_json_text, short_json
from . import imports
from .conversion import AS_OBJECT, to_json
from .kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from .annotations import Target
    from .kinds import Writer

json: Any = imports.standard_module("json")


def _list_of(value: Any, target: Target) -> list[Any]:
    """The items of a JSON list, each as the first argument of the annotation; also of one that is text."""
    decoded = parse_json_text(value)
    if not isinstance(decoded, list):
        raise not_a(value, target.cls.__name__)
    if decoded is not value:
        target.loosely()
    if not target.arguments or _are_all(target.arguments[0], decoded):
        return decoded
    return [target.part(item, target.arguments[0], f"[{position}]") for position, item in enumerate(decoded)]


def _are_all(annotation: Any, items: Collection[Any]) -> bool:
    """Whether each of them is of one of JSON's own types already. It saves the time to look at each alone."""
    return annotation in (str, int, bool, float) and set(map(type, items)) <= {annotation}


def _dict_of(value: Any, target: Target) -> dict[Any, Any]:
    """The entries of a JSON object, as the two arguments of the annotation; also of one that is text."""
    decoded = parse_json_text(value)
    if not isinstance(decoded, dict):
        raise not_a(value, target.cls.__name__)
    if decoded is not value:
        target.loosely()
    # The argument of a Counter is of its keys.
    of_key, of_item = (*target.arguments, int)[:2] if target.arguments else (str, object)
    if of_key is str and (of_item is object or _are_all(of_item, decoded.values())):
        return decoded
    made = {}
    for key, item in decoded.items():
        read_key = key if of_key is str else target.part(key, of_key, f"[{key!r}]")
        made[read_key] = target.part(item, of_item, f"[{key!r}]")
    if len(made) != len(decoded):
        raise CannotConvert(f"is {short_json(decoded)}, where two keys become one")
    return made


def _build(target: Target, made: Any) -> Any:
    """A container of the target's class that has what is in ``made``, one of its base class."""
    cls = target.cls
    if cls is type(made):
        return made
    try:
        built = cls(made)
    except TypeError as error:
        raise CannotConvert(f"can't be made a {cls.__name__}: {error}") from None
    if len(built) != len(made) and isinstance(made, dict):
        raise CannotConvert(f"can't be made a {cls.__name__}, which keeps only some of it")
    return built


def _read_list(value: Any, target: Target) -> Any:
    return _build(target, _list_of(value, target))


def _read_dict(value: Any, target: Target) -> Any:
    return _build(target, _dict_of(value, target))


def _read_default_dict(value: Any, target: Target) -> Any:
    raise CannotConvert("has no default_factory, which JSON can't hold", "annotate it as dict")


def _read_tuple(value: Any, target: Target) -> Any:
    members = target.arguments
    if not members and not target.is_parametrized:
        return _build(target, tuple(_list_of(value, target)))
    if len(members) == 2 and members[1] is Ellipsis:
        return _build(target, tuple(_list_of(value, target)))
    decoded = parse_json_text(value)
    if not isinstance(decoded, list):
        raise not_a(value, target.cls.__name__)
    if decoded is not value:
        target.loosely()
    members = () if members == ((),) else members
    if any(getattr(member, "__unpacked__", type(member).__name__ == "_UnpackGenericAlias") for member in members):
        raise CannotConvert(
            "has items of which the annotation does not say how many there are", "annotate it as tuple[X, ...]"
        )
    if len(decoded) != len(members):
        raise CannotConvert(f"is {short_json(decoded)}, which has {len(decoded)} items and not {len(members)}")
    parts = zip(decoded, members)
    return _build(target, tuple(target.part(item, member, f"[{at}]") for at, (item, member) in enumerate(parts)))


def _write_set(value: Any, writer: Writer) -> list[Any]:
    plain = [writer.part(item, "[…]") for item in value]
    kinds = set(map(type, plain))
    if kinds <= {str} or kinds <= {int, float}:
        plain.sort()
    else:
        plain.sort(key=lambda item: json.dumps(item, sort_keys=True))
    if any(same_json(one, other) for one, other in zip(plain, plain[1:])):
        raise CannotConvert("is a set with two items that are one in JSON", AS_OBJECT)
    return plain


def _read_set(value: Any, target: Target) -> Any:
    items = _list_of(value, target)
    cls = target.cls if isinstance(target.cls, type) and issubclass(target.cls, (set, frozenset)) else set
    try:
        made = cls(items)
    except TypeError as error:
        raise CannotConvert(f"can't be made a set: {error}", "annotate its items, as in set[tuple[int, ...]]") from None
    if len(made) != len(items):
        target.loosely()
    return made


def _write_deque(value: Any, writer: Writer) -> list[Any]:
    if value.maxlen is not None:
        raise CannotConvert("is a deque with a maxlen, which JSON can't hold", AS_OBJECT)
    return [writer.part(item, f"[{position}]") for position, item in enumerate(value)]


def _write_mapping(value: Any, writer: Writer) -> Any:
    return to_json(dict(value), writer.depth - 1, writer.inside)


def _read_iterator(value: Any, target: Target) -> Any:
    return iter(_list_of(value, target))


KINDS = {
    "list": Kind(None, _read_list),
    "tuple": Kind(None, _read_tuple),
    "set": Kind(_write_set, _read_set),
    "dict": Kind(None, _read_dict),
    "default dict": Kind(None, _read_default_dict),
    "mapping": Kind(_write_mapping, _read_dict),
    "deque": Kind(_write_deque, _read_list),
    "items": Kind(None, _list_of),
    "entries": Kind(None, _dict_of),
    "iterator": Kind(None, _read_iterator),
}
