"""Models of libraries that read and write JSON themselves: pydantic 1 and 2, and msgspec.

A model is written by its library in one of the forms that it has, and read by its library. It is the first form that gives the
model back: by field names, by aliases, or without what is None. Secrets are never written.
"""

from __future__ import annotations

import sys

from ..shared.casts import CannotConvert, same_json
from ..shared.values import parse_json_text, short_json
from . import imports, kinds
from .conversion import AS_OBJECT, to_json
from .kinds import Kind
from .structures import changed, difference, parts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Optional

    from .annotations import Target
    from .kinds import Writer

json: Any = imports.standard_module("json")


def _write_by(value: Any, writer: Writer, forms: Iterator[Callable[[], Any]], read: Callable[[str], Any]) -> Any:
    """The first of a model's forms that gives the model back.

    Args:
        read: gives the model of a JSON text.
    """
    _refuse_secrets(value)
    reason: Optional[CannotConvert] = None
    for form in forms:
        try:
            plain = to_json(form(), writer.depth - 1, True)
            where = difference(value, read(json.dumps(plain)))
        except CannotConvert as refusal:
            reason = reason or refusal
            continue
        except Exception as error:
            name = type(value).__name__
            reason = reason or CannotConvert(
                f"is a {name} that does not come back from JSON: {_first_line(error)}", AS_OBJECT
            )
            continue
        if where is None:
            return plain
        reason = reason or changed(value, where)
    assert reason is not None
    raise reason


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _read_by(value: Any, target: Target, read: Callable[[str], Any]) -> Any:
    """A model of a JSON value, or of text that is JSON."""
    decoded = parse_json_text(value)
    refusal: Optional[CannotConvert] = None
    for data in [decoded] if decoded is value else [decoded, value]:
        try:
            made = read(json.dumps(data))
        except Exception as error:
            refusal = refusal or CannotConvert(f"is {short_json(value)}: {type(error).__name__}: {error}")
            continue
        try:
            if not same_json(to_json(made), value):
                target.loosely()
        except CannotConvert:
            target.loosely()
        return made
    assert refusal is not None
    raise refusal


# --- secrets --------------------------------------------------------------------------------------------------------

_NO_SECRETS = "leave it out, and let the step that needs it declare it by secrets=[…]"


def _write_secret(value: Any, writer: Writer) -> Any:
    raise CannotConvert(f"is a {type(value).__name__}, and a secret is not recorded", _NO_SECRETS)


def _refuse_secrets(value: Any, seen: Optional[set[int]] = None) -> None:
    """Refuses a model with a secret anywhere in it, which its library would write as asterisks."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    kind = kinds.find(type(value))
    if kind is not None and kind.to_json is _write_secret:
        _write_secret(value, kinds.Writer(0, True))
    for step, part in parts_of(value) or ():
        try:
            _refuse_secrets(part, seen)
        except CannotConvert as refusal:
            refusal.path.insert(0, step)
            raise


# --- pydantic 2 -----------------------------------------------------------------------------------------------------

_adapters: dict[int, tuple[Any, Any]] = {}


def _adapter(annotation: Any) -> Any:
    """pydantic's own reader and writer of a type."""
    # It may not be hashable.
    known = _adapters.get(id(annotation))
    if known is None:
        known = _adapters[id(annotation)] = (annotation, sys.modules["pydantic"].TypeAdapter(annotation))
    return known[1]


def _write_pydantic(value: Any, writer: Writer) -> Any:
    adapter = _adapter(type(value))

    def forms() -> Iterator[Callable[[], Any]]:
        for given in ({}, {"by_alias": True}, {"by_alias": False}):
            for without_none in ({}, {"exclude_none": True}):
                options: dict[str, Any] = {**given, **without_none}
                yield lambda options=options: adapter.dump_python(value, mode="json", round_trip=True, **options)  # type: ignore[misc]
        yield lambda: _by_validation_alias(
            value, adapter.dump_python(value, mode="json", round_trip=True, by_alias=False)
        )

    return _write_by(value, writer, forms(), adapter.validate_json)


def _by_validation_alias(value: Any, plain: Any) -> Any:
    """The JSON form of a model by field names, renamed to the aliases by which it is validated."""
    fields = getattr(type(value), "__pydantic_fields__", None) or getattr(type(value), "model_fields", None)
    if isinstance(plain, dict) and isinstance(fields, dict) and hasattr(value, "__pydantic_fields_set__"):
        return {
            _alias(fields.get(name), name): _by_validation_alias(getattr(value, name, None), item)
            for name, item in plain.items()
        }
    parts = list(parts_of(value) or ()) if isinstance(value, (dict, list, tuple)) else []
    if parts and isinstance(plain, dict):
        return {key: _by_validation_alias(part, plain[key]) for key, (_, part) in zip(plain, parts)}
    if parts and isinstance(plain, list):
        return [_by_validation_alias(part, item) for (_, part), item in zip(parts, plain)]
    return plain


def _alias(field: Any, name: str) -> str:
    alias = getattr(field, "validation_alias", None) or name
    first = getattr(alias, "choices", [alias])[0]
    return first if isinstance(first, str) else name


def read_adapted(value: Any, target: Target) -> Any:
    """A value of a type that pydantic knows how to read."""
    if "pydantic" not in sys.modules or not hasattr(sys.modules["pydantic"], "TypeAdapter"):
        raise CannotConvert(
            f"is {short_json(value)}, and only pydantic 2 can read it as its annotation says", "import pydantic"
        )
    return _read_by(value, target, _adapter(target.annotation).validate_json)


# --- pydantic 1 -----------------------------------------------------------------------------------------------------


def _write_pydantic_1(value: Any, writer: Writer) -> Any:
    def forms() -> Iterator[Callable[[], Any]]:
        for given in ({}, {"by_alias": True}):
            for without_none in ({}, {"exclude_none": True}):
                options: dict[str, Any] = {**given, **without_none}
                yield lambda options=options: json.loads(value.json(**options))  # type: ignore[misc]
                # Its JSON has decimals as floats.
                yield lambda options=options: value.dict(**options)  # type: ignore[misc]

    return _write_by(value, writer, forms(), lambda text: type(value).parse_obj(json.loads(text)))


def _read_pydantic_1(value: Any, target: Target) -> Any:
    return _read_by(value, target, lambda text: target.cls.parse_obj(json.loads(text)))


def _read_secret_1(value: Any, target: Target) -> Any:
    return target.cls(target.part(value, str, ""))


# --- msgspec --------------------------------------------------------------------------------------------------------


def _write_msgspec(value: Any, writer: Writer) -> Any:
    library = sys.modules["msgspec"].json
    forms = iter([lambda: json.loads(library.encode(value))])
    return _write_by(value, writer, forms, lambda text: library.decode(text.encode("ascii"), type=type(value)))


def _read_msgspec(value: Any, target: Target) -> Any:
    library = sys.modules["msgspec"].json
    return _read_by(value, target, lambda text: library.decode(text.encode("ascii"), type=target.annotation))


# --- classes that read and write like pydantic 2 ---------------------------------------------------------------------


def _write_alike(value: Any, writer: Writer) -> Any:
    forms = iter([lambda: value.model_dump(mode="json")])
    return _write_by(value, writer, forms, lambda text: type(value).model_validate(json.loads(text)))


def _read_alike(value: Any, target: Target) -> Any:
    return _read_by(value, target, lambda text: target.cls.model_validate(json.loads(text)))


def _by_version(newer: Callable[[Any, Any], Any], older: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """What pydantic 2 and pydantic 1 do, whose classes have the same names."""
    return lambda value, other: (newer if hasattr(sys.modules["pydantic"], "TypeAdapter") else older)(value, other)


_ADAPTED = Kind(_write_pydantic, read_adapted, False)
KINDS = {
    "pydantic": Kind(
        _by_version(_write_pydantic, _write_pydantic_1), _by_version(read_adapted, _read_pydantic_1), False
    ),
    "pydantic 1": Kind(_write_pydantic_1, _read_pydantic_1, False),
    "adapted": _ADAPTED,
    "secret": Kind(_write_secret, _by_version(read_adapted, _read_secret_1), False),
    "secret 1": Kind(_write_secret, _read_secret_1, False),
    "alike": Kind(_write_alike, _read_alike, False),
    "msgspec": Kind(_write_msgspec, _read_msgspec, False),
}
