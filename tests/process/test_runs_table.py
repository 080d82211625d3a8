"""``toolkit runs --table``: values of many runs, as a table, JSON and CSV."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from tests.support.local_project import LocalProject
from toolkit import report

SCHEMA = json.loads((Path(report.__file__).parent / "schemas" / "runs.schema.json").read_text())
PIPELINE = """\
from toolkit import *
import functions
p = Pipeline(steps=[PythonTask(functions.train, returns=[metric("accuracy"), "scores", "large", "note"])])
"""
FUNCTIONS = """\
def train(n: int):
    if n == 3:
        raise ValueError("three")
    return n / 10, {"rmse": 100 // n}, ["x" * 1000] * 2000, "a\\x1b[31mb, c\\nd"
"""


def test_values_of_many_runs(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    project.write("pipeline.py", PIPELINE)
    project.write("functions.py", FUNCTIONS)
    for run_id, n in (("first", 9), ("second", 10), ("third", 3), ("other", 1)):
        tag = [] if run_id == "other" else ["--tag", "sweep"]
        project.run("pipeline.py", "--run-id", run_id, "--param", f"n={n}", *tag)

    def shown(*options: str) -> list[str]:
        assert project.toolkit("runs", "--env", "process", *options) == 0, project.err
        return project.out.splitlines()

    lines = shown("--table", "accuracy,scores.rmse,n,note,large", "--sort=-accuracy", "--tag", "sweep")
    assert [line.split()[0] for line in lines] == ["RUN", "second", "first", "third"]
    assert lines[0].split() == ["RUN", "STATUS", "TAG", "accuracy", "scores.rmse", "n", "note", "large"]
    assert lines[1].split()[1:6] == ["succeeded", "sweep", "1.0", "10", "10"] and "<json, 2.0 MB>" in lines[1]
    assert lines[3].split()[1:] == ["failed", "sweep", "-", "-", "3", "-", "-"]
    # Nothing that a step returned recolours the terminal.
    assert "\x1b" not in project.out

    project.toolkit("runs", "--env", "process", "--table", "accuracy,n", "--sort", "n", "--json")
    rows = json.loads(project.out)
    jsonschema.validate(rows, SCHEMA)
    assert [(row["run_id"], row["values"]) for row in rows] == [
        ("other", {"accuracy": 0.1, "n": 1}),
        ("third", {"n": 3}),
        ("first", {"accuracy": 0.9, "n": 9}),
        ("second", {"accuracy": 1.0, "n": 10}),
    ]
    project.toolkit("runs", "--env", "process", "--json")
    jsonschema.validate(json.loads(project.out), SCHEMA)
    assert "values" not in project.out

    lines = shown("--table", "note,accuracy", "--csv", "--tag", "sweep")
    assert lines[0] == "run_id,pipeline,environment,tag,status,started,ended,note,accuracy"
    assert project.out.count('"a\x1b[31mb, c\nd"') == 2 and lines[-1].endswith(",,")

    assert project.toolkit("runs", "--env", "process", "--table", "acuracy") == 2
    assert "did you mean accuracy?" in project.err
    assert project.toolkit("runs", "--env", "process", "--table", "n", "--sort", "m") == 2
    assert project.toolkit("runs", "--env", "process", "--table", "zz", "--tag", "none-has-it") == 0
    assert project.out == "no runs\n"
