"""Values: a step's parameters, cast to its annotations, and its returns, as JSON data, metrics, objects or text."""

from __future__ import annotations

import json
import math
import sys

from ..shared.values import (
    DEEPEST,
    LONGEST_INTEGER,
    encode_value,
    is_plain,
    is_too_long,
    joins_surrogates,
    parse_json_text,
    short_json,
)
from .imports import standard_module
from .signature import hints_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms, dataclasses and pickle 10 ms more.
    from collections.abc import Sequence
    from typing import Any


PICKLE_PROTOCOL = 5
"""It is fixed, so that different versions of Python give an object the same bytes where they pickle it alike."""


class BadValue(Exception):
    """A value that can't be what was declared. The message names the value."""


def as_json(name: str, value: Any) -> Any:
    """A value as plain JSON data.

    pydantic models and dataclasses become objects, tuples become lists, and numpy scalars become numbers. Nothing else is
    converted: what JSON can't hold is refused.

    Args:
        name: what messages call the value.

    Raises:
        BadValue: the value, or something in it, is not JSON.
    """
    return value if is_plain(value) else _plain(name, value, 0)


def _plain(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, str)):
        # Of an enumeration's member that is a str, str() gives the name; this gives the text.
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        if is_too_long(value):
            raise BadValue(
                f"{name} is an integer of more than {LONGEST_INTEGER} digits, which programs refuse to read: return it as text"
            )
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadValue(f"{name} is {float(value)}, which JSON can't hold: return it as text, or pickled({name!r})")
        return float(value)
    if depth > DEEPEST:
        raise BadValue(f"{name} is nested more than {DEEPEST} deep, or holds itself")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise BadValue(
                    f"{name} holds a dict with the key {key!r}: JSON keys are text; "
                    f"make it str, or declare pickled({name!r})"
                )
        plain = {str.__str__(key): _plain(f"{name}[{key!r}]", item, depth + 1) for key, item in value.items()}
        if len(plain) != len(value):
            raise BadValue(f"{name} holds a dict with two keys of one text, which JSON can't tell apart")
        return plain
    if isinstance(value, (list, tuple)):
        return [_plain(f"{name}[{position}]", item, depth + 1) for position, item in enumerate(value)]
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return _plain(name, dump(mode="json"), depth + 1)
    if hasattr(type(value), "__dataclass_fields__"):
        fields = {key: getattr(value, key) for key in type(value).__dataclass_fields__ if hasattr(value, key)}
        return _plain(name, fields, depth + 1)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return _plain(name, value.item(), depth + 1)
    raise BadValue(f"{name} is a {_type_name(type(value))}, which is not JSON: declare it as pickled({name!r})")


def json_data(name: str, plain: Any) -> bytes:
    """What :func:`as_json` or :func:`as_metric` gives, as JSON.

    Raises:
        BadValue: JSON can't hold it, or would change it.
    """
    try:
        data = encode_value(plain)
    except ValueError:
        # An integer of too many digits, which is named here.
        data = encode_value(_plain(name, plain, 0))
    if joins_surrogates(plain, data):
        raise BadValue(
            f"{name} holds a text with the two halves of a surrogate pair one by one, and JSON makes one character of them: "
            f"return that character, or pickled({name!r})"
        )
    return data


def _type_name(kind: type) -> str:
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
        return standard_module("pickle").dumps(value, protocol=PICKLE_PROTOCOL), _type_name(type(value))
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
        f"the step declares {len(returns)} returns ({', '.join(returns)}) but returned one {_type_name(type(result))}"
    )


# --- casts of what comes in -----------------------------------------------------------------------------------------

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off", ""}


def cast(name: str, value: Any, annotation: Any) -> Any:
    """A JSON value as an annotation's type. An annotation that no JSON value can have leaves the value as it is.

    Raises:
        BadValue: the value can't be converted to the type.
    """
    try:
        return _cast(value, annotation)
    except BadValue as error:
        raise BadValue(f"the parameter {name} can't be {_annotation_name(annotation)}: {error}") from None


def _annotation_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _cast(value: Any, annotation: Any) -> Any:
    if annotation is None or isinstance(annotation, str):
        return value
    supertype = getattr(annotation, "__supertype__", None)
    if supertype is not None:
        return _cast(value, supertype)
    simple = _SIMPLE.get(annotation) if isinstance(annotation, type) else None
    if simple is not None:
        return simple(value)
    origin = getattr(annotation, "__origin__", None)
    if origin is None and isinstance(annotation, type):
        return _cast_class(value, annotation)
    if origin is None and type(annotation).__name__ == "UnionType":
        return _cast_union(value, annotation.__args__)
    return _cast_generic(value, annotation, origin)


def _to_bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE:
        return True
    if isinstance(value, str) and value.strip().lower() in _FALSE:
        return False
    if value in (0, 1) and isinstance(value, (int, float)):
        return bool(value)
    raise BadValue(f"it is {short_json(value)}")


def _to_int(value: Any) -> Any:
    if isinstance(value, bool):
        raise BadValue(f"it is {short_json(value)}")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            pass
    raise BadValue(f"it is {short_json(value)}")


def _to_float(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.strip())
        except ValueError:
            pass
    raise BadValue(f"it is {short_json(value)}")


def _to_str(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value) if isinstance(value, bool) else str(value)
    raise BadValue(f"it is {short_json(value)}")


def _container(kind: type) -> Any:
    def convert(value: Any) -> Any:
        decoded = parse_json_text(value)
        if kind is dict and isinstance(decoded, dict):
            return decoded
        if kind is not dict and isinstance(decoded, list):
            return decoded if kind is list else kind(decoded)
        raise BadValue(f"it is {short_json(value)}")

    return convert


_SIMPLE: dict[type, Any] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    list: _container(list),
    tuple: _container(tuple),
    set: _container(set),
    frozenset: _container(frozenset),
    dict: _container(dict),
}


def _cast_class(value: Any, kind: type) -> Any:
    try:
        if isinstance(value, kind):
            return value
    except TypeError:
        # Any, a TypedDict or a Protocol: no value can be checked against it at run time.
        return value
    validate = getattr(kind, "model_validate", None)
    if callable(validate):
        try:
            return validate(parse_json_text(value))
        except Exception as error:
            raise BadValue(f"{type(error).__name__}: {error}") from None
    if hasattr(kind, "__dataclass_fields__"):
        return _to_dataclass(value, kind)
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise BadValue(f"it is {short_json(value)}, which is none of its values") from None
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(kind, pathlib.PurePath) and isinstance(value, str):
        return kind(value)
    return value


def _to_dataclass(value: Any, kind: Any) -> Any:
    decoded = parse_json_text(value)
    if not isinstance(decoded, dict):
        raise BadValue(f"it is {short_json(value)}")
    hints = hints_of(kind)
    names = {field.name for field in kind.__dataclass_fields__.values() if field.init}
    unknown = sorted(set(decoded) - names)
    if unknown:
        raise BadValue(f"it has no field {unknown[0]}")
    try:
        return kind(**{key: _cast(item, hints.get(key)) for key, item in decoded.items()})
    except TypeError as error:
        raise BadValue(str(error)) from None


def _cast_union(value: Any, members: Sequence[Any]) -> Any:
    if value is None and type(None) in members:
        return None
    kinds = [member for member in members if member is not type(None)]
    for member in kinds:
        if isinstance(member, type) and type(value) is member:
            return value
    for member in kinds:
        try:
            return _cast(value, member)
        except BadValue:
            continue
    raise BadValue(f"it is {short_json(value)}")


def _cast_generic(value: Any, annotation: Any, origin: Any) -> Any:
    typing = standard_module("typing")
    members = getattr(annotation, "__args__", ())
    if origin is typing.Union:
        return _cast_union(value, members)
    if origin is typing.Literal:
        for member in members:
            if type(member) is type(value) and member == value:
                return value
        for member in members:
            if isinstance(value, str) and str(member) == value:
                return member
        raise BadValue(f"it is {short_json(value)}")
    if getattr(annotation, "__metadata__", None) is not None:
        return _cast(value, origin)
    if isinstance(origin, type) and issubclass(origin, (list, set, frozenset, tuple)):
        items = _container(list)(value)
        if issubclass(origin, tuple) and members and members[-1] is not Ellipsis:
            if len(items) != len(members):
                raise BadValue(f"it has {len(items)} items and not {len(members)}")
            return tuple(_cast(item, member) for item, member in zip(items, members))
        return origin(_cast(item, members[0]) for item in items) if members else origin(items)
    if isinstance(origin, type) and issubclass(origin, dict):
        mapping = _container(dict)(value)
        if not members:
            return mapping
        return {_cast(key, members[0]): _cast(item, members[1]) for key, item in mapping.items()}
    if getattr(origin, "__name__", "") in ("Sequence", "Iterable", "Collection", "MutableSequence") and members:
        return [_cast(item, members[0]) for item in _container(list)(value)]
    return value
