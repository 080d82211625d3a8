"""For all tests: how they are started, their order, and a project of their own that runs as processes or in containers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import without_images
from tests.support.scratch import Scratch

FOR_TESTS = ("TOOLKIT_TEST_", "TOOLKIT_REGENERATE", "TOOLKIT_CONFORMANCE")
"""Variables that tests themselves are told something by."""
TELLING = ("PYTHONDEVMODE", "PYTHONVERBOSE", "PYTHONWARNINGS")
"""Variables by which every Python prints more than a test expects of it."""


def pytest_configure() -> None:
    """Takes out of the environment what a shell has set for the command or for Python: tests call both."""
    # Whoever calls `python -m pytest` in this folder has it on the path, where docker/ would stand for the library.
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).parent]
    for name in list(os.environ):
        if name in TELLING or (name.startswith(("TOOLKIT_", "RUNNABLE_")) and not name.startswith(FOR_TESTS)):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that change the cluster for all come last."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


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
