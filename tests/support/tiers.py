"""Which tests `task test` runs, and which only `task test:full` does; each mark says why.

`core` is for a test on a cluster, where a pod costs 3 to 4 s of two cores: only those that have it are in the core tier.
`full` is for any other test: what has it is in the full tier alone. `task test:tiers` prints both lists with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

CORE = "core"
FULL = "full"
_NOT_CORE = "is on a cluster and has no mark `core`"


def add_options(parser: pytest.Parser) -> None:
    """The two options of pytest's command line that are about tiers."""
    group = parser.getgroup("tiers")
    group.addoption("--tier", choices=(CORE, FULL), default=FULL, help="the tests to run; all by default")
    group.addoption("--tiers", action="store_true", help="only print which test is in which tier, and why")


def tier_of(item: pytest.Item) -> tuple[str, str]:
    """A test's tier and the reason; the reason is empty for what runs everywhere."""
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
    """Takes out what is not in the chosen tier."""
    tiers = [tier_of(item)[0] for item in items]
    if config.getoption("--tier") == FULL:
        return
    config.hook.pytest_deselected(items=[item for item, tier in zip(items, tiers, strict=True) if tier == FULL])
    items[:] = [item for item, tier in zip(items, tiers, strict=True) if tier != FULL]


def lines(items: Iterable[pytest.Item]) -> list[str]:
    """A line for each test: its tier, its name, and the reason where it has one."""
    rows = [(*tier_of(item), item.nodeid) for item in items]
    return [f"{tier}  {name}" + (f"  ({reason})" if reason else "") for tier, reason, name in sorted(rows)]
