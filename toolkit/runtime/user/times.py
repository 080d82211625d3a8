"""Dates, times and durations as JSON. Aware stays aware, naive stays naive, and a named time zone keeps its name."""

from __future__ import annotations

from ..shared.casts import CannotConvert, not_a
from ..shared.values import short_json
from . import imports
from .kinds import Kind, full_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .annotations import Target
    from .kinds import Writer

re: Any = imports.standard_module("re")

_CLOCK = r"(?P<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?)(?:\.(?P<fraction>[0-9]{1,9}))?"
_OFFSET = r"(?P<offset>Z|[+-][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{6})?)?)?"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(_CLOCK + _OFFSET)
_DATETIME = re.compile(rf"(?P<date>{_DATE.pattern})[T ]{_CLOCK}{_OFFSET}(?:\[(?P<zone>[^\]]+)\])?")
"""ISO 8601 as each version of Python reads it, and after it the zone's name as in RFC 9557."""
_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)(?:\.(?P<fraction>[0-9]{1,6}))?S)?)?"
)
_MICROSECONDS = 10**6
_NO_ZONE = "use a zoneinfo.ZoneInfo, or value.astimezone(datetime.timezone.utc)"


# --- points in time -------------------------------------------------------------------------------------------------


def write_datetime(value: Any, nanoseconds: int = 0, zone: str = "") -> str:
    """A datetime as text.

    Args:
        nanoseconds: below the microsecond. zone: the name of its time zone, where its tzinfo does not have it as ``key``.

    Raises:
        CannotConvert: its time zone has no name, or it is naive and the second of two equal times.
    """
    text: str = value.isoformat()
    if nanoseconds:
        naive = value.replace(tzinfo=None)
        offset = text[len(naive.isoformat()) :]
        text = f"{naive.isoformat(timespec='microseconds')}{nanoseconds:03}{offset}"
    if value.tzinfo is None:
        _refuse_fold(value)
        return text
    name = zone or _zone_name(value.tzinfo)
    if not name and not _has_fixed_offset(value.tzinfo):
        raise CannotConvert(f"has the time zone {value.tzinfo!r}, which text can't tell", _NO_ZONE)
    return f"{text}[{name}]" if name else text


def _zone_name(zone: Any) -> str:
    is_zone = any(full_name(base) == "zoneinfo.ZoneInfo" for base in type(zone).__mro__)
    return (zone.key or "") if is_zone else ""


def _has_fixed_offset(zone: Any) -> bool:
    """Whether it has one offset from UTC at all times, so that this offset is all of it."""
    try:
        return zone.utcoffset(None) is not None
    except Exception:
        return False


def _refuse_fold(value: Any) -> None:
    if value.fold:
        raise CannotConvert(
            "is the second of two equal times (fold=1), which text can't tell", "make it aware: value.astimezone()"
        )


def read_datetime(value: Any, target: Target, cls: Any) -> tuple[Any, int]:
    """A datetime of a text, and the nanoseconds below its microsecond.

    Args:
        cls: the class of what is made.
    """
    parts = _DATETIME.fullmatch(value) if isinstance(value, str) else None
    if parts is None and isinstance(value, str) and _DATE.fullmatch(value):
        raise CannotConvert(
            f"is {short_json(value)}, a date without a time", "write the time too, as in 2024-01-03T00:00:00"
        )
    if parts is None:
        raise not_a(value, target.cls.__name__)
    fraction = (parts["fraction"] or "").ljust(9, "0")
    try:
        made = cls.fromisoformat(f"{parts['date']}T{_clock(parts)}.{fraction[:6]}{_offset(parts)}")
    except ValueError:
        raise not_a(value, target.cls.__name__) from None
    return (_in_zone(made, parts["zone"]) if parts["zone"] else made), int(fraction[6:])


def _clock(parts: Any) -> str:
    clock: str = parts["clock"]
    return clock if len(clock) == len("00:00:00") else f"{clock}:00"


def _offset(parts: Any) -> str:
    return "+00:00" if parts["offset"] == "Z" else parts["offset"] or ""


def _in_zone(made: Any, name: str) -> Any:
    try:
        zone = imports.standard_module("zoneinfo").ZoneInfo(name)
    except Exception:
        raise CannotConvert(
            f"has the time zone {name}, which this image does not have", "add tzdata to the requirements"
        ) from None
    for fold in (0, 1):
        placed = made.replace(tzinfo=zone, fold=fold)
        if placed.utcoffset() == made.utcoffset():
            return placed
    raise CannotConvert(f"has another offset than the time zone {name} has in this image", "use one version of tzdata")


def _read_datetime(value: Any, target: Target) -> Any:
    made, nanoseconds = read_datetime(value, target, target.cls)
    if nanoseconds:
        raise CannotConvert(
            f"is {short_json(value)}, which is finer than a microsecond", "annotate it as pandas.Timestamp"
        )
    if write_datetime(made) != value:
        target.loosely()
    return made


def _read_date(value: Any, target: Target) -> Any:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return target.cls.fromisoformat(value)
    except ValueError:
        pass
    raise not_a(value, target.cls.__name__)


def _write_time(value: Any, writer: Writer) -> str:
    _refuse_fold(value)
    if value.tzinfo is not None and value.utcoffset() is None:
        raise CannotConvert(
            f"has the time zone {value.tzinfo!r}, whose offset depends on the date", "return a datetime"
        )
    text: str = value.isoformat()
    return text


def _read_time(value: Any, target: Target) -> Any:
    parts = _TIME.fullmatch(value) if isinstance(value, str) else None
    fraction = ((parts and parts["fraction"]) or "").ljust(6, "0")
    if parts is None or len(fraction) > 6:
        raise not_a(value, target.cls.__name__)
    try:
        made = target.cls.fromisoformat(f"{_clock(parts)}.{fraction}{_offset(parts)}")
    except ValueError:
        raise not_a(value, target.cls.__name__) from None
    if made.isoformat() != value:
        target.loosely()
    return made


# --- durations ------------------------------------------------------------------------------------------------------


def write_timedelta(value: Any) -> Any:
    """A duration as a number of seconds, or as text of ISO 8601 where no float has all of its digits."""
    total = (value.days * 86400 + value.seconds) * _MICROSECONDS + value.microseconds
    seconds, below = divmod(abs(total), _MICROSECONDS)
    if not below:
        return seconds if total >= 0 else -seconds
    number = value.total_seconds()
    try:
        if imports.standard_module("datetime").timedelta(seconds=number) == value:
            return number
    except OverflowError:
        pass
    return f"{'-' if total < 0 else ''}PT{seconds}.{below:06}S"


def read_timedelta(value: Any, target: Target) -> Any:
    """A duration of a number of seconds, or of a text of ISO 8601."""
    cls = imports.standard_module("datetime").timedelta
    parts = _DURATION.fullmatch(value) if isinstance(value, str) else None
    try:
        if parts is not None and len(value) > 2:
            units = {unit: int(parts[unit] or 0) for unit in ("days", "hours", "minutes", "seconds")}
            made = cls(**units, microseconds=int((parts["fraction"] or "").ljust(6, "0")))
            made = -made if parts["sign"] else made
        else:
            number = target.part(value, float if isinstance(value, (str, float)) else int, "")
            made = cls(seconds=number)
            if isinstance(number, float) and abs(made.total_seconds() - number) > abs(number) * 1e-15:
                raise CannotConvert(f"is {short_json(value)} seconds, which is finer than a microsecond", "round it")
    except (OverflowError, ValueError):
        raise not_a(value, target.cls.__name__) from None
    except CannotConvert as refusal:
        if "finer" in refusal.what:
            raise
        raise CannotConvert(f"is {short_json(value)}", "write seconds, or a duration as in P1DT2H30M") from None
    if write_timedelta(made) != value:
        target.loosely()
    return made


def _read_timedelta(value: Any, target: Target) -> Any:
    made = read_timedelta(value, target)
    return made if type(made) is target.cls else target.cls(made.days, made.seconds, made.microseconds)


KINDS = {
    "datetime": Kind(lambda value, writer: write_datetime(value), _read_datetime),
    "date": Kind(lambda value, writer: value.isoformat(), _read_date),
    "time": Kind(_write_time, _read_time),
    "timedelta": Kind(lambda value, writer: write_timedelta(value), _read_timedelta),
}
