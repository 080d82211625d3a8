"""Single values as JSON: what is a text, a number, or one of several values."""

from __future__ import annotations

from ..shared.casts import CannotConvert, not_a, same_json
from ..shared.values import parse_json_text, short_json
from . import imports
from .conversion import AS_OBJECT, to_json
from .kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    from .annotations import Target
    from .kinds import Writer

base64: Any = imports.standard_module("base64")


# --- text -----------------------------------------------------------------------------------------------------------


def _texts(read: Callable[[str, Any], Any], show: Callable[[Any], str] = str) -> Kind:
    """The kind of classes whose JSON form is a text."""

    def from_json(value: Any, target: Target) -> Any:
        name = target.cls.__name__
        if not isinstance(value, str):
            raise not_a(value, name)
        try:
            made = read(value, target.cls)
        except (ValueError, ArithmeticError, LookupError, TypeError):
            raise not_a(value, name) from None
        if show(made) != value:
            target.loosely()
        return made

    return Kind(lambda value, writer: show(value), from_json)


def digits_of(value: Any) -> Optional[str]:
    """A JSON number as the text that its digits were, or None where a float may have lost some of them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    text = repr(value)
    significant = text.partition("e")[0].replace(".", "").lstrip("-0")
    return text if isinstance(value, int) or len(significant) <= 15 else None


def _read_exact_number(value: Any, target: Target) -> Any:
    """A Decimal or a Fraction. A float is taken for the digits that spell it, where a float can hold so many."""
    text = value if isinstance(value, str) else digits_of(value)
    if text is None and isinstance(value, float):
        raise CannotConvert(
            f"is the float {value!r}, which may have been rounded", "write it in quotes, or return it as text"
        )
    if text is None:
        raise not_a(value, target.cls.__name__)
    try:
        made = target.cls(text)
    except (ValueError, ArithmeticError):
        raise not_a(value, target.cls.__name__) from None
    if str(made) != value:
        target.loosely()
    return made


_DATA_URL = "data:application/octet-stream;base64,"
"""What begins the JSON form of bytes, so that no other text is taken for it."""


def _write_bytes(value: Any, writer: Writer) -> str:
    text: str = base64.b64encode(value).decode("ascii")
    return _DATA_URL + text


def _read_bytes(value: Any, target: Target) -> Any:
    if isinstance(value, str) and value.startswith(_DATA_URL):
        try:
            return target.cls(base64.b64decode(value[len(_DATA_URL) :], validate=True))
        except ValueError:
            pass
    raise CannotConvert(
        f"is {short_json(value)}, and bytes are written as {_DATA_URL}…", "take a str and encode it in the function"
    )


def _read_pattern(text: str, cls: Any) -> Any:
    return imports.standard_module("re").compile(text)


def _write_pattern(value: Any, writer: Writer) -> str:
    if not isinstance(value.pattern, str) or imports.standard_module("re").compile(value.pattern).flags != value.flags:
        raise CannotConvert("is a pattern with flags, or of bytes", "write the flags into it, as in (?i)")
    text: str = value.pattern
    return text


# --- what is one of several ------------------------------------------------------------------------------------------


def _write_enum(value: Any, writer: Writer) -> Any:
    plain = writer.part(value.value, ".value")
    if not isinstance(value.value, int) and _member_of(type(value), plain) is not value:
        raise CannotConvert(f"is {value!r}, whose value JSON can't tell from another member's", AS_OBJECT)
    return plain


def _member_of(cls: Any, value: Any) -> Any:
    """The member of an enumeration whose value has this JSON form; None where there is none."""
    for member in cls:
        try:
            if same_json(to_json(member.value), value):
                return member
        except CannotConvert:
            continue
    return None


def _read_enum(value: Any, target: Target) -> Any:
    member = _member_of(target.cls, value)
    if member is not None:
        return member
    for candidate in (value, parse_json_text(value)):
        # Flags that are combined, and what the enumeration itself takes for one of its members.
        if isinstance(candidate, (str, int, float)) and not isinstance(candidate, bool):
            try:
                made: Any = target.cls(candidate)
            except (ValueError, TypeError, KeyError):
                continue
            if not same_json(made.value, value):
                target.loosely()
            return made
    raise CannotConvert(f"is {short_json(value)}, which is none of its values")


# --- subclasses of JSON's own types --------------------------------------------------------------------------------


def _read_derived(base: Any) -> Callable[[Any, Target], Any]:
    """The reader of a class of the user's that is a str, an int or a float."""

    def from_json(value: Any, target: Target) -> Any:
        made = target.part(value, base, "")
        if target.cls is base:
            return made
        try:
            built = target.cls(made)
        except Exception as error:
            raise CannotConvert(f"is {short_json(value)}: {type(error).__name__}: {error}") from None
        if not isinstance(built, target.cls) or base.__eq__(built, made) is not True:
            raise CannotConvert(f"is {short_json(value)}, of which {target.cls.__name__} makes another {base.__name__}")
        return built

    return from_json


def _read_as_it_is(value: Any, target: Target) -> Any:
    return value


def _read_none(value: Any, target: Target) -> Any:
    if value is not None:
        raise CannotConvert(f"is {short_json(value)}")
    return None


def _read_path_like(value: Any, target: Target) -> Any:
    return target.part(value, imports.standard_module("pathlib").Path, "")


def _by_call(text: str, cls: Any) -> Any:
    return cls(text)


KINDS = {
    "text": _texts(_by_call),
    "exact number": Kind(lambda value, writer: str(value), _read_exact_number),
    "bytes": Kind(_write_bytes, _read_bytes),
    "pattern": Kind(_write_pattern, _texts(_read_pattern, lambda made: str(made.pattern)).from_json),
    "path-like": Kind(None, _read_path_like),
    "enum": Kind(_write_enum, _read_enum),
    "str": Kind(None, _read_derived(str)),
    "int": Kind(None, _read_derived(int)),
    "float": Kind(None, _read_derived(float)),
    "none": Kind(None, _read_none),
    "any": Kind(None, _read_as_it_is),
}
