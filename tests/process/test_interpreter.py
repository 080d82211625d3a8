"""The Python of plain processes is the one that the first line names, for all that a step starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from toolkit.backends.interpreter import with_interpreter

SEEN = "python -c 'import sys; print(sys.prefix)'"
BOOK = f"""\
import json, subprocess, sys
shell = !{SEEN}
child = subprocess.run(["python3", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True).stdout.strip()
seen = [*shell, child, sys.prefix]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalProject:
    """A project in a shell whose `python` is another one, and whose active environment is gone."""
    others = tmp_path / "others"
    others.mkdir()
    for name in ("python", "python3"):
        (others / name).write_text("#!/bin/sh\necho another Python\n")
        (others / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{others}:{os.environ['PATH']}")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "gone"))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    (tmp_path / "project").mkdir()
    return LocalProject(tmp_path / "project")


def environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, env={})
    return folder


@pytest.mark.parametrize(
    "configured", ["", "executor: {config: {environment: {PATH: '/opt/none:/usr/bin:/bin', VIRTUAL_ENV: /opt/none}}}\n"]
)
def test_a_shell_step_and_its_children_have_the_python_of_the_first_line(
    project: LocalProject, configured: str
) -> None:
    # Given an environment beside the code that nobody has activated, and perhaps an image's PATH in the configuration,
    venv = environment(project.root / ".venv")
    if configured:
        project.write("toolkit.yaml", configured)
    # when a shell step runs,
    returns = ("seen", "nested", "active", "path")
    attempt = project.run_shell(
        f"export seen=$({SEEN}) nested=$(env python3 -c 'import sys; print(sys.prefix)') active=$VIRTUAL_ENV path=$PATH",
        returns=returns,
    )
    # then its Python is that environment's, and the rest of PATH is still there.
    assert attempt["status"] == "succeeded", attempt
    values = project.show()["parameters"]
    assert [values[name] for name in returns[:3]] == [str(venv)] * 3
    assert values["path"].startswith(f"{venv}/bin:") and values["path"].endswith("/bin")


def test_a_notebook_and_its_shell_have_the_python_of_the_first_line(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHOME")
    cell: dict[str, object] = {
        "cell_type": "code",
        "source": BOOK,
        "outputs": [],
        "execution_count": None,
        "metadata": {},
        "id": "one",
    }
    spec = {"kernelspec": {"name": "somebody-elses", "display_name": "x", "language": "python"}}
    project.write("book.ipynb", json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": spec, "cells": [cell]}))
    project.write(
        "p.py", "from toolkit import *\np = Pipeline(steps=[NotebookTask('book', 'book.ipynb', returns=['seen'])])\n"
    )
    assert project.run("p.py") == 0, project.err
    assert project.show()["parameters"]["seen"] == [sys.prefix] * 3


def run(variables: dict[str, str], command: str) -> str:
    return subprocess.run(
        ["sh", "-c", command], env=variables, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("beside", [(), ("python",), ("python", "python3")])
def test_an_interpreter_is_found_whatever_lies_beside_it(tmp_path: Path, beside: tuple[str, ...]) -> None:
    # Given an interpreter of another name, and perhaps other Pythons in its folder, as in /usr/bin,
    folder = tmp_path / "it's here"
    folder.mkdir()
    python = folder / "python3.x"
    python.write_text('#!/bin/sh\necho "this one: $*"\n')
    (folder / "tool").write_text("#!/bin/sh\necho tool\n")
    for name in beside:
        (folder / name).write_text("#!/bin/sh\necho another Python\n")
    for file in folder.iterdir():
        file.chmod(0o755)
    # when a step of it runs, then both names are the interpreter, and what is installed beside it is found.
    variables = with_interpreter(
        {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "/gone", "A": "b"}, str(python), tmp_path / "state"
    )
    assert run(variables, "python 1 '2 3'; python3; tool; echo $A${VIRTUAL_ENV-none}").splitlines() == [
        "this one: 1 2 3", "this one: ", "tool", "bnone"]  # fmt: skip
