"""Which environments the suite runs in, and where a case runs in the chosen tier."""

from __future__ import annotations

import os

import pytest

from tests.conformance.case import ENVIRONMENTS, Case, Environment
from tests.conformance.cases import CASES

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


CASES_OF_A_GROUP = 10
"""Cases that a worker runs before it asks for what is known of them: on a cluster, one pod answers for all of them."""


def groups(config: pytest.Config) -> dict[str, str]:
    """The group of each case that runs on a cluster: a worker has all of it. Those with many pods come first in CASES."""
    on_cluster = [case.name for case in CASES if "argo" in selected(config, case)]
    count = -(-len(on_cluster) // CASES_OF_A_GROUP) or 1
    return {name: f"conformance-{position % count}" for position, name in enumerate(on_cluster)}
