"""What of a parameter that came as text an argument takes: the value that the text spells, or the text itself.

``str`` takes the text, and so does what is made of texts. Any, a number, and a union that the value is of take the value.
"""

from __future__ import annotations

from ..shared.values import SpelledNumber, parse_spelling
from .hints import field_hints
from .imports import standard_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..shared.documents import JsonValue

_MADE_OF_TEXT = frozenset(
    {("pathlib", "PurePath"), ("decimal", "Decimal"), ("uuid", "UUID"), ("datetime", "date"), ("datetime", "time")}
)
"""Classes other than ``str`` whose values are written as text: module and name."""


def spelled(annotation: Any, value: JsonValue, spelling: str) -> JsonValue:
    """What an argument of this annotation takes of a value, and of the numbers in it.

    Args:
        value: that the text ``spelling`` spells.
    """
    if _takes_text(annotation, value):
        return spelling
    return _inside(annotation, value, parse_spelling(spelling)) if isinstance(value, (list, dict)) else value


def _inside(annotation: Any, value: Any, tree: Any) -> JsonValue:
    """A value with the spelling of each number in it that the annotation takes as text."""
    if isinstance(tree, SpelledNumber):
        return str(tree) if _takes_text(annotation, value) else value
    if isinstance(value, list):
        members = [_member(annotation, value, position) for position in range(len(value))]
        return [_inside(*parts) for parts in zip(members, value, tree)]
    if isinstance(value, dict):
        return {key: _inside(_member(annotation, value, key), item, tree[key]) for key, item in value.items()}
    return value


def _member(annotation: Any, value: Any, place: Any) -> Any:
    """The annotation of what is at a place in a list or an object; None where there is none."""
    annotation = _unwrapped(annotation)
    if isinstance(annotation, type) and getattr(annotation, "__annotations__", None):
        return field_hints(annotation).get(place) if isinstance(value, dict) else None
    origin, members = getattr(annotation, "__origin__", None), getattr(annotation, "__args__", ())
    if _is_union(annotation):
        kinds = [member for member in members if _holds(member, value)]
        return _member(kinds[0], value, place) if kinds else None
    if not isinstance(origin, type) or not members:
        return None
    if issubclass(origin, tuple) and members[-1] is not Ellipsis:
        return members[place] if isinstance(value, list) and place < len(members) else None
    return members[1 if isinstance(value, dict) and len(members) > 1 else 0]


def _holds(member: Any, value: object) -> bool:
    """Whether a union's member is a type of lists where the value is a list, or of objects where it is an object."""
    origin = getattr(member, "__origin__", member)
    if not isinstance(origin, type) or issubclass(origin, str):
        return False
    is_mapping = hasattr(origin, "keys") or bool(getattr(member, "__annotations__", None))
    return is_mapping == isinstance(value, dict) and (is_mapping or hasattr(origin, "__iter__"))


def _takes_text(annotation: Any, value: JsonValue) -> bool:
    annotation = _unwrapped(annotation)
    if isinstance(annotation, type):
        return _class_takes_text(annotation, value)
    if annotation is None or isinstance(annotation, str):
        return False
    members = getattr(annotation, "__args__", ())
    if _is_union(annotation):
        any_value = standard_module("typing").Any
        is_member = any(member is any_value or _is_of(value, member) for member in members)
        return not is_member and any(_takes_text(member, value) for member in members)
    if getattr(annotation, "__origin__", None) is standard_module("typing").Literal:
        return _means_a_text(value, members)
    return False


def _unwrapped(annotation: Any) -> Any:
    """The annotation inside a NewType, an Annotated or an alias."""
    while True:
        if getattr(annotation, "__supertype__", None) is not None:
            annotation = annotation.__supertype__
        elif getattr(annotation, "__metadata__", None) is not None:
            annotation = annotation.__origin__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _is_union(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", None)
    if type(annotation).__name__ in ("UnionType", "Union"):
        return True
    return origin is not None and origin is standard_module("typing").Union


def _class_takes_text(kind: type, value: JsonValue) -> bool:
    bases = {(base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__}
    if ("enum", "Enum") in bases:
        members: Any = kind
        return _means_a_text(value, [member.value for member in members])
    return issubclass(kind, str) or not bases.isdisjoint(_MADE_OF_TEXT)


def _means_a_text(value: JsonValue, among: Iterable[object]) -> bool:
    """Whether a value is none of those, and one of those is a text."""
    return not any(type(one) is type(value) and one == value for one in among) and any(
        isinstance(one, str) for one in among
    )


def _is_of(value: JsonValue, member: Any) -> bool:
    """Whether a value is of a union's member as it is."""
    kind = getattr(member, "__origin__", member)
    if kind is list or kind is dict or not isinstance(value, (list, dict)):
        return type(value) is kind or kind is object or (kind is float and type(value) is int)
    return _holds(member, value)
