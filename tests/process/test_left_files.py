"""What a step left and nobody put, as plain processes: the line at the run's end, the record, and what is none of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject

HEAD = "from toolkit import Catalog, Map, NotebookTask, Pipeline, PythonTask, ShellTask\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def write(project: LocalProject, steps: str) -> None:
    project.write("p.py", f"{HEAD}p = Pipeline(name='p', steps=[\n{steps}\n])\n")


def said(project: LocalProject) -> list[str]:
    """The lines about files that the command printed, without their indentation."""
    return [line.strip() for line in project.err.splitlines() if "not kept" in line]


def left(project: LocalProject, step: str) -> Any:
    [row] = [row for row in project.show()["steps"] if row["path"] == step]
    return row["attempts"][-1].get("left")


def test_the_runs_end_names_them_once_and_show_under_their_step(project: LocalProject) -> None:
    write(project, "ShellTask('load', 'printf 12345 > shop.db'), ShellTask('none', 'true')")
    assert project.run("p.py") == 0
    assert said(project) == ["not kept: load wrote shop.db (5 B): add it to put to keep it"]
    assert left(project, "load") == {"files": [{"name": "shop.db", "size": 5}], "count": 1, "size": 5}
    assert left(project, "none") is None
    assert project.toolkit("show") == 0
    assert "\nnot kept (add it to put to keep it)\n  load  shop.db (5 B)\n" in project.out


def test_a_run_of_which_everything_is_kept_has_no_such_line(project: LocalProject) -> None:
    write(project, "ShellTask('load', 'printf 1 > a; mkdir d; printf 2 > d/b', catalog=Catalog(put=['a', 'd']))")
    assert project.run("p.py") == 0
    assert said(project) == [] and left(project, "load") is None


def test_what_the_runtime_and_the_drivers_write_themselves_is_none_of_it(project: LocalProject) -> None:
    # Values that reach a shell step as files, a trace, a module's bytecode, a notebook's kernel and its executed copy.
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "a",
        "source": "import module",
        "outputs": [],
        "execution_count": None,
        "metadata": {},
    }
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    project.write("book.ipynb", json.dumps(notebook))
    project.write("module.py", "def large():\n    return 'x' * 100_000\n")
    shell = "set -x; wc -c < $text_FILE; export text=$(head -c 90000 $text_FILE)"
    project.write("p.py", f"import module\n{HEAD}p = Pipeline(steps=[\n"
        f"PythonTask(module.large, returns=['text']), ShellTask('shell', '{shell}', returns=['text']),\n"
        "NotebookTask('book', 'book.ipynb'),\n])\n")  # fmt: skip
    assert project.run("p.py") == 0, project.err
    assert said(project) == []


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$", "sleep 60"], ids=["exit code", "signal", "time limit"])
def test_a_step_that_failed_has_them_in_its_record_and_not_in_the_line(project: LocalProject, ending: str) -> None:
    project.write("toolkit.yaml", "executor: {config: {max_step_duration_in_seconds: 1, grace_period_in_seconds: 1}}\n")
    write(project, f"ShellTask('load', 'printf 1 > half.db; {ending}')")
    assert project.run("p.py") == 1
    assert said(project) == []
    assert left(project, "load")["files"] == [{"name": "half.db", "size": 1}]


def test_a_retry_names_what_its_own_steps_left(project: LocalProject) -> None:
    write(project, "ShellTask('first', 'echo > first.txt'), ShellTask('second', 'echo > second.txt; test -e mended')")
    assert project.run("p.py", "--run-id", "r") == 1
    assert said(project) == ["not kept: first wrote first.txt (1 B): add it to put to keep it"]
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0
    assert said(project) == ["not kept: second wrote second.txt (1 B): add it to put to keep it"]


def test_a_name_can_not_hold_a_secret_or_move_the_cursor(project: LocalProject) -> None:
    project.write(".env", "KEY=very-secret-value\n")
    write(project, "ShellTask('load', r'touch out-$KEY; touch \"$(printf \"a\\\\033[2Jb\")\"', secrets=['KEY'])")
    assert project.run("p.py") == 0, project.err
    [line] = said(project)
    assert "out-***" in line and "\033" not in line
    assert "very-secret-value" not in line + json.dumps(project.show())


def test_patterns_of_the_configuration_are_left_out(project: LocalProject) -> None:
    project.write("toolkit.yaml", "catalog:\n  config:\n    ignore: ['*.log', logs/]\n")
    write(project, "ShellTask('load', 'mkdir logs; touch logs/a a.log b.txt')")
    assert project.run("p.py") == 0
    assert said(project) == ["not kept: load wrote b.txt (0 B): add it to put to keep it"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[/tmp/x]", "toolkit.yaml:3: catalog.config.ignore[0] must be relative to the step's folder"),
        ("['*.log', ../x]", "toolkit.yaml:3: catalog.config.ignore[1] must not lead out of the step's folder"),
        ("['!a']", "toolkit.yaml:3: catalog.config.ignore[0] can't begin with '!'"),
        ("['./']", "toolkit.yaml:3: catalog.config.ignore[0] must name files"),
        ("['']", "toolkit.yaml:3: catalog.config.ignore[0] must not be empty"),
        ("'*.log'", "toolkit.yaml:3: catalog.config.ignore must be a list"),
        ("[1]", "toolkit.yaml:3: catalog.config.ignore[0] must be a text"),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_its_line(project: LocalProject, value: str, message: str) -> None:
    project.write("toolkit.yaml", f"catalog:\n  config:\n    ignore: {value}\n")
    write(project, "ShellTask('load', 'true')")
    assert project.run("p.py") == 2
    assert message in project.err
