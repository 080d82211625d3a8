"""The mocked executor: which tasks run, what they run, and what can't be patched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.errors import BadInput

PIPELINE = """\
import functions as f
from toolkit import *

one = Pipeline(steps=[PythonTask(f.load, returns=["x"], on_failure=Stub("h").as_pipeline()),
                      ShellTask("clean", "exit 1", returns=["y"])], name="one")
p = Pipeline(steps=[
    one,
    Parallel("par", {"left": ShellTask("clean", "exit 1").as_pipeline(), "right": Stub("s").as_pipeline()}),
    Map("m", PythonTask(f.use, returns=["z"]).as_pipeline(), "items", "x"),
    PythonTask(f.end, terminate_with_failure=True),
])
"""
FUNCTIONS = """\
def load(): raise ValueError("the real one")
def use(x): raise ValueError("the real one")
def end(): raise ValueError("the real one")
def small(): return 7
def other(x): return x * 2
"""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("functions.py", FUNCTIONS)
    found.write("pipeline.py", PIPELINE)
    return found


def configure(project: LocalProject, **patches: Any) -> None:
    config = {"patches": {name: {"command": command} for name, command in patches.items()}}
    project.write("toolkit.yaml", "executor:\n  type: mocked\n  config: " + json.dumps(config) + "\n")


def kinds(project: LocalProject) -> dict[str, str]:
    return {step.path: step.type for step in project.plan("pipeline.py").steps}


def test_without_a_patch_every_task_is_a_stub(project: LocalProject) -> None:
    configure(project)
    project.write("pipeline.py", PIPELINE.replace("terminate_with_failure=True", "max_attempts=2"))
    found = kinds(project)
    assert "task" not in found.values() and found["one/load"] == found["par/left/clean"] == found["m/*/use"] == "stub"
    assert "one/load/on_failure/h" not in found
    # Nothing of the real steps runs, and the environment is the one that needs no image.
    assert project.toolkit("run", "pipeline.py", "--param", "items=[1, 2]") == 0, project.err
    assert "environment: process (because executor.type in toolkit.yaml is mocked)" in project.err


def test_a_patch_is_for_a_name_or_a_path_and_replaces_what_the_task_runs(project: LocalProject) -> None:
    configure(project, **{"load": "functions.small", "par/left/clean": "echo one", "use": "functions.other"})
    plan = project.plan("pipeline.py")
    tasks = {step.path: step.task for step in plan.steps if step.task is not None}
    assert list(tasks) == ["one/load", "par/left/clean", "m/*/use"]
    assert tasks["one/load"].function is not None and tasks["one/load"].function.qualname == "small"
    assert tasks["par/left/clean"].command == "echo one"
    assert plan.step("one/load/on_failure/h").type == "stub" and plan.step("one/clean").type == "stub"
    # What a mocked step declared to end the pipeline with stays.
    assert plan.step("end").ends == "failure"


def test_a_name_that_several_tasks_have_is_for_all_and_a_path_for_one(project: LocalProject) -> None:
    configure(project, **{"clean": "echo all", "one/clean": "echo one"})
    tasks = {step.path: step.task.command for step in project.plan("pipeline.py").steps if step.task is not None}
    assert tasks == {"one/clean": "echo one", "par/left/clean": "echo all"}


def test_a_run_of_patched_steps_returns_what_they_return(project: LocalProject) -> None:
    configure(project, load="functions.small", use="functions.other", clean="export y=clean")
    project.write("pipeline.py", PIPELINE.replace(", terminate_with_failure=True", ""))
    assert project.toolkit("run", "pipeline.py", "--param", "items=[1, 2]") == 0, project.err
    parameters = project.show()["parameters"]
    assert (parameters["x"], parameters["y"], parameters["z"]) == (7, "clean", [2, 4])


@pytest.mark.parametrize(
    ("patches", "pipeline", "message", "where"),
    [
        ({"laod": "functions.small"}, "", "has no task of that name; did you mean 'load'?", "toolkit.yaml:3"),
        ({"s": "functions.small"}, "", "names the step 's'", "toolkit.yaml:3"),
        ({"par": "functions.small"}, "", "names the step 'par'", "toolkit.yaml:3"),
        ({"load": "functions.smal"}, "", "the patch of the step 'load': the module functions has no function", "toolkit.yaml:3"),
        ({"load": "small"}, "", "is not the dotted path of a function", "toolkit.yaml:3"),
        ({"use": "functions.use"}, "p = Pipeline(steps=[PythonTask(f.load, returns=['a']),\n"
         "  PythonTask(f.use, bind={'x': 'load.a'})])", "which is mocked and returns nothing: patch 'load' too", "pipeline.py:4"),
    ],
)  # fmt: skip
def test_what_can_not_be_patched_is_told_with_its_place(
    project: LocalProject, patches: dict[str, str], pipeline: str, message: str, where: str
) -> None:
    configure(project, **patches)
    if pipeline:
        project.write("pipeline.py", "import functions as f\nfrom toolkit import *\n" + pipeline)
    with pytest.raises(BadInput) as caught:
        project.plan("pipeline.py")
    assert message in caught.value.message and str(caught.value.where).endswith(where)


def test_a_parameter_that_only_a_mocked_step_would_return_is_asked_for(project: LocalProject) -> None:
    configure(project, use="functions.use")
    project.write(
        "pipeline.py",
        "import functions as f\nfrom toolkit import *\np = Pipeline(steps=[PythonTask(f.load, returns=['x']), PythonTask(f.use)])",
    )
    assert project.toolkit("run", "pipeline.py") == 2
    assert "takes x" in project.err and "a stub, as each mocked step is, returns nothing" in project.err
