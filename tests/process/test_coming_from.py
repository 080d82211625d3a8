"""The pages for those who come from another tool: each is followed as a reader would, its files written and its commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from tests.support.pages import blocks, write_files

PAGES = ("kfp", "metaflow", "dvc-snakemake", "airflow-prefect", "papermill-ploomber")


def _sections() -> list[object]:
    found: list[object] = []
    for page in PAGES:
        name = f"coming-from/{page}.md"
        for heading in dict.fromkeys(block.heading for block in blocks(name) if block.language == "console"):
            found.append(pytest.param(name, heading, id=f"{page}: {heading}"))
    return found


@pytest.mark.parametrize(("page", "heading"), _sections())
def test_a_reader_follows_a_section(page: str, heading: str, tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    write_files(tmp_path, page, heading)
    follow(project, page, heading)


def follow(project: LocalProject, page: str, heading: str) -> None:
    """Runs the commands of a section's console blocks. What is shown below one is part of its output, line by line."""
    for block in blocks(page, heading):
        if block.language == "console":
            for typed in re.findall(r"^\$ (.*\n(?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                command, *shown = typed.splitlines()
                if command.startswith("toolkit ") and "||" not in command:
                    code = project.toolkit(*shlex.split(command)[1:])
                    output = project.out + project.err
                else:
                    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                    ended = subprocess.run(
                        command,
                        shell=True,
                        cwd=project.root,
                        env={**os.environ, "PATH": path},
                        capture_output=True,
                        text=True,
                    )
                    code, output = ended.returncode, ended.stdout + ended.stderr
                assert code == 0, f"{command}\n{output}"
                for line in shown:
                    assert _plain(line) in _plain(output), f"{command}\n{output}"


def _plain(text: str) -> str:
    return " ".join(text.split())


def test_the_notebooks_of_a_page_run_as_notebooks(tmp_path: Path) -> None:
    page = "coming-from/papermill-ploomber.md"
    project = LocalProject(tmp_path)
    for name in write_files(tmp_path, page):
        if name.endswith(".py"):
            source = (tmp_path / name).read_text()
            (tmp_path / name).unlink()
            project.write(f"{name.removesuffix('.py')}.ipynb", notebook_of(source))
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace(".py", ".ipynb"))
    follow(project, page, "A pipeline in both")


def notebook_of(percent: str) -> str:
    """The notebook that a file in the percent format is."""
    cells: list[dict[str, object]] = []
    for number, cell in enumerate(percent.split("# %%")[1:]):
        marks, _, source = cell.partition("\n")
        tags = ["parameters"] if "parameters" in marks else []
        cells.append(
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {"tags": tags},
                "source": source.strip(),
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells})
