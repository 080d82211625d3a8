"""Schedules: what Argo's parser takes and no more, in one time zone."""

from __future__ import annotations

import pytest

from toolkit.backends.argo.compile.schedules import Schedules, read
from toolkit.errors import BadInput

GOOD = ["* * * * *", "0 6 * * *", "*/15 0-6,20-23/2 1,15 jan-MAR sun", "5/10 ? ? 12 6", "  0  6 * * 0 ",
        "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@every 1h30m", "@every 1.5h"]  # fmt: skip
BAD = ["", "whenever", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
       "* * * * 7", "* * * * mon-sun", "10-5 * * * *", "1-2-3 * * * *", "*/0 * * * *", "*/x * * * *", "*/5/5 * * * *",
       "-1 * * * *", "1,,2 * * * *", "{{x}} * * * *", "jan * * * *", "@reboot", "@every", "@every 5", "@Daily",
       "CRON_TZ=Nowhere/Atlantis 0 6 * * *", "CRON_TZ=Europe/Berlin"]  # fmt: skip


@pytest.mark.parametrize("schedule", GOOD)
def test_a_schedule_is_taken_and_meant_in_utc(schedule: str) -> None:
    assert read([schedule]) == Schedules((schedule.strip(),), "Etc/UTC")


@pytest.mark.parametrize("schedule", BAD)
def test_another_is_refused_with_the_reason(schedule: str) -> None:
    with pytest.raises(BadInput, match=r"^the schedule .* can't be read: ."):
        read([schedule])


def test_a_time_zone_stands_before_a_schedule_as_in_a_crontab() -> None:
    given = ["CRON_TZ=Europe/Berlin 0 6 * * *", "TZ=Europe/Berlin @daily"]
    assert read(given) == Schedules(("0 6 * * *", "@daily"), "Europe/Berlin")


def test_two_time_zones_are_refused_because_a_cron_workflow_has_one() -> None:
    with pytest.raises(BadInput, match=r"'CRON_TZ=Europe/Berlin 0 6.*and '@daily' have different time zones"):
        read(["CRON_TZ=Europe/Berlin 0 6 * * *", "@daily"])
