"""A run that failed on the cluster is finished on this machine, with what the cluster had done; and by one client alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

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
BROKEN = True

def make():
    return [1, 2, 3]

def measure(number):
    open("out.txt", "w").write(str(number))
    return {number}

def total(measured):
    if BROKEN:
        raise ValueError("not yet mended")
    return sum(sum(one) for one in measured) + int(open("1/out.txt").read())
"""
VOLUMES = [{"name": "toolkit", "mount_path": "/mnt"}]


@pytest.fixture
def project(clustered: Scratch) -> Scratch:
    configuration = {"executor": {"type": "argo", "config": {"persistent_volumes": VOLUMES}}}
    files = {"pipeline.py": PIPELINE, "functions.py": FUNCTIONS, "toolkit.yaml": json.dumps(configuration)}
    clustered.write(files)
    return clustered


def test_failed_there_and_finished_here(project: Scratch, workplace: Workplace, tmp_path: Path) -> None:
    # Given a run that failed on the cluster in its last step,
    failed = project.toolkit("run", "pipeline.py", "--run-id", "moved")
    assert failed.code == 1 and "not yet mended" in failed.err, failed.err
    elsewhere = Scratch(tmp_path / "elsewhere", project.environ)
    shutil.copytree(project.root, elsewhere.root, ignore=shutil.ignore_patterns("volumes"))
    # when its code is mended and it goes on here,
    project.write({"functions.py": FUNCTIONS.replace("BROKEN = True", "BROKEN = False")})
    done = project.toolkit("retry", "moved", "--env", "local")
    assert done.code == 0, done.err
    # then only the last step ran here, with the values, objects and files of the others.
    shown = json.loads(project.toolkit("show", "moved", "--json", "--env", "local").out)
    assert (shown["status"], shown["environment"], shown["parameters"]["sum"]) == ("succeeded", "local", 8)
    tasks = {one["path"]: len(one["attempts"]) for one in shown["steps"] if one["type"] == "task"}
    assert tasks == {"make": 1, "each/0/measure": 1, "each/1/measure": 1, "each/2/measure": 1, "total": 2}
    # Another client, which knows the run from the cluster, can't go on with it a second time.
    again = elsewhere.toolkit("retry", "moved", "--env", "local")
    assert again.code == 2 and "has gone on elsewhere" in again.err, again.err
