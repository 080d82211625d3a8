"""A run that failed here goes on on the cluster, comes back and goes there again, with what was done in each place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.scratch import Scratch

pytestmark = [pytest.mark.argo, pytest.mark.docker, pytest.mark.timeout(600)]

PIPELINE = """\
import functions
from toolkit import Catalog, Pipeline, PythonTask, pickled

p = Pipeline(name="wanders", steps=[
    PythonTask(functions.first, returns=[pickled("one")], catalog=Catalog(put=["first.txt"])),
    PythonTask(functions.second, returns=[pickled("two")], catalog=Catalog(get=["first.txt"], put=["second.txt"])),
    PythonTask(functions.third, returns=["three"], catalog=Catalog(get=["*.txt"])),
    PythonTask(functions.fourth, returns=["four"]),
])
"""
FUNCTIONS = """\
MENDED = 0

def needs(number):
    if MENDED < number:
        raise ValueError(f"{number} is not mended")

def first():
    open("first.txt", "w").write("x" * 1_000_000)
    return {1}

def second(one):
    needs(1)
    open("second.txt", "w").write(open("first.txt").read()[:2])
    return {2} | one

def third(two):
    needs(2)
    return len(open("first.txt").read()) + len(open("second.txt").read()) + len(two)

def fourth(three):
    needs(3)
    return three
"""
VOLUMES = [{"name": "toolkit", "mount_path": "/mnt"}]


@pytest.mark.core("records or files could be lost between two places")
def test_a_run_wanders_and_each_place_has_what_was_done_in_the_others(clustered: Scratch, tmp_path: Path) -> None:
    """Four parts of a run in two places, and two clients that come too late: about 40 s."""
    configuration = {"executor": {"type": "argo", "config": {"persistent_volumes": VOLUMES}}}
    clustered.write({"pipeline.py": PIPELINE, "functions.py": FUNCTIONS, "toolkit.yaml": json.dumps(configuration)})
    # Given a run that failed on this machine,
    failed = clustered.toolkit("run", "pipeline.py", "--run-id", "wanders", "--env", "local")
    assert failed.code == 1 and "1 is not mended" in failed.err, failed.err
    copy = Scratch(tmp_path / "copy", clustered.environ)
    shutil.copytree(clustered.root, copy.root)
    # when it goes on there, here and there again, each time a step further,
    for mended, environment in ((1, "argo"), (2, "local"), (3, "argo")):
        clustered.write({"functions.py": FUNCTIONS.replace("MENDED = 0", f"MENDED = {mended}")})
        done = clustered.toolkit("retry", "wanders", "--env", environment)
        assert done.code == (0 if mended == 3 else 1), done.err
        assert mended == 3 or f"{mended + 1} is not mended" in done.err, done.err
        if mended == 1:
            knows = Scratch(tmp_path / "knows", clustered.environ)
            shutil.copytree(clustered.root, knows.root, ignore=shutil.ignore_patterns("volumes"))
        elif mended == 2:
            # (another client, which knows the run from the cluster, can't go on with it a second time)
            second = knows.toolkit("retry", "wanders", "--env", "local")
            assert second.code == 2 and "was moved: it is now" in second.err, second.err
    # then whoever asks for it is led to where it is, and no step that had succeeded ran again.
    shown = json.loads(clustered.toolkit("show", "wanders", "--json").out)
    assert (shown["status"], shown["environment"]) == ("succeeded", "argo")
    assert shown["parameters"]["four"] == 1_000_000 + 2 + 2
    tasks = {one["path"]: len(one["attempts"]) for one in shown["steps"] if one["type"] == "task"}
    assert tasks == {"first": 1, "second": 2, "third": 2, "fourth": 2}
    # A copy of the folder from before all that can't take the run anywhere.
    again = copy.toolkit("retry", "wanders", "--env", "argo")
    assert again.code == 2 and "on the cluster as well" in again.err, again.err
