"""The locks of Poetry, PDM and Pipenv with their own tools: what is stale is refused, and what is local is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.engine import without_images
from tests.support.examples import EXAMPLES
from tests.support.scratch import Scratch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

X = {
    "libs/x/pyproject.toml": (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["six"]\n'
    ),
    "libs/x/x.py": "V = 1\n",
}
FULL = pytest.mark.full("each tool is fetched from an index; the core tier has one of them")


def scratch(name: str, folder: Path) -> Scratch:
    root = folder / f"export-{name}-{os.urandom(4).hex()}"
    shutil.copytree(EXAMPLES / "build" / name, root, ignore=shutil.ignore_patterns(".toolkit", "__pycache__"))
    return Scratch(root, {"TOOLKIT_ENV": "local"})


@pytest.mark.parametrize(
    ("name", "declaring", "remedy"),
    [
        pytest.param("poetry", "pyproject.toml", "run `poetry lock`"),
        pytest.param("poetry-1", "pyproject.toml", "run `poetry lock`", marks=FULL),
        pytest.param("pdm", "pyproject.toml", "run `pdm lock", marks=FULL),
        pytest.param("pipenv", "Pipfile", "run `pipenv lock`", marks=FULL),
    ],
)
def test_a_stale_lock_is_refused_by_its_own_tool(name: str, declaring: str, remedy: str, tmp_path: Path) -> None:
    project = scratch(name, tmp_path)
    with without_images(project.root):
        file = project.root / declaring
        file.write_text(file.read_text().replace("1.17", "1.16"))
        result = project.toolkit("build")
        assert result.code == 2 and remedy in result.err, result.err


@FULL
def test_a_lock_that_the_tool_takes_for_current_must_be_what_it_exports(tmp_path: Path) -> None:
    """Poetry does not look at the hashes of its lock, but the index's file has another."""
    project = scratch("poetry", tmp_path)
    with without_images(project.root):
        lock = project.root / "poetry.lock"
        lock.write_text(
            lock.read_text().replace("4721f391ed90", "000000000000").replace("ff70335d468e", "000000000000")
        )
        result = project.toolkit("build")
        assert result.code == 2 and "does not match its hash in poetry.lock" in result.err, result.err


@FULL
def test_an_editable_folder_of_a_pipfile_is_installed_from_its_files(tmp_path: Path) -> None:
    project = scratch("pipenv", tmp_path)
    project.write(
        {
            **X,
            "Pipfile": '[[source]]\nurl = "https://pypi.org/simple"\nverify_ssl = true\nname = "pypi"\n'
            '[packages]\nsix = "==1.17.0"\nx = {path = "./libs/x", editable = true}\n',
            "versions.py": "import six, x\n\nprint(six.__version__, x.V, x.__file__)\n",
        }
    )
    lock = project.root / "Pipfile.lock"
    text = lock.read_text().replace('"default": {', '"default": {"x": {"editable": true, "path": "./libs/x"},')
    digest = text.split('"sha256": "')[1].split('"')[0]
    lock.write_text(text.replace(digest, "d3be436a5cb73ccdc4a915d5e4fef2ca691520c1616dcd1a9bea283f1b18f000"))
    with without_images(project.root):
        result = project.toolkit("run", "pipeline.py")
        assert result.code == 0, result.err
        said = project.toolkit("logs").out
        assert "1.17.0 1 /opt/venv/lib/" in said, said
        project.write({"libs/x/x.py": "V = 2\n"})
        result = project.toolkit("run", "pipeline.py")
        assert result.code == 0 and "asking" not in result.err, result.err
        assert "1.17.0 2 /opt/venv/lib/" in project.toolkit("logs").out
