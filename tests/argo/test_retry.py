"""A run that failed on the cluster goes on there: no pod of what is done, the rest as further attempts, as often as it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.scratch import Scratch
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.docker, pytest.mark.timeout(600)]

PIPELINE = """\
import functions
from toolkit import Conditional, Fail, Loop, Map, Pipeline, PythonTask, Stub

item = Pipeline(steps=[
    PythonTask(functions.measure, returns=["parity", "parts"]),
    Conditional("decide", "parity", {
        "even": Pipeline(steps=[PythonTask(functions.even, returns=["halved"])]),
        "odd": Pipeline(steps=[PythonTask(functions.odd, returns=["halved"])]),
    }),
    Map("inner", Pipeline(steps=[PythonTask(functions.part, returns=["weights"])]), "parts", "part", reducer=sum),
    PythonTask(functions.after, returns=["sums"]),
])
rounds = Pipeline(steps=[PythonTask(functions.round, returns=["count", "enough"]), PythonTask(functions.rest)])
p = Pipeline(name="there", steps=[
    PythonTask(functions.make, returns=["numbers"]),
    Map("each", item, "numbers", "number"),
    Stub("between"),
    Loop("rounds", branch=rounds, max_iterations=5, break_on="enough", index_as="i"),
    PythonTask(functions.total, returns=["sum"]),
])
"""
FUNCTIONS = """\
MENDED = 0

def make():
    return [2, 3]

def measure(number):
    return ("odd" if number % 2 else "even"), list(range(number))

def even(number):
    if MENDED < 1:
        raise ValueError("halves are not mended")
    return number // 2

def odd(number):
    return number

def part(number, part):
    if MENDED < 2 and number == 3 and part == 1:
        raise ValueError("parts are not mended")
    return part + 1

def after(weights, halved):
    return weights + halved

def round(i, count=0):
    return count + 1, int(i) == 2

def rest(i):
    if MENDED < 3 and int(i) == 1:
        raise ValueError("rounds are not mended")

def total(sums, count):
    return sum(sums) + count
"""
VOLUMES = [{"name": "toolkit", "mount_path": "/mnt"}]


@pytest.fixture
def project(clustered: Scratch) -> Scratch:
    configuration = {"executor": {"type": "argo", "config": {"persistent_volumes": VOLUMES}}}
    clustered.write({"pipeline.py": PIPELINE, "functions.py": FUNCTIONS, "toolkit.yaml": json.dumps(configuration)})
    return clustered


def tasks_of(project: Scratch, run: str) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """A run as it is shown, and the numbers of the attempts of each task."""
    shown = project.toolkit("show", run, "--json")
    assert shown.code == 0, shown.err
    document: dict[str, Any] = json.loads(shown.out)
    return document, {
        row["path"]: [one["number"] for one in row["attempts"]] for row in document["steps"] if row["type"] == "task"
    }


def pods_of(workplace: Workplace, run: str) -> int:
    return len(workplace.get("pods", "-l", f"workflows.argoproj.io/workflow={run}")["items"])


def test_it_goes_on_there_with_no_pod_of_what_is_done(project: Scratch, workplace: Workplace) -> None:
    """A pipeline with a composite of each kind runs, fails and is retried twice: about two minutes."""
    # Given a run of which an item fails in its second step, another one in an item of its own, and a loop in its second iteration,
    failed = project.toolkit("run", "pipeline.py", "--run-id", "there")
    assert failed.code == 1 and "halves are not mended" in failed.err, failed.err
    before = tasks_of(project, "there")[1]
    # when one after the other is mended,
    ends = [(1, 1, "parts are not mended"), (2, 1, "rounds are not mended"), (3, 0, "")]
    made = []
    for mended, code, why in ends:
        project.write({"functions.py": FUNCTIONS.replace("MENDED = 0", f"MENDED = {mended}")})
        done = project.toolkit("retry", "there")
        assert (done.code, why in done.err) == (code, True), done.err
        document, after = tasks_of(project, "there")
        # then the pods are the attempts that have come, and no others.
        made.append(sum(map(len, after.values())) - sum(map(len, before.values())))
        assert pods_of(workplace, "there") == made[-1], after
        before = after
    assert (document["status"], document["environment"]) == ("succeeded", "argo")
    assert document["parameters"]["sum"] == (3 + 1) + (6 + 3) + 3
    again = {path: numbers for path, numbers in after.items() if len(numbers) > 1}
    assert again == {"each/0/decide/even/even": [1, 2], "each/1/inner/1/part": [1, 2, 3], "rounds/1/rest": [1, 2]}
    # even, its inner items and what is after them, the part that fails again; that part and what is after it, two
    # rounds of two; the rest of a round, one more, the sum.
    assert made == [1 + 2 + 1 + 1, 1 + 1 + 4, 1 + 2 + 1]


GROUPED = """\
import functions
from toolkit import Map, Pipeline, PythonTask

item = Pipeline(steps=[PythonTask(functions.works, returns=["m"]), PythonTask(functions.then, returns=["more"])])
p = Pipeline(name="grouped", steps=[
    Map("each", item, "ns", "n"),
    PythonTask(functions.total, returns=["sum"]),
])
"""
OF_ITEMS = """\
MENDED = 0

def works(n):
    if MENDED < 1 and n == 3:
        raise ValueError("items are not mended")
    return n * 10

def then(m, n):
    return m + n

def more_of_it(more):
    return [one * 100 for one in more]

def total(more):
    if MENDED < 2:
        raise ValueError("the total is not mended")
    return sum(more)
"""


def test_items_that_share_pods_go_on_and_so_does_a_run_of_another_shape(
    clustered: Scratch, workplace: Workplace
) -> None:
    """Four parts of one run, one after the other: about a minute."""
    # Given five items in two pods for each of their steps, of which one fails,
    settings = {"persistent_volumes": VOLUMES, "pods_per_map": 2}
    clustered.write(
        {
            "pipeline.py": GROUPED,
            "functions.py": OF_ITEMS,
            "toolkit.yaml": json.dumps({"executor": {"type": "argo", "config": settings}}),
        }
    )
    items = ["--param", "ns=[0, 1, 2, 3, 4]"]
    failed = clustered.toolkit("run", "pipeline.py", "--run-id", "shared", *items)
    assert failed.code == 1 and "items are not mended" in failed.err, failed.err
    assert pods_of(workplace, "shared") == 4
    # when that item is mended, then only what it lacks is run again, in one pod for each of its steps,
    clustered.write({"functions.py": OF_ITEMS.replace("MENDED = 0", "MENDED = 1")})
    failed = clustered.toolkit("retry", "shared")
    assert failed.code == 1 and "the total is not mended" in failed.err, failed.err
    attempts = tasks_of(clustered, "shared")[1]
    again = {path: numbers for path, numbers in attempts.items() if numbers != [1]}
    # A pod of several items has one number for them all, the next that none of them has had.
    assert again == {"each/3/works": [1, 2], "each/3/then": [2]}
    assert pods_of(workplace, "shared") == 3
    # and another shape is refused, and done where it is asked for: from what differs on.
    mended = OF_ITEMS.replace("MENDED = 0", "MENDED = 2")
    added = 'PythonTask(functions.more_of_it, returns=["more"]),\n    PythonTask(functions.total'
    clustered.write({"functions.py": mended, "pipeline.py": GROUPED.replace("PythonTask(functions.total", added)})
    refused = clustered.toolkit("retry", "shared")
    assert refused.code == 2 and "is not the one that the run shared began with" in refused.err, refused.err
    done = clustered.toolkit("retry", "shared", "--changed-shape")
    assert done.code == 0 and "all steps from there on run again" in done.err, done.err
    document, attempts = tasks_of(clustered, "shared")
    assert document["parameters"]["sum"] == 100 * (0 + 11 + 22 + 33 + 44)
    assert (attempts["more_of_it"], attempts["total"], attempts["each/0/works"]) == ([1], [1, 2], [1])
    assert pods_of(workplace, "shared") == 2
