"""The code of the pages in docs/ runs as the pages say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from tests.support.pages import write_files


def test_the_example_of_the_page_on_testing_passes(tmp_path: Path) -> None:
    assert write_files(tmp_path, "testing.md", "An example with pytest")[-1] == "tests/test_pipeline.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


def written(folder: Path, page: str, heading: str) -> LocalProject:
    write_files(folder, page, heading)
    return LocalProject(folder)


@pytest.mark.parametrize("file", ["compared.py", "compared.yaml"])
def test_bindings_are_to_values_parameters_and_steps(tmp_path: Path, file: str) -> None:
    project = written(tmp_path, "parameters.md", "Bindings")
    assert project.run(file, "--param", "this_year=2026") == 0, project.err
    run = project.show()
    assert run["parameters"]["grown"] == 3
    assert run["steps"][0]["attempts"][0]["input_parameters"] == {"year": 2023}
    assert project.plan("compared.py").to_json() == project.plan("compared.yaml").to_json()


def test_a_return_in_yaml_says_its_kind(tmp_path: Path) -> None:
    project = written(tmp_path, "pipelines.md", "Returns")
    assert project.run("scored.yaml") == 0, project.err
    returned = project.show()["steps"][0]["attempts"][0]["output_parameters"]
    assert returned["score"] == 0.75 and returned["model"]["object"] == "set"
    assert project.toolkit("runs", "--table", "score") == 0 and "0.75" in project.out


@pytest.mark.parametrize("name", ["branches.py", "branches.py:main"])
@pytest.mark.parametrize(("numbers", "said"), [([1, 2], "the total is 6\n"), ([], "there is nothing\n")])
def test_a_driver_has_drivers_as_branches(tmp_path: Path, name: str, numbers: list[int], said: str) -> None:
    project = written(tmp_path, "pipelines.md", "The three forms")
    assert project.run(name, "--param", f"numbers={json.dumps(numbers)}") == 0, project.err
    assert project.toolkit("logs") == 0 and said in project.out


def test_a_step_after_a_map_gets_the_items_files_by_position(tmp_path: Path) -> None:
    project = written(tmp_path, "files.md", "Files of a map's items")
    assert project.run("genres.py", "--param", 'names=["Comedy", "Drama"]') == 0, project.err
    got = project.show()["steps"][-1]["attempts"][0]["catalog"]["get"]
    assert [file["name"] for file in got] == ["0/model.txt", "1/model.txt"]


def test_an_override_is_that_of_the_configurations_own_type(tmp_path: Path) -> None:
    project = written(tmp_path, "configuration.md", "`executor`")
    assert project.run("training.py") == 0, project.err
    assert project.toolkit("logs") == 0
    assert [line.split()[-1] for line in project.out.splitlines() if line.strip().endswith(("1", "8"))] == ["1", "8"]
    settings = [project.plan("training.py").settings_of(step) for step in project.plan("training.py").tasks()]
    assert [(one.resources.limits.memory, one.time_limit) for one in settings] == [("1Gi", None), ("16Gi", 7200)]
