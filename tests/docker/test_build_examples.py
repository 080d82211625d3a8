"""The examples of declaring dependencies: each is built, and its one step prints what the environment has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import without_images
from tests.support.examples import EXAMPLES
from tests.support.scratch import Scratch
from toolkit.build.environment.base_image import DEFAULT_BASE, OWN_BASE
from toolkit.engine import EngineApi

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

BUILDS = EXAMPLES / "build"
CORE = {"workspace", "editable", "script", "wheelhouse", "poetry"}
"""One for each way of installing: uv sync, requirements that are exact, a choice that uv is asked for, pip, and an export."""


def examples() -> list[Any]:
    rare = pytest.mark.full(
        "it fetches tools or packages from an index, and is installed as one that the core tier has"
    )
    names = sorted(one.parent.name for one in BUILDS.glob("*/expected.txt"))
    return [pytest.param(name, marks=[] if name in CORE else [rare]) for name in names]


def _start_from_what_is_there(root: Path) -> None:
    """A Dockerfile names its base. Where no registry can be reached, that is the one that `task setup` made."""
    dockerfile = root / "Dockerfile"
    if dockerfile.exists() and EngineApi().image(DEFAULT_BASE) is None:
        dockerfile.write_text(dockerfile.read_text().replace(DEFAULT_BASE, OWN_BASE))


@pytest.mark.parametrize("name", examples())
def test_an_example_has_what_it_declares(name: str, tmp_path: Path) -> None:
    root = tmp_path / f"build-{name}-{os.urandom(4).hex()}"
    shutil.copytree(BUILDS / name, root, ignore=shutil.ignore_patterns(".toolkit", "__pycache__"))
    _start_from_what_is_there(root)
    scratch = Scratch(root, {"TOOLKIT_ENV": "local"})
    with without_images(root):
        result = scratch.toolkit("run", "pipeline.py")
        assert result.code == 0, result.err
        said = scratch.toolkit("logs")
        assert (root / "expected.txt").read_text().strip() in said.out, said.out
        # Nothing is built, asked or said again.
        again = scratch.toolkit("build")
        assert again.code == 0 and "building" not in again.err and "asking" not in again.err, again.err
