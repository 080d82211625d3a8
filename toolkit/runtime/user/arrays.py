"""numpy's scalars and arrays, and the times of pandas.

An array is written as lists where numpy makes the same array of them: of int64, float64, bool or text. Any other type of its items
can't be told from lists, so such an array is refused when it is returned.
"""

from __future__ import annotations

import sys

from ..shared.casts import CannotConvert, not_a, same_json
from ..shared.values import parse_json_text, short_json
from . import kinds
from .conversion import AS_OBJECT
from .kinds import Kind
from .times import read_datetime, read_timedelta, write_datetime, write_timedelta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .annotations import Target
    from .kinds import Writer


# --- numpy ----------------------------------------------------------------------------------------------------------


def _write_scalar(value: Any, writer: Writer) -> Any:
    letter = value.dtype.kind
    if letter in "biuf":
        item = value.item()
        if type(item) is not type(value):
            return writer.part(item, "")
    if letter == "M":
        text = str(value)
        if text != "NaT" and type(value)(text).dtype == value.dtype:
            return text
    raise CannotConvert(
        f"is a numpy.{value.dtype}, which is not JSON", "return its .item()" if letter == "m" else AS_OBJECT
    )


def _read_scalar(value: Any, target: Target) -> Any:
    numpy = sys.modules["numpy"]
    cls = target.cls
    if issubclass(cls, numpy.bool_):
        return _counted(cls(target.part(value, bool, "")), value, target)
    if issubclass(cls, numpy.datetime64):
        return _read_moment(value, target)
    if issubclass(cls, numpy.integer):
        number: Any = target.part(value, int, "")
        cls = numpy.int64 if cls in (numpy.integer, numpy.signedinteger) else cls
    elif issubclass(cls, (numpy.floating, numpy.inexact)) and not issubclass(cls, numpy.complexfloating):
        number = target.part(value, float, "")
        cls = numpy.float64 if cls in (numpy.floating, numpy.inexact) else cls
    elif cls in (numpy.number, numpy.generic):
        number = value
        cls = type(numpy.asarray(value)[()])
    else:
        raise CannotConvert(f"is {short_json(value)}, of which no {cls.__name__} can be made")
    try:
        with numpy.errstate(all="ignore"):
            made = cls(number)
    except (OverflowError, ValueError, TypeError):
        raise CannotConvert(f"is {short_json(value)}, which no {cls.__name__} holds") from None
    # The digits that spell a number of less precision are it, as 0.1 is the float32 that is written so.
    if made.item() != number and (isinstance(number, int) or float(str(made)) != number):
        raise CannotConvert(f"is {short_json(value)}, which no {cls.__name__} holds")
    return _counted(made, value, target)


def _counted(made: Any, value: Any, target: Target) -> Any:
    if not same_json(made.item(), value):
        target.loosely()
    return made


def _read_moment(value: Any, target: Target) -> Any:
    try:
        made = target.cls(value) if isinstance(value, str) else None
    except ValueError:
        made = None
    if made is None or str(made) == "NaT":
        raise not_a(value, target.cls.__name__)
    if str(made) != value:
        target.loosely()
    return made


def _write_array(value: Any, writer: Writer) -> Any:
    numpy = sys.modules["numpy"]
    if type(value) is not numpy.ndarray or value.dtype.kind not in "biufU":
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CannotConvert(f"is a {name} of {value.dtype}, which is not JSON", AS_OBJECT)
    plain = writer.part(value.tolist(), "")
    again = numpy.array(plain)
    if again.dtype != value.dtype or again.shape != value.shape:
        raise CannotConvert(
            f"is an array of {value.dtype} with the shape {value.shape}, which lists of numbers do not tell",
            "declare it as {pickled}, or return its .tolist()",
        )
    return plain


def _read_array(value: Any, target: Target) -> Any:
    numpy = sys.modules["numpy"]
    decoded = parse_json_text(value)
    if isinstance(decoded, (str, dict)) or decoded is None:
        raise not_a(value, "array")
    try:
        made = numpy.array(decoded)
    except ValueError as error:
        raise CannotConvert(f"is {short_json(value)}: {error}") from None
    if made.dtype.kind not in "biufU" or not _holds(made, decoded):
        raise CannotConvert(
            f"is {short_json(value)}, whose items are of several types, or whose lists are of several lengths"
        )
    wanted = _item_type(target)
    if wanted is not None and made.dtype != wanted:
        made = _as_type(made, wanted, value, target)
    elif decoded is not value:
        target.loosely()
    return made


def _item_type(target: Target) -> Any:
    """The type of items that ``ndarray[…, dtype[X]]`` names; None where it names none."""
    numpy = sys.modules["numpy"]
    inner = target.arguments[-1] if target.arguments else None
    named = (getattr(inner, "__args__", None) or (None,))[0]
    named = target.place.variables.get(named, named) if type(named).__name__ == "TypeVar" else named
    return numpy.dtype(named) if isinstance(named, type) and not _is_abstract(named) else None


def _is_abstract(cls: Any) -> bool:
    return cls.__name__ in (
        "generic",
        "number",
        "integer",
        "signedinteger",
        "unsignedinteger",
        "inexact",
        "floating",
        "Any",
    )


def _as_type(made: Any, wanted: Any, value: Any, target: Target) -> Any:
    numpy = sys.modules["numpy"]
    target.loosely()
    if made.size == 0 or (made.dtype.kind in "iuf" and wanted.kind in "iuf"):
        with numpy.errstate(all="ignore"):
            cast = made.astype(wanted)
        if wanted.kind == "f" and made.dtype.kind == "f":
            fits = all(
                number == before or float(str(number)) == before for number, before in zip(cast.ravel(), made.ravel())
            )
        else:
            fits = bool((cast == made).all())
        if fits:
            return cast
    raise CannotConvert(f"is {short_json(value)}, which no array of {wanted} holds")


def _holds(made: Any, decoded: Any) -> bool:
    """Whether an array has just the items of a list; an int may have become an equal float."""
    items = made.tolist()

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        are_numbers = {type(one), type(other)} <= {int, float}
        return bool(one == other) and (are_numbers or type(one) is type(other))

    return same(items, decoded)


# --- pandas ---------------------------------------------------------------------------------------------------------


def _write_timestamp(value: Any, writer: Writer) -> str:
    zone = getattr(value.tzinfo, "key", None) or getattr(value.tzinfo, "zone", None) or ""
    fixed = zone in ("UTC", "") or value.tzinfo.utcoffset(None) is not None
    return write_datetime(value.to_pydatetime(warn=False), value.nanosecond, "" if fixed else zone)


def _read_timestamp(value: Any, target: Target) -> Any:
    pandas = sys.modules["pandas"]
    datetime = next(base for base in target.cls.__mro__ if base.__module__ == "datetime")
    made, nanoseconds = read_datetime(value, target, datetime)
    zone = getattr(made.tzinfo, "key", None)
    stamp = target.cls(made)
    # Zones are of one class in pandas, which depends on its version.
    stamp = stamp.tz_convert(zone) if zone else stamp
    stamp = stamp + pandas.Timedelta(nanoseconds, "ns") if nanoseconds else stamp
    if _write_timestamp(stamp, kinds.Writer(0, True)) != value:
        target.loosely()
    return stamp


def _write_pandas_timedelta(value: Any, writer: Writer) -> Any:
    if value.nanoseconds:
        raise CannotConvert("is finer than a microsecond, and durations are written in microseconds", AS_OBJECT)
    return write_timedelta(value.to_pytimedelta())


def _read_pandas_timedelta(value: Any, target: Target) -> Any:
    return target.cls(read_timedelta(value, target))


def _refuse_no_time(value: Any, *rest: Any) -> Any:
    raise CannotConvert("is pandas.NaT, which is not JSON", "return None, or declare it as {pickled}")


KINDS = {
    "scalar": Kind(_write_scalar, _read_scalar),
    "array": Kind(_write_array, _read_array),
    "timestamp": Kind(_write_timestamp, _read_timestamp),
    "timedelta": Kind(_write_pandas_timedelta, _read_pandas_timedelta),
    "no time": Kind(_refuse_no_time, _refuse_no_time),
}
