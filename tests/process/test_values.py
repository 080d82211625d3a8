"""Values as the command line shows them and gives them to steps: their order, their spelling, and those that are large."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.local_project import LocalProject
from toolkit import report

SCHEMA = json.loads((Path(report.__file__).parent / "schemas/show.schema.json").read_text())
HEAD = "from functions import *\nfrom toolkit import *\nfrom toolkit import Pipeline\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def book(parameters: str, source: str) -> str:
    """A notebook of two cells."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "source": text, "outputs": [], "execution_count": None, "metadata": {"tags": tags}}
        for text, tags in ((parameters, ["parameters"]), (source, []))
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})


def write(project: LocalProject, functions: str, *steps: str) -> None:
    project.write("functions.py", "import os, sys\n" + functions)
    project.write("pipeline.py", f"{HEAD}p = Pipeline(steps=[{', '.join(steps)}])\n")


def test_show_and_diff_see_values_as_they_were_made(project: LocalProject) -> None:
    # Given two runs whose values differ in the order of keys, and in the text that spelled a number,
    write(
        project,
        "def makes(keys: list, n=None):\n    return [{key: 1 for key in keys}]\n",
        "PythonTask(makes, returns=['made'])",
    )
    for run_id, keys in (("a", '["z", "a"]'), ("b", '["a", "z"]'), ("c", '["z", "a"]')):
        arguments = (
            "--run-id",
            run_id,
            "--param",
            f"keys={keys}",
            "--param",
            f"n={'1.10' if run_id == 'c' else '1.1'}",
        )
        assert project.run("pipeline.py", *arguments) == 0, project.err
    # when they are shown, then their keys are in their order,
    assert json.dumps(project.show("show", "a")["parameters"]["made"]) == '[{"z": 1, "a": 1}]'
    assert project.toolkit("show", "b") == 0 and 'made=[{"a": 1, "z": 1}]' in project.out
    # and diff says that they are not the same.
    assert project.toolkit("diff", "a", "b", "--json") == 1
    found = {(row["field"], row["where"]) for row in json.loads(project.out)["differences"]}
    assert found == {("parameters", "keys"), ("returns", "made")}
    assert project.toolkit("diff", "a", "c", "--json") == 1
    [row] = json.loads(project.out)["differences"]
    assert (row["field"], row["where"], row["a"], row["b"]) == (
        "parameters",
        "n",
        1.1,
        {"value": 1.1, "spelling": "1.10"},
    )


def test_a_retry_takes_the_spelling_that_the_run_was_given(project: LocalProject) -> None:
    body = "def step(version: str):\n    if not os.path.exists('mended'): sys.exit(3)\n    return version\n"
    write(project, body, "PythonTask(step, returns=['taken'])")
    assert project.run("pipeline.py", "--run-id", "r", "--param", "version=1.10") == 1
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0, project.err
    assert project.show()["parameters"] == {"version": 1.1, "taken": "1.10"}


def test_quotes_decide_in_files_and_in_json_that_is_typed(project: LocalProject) -> None:
    write(
        project,
        "def step(a: str, b: str, c: str, d):\n    return [a, b, c, d]\n",
        "PythonTask(step, returns=['taken'])",
    )
    project.write("p.yaml", "a: 1.10\nb: '1.10'\n")
    assert project.run("pipeline.py", "-p", "p.yaml", "--param", 'c="1.10"', "--param", "d=1.10") == 0, project.err
    assert project.show()["parameters"]["taken"] == ["1.1", "1.10", "1.10", 1.1]


@pytest.mark.parametrize(
    ("export", "reason"),
    [
        ("""x='{"a": 1, "a": 2}'""", 'the command exported x as JSON in which the key "a" is given twice'),
        ("x=1.10 KEPT=yes", ""),
    ],
)
def test_what_a_shell_exports_is_kept_or_refused_by_name(project: LocalProject, export: str, reason: str) -> None:
    attempt = project.run_shell(f"export {export}", returns=("x",))
    assert attempt["reason"] == reason
    assert attempt["output_parameters"] == ({} if reason else {"x": 1.1})


def test_a_secret_is_refused_in_the_spelling_too(project: LocalProject, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a secret that reads as a number, whose value alone does not show it,
    monkeypatch.setenv("KEY", "4711.500")
    project.write(
        "pipeline.py", HEAD + "p = Pipeline(steps=[ShellTask('s', 'export x=$KEY', returns=['x'], secrets=['KEY'])])\n"
    )
    project.write("functions.py", "")
    # when a step exports it, then the step fails, and no record has it.
    assert project.run("pipeline.py") == 1
    assert "the return x holds the secret KEY" in project.show()["steps"][0]["attempts"][0]["reason"]
    assert b"4711.5" not in project.volume()


# --- large values -----------------------------------------------------------------------------------------------------


def test_a_large_value_reaches_every_kind_of_step_and_is_read_when_it_is_asked_for(project: LocalProject) -> None:
    # Given a step that returns 2 MB, and steps that take it: a function, a shell, the items of a map, a notebook,
    write(
        project,
        "def makes():\n    return [{'z': 'x' * 1_000_000, 'a': 1}, {'z': 'y' * 1_000_000, 'a': 2}]\n"
        "def takes(rows: list):\n    return [list(rows[0]), len(rows[1]['z'])]\n"
        "def each(row):\n    return row['a']\n",
        "PythonTask(makes, returns=['rows'])",
        "PythonTask(takes, returns=['taken'])",
        "ShellTask('shell', 'export size=$(wc -c < $rows_FILE)', returns=['size'])",
        "Map('m', PythonTask(each, returns=['seen']).as_pipeline(), 'rows', 'row')",
        "NotebookTask('book', 'book.ipynb', returns=['again'])",
    )
    project.write("book.ipynb", book("rows = None", "again = [list(rows[0]), rows[1]['z']] * 2"))
    assert project.run("pipeline.py") == 0, project.err
    # when the run is shown, then the values are described as the schema says, where they are above 1 MiB,
    document = project.show()
    jsonschema.validate(document, SCHEMA)
    parameters = document["parameters"]
    rows = [{"z": letter * 1_000_000, "a": number} for letter, number in (("x", 1), ("y", 2))]
    assert (parameters["taken"], parameters["size"], parameters["seen"]) == (
        [["z", "a"], 1_000_000],
        len(json.dumps(rows)),
        [1, 2],
    )
    for name, value in (("rows", rows), ("again", [["z", "a"], "y" * 1_000_000] * 2)):
        data = json.dumps(value, separators=(",", ":")).encode()
        assert parameters[name] == {"kind": "json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert len(project.volume()) < 7_000_000
    project.toolkit("show")
    assert "rows=<json, 2.0 MB>" in project.out
    # and with --values they are there, in their order.
    whole = project.show("show", "--values")
    assert json.dumps(whole["parameters"]["rows"]) == json.dumps(rows)
    assert whole["parameters"]["again"] == [["z", "a"], "y" * 1_000_000] * 2
    jsonschema.validate({**whole, "parameters": {}, "steps": []}, SCHEMA)
    # A file that is gone is reported, and the run is shown without it.
    [file] = project.root.glob(".toolkit/volumes/*/run_log_store/*/steps/makes/1/values.jsonl")
    file.unlink()
    assert project.toolkit("show", "--values") == 3 and "values.jsonl can't be read" in project.err
    assert project.show()["parameters"]["rows"] == parameters["rows"]


def test_what_fails_after_a_large_value_leaves_nothing_of_it(project: LocalProject) -> None:
    attempt = project.run_step("def step():\n    return 'x' * 2_000_000, 1j\n", "returns=['large', 'bad']")
    assert "bad is a complex" in attempt["reason"]
    assert [path.name for path in Path(attempt["log"]).parent.iterdir() if "values" in path.name] == []


# --- what is reduced --------------------------------------------------------------------------------------------------


def test_what_functions_reduce_is_shown_as_values(project: LocalProject) -> None:
    # Given maps in each other whose values functions reduce: to JSON, to an object, to an error, and with output,
    write(
        project,
        "class Thing: pass\n"
        "def same(n):\n    return n, n, n, n\n"
        "def total(values):\n    print('loud'); return {'z': sum(values), 'a': len(values)}\n"
        "def thing(values):\n    return Thing()\n"
        "def fails(values):\n    raise ValueError(values)\n"
        "def large(values):\n    return 'x' * 2_000_000\n"
        "def twice(values):\n    return [value['z'] * 2 for value in values]\n",
        "Map('m', Pipeline(steps=[PythonTask(same, returns=['a', 'b', 'c', 'd'])]), 'ns', 'n', reducer=total)",
        "Map('o', Pipeline(steps=[PythonTask(same, returns=['o', 'p', 'q', 'r'])]), 'ns', 'n', reducer=thing)",
        "Map('f', Pipeline(steps=[PythonTask(same, returns=['f', 'g', 'h', 'i'])]), 'ns', 'n', reducer=fails)",
        "Map('l', Pipeline(steps=[PythonTask(same, returns=['l', 's', 't', 'u'])]), 'ns', 'n', reducer=large)",
        "Map('outer', Pipeline(steps=[Map('inner', Pipeline(steps=[PythonTask(same, returns=['w', 'x', 'y', 'v'])]),"
        " 'ns', 'n', reducer=total)]), 'ns', 'outer', reducer=twice)",
    )
    assert project.run("pipeline.py", "--param", "ns=[1, 2, 3]") == 0, project.err
    # when the run is shown, then what is JSON is shown, although no step took it,
    document = project.show()
    jsonschema.validate(document, SCHEMA)
    parameters = document["parameters"]
    assert json.dumps(parameters["a"]) == '{"z": 6, "a": 3}' and parameters["b"] == parameters["a"]
    assert parameters["w"] == [12, 12, 12]
    assert set(parameters["l"]) == {"kind", "size", "sha256"} and parameters["l"]["size"] == 2_000_002
    # and what is not is described.
    assert parameters["o"] == {"reducer": "functions.thing", "items": 3}
    assert parameters["f"] == {"reducer": "functions.fails", "items": 3}
    # The outcome of the items is not touched by it, nor is their output.
    assert all(step["status"] == "succeeded" for step in document["steps"])
    assert b"loud" not in project.volume()


def test_a_step_that_takes_what_is_reduced_records_it(project: LocalProject) -> None:
    # Given a map without items, so that no item can record what a function makes of them,
    write(
        project,
        "def same(n):\n    return n\ndef count(values):\n    return {'z': len(values), 'a': None}\ndef takes(made):\n    pass\n",
        "Map('m', PythonTask(same, returns=['made']).as_pipeline(), 'ns', 'n', reducer=count)",
        "PythonTask(takes)",
        "ShellTask('shell', 'echo $made')",
    )
    # when steps take it, then what they took is shown.
    assert project.run("pipeline.py", "--param", "ns=[]") == 0, project.err
    document = project.show()
    taken = [step["attempts"][0]["input_parameters"]["made"] for step in document["steps"] if step["attempts"]]
    assert [json.dumps(value) for value in (*taken, document["parameters"]["made"])] == ['{"z": 0, "a": null}'] * 3


# --- notebooks --------------------------------------------------------------------------------------------------------


def test_a_notebook_keeps_order_and_spelling(project: LocalProject) -> None:
    project.write("rows.json", json.dumps({"rows": [{"z": -0.0, "a": "\ud83d"}]}))
    cells = (
        "version: str = ''\nnumber = 0\nrows = []\ndeep = None",
        "seen = [version, number, list(rows[0]), str(rows[0]['z']), ascii(rows[0]['a'])]\n"
        "again = rows\nlevels = str(deep).count('[')",
    )
    project.write("book.ipynb", book(*cells))
    steps = (
        "PythonTask(makes, returns=['deep'])",
        "NotebookTask('book', 'book.ipynb', returns=['seen', 'again', 'levels'], bind={'number': 'version'})",
    )
    write(project, "def makes():\n    deep = 0\n    for _ in range(199): deep = [deep]\n    return deep\n", *steps)
    assert project.run("pipeline.py", "-p", "rows.json", "--param", "version=1.10") == 0, project.err
    parameters = project.show()["parameters"]
    assert parameters["seen"] == ["1.10", 1.1, ["z", "a"], "-0.0", "'\\ud83d'"]
    assert list(parameters["again"][0]) == ["z", "a"] and parameters["levels"] == 199
