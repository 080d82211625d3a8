"""One pipeline with everything in it, in each of the three forms: one plan, and one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from toolkit.errors import BadInput

FUNCTIONS = """\
def load(rate):
    open("a.txt", "w").close()
    return [rate, 2, 3], "many"
def square(item): return item * item
def add(squares, rate, square): return sum(squares) + rate + square
def best(values): return max(values)
def grow(n): return n + 1, n + 1 >= 3
def fail(): raise ValueError("as it should")
def rescue(): return "rescued"
def never(): raise AssertionError("it runs")
"""

SDK = """\
import functions as f
from toolkit import *
from toolkit import Pipeline

each = Pipeline(steps=[PythonTask(f.square, returns=["square"]), ShellTask("tell", "echo $square")])
rescue = PythonTask(f.rescue, returns=["how"]).as_pipeline()
inner = Pipeline(name="inner", on_failure=rescue, steps=[PythonTask(f.fail, max_attempts=2), PythonTask(f.never)])
p = Pipeline(steps=[
    PythonTask(f.load, returns=["items", "size"], catalog=Catalog(put=["*.txt"])),
    Map("squares", branch=each, iterate_on="items", iterate_as="item", reducer=f.best, concurrency=2),
    Map("again", branch=PythonTask(f.square, returns=["listed"]).as_pipeline(), iterate_on="items", iterate_as="item"),
    PythonTask(f.add, returns=["total"], bind={"squares": "again.listed"}),
    Parallel("both", branches={
        "left": Pipeline(steps=[Stub("nothing")]),
        "right": Pipeline(steps=[ShellTask("shell", "export code=5", returns=["code"])]),
    }),
    Nested("outer", Pipeline(steps=[inner])),
    PythonTask(f.fail, on_failure=Pipeline(steps=[
        Conditional("choose", parameter="size", branches={"few": Stub("less").as_pipeline()},
                    default=PythonTask(f.rescue, returns=["after"]).as_pipeline()),
        Loop("grow", branch=PythonTask(f.grow, returns=["n", "done"]).as_pipeline(), max_iterations=9, break_on="done",
             index_as="i"),
    ])),
    PythonTask(f.never),
])
"""

DRIVER = """\
import functions as f
from toolkit import *
from toolkit import pipeline, task

load = task(f.load, returns=["items", "size"], catalog=Catalog(put=["*.txt"]))
add = task(f.add, returns=["total"])
grow = task(f.grow, returns=["n", "done"])
never = task(f.never)

@pipeline
def each():
    PythonTask(f.square, returns=["square"])()
    ShellTask("tell", "echo $square")()

@pipeline
def rescue():
    task(f.rescue, returns=["how"])()

@pipeline
def listed():
    task(f.square, returns=["listed"])()

@pipeline(on_failure=rescue)
def inner():
    task(f.fail, max_attempts=2)()
    never()

@pipeline
def outer():
    inner()

@pipeline
def afterwards():
    Conditional("choose", parameter="size", branches={"few": Stub("less").as_pipeline()},
                default=PythonTask(f.rescue, returns=["after"]).as_pipeline())()
    Loop("grow", branch=PythonTask(f.grow, returns=["n", "done"]).as_pipeline(), max_iterations=9, break_on="done",
         index_as="i")()

@pipeline
def main(rate):
    load(rate)
    Map("squares", branch=each, iterate_on="items", iterate_as="item", reducer=f.best, concurrency=2)()
    values = Map("again", branch=listed, iterate_on="items", iterate_as="item")()
    add(values, rate)
    both = Parallel("both", branches={
        "left": Pipeline(steps=[Stub("nothing")]),
        "right": ShellTask("shell", "export code=5", returns=["code"]).as_pipeline(),
    })
    code = both()
    outer()
    task(f.fail, on_failure=afterwards)()
    never()
"""

YAML = """\
each: &each
  start_at: square
  steps:
    square: {command: functions.square, returns: [square], next: tell}
    tell: {command_type: shell, command: echo $square, next: done}
    done: {type: success}
dag:
  start_at: load
  steps:
    load: {command: functions.load, returns: [items, size], catalog: {put: ["*.txt"]}, next: squares}
    squares: {type: map, branch: *each, iterate_on: items, iterate_as: item, reducer: functions.best, concurrency: 2, next: again}
    again:
      type: map
      branch: {start_at: square, steps: {square: {command: functions.square, returns: [listed]}}}
      iterate_on: items
      iterate_as: item
      next: add
    add: {command: functions.add, returns: [total], bind: {squares: again.listed}, next: both}
    both:
      type: parallel
      next: outer
      branches:
        left: {start_at: nothing, steps: {nothing: {type: stub}}}
        right: {dag: {start_at: shell, steps: {shell: {command_type: shell, command: export code=5, returns: [code]}}}}
    outer:
      type: pipeline
      next: fail
      dag:
        start_at: inner
        steps:
          inner:
            type: pipeline
            on_failure: {start_at: rescue, steps: {rescue: {command: functions.rescue, returns: [how]}}}
            branch:
              start_at: fail
              steps:
                fail: {command: functions.fail, max_attempts: 2, next: never}
                never: {command: functions.never}
    fail: {command: functions.fail, on_failure: choose, next: never}
    never: {command: functions.never, next: success}
    choose:
      type: conditional
      parameter: size
      branches: {few: {start_at: less, steps: {less: {type: stub}}}}
      default: {start_at: rescue, steps: {rescue: {command: functions.rescue, returns: [after]}}}
      next: grow
    grow:
      type: loop
      branch: {start_at: grow, steps: {grow: {command: functions.grow, returns: [n, done]}}}
      max_iterations: 9
      break_on: done
      index_as: i
      next: success
    success: {type: success}
    failed: {type: fail}
"""

FORMS = {"sdk.py": SDK, "driver.py:main": DRIVER, "pipeline.yaml": YAML}


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("functions.py", FUNCTIONS)
    for name, text in FORMS.items():
        found.write(name.partition(":")[0], text)
    return found


def test_the_three_forms_of_one_pipeline_are_one_plan(project: LocalProject) -> None:
    plans = {form: project.plan(form) for form in FORMS}
    documents = {form: json.dumps(plan.document(), indent=1, sort_keys=True) for form, plan in plans.items()}
    assert documents["sdk.py"] == documents["pipeline.yaml"]
    assert documents["sdk.py"] == documents["driver.py:main"]
    assert [(row.path, row.type) for row in plans["sdk.py"].steps] == [
        ("load", "task"),
        ("squares", "map"),
        ("squares/*/square", "task"),
        ("squares/*/tell", "task"),
        ("again", "map"),
        ("again/*/square", "task"),
        ("add", "task"),
        ("both", "parallel"),
        ("both/left/nothing", "stub"),
        ("both/right/shell", "task"),
        ("outer", "pipeline"),
        ("outer/inner", "pipeline"),
        ("outer/inner/fail", "task"),
        ("outer/inner/never", "task"),
        ("outer/inner/on_failure/rescue", "task"),
        ("fail", "task"),
        ("fail/on_failure/choose", "conditional"),
        ("fail/on_failure/choose/few/less", "stub"),
        ("fail/on_failure/choose/default/rescue", "task"),
        ("fail/on_failure/grow", "loop"),
        ("fail/on_failure/grow/*/grow", "task"),
        ("never", "task"),
    ]


def test_a_driver_that_is_part_of_no_other_needs_no_name(project: LocalProject) -> None:
    assert project.plan("driver.py").to_json() == project.plan("driver.py:main").to_json()


def test_a_driver_that_can_not_be_traced_is_told_by_its_own_fault(project: LocalProject) -> None:
    """And not as one of several pipelines: only its trace says which of the others are its parts."""
    project.write(
        "faulty.py",
        "from toolkit import Map, ShellTask, pipeline\n\n"
        "@pipeline\ndef each(number):\n    ShellTask('a', 'true')()\n\n"
        "@pipeline\ndef main(numbers):\n    if numbers:\n"
        "        Map('m', branch=each, iterate_on=numbers, iterate_as='number')()\n",
    )
    with pytest.raises(BadInput, match="numbers of the run has no value while the driver is traced") as caught:
        project.plan("faulty.py")
    assert str(caught.value.where).endswith("faulty.py:9")


@pytest.mark.parametrize("form", FORMS)
def test_the_three_forms_are_one_run(project: LocalProject, form: str) -> None:
    # Given a pipeline whose failures have handlers, when it is run,
    code = project.run(form, "--param", "rate=4", "--param", "n=0")
    # then it ends well, with the values of all its parts.
    assert code == 0, project.err
    run = project.show()
    assert run["status"] == "succeeded"
    assert run["parameters"] == {
        "rate": 4,
        "n": 3,
        "items": [4, 2, 3],
        "size": "many",
        # What a function makes of them, which the last item has recorded.
        "square": 16,
        "listed": [16, 4, 9],
        "total": 49,
        "code": 5,
        "how": "rescued",
        "after": "rescued",
        "done": True,
    }
    status = {row["path"]: row["status"] for row in run["steps"]}
    assert (status["outer"], status["outer/inner"], status["outer/inner/never"]) == ("succeeded", "failed", "skipped")
    assert status["fail/on_failure/choose/few/less"] == status["never"] == "skipped"
