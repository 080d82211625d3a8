"""The plan of the example, byte for byte: the same in its three forms, in every process, and from one version to the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.examples import GETTING_STARTED
from tests.support.local_project import LocalProject

GOLDEN = Path(__file__).parent / "plan-getting-started.json"
FORMS = ("sdk.py", "driver.py", "pipeline.yaml")


@pytest.fixture
def example(tmp_path: Path) -> LocalProject:
    """A copy, since a description leaves its cache beside the configuration."""
    for file in GETTING_STARTED.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, tmp_path)
    return LocalProject(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_the_examples_plan_in_each_form(example: LocalProject, form: str) -> None:
    made = example.plan(form)
    found = made.to_json().replace(b"},{", b"},\n{") + b"\n"
    if os.environ.get("TOOLKIT_REGENERATE") == "1":
        assert not os.environ.get("CI"), "a golden file is looked at by whoever changes it, and never made by CI"
        GOLDEN.write_bytes(found)
    assert found == GOLDEN.read_bytes(), "TOOLKIT_REGENERATE=1 writes it anew"


def test_another_process_with_another_hash_seed_makes_the_same_bytes(example: LocalProject) -> None:
    # Given settings in which sets and dicts take part,
    example.write(
        "toolkit.yaml",
        "executor:\n  type: local-container\n  config:\n    environment: {B: '1', A: '2', C: '3'}\n"
        "    labels: {z: '1', y: '2'}\n    persistent_volumes:\n      - {name: v, mount_path: /mnt}\n",
    )
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from tests.support.local_project import LocalProject\n"
        "sys.stdout.buffer.write(LocalProject(pathlib.Path(sys.argv[2])).plan('pipeline.yaml').to_json())\n"
    )
    # when processes that order them otherwise make the plan,
    made = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parents[2]), str(example.root)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    # then it is one.
    assert made == {example.plan("pipeline.yaml").to_json()}
