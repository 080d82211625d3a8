"""The examples that come with a plain program, on a cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.examples import EXAMPLES
from tests.support.plain import PROGRAMS, check_against, run_plain_program
from tests.support.scratch import Scratch

pytestmark = [pytest.mark.argo, pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.core("each example with the plain program's values, in the third of its environments; both at once")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_on_a_cluster_has_the_values_of_the_plain_program(name: str, clustered: Scratch, tmp_path: Path) -> None:
    """Three to nine steps with an image that is built and delivered: 25 to 45 s each."""
    shutil.copytree(
        EXAMPLES / name, clustered.root, ignore=shutil.ignore_patterns(".*", "__pycache__"), dirs_exist_ok=True
    )
    plain = run_plain_program(clustered.root, tmp_path / "plain")
    result = clustered.toolkit("run", plain.pipeline, "--run-id", f"same-{name}")
    assert result.code == 0, result.err
    check_against(plain, clustered, f"same-{name}")
