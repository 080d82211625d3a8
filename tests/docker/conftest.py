"""What the tests of builds with a real engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_builds import Bench, project_to_build


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with project_to_build(tmp_path) as made:
        yield made
