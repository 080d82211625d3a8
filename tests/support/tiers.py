"""The two tiers of tests: `task test` runs the core tier, and `task test:full` runs all tests. Marks choose, with a reason.

The mark `core` is for tests on a cluster, where a pod costs 3 to 4 s of two cores: only tests with the mark are in the core tier.
The mark `full` is for other tests: those with the mark are only in the full tier. `task test:tiers` prints both tiers with reasons.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

CORE = "core"
FULL = "full"
_NOT_CORE = "is on a cluster and has no mark `core`"


def add_options(parser: pytest.Parser) -> None:
    """Adds the options --tier and --tiers to pytest."""
    group = parser.getgroup("tiers")
    group.addoption("--tier", choices=(CORE, FULL), default=FULL, help="the tests to run; all by default")
    group.addoption("--tiers", action="store_true", help="only print the tier of each test, and its reason")


def tier_of(item: pytest.Item) -> tuple[str, str]:
    """A test's tier and the reason, which is empty for a test without a mark that runs in both."""
    if (mark := item.get_closest_marker(FULL)) is not None:
        return FULL, _reason(item, mark)
    if (mark := item.get_closest_marker(CORE)) is not None:
        return CORE, _reason(item, mark)
    return (FULL, _NOT_CORE) if item.get_closest_marker("argo") is not None else (CORE, "")


def _reason(item: pytest.Item, mark: pytest.Mark) -> str:
    if len(mark.args) != 1 or not isinstance(mark.args[0], str) or not mark.args[0]:
        raise pytest.UsageError(f"{item.nodeid}: the mark {mark.name} takes one reason, a text")
    return mark.args[0]


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests that are not in the chosen tier."""
    tiers = [tier_of(item)[0] for item in items]
    if config.getoption("--tier") == FULL:
        return
    config.hook.pytest_deselected(items=[item for item, tier in zip(items, tiers, strict=True) if tier == FULL])
    items[:] = [item for item, tier in zip(items, tiers, strict=True) if tier != FULL]


def lines(items: Iterable[pytest.Item]) -> list[str]:
    """A line for each test: its tier, its name, and its reason if there is one."""
    rows = [(*tier_of(item), item.nodeid) for item in items]
    return [f"{tier}  {name}" + (f"  ({reason})" if reason else "") for tier, reason, name in sorted(rows)]
