"""Which environments the suite runs in, and where a case runs in the chosen tier."""

from __future__ import annotations

import os

import pytest

from tests.conformance.case import ENVIRONMENTS, Case, Environment

CHOICE = "TOOLKIT_CONFORMANCE"
"""Names the environments to run in, with commas; all of them when it is not set."""


def chosen() -> tuple[Environment, ...]:
    """The environments to run in."""
    named = [one.strip() for one in os.environ.get(CHOICE, "").split(",") if one.strip()]
    unknown = set(named) - set(ENVIRONMENTS)
    if unknown:
        raise pytest.UsageError(f"{CHOICE} names {', '.join(sorted(unknown))}: it takes {', '.join(ENVIRONMENTS)}")
    return tuple(one for one in ENVIRONMENTS if one in named or not named)


def selected(config: pytest.Config, case: Case) -> tuple[Environment, ...]:
    """Where a case runs this time."""
    return tuple(one for one in case.environments(config.getoption("--tier")) if one in chosen())
