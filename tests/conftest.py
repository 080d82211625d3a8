"""For all tests: how they are started, their order, and a project of their own that runs as processes or in containers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import pods, tiers
from tests.support.engine import without_images
from tests.support.groups import GroupScheduling, on_cluster
from tests.support.scratch import Scratch

FOR_TESTS = ("TOOLKIT_TEST_", "TOOLKIT_REGENERATE", "TOOLKIT_CONFORMANCE")
"""Variables that tests themselves are told something by."""
TELLING = ("PYTHONDEVMODE", "PYTHONVERBOSE", "PYTHONWARNINGS")
"""Variables by which every Python prints more than a test expects of it."""


def pytest_configure(config: pytest.Config) -> None:
    """Takes out of the environment what a shell has set for the command or for Python: tests call both."""
    if config.getoption("--tiers"):
        config.option.collectonly = True
        config.option.verbose = -2
    # Whoever calls `python -m pytest` in this folder has it on the path, where docker/ would stand for the library.
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).parent]
    # Whoever starts tests in the background may have had these signals ignored, which each command here would inherit.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for name in list(os.environ):
        if name in TELLING or (name.startswith(("TOOLKIT_", "RUNNABLE_")) and not name.startswith(FOR_TESTS)):
            del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    tiers.add_options(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tiers.select(config, items)
    # Tests that change the cluster for all come last.
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Of tests on a cluster those that share something go to one worker; all others go wherever there is time."""
    return GroupScheduling(config, log) if on_cluster(config) else None


def _pods_made(config: pytest.Config) -> int | None:
    """By the cluster that tests are about to use or have used; None without one that is ours to ask."""
    if hasattr(config, "workerinput") or not on_cluster(config):
        return None
    from testcluster import kube, lifecycle
    from testcluster.places import Failed

    try:
        status = lifecycle.status()
        return (
            pods.made(kube.own().must("get", "--raw", "/metrics")) if status["up"] and not status["foreign"] else None
        )
    except Failed:
        return None


PODS_BEFORE = pytest.StashKey[int]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if (count := _pods_made(session.config)) is not None:
        session.config.stash[PODS_BEFORE] = count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many pods the tests made."""
    before = terminalreporter.config.stash.get(PODS_BEFORE, None)
    if before is not None and (count := _pods_made(terminalreporter.config) or 0) > before:
        terminalreporter.write_line(f"pods made: {count - before}", bold=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--tiers"):
        print(*tiers.lines(session.items), sep="\n")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """A project for plain processes."""
    root = tmp_path / "project"
    root.mkdir()
    return Scratch(root)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Scratch]:
    """A project whose steps run in containers; its images are removed, and nothing of its may be left running."""
    # A name of its own, since images are tagged by the folder's name.
    unique = os.urandom(4).hex()
    root = tmp_path / f"test-{tmp_path.name[:24].strip('_-.')}-{unique}".lower().replace("_", "-")
    with without_images(root):
        yield Scratch(root, {"TOOLKIT_ENV": "local"})
