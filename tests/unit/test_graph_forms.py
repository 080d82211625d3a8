"""A graph in each of the three forms: what its steps are after and bound to, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.errors import BadInput
from toolkit.model.description import to_pipeline
from toolkit.model.pipeline import Conditional, Constant, Map, Nested, Parallel, Pipeline, Source, Task
from toolkit.model.taken import taken_by
from toolkit.model.yaml_form import pipeline_file

FUNCTIONS = """\
def one(): return 1
def two(): return 1, 2
def items(): return [1]
def setup(): pass
def take(x, y=0): return x
def own(x): return x
"""
HEAD = """\
import functions as f
from toolkit import *
each = PythonTask(f.one, returns=["e"]).as_pipeline()
one = task(f.one, returns=["x"])
two = task(f.two, returns=["x", "y"])
items = task(f.items, returns=["l"])
setup = task(f.setup)
take = task(f.take, returns=["z"])
own = task(f.own, returns=["x"])
tell = ShellTask("tell", "true")
whole = Pipeline(name="whole", steps=[Stub("s")])

@pipeline(order="graph")
def inner(x):
    y = own(7)
    take(x, y)

@pipeline
def line(x):
    take(x)

@pipeline(name="deep")
def deep(x):
    line(x)

@pipeline(order="graph")
def taking(x):
    one()
    take(x)

@pipeline(order="graph")
def branch(x):
    a = own(x)
    take(a)

@pipeline(order="graph")
def giving():
    one()
    x, y = two()
    setup()
    return x, y, setup()
"""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("functions.py", FUNCTIONS)
    return found


def driven(project: LocalProject, body: str, arguments: str = "") -> Pipeline:
    """The model of a driver whose order is a graph."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    project.write("driver.py", f'{HEAD}@pipeline(order="graph")\ndef main({arguments}):\n{lines}')
    return project.model("driver.py:main")


def in_yaml(tmp_path: Path, steps: str, dag: str = "order: graph") -> Pipeline:
    file = tmp_path / "p.yaml"
    file.write_text(f"dag:\n  {dag}\n  steps:\n" + "".join(f"    {line}\n" for line in steps.splitlines()))
    return to_pipeline(pipeline_file.read(file), "p.yaml")


def after(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    return {step.name: step.after for step in pipeline.steps}


def binds(pipeline: Pipeline, path: str = "") -> dict[str, Any]:
    """The bindings of the tasks of a pipeline and of those nested in it, as they are written."""
    found: dict[str, Any] = {}
    for step in pipeline.steps:
        if isinstance(step, Nested):
            found |= binds(step.pipeline, f"{path}{step.name}/")
        if isinstance(step, Task):
            found[path + step.name] = {argument: _spelled(binding) for argument, binding in step.bind.items()}
    return found


def _spelled(binding: Source | Constant) -> Any:
    if isinstance(binding, Constant):
        return [binding.value]
    return binding.name if binding.step is None else f"{binding.step}.{binding.name}"


# --- the three forms --------------------------------------------------------------------------------------------------


def test_the_three_forms_give_one_graph(project: LocalProject, tmp_path: Path) -> None:
    # Given a diamond whose end stands first in a list,
    project.write(
        "sdk.py",
        "from toolkit import *\np = Pipeline(order='graph', steps=[Stub('d', after=['b', 'c']), Stub('b', after='a'), "
        "Stub('c', after=(name for name in 'a')), Stub('a')])",
    )
    yaml = in_yaml(
        tmp_path,
        "d: {type: stub, after: [b]}\nb: {type: stub}\nc: {type: stub, next: d}\na: {type: stub, next: [b, c]}",
    )
    driver = driven(
        project,
        "Stub('d', after=['b', 'c'])()\nwith after('a'):\n    Stub('b')()\n    Stub('c')()\nStub('a')()",
    )
    # when each form is read, then they are the same.
    assert project.model("sdk.py") == yaml == driver
    assert yaml.order == "graph" and after(yaml) == {"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()}


def test_every_kind_of_step_can_be_after_others(project: LocalProject) -> None:
    project.write(
        "sdk.py",
        f"{HEAD}first = Stub('first')\np = Pipeline(order='graph', steps=[first,\n"
        "  PythonTask(f.one, 'python', after=[first]), ShellTask('shell', 'true', after=['first']),\n"
        "  NotebookTask('notebook', 'n.ipynb', after=['first']), Stub('stub', after=first, secrets=['s']),\n"
        "  Nested('nested', whole, after=['first']), Pipeline(name='pipeline', steps=[Stub('s')], after=['first']),\n"
        "  Parallel('parallel', {'b': whole}, after=['first']), Map('map', whole, 'l', 'i', after=['first']),\n"
        "  Conditional('conditional', 'p', {'b': whole}, after=['first']), Loop('loop', whole, 2, 'p', after=['first']),\n"
        "  ShellJob('true', 'job', after=['first']), Nested('driver', line, after=[whole, 'first', first]), whole])",
    )
    project.write("n.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    found = after(project.model("sdk.py:p"))
    assert found.pop("first") == found.pop("whole") == () and found.pop("driver") == ("whole", "first")
    assert len(found) == 11 and set(found.values()) == {("first",)}


def test_what_is_no_graph_is_described_as_ever() -> None:
    # In this process: what a description holds is the same, and new keys would change the hash of every pipeline.
    from toolkit.sdk import Conditional, Loop, Map, Nested, Parallel, Pipeline, ShellTask, Stub

    inner = Pipeline(steps=[Stub("s")], name="inner")
    steps: list[Any] = [
        ShellTask("a", "true"),
        inner,
        Nested("n", inner),
        Parallel("p", {"b": inner}),
        Map("m", inner, "l", "i"),
        Conditional("c", "p", {"b": inner}),
        Loop("o", inner, 2, "p"),
    ]
    described = Pipeline(steps=steps, order="line").describe()
    assert set(described) == {"name", "steps"}
    assert not [step for step in described["steps"] if "after" in step or "order" in step]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("Pipeline(steps=[Stub('a')],\n  order='grpah')", 1, "the order of a pipeline is \"line\" or \"graph\", not 'grpah'"),
        ("@pipeline(order=1)\ndef p(): pass", 1, "the order of a pipeline is"),
        ("Pipeline(steps=[\n  Stub('a', after=['b'])])", 2, "the step 'a' has `after`, but its pipeline is a line"),
        ("Pipeline(order='graph', steps=[\n  Stub('a', after=['a'])])", 2, "the step 'a' is after itself"),
        ("Pipeline(order='graph', steps=[Stub('one'),\n Stub('a', after=['ones'])])", 2, "(did you mean 'one'?)"),
        ("Pipeline(order='graph', steps=[\n Stub('a', after=[3])])", 2, "list of steps and names of steps, and holds 3"),
        ("Pipeline(order='graph', steps=[\n Stub('a', after=[f.one])])", 2, "and holds <function one"),
        ("Pipeline(order='graph', steps=[\n Stub('a', after=[None])])", 2, "and holds None"),
        ("Pipeline(order='graph', steps=[\n Stub('a', after=[one])])", 2, "is after <"),
        ("Pipeline(order='graph', steps=[Stub('a'),\n Success()])", 2, "the step 'success' ends its pipeline, but in a graph"),
        ("p = Pipeline([Stub('a')], after=['b'])", 1, "has an after but is not a step of another pipeline"),
        ("p = Parallel('p', {'b': Pipeline([Stub('a')], after=['b'])}).as_pipeline()", 1, "has an after but is not a step"),
        ("PythonJob(f.one, after=['b']).execute()", 1, "the step 'one' has `after`, but its pipeline is a line"),
    ],
)  # fmt: skip
def test_what_an_author_of_python_did_wrong_has_its_line(
    project: LocalProject, text: str, line: int, message: str
) -> None:
    head = "import functions as f\nfrom toolkit import *\none = task(f.one)\n"
    project.write("sdk.py", f"{head}p = {text}" if text.startswith("Pipeline") else head + text)
    with pytest.raises(BadInput) as caught:
        project.model("sdk.py")
    assert message in caught.value.message and caught.value.where == f"sdk.py:{line + 3}"


# --- the driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "arguments", "expected"),
    [
        # a value is that of the step that made it, also under its own name, and whichever step comes later
        ("x = one()\ntake(x)", "", {"take": {"x": "one.x"}}),
        ("a = one()\nb = one()\ntake(a, b)", "", {"take": {"x": "one.x", "y": "one-2.x"}}),
        ("x = own(own(1))\ntake(x)", "", {"own": {"x": [1]}, "own-2": {"x": "own.x"}, "take": {"x": "own-2.x"}}),
        # an argument of the driver is the run's parameter, whatever steps return
        ("take(x)\none()", "x", {"take": {"x": ".x"}}),
        ("take(rate, 3)", "rate", {"take": {"x": ".rate", "y": [3]}}),
        # in an inner driver as well
        ("x = one()\ninner(x)", "", {"inner/own": {"x": [7]}, "inner/take": {"x": "one.x", "y": "own.x"}}),
        ("inner(x)", "x", {"inner/own": {"x": [7]}, "inner/take": {"x": ".x", "y": "own.x"}}),
        # whose step has another name where it would hide the one that made the value
        ("x = own(1)\ninner(x)", "",
         {"own": {"x": [1]}, "inner/own-2": {"x": [7]}, "inner/take": {"x": "own.x", "y": "own-2.x"}}),
        ("z = take(1)\ndeep(z)", "", {"take": {"x": [1]}, "deep/line/take-2": {"x": "take.z"}}),
        ("x = one()\ndeep(x)", "", {"deep/line/take": {"x": "one.x"}}),
        # what it is not given is what the one step returns that does, else the run's
        ("one()\nline()", "", {"line/take": {"x": "one.x"}}),
        ("line()", "x", {"line/take": {"x": ".x"}}),
        # what it gives is what its step returns: by the step in it where several return the name
        ("x, y, done = giving()\ntake(x, y)", "", {"take": {"x": "giving/two.x", "y": "giving.y"}}),
    ],
)  # fmt: skip
def test_a_driver_binds_by_the_step_that_made_the_value(
    project: LocalProject, body: str, arguments: str, expected: dict[str, Any]
) -> None:
    found = binds(driven(project, body, arguments))
    assert {path: found[path] for path in found if found[path]} == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("done = setup()\nwith after(done):\n    one()\ntwo()", {"setup": (), "one": ("setup",), "two": ()}),
        ("with after([two(), 'later']):\n    one()\nStub('later')()", {"two": (), "one": ("two", "later"), "later": ()}),
        # blocks inside one another, and what the step says itself
        ("a, b = one(), setup()\nwith after(a):\n    with after(b):\n        Stub('s', after=[a])()\n    take(1)",
         {"one": (), "setup": (), "s": ("one", "setup"), "take": ("one",)}),
        # what was called stands for its calls so far
        ("setup()\nsetup()\nwith after(setup):\n    one()\nsetup()",
         {"setup": (), "setup-2": (), "one": ("setup", "setup-2"), "setup-3": ()}),
        ("tell()\nwhole()\nline(1)\nwith after(tell, whole, line):\n    one()",
         {"tell": (), "whole": (), "line": (), "one": ("tell", "whole", "line")}),
        ("setup()\ntask(f.one, name='o', after=[setup])()\nPythonTask(f.one, after=setup)()",
         {"setup": (), "o": ("setup",), "one": ("setup",)}),
        # every kind of call
        ("with after(setup()):\n    tell()\n    whole()\n    line(1)\n    Map('m', each, 'l', 'i')()",
         {"setup": (), "tell": ("setup",), "whole": ("setup",), "line": ("setup",), "m": ("setup",)}),
        # what is inside of another driver is that driver's step
        ("x, y, done = giving()\nwith after(done):\n    one()", {"giving": (), "one": ("giving",)}),
        ("with after(line(1)):\n    one()", {"line": (), "one": ("line",)}),
    ],
)  # fmt: skip
def test_what_a_driver_calls_is_after_what_it_says(
    project: LocalProject, body: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert after(driven(project, body)) == expected


def test_a_composite_in_a_graph_reads_the_value_of_the_step_that_made_it(project: LocalProject) -> None:
    # Given composites that are called with handles, and with an argument of the driver,
    pipeline = driven(
        project,
        "a, b = items(), items()\nMap('m', each, iterate_on=a, iterate_as='i')()\n"
        "Conditional('c', parameter=b, branches={'1': each})()\nMap('n', each, numbers, 'i')()\n"
        "Map('t', branch, numbers, 'x')()",
        "numbers",
    )
    by_name = {step.name: step for step in pipeline.steps}
    # then they read what these steps return, and the parameter by its name.
    mapped, conditional, given, traced = (by_name[name] for name in "mcnt")
    assert isinstance(mapped, Map) and (mapped.iterate_on, mapped.source) == ("l", "items")
    assert isinstance(conditional, Conditional) and (conditional.parameter, conditional.source) == ("l", "items-2")
    assert isinstance(given, Map) and (given.iterate_on, given.source) == ("numbers", None)
    # A branch sees what it is given by name alone, and its own steps return under that name.
    assert isinstance(traced, Map) and traced.branch.order == "graph"
    assert binds(traced.branch) == {"own": {}, "take": {"x": "own.x"}}


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ("take(setup())", "", "the step setup declares no returns, so its call gives no value: name what it returns with "
         "returns=[…], or give the call to after"),
        ("Map('m', taking, setup(), 'x')()", "", "the step setup declares no returns"),
        ("take([setup()])", "", "the step setup declares no returns"),
        ("if setup():\n    one()", "", "the step setup declares no returns"),
        ("x = one()\nif x: pass", "", "x of the step one has no value while the driver is traced"),
        ("with after(setup):\n    one()", "", "after(…) holds setup, which this driver has not called before"),
        ("with after(3):\n    one()", "", "after(…) is a list of steps and names of steps, and holds 3"),
        ("with after(None):\n    one()", "", "and holds None"),
        ("with after(x):\n    one()", "x", "after(…) holds <the value x of a later run>, which no step of this driver"),
        ("with after('ones'):\n    one()\nStub('one-s')()", "", "the step 'one' is after 'ones', which is no step of its pipeline"),
        # where only a name is known, another step of the graph would be meant
        ("Map('m', taking, 'l', 'x')()", "", "x is given to a step of an inner pipeline, which finds a newer x under that name"),
        ("Map('m', each, l, 'i')()\nitems()", "l", "finds a newer l under that name (of the step items)"),
        ("x = own(1)\n@pipeline\ndef within():\n    own(2)\n    take(x)\nwithin()", "",
         "a value of the step own is given to an inner driver, which has a step own too"),
        ("one()\none()\nline()", "", "does not give it its argument x, which both one and one-2 return"),
    ],
)  # fmt: skip
def test_what_a_driver_can_not_say_of_a_graph_has_its_line(
    project: LocalProject, body: str, arguments: str, message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        driven(project, body, arguments)
    assert message in caught.value.message and str(caught.value.where).startswith("driver.py:")


def test_a_driver_that_is_a_graph_is_the_plain_program_elsewhere() -> None:
    from toolkit import after, pipeline, task

    length = task(len)

    @pipeline(order="graph")
    def main(text: str) -> int:
        with after(length(text)):
            found: int = length(text)
        return found

    assert main("four") == 4


# --- YAML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("a: {type: stub, next: [b, c]}\nb: {type: stub, next_node: d}\nc: {type: stub}\nd: {type: stub, after: c}",
         {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}),
        ("a: {type: stub, after: []}\nb: {type: stub, after: [a, a]}", {"a": (), "b": ("a",)}),
        # a step may have any name
        ("success: {type: stub}\nb: {type: stub, after: success}", {"success": (), "b": ("success",)}),
        # a handler is no part of the graph, nor is one that is none
        ("a: {command: m.f, on_failure: h}\nh: {command: m.f, on_failure: g}\ng: {type: stub}\nb: {type: stub, after: a}",
         {"a": (), "b": ("a",)}),
        ("a: {command: m.f, on_failure: bad}\nbad: {type: fail}", {"a": ()}),
        ("a: {command: m.f, on_failure: fail}", {"a": ()}),
    ],
)  # fmt: skip
def test_a_dag_may_be_a_graph(tmp_path: Path, steps: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert after(in_yaml(tmp_path, steps)) == expected


def test_a_branch_and_a_handler_in_yaml_have_an_order_of_their_own(tmp_path: Path) -> None:
    inner = "{order: graph, steps: {s: {type: stub}, t: {type: stub, after: s}}}"
    [parallel, mapped, task] = in_yaml(
        tmp_path,
        f"a: {{type: parallel, branches: {{l: {inner}, r: {{start_at: s, steps: {{s: {{type: stub}}}}}}}}, next: b}}\n"
        f"b: {{type: map, iterate_on: c.x, iterate_as: i, branch: {{dag: {inner}}}, next: c}}\n"
        f"c: {{command: m.f, returns: [x], on_failure: {inner}}}",
        "start_at: a",
    ).steps
    assert isinstance(parallel, Parallel) and [branch.order for _, branch in parallel.branches] == ["graph", "line"]
    assert isinstance(mapped, Map) and after(mapped.branch) == {"s": (), "t": ("s",)}
    assert (mapped.iterate_on, mapped.source) == ("x", "c")
    assert isinstance(task, Task) and task.on_failure is not None and task.on_failure.order == "graph"


@pytest.mark.parametrize(
    ("steps", "dag", "line", "message"),
    [
        ("a: {type: stub}", "order: grpah", 2, "'grpah' is not an order of steps (did you mean 'graph'?)"),
        ("a: {type: stub}", "order: tree", 2, "'tree' is not an order of steps: use line or graph"),
        ("a: {type: stub}", "order: [graph]", 2, "order is text"),
        ("a: {type: stub}", "order: line", 2, "the dag has no start_at"),
        ("a: {type: stub}\n", "start_at: a\norder: graph\nx:", 3, "unknown key 'order' beside dag: it stands in the dag"),
        ("a: {type: stub}", "order: graph\n  start_at: a", 3, "a graph has no start_at"),
        ("a: {type: stub}\nb: {type: stub,\n  after: a}", "order: graph\n  oder: 1", 3, "did you mean 'order'?"),
        ("a: {type: stub, next:\n  [b]}\nb: {type: stub}", "start_at: a", 5, "say `order: graph` beside `steps`"),
        ("a: {type: stub, next: b}\nb: {command: m.f,\n  after: a}", "start_at: a", 6, "say `order: graph` beside `steps`"),
        ("a: {type: stub}\nb: {type: stub, after:\n  [aa]}", "order: graph", 6, "there is no step 'aa' (did you mean 'a'?)"),
        ("a: {type: stub, next: bb}\nb: {type: stub}", "order: graph", 4, "there is no step 'bb' (did you mean 'b'?)"),
        ("a: {type: stub, next: a}", "order: graph", 4, "the step 'a' is after itself"),
        ("a: {type: stub, after: [1]}", "order: graph", 4, "after is text"),
        ("a: {type: stub, after: {b: 1}}", "order: graph", 4, "after is the name of a step or a list"),
        ("a: {type: stub, next: success}", "order: graph", 4, "'success' in its next, which would end the pipeline"),
        ("a: {type: stub, next: [b, fail]}\nb: {type: stub}", "order: graph", 4, "'fail' in its next, which would end"),
        ("a: {type: stub}\ns: {type: success}", "order: graph", 5, "the step 's' is a success, which would end"),
        ("a: {type: stub}\ns: {type: fail}", "order: graph", 5, "the step 's' is a fail, which would end its pipeline"),
        ("a: {type: stub, terminate_with_failure: true}", "order: graph", 4, "the step 'a' ends its pipeline"),
        ("a: {command: m.f, on_failure: h}\nh: {type: stub, next: b}\nb: {type: stub}", "order: graph", 5,
         "the step 'h' is the on_failure of 'a' and so no part of the graph"),
        ("a: {command: m.f, on_failure: h}\nh: {type: stub}\nb: {type: stub, after: h}", "order: graph", 6,
         "has 'h' in its after, which is the on_failure of 'a'"),
        ("a: {command: m.f, on_failure: h}\nh: {command: m.f, on_failure: h}", "order: graph", 5, "forms a cycle"),
        ("a: {command: m.f, on_failure: a}", "order: graph", 4, "the graph has no step that is no handler"),
        ("a: {type: map, iterate_on: 'b..x', iterate_as: i, branch: {order: graph, steps: {}}}", "order: graph", 4,
         "the dag has no steps"),
        ("a: {type: map, iterate_on: 'b//c.x', iterate_as: i, branch: {order: graph, steps: {s: {type: stub}}}}",
         "order: graph", 4, "the step name '' is empty"),
        ("a: {type: conditional, parameter: 'b.', branches: {x: {order: graph, steps: {s: {type: stub}}}}}",
         "order: graph", 4, "'' can't be a parameter's name"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_dag_has_its_line(tmp_path: Path, steps: str, dag: str, line: int, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        in_yaml(tmp_path, steps, dag)
    assert message in caught.value.message
    assert str(caught.value.where).endswith(f"p.yaml:{line}")


# --- who else reads the model -----------------------------------------------------------------------------------------


def test_mocks_keep_what_a_graph_is(project: LocalProject) -> None:
    from toolkit.model.mocks import apply_mocks

    # Given a graph with a patched task,
    pipeline = driven(project, "with after(setup()):\n    x = one()\nMap('m', giving, 'l', 'i')()")
    # when the others are mocked, then it is the same graph.
    mocked = apply_mocks(
        pipeline, {"m/*/two": _with_one("m/*/two")}, lambda _: {"functions.one": _resolved(pipeline)}, True
    )
    assert mocked.order == "graph" and after(mocked) == after(pipeline)
    assert [type(step).__name__ for step in mocked.steps] == ["Stub", "Stub", "Map"]
    [*_, mapped] = mocked.steps
    assert isinstance(mapped, Map) and mapped.branch.order == "graph" and isinstance(mapped.branch.steps[1], Task)


def _with_one(name: str) -> Any:
    from toolkit.model.mocks import AppliedPatch

    return AppliedPatch({"command": "functions.one"}, name, {})


def _resolved(pipeline: Pipeline) -> Any:
    steps = [
        below for step in pipeline.steps for below in (step.pipeline.steps if isinstance(step, Nested) else [step])
    ]
    task = next(step for step in reversed(steps) if isinstance(step, Task))
    return task.function, task.takes


@pytest.mark.parametrize(
    ("body", "patched", "message"),
    [
        ("l = items()\nMap('m', each, l, 'i')()", [], "the step 'm' iterates on l of 'items', which is mocked"),
        ("l = items()\nConditional('c', l, {'1': each})()", [], "the step 'c' chooses a branch by l of 'items', which is mocked"),
        # also where the step is one of the sequence around
        ("x = one()\nline(x)", ["take"], "the step 'take' binds x to x of 'one', which is mocked and returns nothing"),
    ],
)  # fmt: skip
def test_what_takes_the_value_of_a_mocked_step_is_told_which_to_patch(
    project: LocalProject, body: str, patched: list[str], message: str
) -> None:
    from toolkit.model.mocks import apply_mocks

    pipeline = driven(project, body)
    with pytest.raises(BadInput) as caught:
        apply_mocks(
            pipeline,
            {name: _with_one(name) for name in patched},
            lambda _: {"functions.one": _resolved(pipeline)},
            True,
        )
    assert message in caught.value.message and "patch '" in caught.value.message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # what any other step returns is taken from it, wherever it stands
        ("take()\none()", ["y"]),
        # what the step itself returns is not
        ("own()", ["x"]),
        ("own()\nown()", []),
        ("Map('m', each, items(), 'i')()", []),
        ("Map('m', each, 'l', 'i')()", ["l"]),
    ],
)
def test_a_run_is_asked_for_what_no_other_step_of_a_graph_returns(
    project: LocalProject, body: str, expected: list[str]
) -> None:
    assert list(taken_by(driven(project, body)).names()) == expected
