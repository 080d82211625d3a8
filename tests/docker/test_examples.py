"""The examples: each runs as its README says, with what its expected.json names; in containers and as plain processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import without_images
from tests.support.examples import EXAMPLES
from tests.support.plain import PROGRAMS, check_against, run_plain_program
from tests.support.scratch import Scratch

pytestmark = pytest.mark.timeout(600)

NAMES = sorted(one.parent.name for one in EXAMPLES.glob("*/expected.json"))
NOT_IN_CONTAINERS = {"notebook"}
"""Whose image needs packages that a test does not fetch."""


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scratch]:
    """A copy of an example, as a project of its own."""
    name, environment = request.param
    root = tmp_path / f"example-{name}-{os.urandom(4).hex()}".lower()
    shutil.copytree(EXAMPLES / name, root, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    scratch = Scratch(root, {"TOOLKIT_ENV": environment})
    if environment == "process":
        yield scratch
        return
    with without_images(root):
        yield scratch


def projects(names: list[str]) -> Iterator[Any]:
    """Each of these examples in each environment."""
    for name in names:
        yield pytest.param((name, "process"), id=f"{name}-process")
        if name not in NOT_IN_CONTAINERS:
            yield pytest.param((name, "local"), id=f"{name}-local", marks=pytest.mark.docker)


@pytest.mark.parametrize("copied", list(projects(NAMES)), indirect=True)
def test_an_example_gives_what_it_says(copied: Scratch) -> None:
    expected = json.loads((copied.root / "expected.json").read_text())
    result = copied.toolkit("run", *expected["arguments"])
    assert result.code == 0, result.err
    run = copied.show()
    assert {step["path"]: step["status"] for step in run["steps"]} == expected["steps"]
    assert run["parameters"] == expected["parameters"]
    put = {step["path"]: [one["name"] for one in last(step)["catalog"]["put"]] for step in run["steps"] if last(step)}
    assert {path: names for path, names in put.items() if names} == expected["files"]


@pytest.mark.parametrize("copied", list(projects(PROGRAMS)), indirect=True)
def test_a_run_has_the_values_of_the_plain_program(copied: Scratch, tmp_path: Path) -> None:
    plain = run_plain_program(copied.root, tmp_path / "plain")
    result = copied.toolkit("run", plain.pipeline, "--run-id", "same")
    assert result.code == 0, result.err
    check_against(plain, copied, "same")


def last(step: dict[str, Any]) -> dict[str, Any]:
    """A step's last attempt; empty where it has none."""
    attempts: list[dict[str, Any]] = step["attempts"]
    return attempts[-1] if attempts else {}


@pytest.mark.parametrize("copied", [pytest.param(("retry", "process"), id="process")], indirect=True)
def test_a_run_that_failed_goes_on_once_it_is_mended(copied: Scratch) -> None:
    assert copied.toolkit("run", "pipeline.py", "--run-id", "example").code == 1
    training = copied.root / "training.py"
    training.write_text(training.read_text().replace("1000 / rows", "1000 / max(rows, 1)"))
    result = copied.toolkit("retry", "example")
    assert result.code == 0, result.err
    run = copied.show("example")
    assert {step["path"]: [one["status"] for one in step["attempts"]] for step in run["steps"]} == {
        "load": ["succeeded"],
        "each region": [],
        "each region/0/train": ["succeeded"],
        "each region/1/train": ["succeeded"],
        "each region/2/train": ["failed", "succeeded"],
        "evaluate": ["succeeded"],
    }
    assert run["parameters"]["score"] == 0.2


def test_each_example_says_when_to_use_it() -> None:
    folders = sorted(one.name for one in EXAMPLES.iterdir() if one.is_dir() and not one.name.startswith((".", "_")))
    listed = (EXAMPLES / "README.md").read_text()
    assert [name for name in folders if f"[{name}]({name})" not in listed] == []
    told = {name for name in folders if (EXAMPLES / name / "README.md").is_file()}
    assert set(folders) - told == {"getting-started"}
    assert set(NAMES) == told - {"build", "retry", "artifacts"}
