"""The schedules of a CronWorkflow, checked by the rules of Argo's own parser.

Kubernetes takes any text there, and Argo then says only in the object's status that it will never run.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import BadInput

UTC = "Etc/UTC"
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)")
_EVERY = re.compile(r"@every \+?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")
_NAMED = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)


@dataclass(frozen=True)
class Schedules:
    """What a CronWorkflow has of them.

    Attributes:
        zone: the one in which all are meant.
    """

    lines: tuple[str, ...]
    zone: str


def read(given: Sequence[str]) -> Schedules:
    """The schedules of a configuration; ``CRON_TZ=ZONE`` before one names its time zone, and none is UTC.

    Raises:
        BadInput: Argo could not read one, or they have several time zones.
    """
    zones: dict[str, str] = {}
    lines = []
    for schedule in given:
        named = _ZONE.fullmatch(schedule)
        zone, line = (named[1], named[2].strip()) if named else (UTC, schedule.strip())
        try:
            _check(line)
            _check_zone(zone)
        except ValueError as error:
            raise BadInput(f"the schedule {schedule!r} can't be read: {error}") from None
        zones.setdefault(zone, schedule)
        lines.append(line)
    if len(zones) > 1:
        both = " and ".join(repr(schedule) for schedule in list(zones.values())[:2])
        raise BadInput(
            f"the schedules {both} are of two time zones, and a CronWorkflow has one: give each the same CRON_TZ="
        )
    return Schedules(tuple(lines), *zones)


def _check_zone(zone: str) -> None:
    known = zoneinfo.available_timezones()
    # A machine without a list of them can't say.
    if known and zone not in known:
        raise ValueError(f"there is no time zone {zone}")


def _check(line: str) -> None:
    if line.startswith("@"):
        if line not in _NAMED and not _EVERY.fullmatch(line):
            raise ValueError(f"there is {', '.join(sorted(_NAMED))}, and '@every 1h30m'")
        return
    fields = line.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"it takes five fields, {', '.join(name for name, *_ in _FIELDS)}, and there are {len(fields)}"
        )
    for field, (name, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        parts = field.split(",")
        if not all(_is_range(part, lowest, highest, names) for part in parts):
            raise ValueError(f"{field} is no {name}: that is {lowest} to {highest}, *, A-B, or each with /STEP")


def _is_range(text: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    span, slash, step = text.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    ends = [names.get(end.lower(), int(end) if end.isascii() and end.isdigit() else -1) for end in span.split("-")]
    return len(ends) <= 2 and all(lowest <= end <= highest for end in ends) and ends == sorted(ends)
