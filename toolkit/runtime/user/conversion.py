"""Values: a step's parameters, cast to its annotations, and its returns, as JSON data, metrics, objects or text."""

from __future__ import annotations

import math

from ..shared.casts import SIMPLE, CannotConvert, annotation_name
from ..shared.values import (
    DEEPEST,
    LONGEST_INTEGER,
    encode_value,
    is_plain,
    is_too_long,
    joins_surrogates,
    short_json,
)
from .imports import standard_module

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms, dataclasses and pickle 10 ms more.
    from collections.abc import Sequence
    from typing import Any


PICKLE_PROTOCOL = 5
"""It is fixed, so that different versions of Python give an object the same bytes where they pickle it alike."""


class BadValue(Exception):
    """A value that can't be what was declared. The message names the value."""


# --- what is returned -----------------------------------------------------------------------------------------------

_ATOMS = frozenset({type(None), bool, str})
"""The types that are JSON as they are, whatever their value."""
AS_OBJECT = "declare it as {pickled}"


def as_json(name: str, value: Any) -> Any:
    """A value as plain JSON data. The kinds of types that have a JSON form are those of :mod:`.kinds`.

    Args:
        name: what messages call the value.

    Raises:
        BadValue: the value, or something in it, has no exact JSON form.
    """
    return value if is_plain(value) else _converted(name, value)


def _converted(name: str, value: Any) -> Any:
    try:
        return to_json(value)
    except CannotConvert as refusal:
        raise BadValue(refusal.of_return(name)) from None


def to_json(value: Any, depth: int = 0, inside: bool = False) -> Any:
    """The same, for a value that lies this deep in another one.

    Args:
        inside: whether it lies in an object of a class with fields, which is read again as a whole.

    Raises:
        CannotConvert: it, or a part of it, has no exact JSON form.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CannotConvert(f"is {float(value)}, which JSON can't hold", "return it as text, or {pickled}")
        return float(value)
    if isinstance(value, str):
        # Of an enumeration's member that is a str, str() gives the name; this gives the text.
        return str.__str__(value)
    if isinstance(value, int):
        if is_too_long(value):
            raise CannotConvert(
                f"is an integer of more than {LONGEST_INTEGER} digits, which programs refuse to read",
                "return it as text",
            )
        return int(value)
    if depth > DEEPEST:
        raise CannotConvert(f"is nested more than {DEEPEST} deep, or holds itself")
    if isinstance(value, dict):
        return _plain_dict(value, depth + 1, inside)
    if isinstance(value, (list, tuple)) and not hasattr(kind, "_fields"):
        return _plain_list(value, depth + 1, inside)
    from . import kinds

    return kinds.to_json(value, depth + 1, inside)


def _plain_list(value: Any, depth: int, inside: bool) -> list[Any]:
    plain: list[Any] = []
    try:
        for item in value:
            plain.append(item if type(item) in _ATOMS else to_json(item, depth, inside))
    except CannotConvert as refusal:
        refusal.path.insert(0, f"[{len(plain)}]")
        raise
    return plain


def _plain_dict(value: Any, depth: int, inside: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        text = key if type(key) is str else _key(key)
        if text in plain:
            raise CannotConvert(f"holds a dict with two keys of one text, {text!r}", AS_OBJECT)
        try:
            plain[text] = item if type(item) in _ATOMS else to_json(item, depth, inside)
        except CannotConvert as refusal:
            refusal.path.insert(0, f"[{key!r}]")
            raise
    return plain


def _key(key: Any) -> str:
    """A key of a dict as text, if its JSON form is one."""
    try:
        text = None if isinstance(key, (int, float, tuple)) else to_json(key)
    except CannotConvert:
        text = None
    if not isinstance(text, str):
        raise CannotConvert(
            f"holds a dict with the key {key!r}", "JSON keys are text; make it str, or declare {pickled}"
        )
    return text


def json_data(name: str, plain: Any) -> bytes:
    """What :func:`as_json` or :func:`as_metric` gives, as JSON.

    Raises:
        BadValue: JSON can't hold it, or would change it.
    """
    try:
        data = encode_value(plain)
    except ValueError:
        # An integer of too many digits, which is named here.
        data = encode_value(_converted(name, plain))
    if joins_surrogates(plain, data):
        raise BadValue(
            f"{name} holds a text with the two halves of a surrogate pair one by one, and JSON makes one character of them: "
            f"return that character, or pickled({name!r})"
        )
    return data


def type_name(kind: type) -> str:
    """What messages call a class."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def as_metric(name: str, value: Any) -> Any:
    """A metric as JSON data: a number or a dict, which can be compared between runs.

    Raises:
        BadValue: it is something else.
    """
    plain = as_json(name, value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float, dict)):
        raise BadValue(f"the metric {name} is {short_json(plain)}: a metric is a number, or a dict of them")
    return plain


def as_object(name: str, value: Any) -> tuple[bytes, str]:
    """An object's pickled bytes and the name of its type.

    Raises:
        BadValue: it can't be pickled.
    """
    try:
        return standard_module("pickle").dumps(value, protocol=PICKLE_PROTOCOL), type_name(type(value))
    except Exception as error:
        raise BadValue(f"{name} can't be pickled: {type(error).__name__}: {error}") from None


def returns_by_name(returns: Sequence[str], result: object) -> dict[str, object]:
    """What a function returned, by the declared names.

    The value of a single name is the result itself. Of several names the result is a sequence of as many values.

    Raises:
        BadValue: the number of values is another.
    """
    if not returns:
        return {}
    if len(returns) == 1:
        return {returns[0]: result}
    if isinstance(result, (tuple, list)):
        if len(result) != len(returns):
            raise BadValue(
                f"the step declares {len(returns)} returns ({', '.join(returns)}) but returned {len(result)}"
            )
        return dict(zip(returns, result))
    raise BadValue(
        f"the step declares {len(returns)} returns ({', '.join(returns)}) but returned one {type_name(type(result))}"
    )


# --- casts of what comes in -----------------------------------------------------------------------------------------


def cast(name: str, value: Any, annotation: Any, holder: Any = None) -> Any:
    """A JSON value as an annotation's type (see :mod:`.annotations`).

    Args:
        holder: the callable that has the annotation, whose names it can use where it is text.

    Raises:
        BadValue: the value can't be of the type without being changed.
    """
    try:
        simple = SIMPLE.get(annotation) if isinstance(annotation, type) else None
        if simple is not None:
            return simple(value)
        from . import annotations

        return annotations.read(value, annotation, holder)
    except CannotConvert as refusal:
        raise BadValue(refusal.of_parameter(name, annotation)) from None
    except RecursionError:
        raise BadValue(f"the parameter {name} can't be {annotation_name(annotation)}: it is nested too deep") from None
