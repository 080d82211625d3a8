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


def test_what_stands_in_for_a_function_needs_not_take_what_is_bound(project: LocalProject) -> None:
    configure(project, load="functions.small", use="functions.small")
    project.write(
        "pipeline.py",
        "import functions as f\nfrom toolkit import *\np = Pipeline(steps=[PythonTask(f.load, returns=['a']), "
        "PythonTask(f.use, bind={'x': 'load.a'}, returns=['z'])])",
    )
    assert project.plan("pipeline.py").step("use").bind == {}
    assert project.run("pipeline.py") == 0, project.err


WITH_FILES = """\
import functions as f
from toolkit import *

p = Pipeline(steps=[
    PythonTask(f.fetch, returns=["rows", metric("score"), pickled("frame")], secrets=["key"],
               catalog=Catalog(put=["data/{kind}.csv", "more/", "*.txt"])),
    ShellTask("count", "cat data/a.csv more/x/one one.txt; export n=$(wc -l < data/a.csv)", returns=["n"],
              catalog=Catalog(get=["data/a.csv", "more", "one.txt"])),
    ShellTask("never", "exit 1", returns=["y"], on_failure=Stub("h").as_pipeline()),
    PythonTask(f.report),
])
"""
FETCH = """\
def fetch(kind): raise ValueError("the real one")
def report(rows, n, y, frame): print("rows", rows, n, y, frame)
"""
PATCH = """\
fetch:
  returns: {rows: [1, {z: 1, a: 2}], score: 0.5, frame: {b: 1}}
  files:
    data/{kind}.csv: in.csv
    more/x/one: {text: "one\\n"}
    one.txt: {path: in.csv}
never: {returns: {y: 1.5}}
"""


def with_files(project: LocalProject, patch: str = PATCH) -> None:
    project.write("functions.py", FETCH)
    project.write("pipeline.py", WITH_FILES)
    project.write("fakes/patch.yaml", patch)
    project.write("fakes/in.csv", "1\n2\n3\n")


def test_a_patch_gives_returns_and_files_and_the_other_steps_run(project: LocalProject) -> None:
    with_files(project)
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml", "--param", "kind=a") == 0, project.err
    assert "patched, so not what the pipeline says: fetch, never" in project.err
    run = project.show()
    steps = {step["path"]: step for step in run["steps"]}
    assert [path for path, step in steps.items() if step.get("patched")] == ["fetch", "never"]
    put = steps["fetch"]["attempts"][0]["catalog"]["put"]
    assert [(file["name"], file["size"]) for file in put] == [("data/a.csv", 6), ("more/x/one", 4), ("one.txt", 6)]
    assert run["parameters"]["n"] == 3 and run["parameters"]["score"] == 0.5
    report = Path(steps["report"]["attempts"][0]["log"]).read_text()
    assert report == "rows [1, {'z': 1, 'a': 2}] 3 1.5 {'b': 1}\n"
    assert project.toolkit("show") == 0 and "python (patched)" in project.out and "shell (patched)" in project.out


def test_a_patch_that_is_json_may_give_another_command(project: LocalProject) -> None:
    with_files(project)
    patch = {
        "fetch": {"returns": {"rows": 1, "score": 1, "frame": None}, "files": {
            "data/{kind}.csv": {"text": "x\n"}, "more/x/one": {"text": ""}, "one.txt": {"text": ""}}},
        "never": {"command": "export y=2"},
    }  # fmt: skip
    project.write("patch.json", json.dumps(patch))
    assert project.run("pipeline.py", "--patch", "patch.json", "--param", "kind=a") == 0, project.err
    run = project.show()
    assert run["parameters"]["y"] == 2
    assert [step["path"] for step in run["steps"] if step.get("patched")] == ["fetch", "never"]


def test_a_run_that_resumes_keeps_its_patches(project: LocalProject) -> None:
    with_files(project)
    project.write("functions.py", FETCH.replace("print(", "exit(1) or print("))
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml", "--param", "kind=a") == 1, project.err
    project.write("functions.py", FETCH)
    # Whatever becomes of the file.
    project.write("fakes/patch.yaml", "")
    assert project.toolkit("retry") == 0, project.err
    run = project.show()
    assert [step["path"] for step in run["steps"] if step.get("patched")] == ["fetch", "never"]


def test_a_patched_run_is_not_resumed_without_its_patches(project: LocalProject) -> None:
    with_files(project)
    project.write("functions.py", FETCH.replace("print(", "exit(1) or print("))
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml", "--param", "kind=a") == 1, project.err
    run_id = project.show()["run_id"]
    for kept in project.root.glob(".toolkit/clients/*/request.json"):
        kept.unlink()
    options = ("pipeline.py", "--env", "process", "--param", "kind=a")
    assert project.toolkit("retry", run_id, *options) == 2
    assert "was begun with patches, which are not kept on this machine" in project.err


def test_a_patched_notebook_is_not_executed(project: LocalProject) -> None:
    # Here is no notebook that could be: it has one cell, which fails.
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": "1 / 0",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    project.write("report.ipynb", json.dumps(notebook))
    project.write(
        "pipeline.py",
        "from toolkit import *\np = Pipeline(steps=[NotebookTask('report', 'report.ipynb', returns=['x']),\n"
        "    ShellTask('tell', 'echo x is $x')])\n",
    )
    project.write("patch.yaml", "report: {returns: {x: 3}}")
    assert project.run("pipeline.py", "--patch", "patch.yaml") == 0, project.err
    assert project.show()["steps"][0]["attempts"][0]["catalog"]["put"] == []
    project.write("patch.yaml", "report:\n  returns: {x: 3}\n  files: {report_out.ipynb: report.ipynb}")
    assert project.run("pipeline.py", "--patch", "patch.yaml") == 0, project.err
    assert [file["name"] for file in project.show()["steps"][0]["attempts"][0]["catalog"]["put"]] == [
        "report_out.ipynb"
    ]


def test_a_patched_run_differs_from_one_that_is_not(project: LocalProject) -> None:
    project.write("functions.py", "def load(): return 1\n")
    project.write(
        "pipeline.py",
        "from functions import load\nfrom toolkit import *\np = PythonTask(load, returns=['x']).as_pipeline()\n",
    )
    project.write("patch.yaml", "load: {returns: {x: 1}}")
    assert project.run("pipeline.py", "--run-id", "real") == project.run("pipeline.py", "--run-id", "real-2") == 0
    assert project.run("pipeline.py", "--run-id", "patched", "--patch", "patch.yaml") == 0
    assert project.toolkit("diff", "real", "real-2") == 0, project.out
    assert project.toolkit("diff", "real", "patched") == 1 and "a patch, sha256:" in project.out


def test_with_the_mocked_executor_the_other_steps_are_stubs_and_the_option_comes_first(project: LocalProject) -> None:
    with_files(project)
    project.write("fakes/patch.yaml", "never: {returns: {y: 7}}")
    project.write(
        "toolkit.yaml",
        "executor:\n  type: mocked\n  config:\n    patches:\n      never: {returns: {y: 6}}\n"
        "      count: {returns: {n: 5}}\n",
    )
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml") == 0, project.err
    assert {name: project.show()["parameters"][name] for name in "ny"} == {"n": 5, "y": 7}
    assert {step["path"]: step["type"] for step in project.show()["steps"]}["report"] == "stub"


@pytest.mark.parametrize(
    ("patch", "message", "line"),
    [
        ("", "this file has no patches", 1),
        ("[1]", "a file of patches must be a mapping", 1),
        ("a: {}\nfecth: {}", "a patch names the step 'a', and the pipeline has no task of that name", 1),
        ("fecth: {}", "has no task of that name; did you mean 'fetch'?", 1),
        ("never: {retruns: {y: 1}}", "unknown key 'retruns' in never; did you mean 'returns'?", 1),
        ("never:\n  returns: {y: 1,\n  z: 1}", "returns z, which the step does not declare", 3),
        ("never: {returns: {Y: 1}}", "returns Y, which the step does not declare; did you mean 'y'?", 1),
        ("never:", "the patch of the step 'never' has no value for y, which the step returns", 1),
        ("never: {returns: {y: .nan}}", "returns a number that JSON does not have", 1),
        ("never: {returns: {y: 1}, command: x}", "has a command, whose returns and files count", 1),
        ("never: {returns: {y: 1}, files: {\na: in.csv}}", "has the file 'a', which the step does not put", 2),
        (PATCH.replace("one.txt", "one.text"),
         "has the file 'one.text', which the step does not put: there is data/{kind}.csv, more/, *.txt", 6),
        (PATCH.replace("    one.txt: {path: in.csv}\n", ""), "has no file for '*.txt', which the step puts", 1),
        (PATCH.replace("0.5", "true"), "returns the metric score as true: a metric is a number, or a dict of them", 2),
        (PATCH.replace("in.csv", "no.csv"), "'data/{kind}.csv' in the patch of 'fetch' is fakes/no.csv, and there is no such file: "
         "for the content itself, write data/{kind}.csv: {text: …}", 4),
        (PATCH.replace("{path: in.csv}", "{}"), "has either a path or a text", 6),
        ("\nnever: {returns: {y: 1}}\nfetch:\n  command: functions.fech",
         "the patch of the step 'fetch': the module functions has no", 3),
    ],
)  # fmt: skip
def test_a_patch_that_does_not_fit_is_refused_with_its_place(
    project: LocalProject, patch: str, message: str, line: int
) -> None:
    with_files(project, patch)
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml", "--param", "kind=a") == 2
    assert message in project.err and f"fakes/patch.yaml:{line}" in project.err, project.err


def test_files_that_are_too_large_for_a_plan_are_refused(project: LocalProject) -> None:
    with_files(project)
    project.write("fakes/in.csv", bytes(300 * 1024))
    assert project.run("pipeline.py", "--patch", "fakes/patch.yaml", "--param", "kind=a") == 2
    assert "more than 512 KiB together" in project.err


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
