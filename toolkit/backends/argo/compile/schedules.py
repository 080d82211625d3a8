"""The schedules of a CronWorkflow, checked by the rules of Argo's own parser.

Kubernetes accepts any text there. Argo then says only in the object's status that the schedule will never run.
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
    """The schedules of one CronWorkflow.

    Attributes:
        lines: cron expressions. zone: the time zone of all of them.
    """

    lines: tuple[str, ...]
    zone: str


def read(configured: Sequence[str]) -> Schedules:
    """The schedules of a configuration. ``CRON_TZ=ZONE`` before one names its time zone; without it, it is in UTC.

    Raises:
        BadInput: Argo could not read one of them, or they have several time zones.
    """
    zones: dict[str, str] = {}
    lines = []
    for schedule in configured:
        with_zone = _ZONE.fullmatch(schedule)
        zone, line = (with_zone[1], with_zone[2].strip()) if with_zone else (UTC, schedule.strip())
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
            f"the schedules {both} have different time zones, and a CronWorkflow has one: give each the same CRON_TZ="
        )
    return Schedules(tuple(lines), *zones)


def _check_zone(zone: str) -> None:
    zones = zoneinfo.available_timezones()
    # On a machine without time zone data nothing can be checked.
    if zones and zone not in zones:
        raise ValueError(f"there is no time zone {zone}")


def _check(line: str) -> None:
    if line.startswith("@"):
        if line not in _NAMED and not _EVERY.fullmatch(line):
            raise ValueError(f"use one of {', '.join(sorted(_NAMED))}, or '@every 1h30m'")
        return
    fields = line.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"it needs five fields ({', '.join(name for name, *_ in _FIELDS)}), and has {len(fields)}")
    for field, (name, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        parts = field.split(",")
        if not all(_is_range(part, lowest, highest, names) for part in parts):
            raise ValueError(f"{field} is no {name}: use {lowest} to {highest}, *, or A-B, each also with /STEP")


def _is_range(text: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    span, slash, step = text.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    ends = [names.get(end.lower(), int(end) if end.isascii() and end.isdigit() else -1) for end in span.split("-")]
    return len(ends) <= 2 and all(lowest <= end <= highest for end in ends) and ends == sorted(ends)
