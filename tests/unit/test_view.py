"""What is shown of runs is what the schemas say, whichever way a run ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.local_project import LocalProject
from toolkit import report

SCHEMAS = Path(report.__file__).parent / "schemas"
PIPELINE = """\
import functions
from toolkit import Catalog, Pipeline, PythonTask, ShellTask, Stub, metric, pickled
p = Pipeline(name="all kinds", steps=[
    PythonTask(functions.make, returns=["x", pickled("thing"), metric("score")], catalog=Catalog(put=["data/**"])),
    Stub("later"),
    ShellTask("shell step", 'printf "%s\\n" "$x"; printf "\\\\377"; export y="[1]"', returns=["y"], catalog=Catalog(get=["data"])),
    PythonTask(functions.use, returns=["x"], bind={"two": "make.x"}),
    Stub("last"),
])
"""
FUNCTIONS = """\
import os
def make(given):
    os.mkdir("data")
    open("data/ünï", "w").write("content")
    return [given, None, "é\\n"], {1, 2}, 0.5
def use(thing, y, two, fail=False):
    print("used")
    if fail:
        raise KeyError("late")
    return sorted(thing)
"""


def schema(name: str) -> jsonschema.protocols.Validator:
    document = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    kind = jsonschema.Draft202012Validator
    kind.check_schema(document)
    return kind(document)


def shown(project: LocalProject) -> dict[str, Any]:
    """The newest run; all that can be printed of it is what the schemas say."""
    for command in ("runs", "show", "logs", "catalog"):
        schema(command).validate(project.show(command))
    # The tables for a person hold the same runs.
    for command in ("runs", "show", "logs", "catalog"):
        assert project.toolkit(command) == 0, project.err
    document: dict[str, Any] = project.show()
    return document


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("pipeline.py", PIPELINE)
    found.write("functions.py", FUNCTIONS)
    return found


def test_a_run_that_succeeded(project: LocalProject) -> None:
    assert project.run("pipeline.py", "--param", "given=1", "--tag", "tagged") == 0, project.err
    run = shown(project)
    assert (run["status"], run["reason"], run["tag"], run["image"]) == ("succeeded", "", "tagged", None)
    assert [(step["path"], step["type"], step["kind"], step["status"]) for step in run["steps"]] == [
        ("make", "task", "python", "succeeded"),
        ("later", "stub", None, "succeeded"),
        ("shell step", "task", "shell", "succeeded"),
        ("use", "task", "python", "succeeded"),
        ("last", "stub", None, "succeeded"),
    ]
    # The root scope's values at the end: the newest of each name; an object as a description.
    thing = run["parameters"].pop("thing")
    assert thing["object"] == "set" and thing["size"] > 0
    assert run["parameters"] == {"given": 1, "x": [1, 2], "score": 0.5, "y": [1]}
    use = run["steps"][3]["attempts"][0]
    assert use["input_parameters"] == {"thing": thing, "two": [1, None, "é\n"], "y": [1]}
    assert use["output_parameters"] == {"x": [1, 2]}
    assert run["steps"][2]["attempts"][0]["catalog"]["get"] == run["steps"][0]["attempts"][0]["catalog"]["put"]
    file, returned = project.show("catalog")
    assert (file["key"], file["name"], file["step"], file["size"]) == ("data/ünï", "data/ünï", "make", 7)
    assert returned == {"key": "thing.pkl", "name": "thing", "step": "make", "attempt": 1, **thing}
    logs = {one["step"]: one["output"] for one in project.show("logs")}
    assert logs == {"make": "", "shell step": '[1, null, "\\u00e9\\n"]\n\ufffd', "use": "used\n"}
    assert project.show("runs", "--tag", "other") == []
    assert project.toolkit("catalog", "--get", "data/ünï") == 0 and project.out == "content"


def test_a_run_that_failed_says_where_and_why_and_has_skipped_the_rest(project: LocalProject) -> None:
    assert project.run("pipeline.py", "--param", "given=1", "--param", "fail=True") == 1
    run = shown(project)
    assert run["status"] == "failed" and "the step use failed: KeyError: 'late'" in run["reason"]
    assert [step["status"] for step in run["steps"]] == ["succeeded", "succeeded", "succeeded", "failed", "skipped"]
    attempt = run["steps"][3]["attempts"][0]
    assert attempt["exception"]["type"] == "KeyError" and "functions.py" in attempt["exception"]["traceback"]
    assert attempt["output_parameters"] == {} and run["parameters"]["x"] == [1, None, "é\n"]


def kill_client(project: LocalProject, step: str, records: tuple[str, ...]) -> Path:
    """Leaves of the newest run what a client that was killed during ``step`` leaves; returns the run's folder."""
    [run] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/*")
    (run / "end.json").unlink()
    for record in records:
        (run / "steps" / step / "1" / record).unlink()
    return run


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        (("end.json", "engine.json"), "failed", "lost: nobody saw how it ended"),
        (("engine.json",), "succeeded", ""),
        (("end.json",), "failed", "it ended with 0, without its record"),
    ],
)
def test_a_run_whose_client_was_killed_is_lost_and_nothing_of_it_runs_or_waits(
    project: LocalProject, records: tuple[str, ...], status: str, reason: str
) -> None:
    assert project.run("pipeline.py", "--param", "given=1") == 0, project.err
    folder = kill_client(project, "use", records)
    # Its record names a process that runs (this one), and its lock is free.
    assert json.loads((folder / "run.json").read_text())["driver"]["pid"] == os.getpid()
    run = shown(project)
    assert run["status"] == "failed" and run["reason"].startswith("lost: ")
    assert (run["steps"][3]["status"], run["steps"][3]["attempts"][0]["reason"]) == (status, reason)
    assert {step["status"] for step in run["steps"]} <= {"succeeded", "failed", "skipped"}


def test_a_run_that_still_goes_on_has_a_step_that_runs_and_others_that_wait(project: LocalProject) -> None:
    # Given the records of a run at the time of its third step, and a client that is there (this process),
    assert project.run("pipeline.py", "--param", "given=1") == 0, project.err
    folder = kill_client(project, "shell%20step", ("end.json", "engine.json"))
    for record in (folder / "steps" / "use" / "1").iterdir():
        record.unlink()
    os.rmdir(folder / "steps" / "use" / "1")
    # when it is shown,
    with project.driven(folder.name):
        run = shown(project)
    # then that is what is shown of it.
    assert (run["status"], run["ended"], run["reason"]) == ("running", None, "")
    assert [step["status"] for step in run["steps"]] == ["succeeded", "succeeded", "running", "waiting", "waiting"]
    assert run["steps"][2]["attempts"][0]["exit_code"] is None


def test_there_is_nothing_to_show_of_what_is_not_there(project: LocalProject) -> None:
    assert project.show("runs") == []
    for command in ("show", "logs", "catalog"):
        assert project.toolkit(command) == 2
        assert "there are no runs here yet" in project.err
        assert project.toolkit(command, "nowhere") == 2
        assert "there is no run 'nowhere' here" in project.err


@pytest.mark.parametrize("name", ["runs", "show", "logs", "catalog"])
def test_a_schema_refuses_what_it_does_not_know(name: str) -> None:
    validator = schema(name)
    assert not validator.is_valid([{"unknown": 1}] if name != "show" else {"unknown": 1})
    assert not validator.is_valid("text")
