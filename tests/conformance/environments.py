"""The environments that the suite runs in, and those of a case in the chosen tier."""

from __future__ import annotations

import os

import pytest

from tests.conformance.case import ENVIRONMENTS, Case, Environment
from tests.conformance.cases import CASES

CHOICE = "TOOLKIT_CONFORMANCE"
"""The environment variable that names the environments to run in, separated by commas. Without it, all run."""


def chosen() -> tuple[Environment, ...]:
    """The environments to run in."""
    named = [name.strip() for name in os.environ.get(CHOICE, "").split(",") if name.strip()]
    unknown = set(named) - set(ENVIRONMENTS)
    if unknown:
        raise pytest.UsageError(f"{CHOICE} names {', '.join(sorted(unknown))}: it takes {', '.join(ENVIRONMENTS)}")
    return tuple(name for name in ENVIRONMENTS if name in named or not named)


def selected(config: pytest.Config, case: Case) -> tuple[Environment, ...]:
    """The environments that a case runs in this time."""
    return tuple(name for name in case.environments(config.getoption("--tier")) if name in chosen())


CASES_OF_A_GROUP = 10
"""How many cases a worker runs before it makes the queries about them. On a cluster, one pod answers all of them."""


def groups(config: pytest.Config) -> dict[str, str]:
    """For each case that runs on a cluster, its group, which one worker runs. CASES begins with the cases that have many pods."""
    on_cluster = [case.name for case in CASES if "argo" in selected(config, case)]
    count = -(-len(on_cluster) // CASES_OF_A_GROUP) or 1
    return {name: f"conformance-{position % count}" for position, name in enumerate(on_cluster)}
