"""A run goes on on a cluster and on this machine in turn, with what was done before; and by one client alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.argo.conftest import Workplace
from tests.scratch import Scratch

pytestmark = [pytest.mark.argo, pytest.mark.docker, pytest.mark.timeout(600)]

PIPELINE = """\
import functions
from toolkit import Catalog, Map, Pipeline, PythonTask, pickled

branch = Pipeline(steps=[
    PythonTask(functions.measure, returns=[pickled("measured")], catalog=Catalog(put=["out.txt"])),
])
p = Pipeline(name="moved", steps=[
    PythonTask(functions.make, returns=["numbers"]),
    Map("each", branch=branch, iterate_on="numbers", iterate_as="number"),
    PythonTask(functions.total, returns=["sum"], catalog=Catalog(get=["1/out.txt"])),
])
"""
FUNCTIONS = """\
MENDED = 0

def make():
    return [1, 2, 3]

def measure(number):
    if MENDED < 1 and number == 2:
        raise ValueError("the second is not yet mended")
    open("out.txt", "w").write(str(number))
    return {number}

def total(measured):
    if MENDED < 2:
        raise ValueError("the sum is not yet mended")
    return sum(sum(one) for one in measured) + int(open("1/out.txt").read())
"""
VOLUMES = [{"name": "toolkit", "mount_path": "/mnt"}]


@pytest.fixture
def project(clustered: Scratch) -> Scratch:
    configuration = {"executor": {"type": "argo", "config": {"persistent_volumes": VOLUMES}}}
    files = {"pipeline.py": PIPELINE, "functions.py": FUNCTIONS, "toolkit.yaml": json.dumps(configuration)}
    clustered.write(files)
    return clustered


def test_from_here_to_there_and_back(project: Scratch, workplace: Workplace, tmp_path: Path) -> None:
    # Given a run that failed here in an item of a map,
    failed = project.toolkit("run", "pipeline.py", "--run-id", "moved", "--env", "local")
    assert failed.code == 1 and "the second is not yet mended" in failed.err, failed.err
    # when that is mended and it goes on on the cluster,
    project.write({"functions.py": FUNCTIONS.replace("MENDED = 0", "MENDED = 1")})
    there = project.toolkit("retry", "moved", "--env", "argo")
    assert there.code == 1 and "the sum is not yet mended" in there.err, there.err
    # then only what was left ran there, with the values and the objects of what ran here,
    assert attempts_of(project)[1] == {**DONE, "each/1/measure": 2, "total": 1}
    assert len(workplace.get("pods", "-l", "workflows.argoproj.io/workflow=moved")["items"]) == 2
    elsewhere = Scratch(tmp_path / "elsewhere", project.environ)
    shutil.copytree(project.root, elsewhere.root, ignore=shutil.ignore_patterns("volumes"))
    # and when the rest is mended and it goes on here again, then it comes back with what the cluster did.
    project.write({"functions.py": FUNCTIONS.replace("MENDED = 0", "MENDED = 2")})
    done = project.toolkit("retry", "moved", "--env", "local")
    assert done.code == 0, done.err
    shown, attempts = attempts_of(project)
    assert (shown["status"], shown["environment"], shown["parameters"]["sum"]) == ("succeeded", "local", 8)
    assert attempts == {**DONE, "each/1/measure": 2, "total": 2}
    # Another client, which knows the run from the cluster, can't go on with it a second time.
    again = elsewhere.toolkit("retry", "moved", "--env", "local")
    assert again.code == 2 and "has gone on elsewhere" in again.err, again.err


DONE = {"make": 1, "each/0/measure": 1, "each/1/measure": 1, "each/2/measure": 1}


def attempts_of(project: Scratch) -> tuple[dict[str, Any], dict[str, int]]:
    """The run as it is shown wherever it is, and how many attempts each task had."""
    shown = project.toolkit("show", "moved", "--json")
    assert shown.code == 0, shown.err
    document: dict[str, Any] = json.loads(shown.out)
    return document, {one["path"]: len(one["attempts"]) for one in document["steps"] if one["type"] == "task"}
