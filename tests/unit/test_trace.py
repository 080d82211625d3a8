"""A traced driver: which step each argument comes from, and what a value that is not there yet can't do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.errors import BadInput

HEAD = "import tasks\nfrom toolkit import pipeline, task\n"
TASKS = """\
def one(): return 1
def two(): return 1, 2
def take(x, y=0): return x
def other(value, *, flag=False): return value
def many(**values): return sorted(values)
def rest(*values): return values
def before(a, b=0, /, c=0): return [a, b, c]
"""
DECLARED = """\
one = task(tasks.one, returns=["x"])
two = task(tasks.two, returns=["x", "y"])
take = task(tasks.take, returns=["z"])
other = task(tasks.other, returns=["v"])
many = task(tasks.many, returns=["names"])
rest = task(tasks.rest)
silent = task(tasks.one, name="silent")
before = task(tasks.before, returns=["list"])
"""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("tasks.py", TASKS)
    return found


def driver(body: str, arguments: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{HEAD}{DECLARED}@pipeline\ndef main({arguments}):\n{lines}"


def binds(project: LocalProject, body: str, arguments: str = "") -> dict[str, dict[str, Any]]:
    """The bindings of each step, by its path."""
    project.write("driver.py", driver(body, arguments))
    return {step.path: dict(step.bind) for step in project.plan("driver.py").steps}


@pytest.mark.parametrize(
    ("body", "arguments", "expected"),
    [
        # a handle under its own name is what the step would take anyway
        ("x = one()\ntake(x)", "", {"one": {}, "take": {}}),
        ("x, y = two()\ntake(x, y)", "", {"two": {}, "take": {}}),
        ("x, y = two()\ntake(y=y, x=x)", "", {"two": {}, "take": {}}),
        # under another one it is bound, whatever the variable is called
        ("anything = one()\nother(anything)", "", {"one": {}, "other": {"value": {"name": "x", "step": "one"}}}),
        ("a, b = two()\ntake(b, a)", "", {"two": {}, "take": {"x": {"name": "y", "step": "two"},
                                                             "y": {"name": "x", "step": "two"}}}),
        # an older value of a name that a newer step returns, too
        ("x = one()\nnewer, y = two()\ntake(x)", "", {"one": {}, "two": {}, "take": {"x": {"name": "x", "step": "one"}}}),
        ("x = one()\nnewer, y = two()\ntake(newer)", "", {"one": {}, "two": {}, "take": {}}),
        # a task called twice is two steps
        ("a = one()\nb = one()\ntake(a, b)", "",
         {"one": {}, "one-2": {}, "take": {"x": {"name": "x", "step": "one"}, "y": {"name": "x", "step": "one-2"}}}),
        # several values have their names as well
        ("both = two()\ntake(both.y, both.x)", "", {"two": {}, "take": {"x": {"name": "y", "step": "two"},
                                                                       "y": {"name": "x", "step": "two"}}}),
        # constants
        ("take(5, 'text')", "", {"take": {"x": {"value": 5}, "y": {"value": "text"}}}),
        ("take(None, {'a': [1, (2.5, True)]})", "", {"take": {"x": {"value": None}, "y": {"value": {"a": [1, [2.5, True]]}}}}),
        ("other(1, flag=True)", "", {"other": {"value": {"value": 1}, "flag": {"value": True}}}),
        # arguments of the driver are parameters of the run
        ("take(x)", "x", {"take": {}}),
        ("take(rate)", "rate", {"take": {"x": {"name": "rate"}}}),
        ("other(rate)", "*, rate", {"other": {"value": {"name": "rate"}}}),
        ("one()\ntake(x)", "x", {"one": {}, "take": {"x": {"name": "x", "step": ""}}}),
        ("one()\nother(x)", "x", {"one": {}, "other": {"value": {"name": "x", "step": ""}}}),
        # each kind of argument
        ("a = one()\nmany(first=a, second=2)", "", {"one": {}, "many": {"first": {"name": "x", "step": "one"},
                                                                        "second": {"value": 2}}}),
        ("a = one()\nbefore(a, c=1)", "", {"one": {}, "before": {"a": {"name": "x", "step": "one"}, "c": {"value": 1}}}),
        # an argument that is not given is taken by its name
        ("one()\ntake()", "", {"one": {}, "take": {}}),
    ],
)  # fmt: skip
def test_each_argument_comes_from_where_the_driver_says(
    project: LocalProject, body: str, arguments: str, expected: dict[str, Any]
) -> None:
    assert binds(project, body, arguments) == expected


@pytest.mark.parametrize(
    "line",
    ["if x: pass", "while x: pass", "for item in x: pass", "a, b = x", "[*x]", "x + 1", "1 + x", "x - 1", "-x", "+x", "~x",
     "x * 2", "x / 2", "x // 2", "x % 2", "x ** 2", "x @ x", "x << 1", "1 >> x", "x & 1", "1 | x", "divmod(x, 2)", "abs(x)",
     "round(x)", "x == 1", "x != 1", "x < 1", "1 >= x", "f'{x}'", "f'{x:>5}'", "str(x)", "print(x)", "'%s' % x", "int(x)",
     "float(x)", "bool(x)", "len(x)", "x[0]", "x['a']", "x.attribute", "x()", "1 in x", "not x", "x and 1", "1 if x else 2",
     "range(x)", "sorted(x)", "sum(x)", "list(x)", "x += 1", "assert x", "del x[0]", "reversed(x)", "complex(x)"],
)  # fmt: skip
def test_a_value_that_is_not_there_yet_can_decide_and_compute_nothing(line: str) -> None:
    # In this process: what is refused is the same, and there are many.
    from toolkit.sdk.handles import Handle
    from toolkit.sdk.refusal import Refusal

    with pytest.raises(Refusal, match=r"x of the step one has no value while the driver is traced"):
        exec(line, {"x": Handle("x", "one")})


@pytest.mark.parametrize(
    ("body", "arguments", "line", "message"),
    [
        ("x = one()\nif x:\n    take(x)", "", 2, "x of the step one has no value"),
        ("x = one()\ntake(\n    x + 1)", "", 3, "x of the step one has no value"),
        ("take(rate * 2)", "rate", 1, "rate of the run has no value"),
        ("x, y = one()", "", 1, "has no value"),
        ("a, b, c = two()", "", 1, "not enough values"),
        ("take(1, 2, 3)", "", 1, "take() is called with the wrong arguments: too many positional arguments"),
        ("take(nowhere=1)", "", 1, "take() is called with the wrong arguments"),
        ("x = one()\ntake([x])", "", 2, "the argument x holds x inside a list: pass it by itself"),
        ("x = one()\ntake({'a': (1, [x])})", "", 2, "holds x inside a list"),
        ("rest(1)", "", 1, "rest(*values) can't be a step"),
        # None would be a value, which the step would take
        (
            "take(silent())",
            "",
            1,
            "the step silent declares no returns, so its call gives no value: name what it returns with returns=[",
        ),
        ("take([silent()])", "", 1, "the step silent declares no returns"),
        ("if silent(): one()", "", 1, "the step silent declares no returns"),
        ("x = one()\ntake(one)", "", 2, "the argument x is given the task one itself: call it"),
        ("take({1, 2})", "", 1, "which JSON can't hold"),
        ("take({1: 2})", "", 1, "which JSON can't hold"),
        ("take(float('nan'))", "", 1, "which JSON can't hold"),
        ("take(tasks.one)", "", 1, "which JSON can't hold"),
        ("take(b'x')", "", 1, "which JSON can't hold"),
        ("take(1)", "x=object()", -1, "the default of the parameter x is a object"),
        ("pass", "", None, "the pipeline has no steps"),
    ],
)
def test_what_a_driver_can_not_do_is_bad_input_with_its_line(
    project: LocalProject, body: str, arguments: str, line: int | None, message: str
) -> None:
    project.write("driver.py", driver(body, arguments))
    with pytest.raises(BadInput) as caught:
        project.plan("driver.py")
    assert message in caught.value.message
    first = (HEAD + DECLARED).count("\n") + 2
    if "not enough" in message:
        assert f"line {first + 1}" in caught.value.message
    elif line != -1:
        assert caught.value.where == ("driver.py" if line is None else f"driver.py:{first + line}")


COMPOSITES = """\
from toolkit import *
each = PythonTask(tasks.one, returns=["e"]).as_pipeline()
@pipeline
def inner(value):
    x = one()
    y = take(x, value)
    return x, y
@pipeline
def newer(x):
    x2 = one()
    take(x)
"""


def composed(project: LocalProject, body: str, arguments: str = "") -> dict[str, Any]:
    """The rows of a driver's plan by path: the bindings of a task, the type of anything else."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    project.write("driver.py", f"{HEAD}{DECLARED}{COMPOSITES}@pipeline\ndef main({arguments}):\n{lines}")
    return {one.path: dict(one.bind) if one.task else one.type for one in project.plan("driver.py:main").steps}


@pytest.mark.parametrize(
    ("body", "arguments", "expected"),
    [
        # what a step of the SDK returns is handed on as what a task does
        ("code = ShellTask('s', 'x', returns=['code'])()\nother(code)", "",
         {"s": {}, "other": {"value": {"name": "code", "step": "s"}}}),
        ("x = one()\nShellTask('s', 'x')(given=x)", "", {"one": {}, "s": {"given": {"name": "x", "step": "one"}}}),
        ("x = one()\nPythonTask(tasks.other)(x, flag=True)", "",
         {"one": {}, "other": {"value": {"name": "x", "step": "one"}, "flag": {"value": True}}}),
        ("Stub('s')()\nSuccess('done')()", "", {"s": "stub", "done": "stub"}),
        # of a composite, what is inside it
        ("l = Map('m', each, 'items', 'item')()\nother(l)", "items",
         {"m": "map", "m/*/one": {}, "other": {"value": {"name": "e", "step": "m"}}}),
        ("b = Parallel('p', {'l': each, 'r': ShellTask('s', 'x', returns=['c', 'e']).as_pipeline()})()\n"
         "e, c = b\nother(b.c)", "",
         {"p": "parallel", "p/l/one": {}, "p/r/s": {}, "other": {"value": {"name": "c", "step": "p"}}}),
        ("x, y = two()\nMap('m', each, x, 'item')()\nConditional('c', y, {'1': each})()", "",
         {"two": {}, "m": "map", "m/*/one": {}, "c": "conditional", "c/1/one": {}}),
        ("Map('m', each, items, 'item')()", "items", {"m": "map", "m/*/one": {}}),
        # one step called twice is two
        ("m = Map('m', each, 'items', 'item')\nm()\nm()", "items",
         {"m": "map", "m/*/one": {}, "m-2": "map", "m-2/*/one": {}}),
        # another driver is a pipeline inside, and gives what its function gives
        ("x, y = inner(5)\nother(y)", "",
         {"inner": "pipeline", "inner/one": {}, "inner/take": {"y": {"value": 5}},
          "other": {"value": {"name": "z", "step": "inner"}}}),
        # what it is given and not called so there is found by its name
        ("z = take(1)\nx, y = inner(z)", "",
         {"take": {"x": {"value": 1}}, "inner": "pipeline", "inner/one": {}, "inner/take": {"y": {"name": "z"}}}),
        ("inner()", "value", {"inner": "pipeline", "inner/one": {}, "inner/take": {"y": {"name": "value"}}}),
        ("inner(rate)", "rate", {"inner": "pipeline", "inner/one": {}, "inner/take": {"y": {"name": "rate"}}}),
        ("newer(x)", "x", {"newer": "pipeline", "newer/one": {}, "newer/take": {"x": {"name": "x", "step": ""}}}),
        # drivers as branches and as steps of pipelines
        ("Loop('l', inner, 3, 'z')()", "value",
         {"l": "loop", "l/*/one": {}, "l/*/take": {"y": {"name": "value"}}}),
        ("Pipeline(name='outer', steps=[inner])()", "value",
         {"outer": "pipeline", "outer/inner": "pipeline", "outer/inner/one": {}, "outer/inner/take": {"y": {"name": "value"}}}),
    ],
)  # fmt: skip
def test_all_that_is_called_in_a_driver_is_a_step_of_it(
    project: LocalProject, body: str, arguments: str, expected: dict[str, Any]
) -> None:
    assert composed(project, body, arguments) == expected


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ("l = Map('m', each, 'items', 'item')()\nfor x in l: pass", "items", "e of the step m has no value"),
        ("x = one()\nnewer(x)", "", "x is given to a step of an inner pipeline, which finds a newer x under that name"),
        ("Map('m', each, 'items', 'item')(1)", "items", "the step m takes arguments by name"),
        ("Map('m', each, 'items', 'item')(x=1)", "items", "the step m takes no arguments"),
        (
            "a = one()\nb = one()\nMap('m', each, a, 'item')()",
            "",
            "the step m reads x, but another step returns a newer x",
        ),
        ("main()", "", "the driver main calls itself"),
        ("inner(1, 2)", "", "inner() is called with the wrong arguments"),
        ("PythonTask(tasks.take)(nowhere=1)", "", "take() is called with the wrong arguments"),
        ("Pipeline(steps=[Stub('a')])()", "", "needs a name"),
    ],
)
def test_what_can_not_be_called_in_a_driver_is_told(
    project: LocalProject, body: str, arguments: str, message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        composed(project, body, arguments)
    assert message in caught.value.message and str(caught.value.where).startswith("driver.py:")


def test_the_command_names_file_and_line_and_ends_with_2(project: LocalProject) -> None:
    project.write("driver.py", driver("x = one()\nif x:\n    take(x)"))
    assert project.run("driver.py") == 2
    line = (HEAD + DECLARED).count("\n") + 4
    assert f"\ntoolkit: driver.py:{line}: x of the step one has no value while the driver is traced" in project.err
    assert "Traceback" not in project.err


def test_what_was_bound_is_what_arrives(project: LocalProject) -> None:
    # Given a run whose parameter x and two steps all have a value called x,
    project.write(
        "driver.py",
        driver("first = one()\nsecond, y = two()\nbefore(x, first, second)\nmany(a=first, b=7)", "x"),
    )
    # when it runs, then each argument is the one that was meant.
    assert project.run("driver.py", "--param", "x=40") == 0, project.err
    found = project.show()["parameters"]
    assert found["list"] == [40, 1, 1]
    assert {"a", "b", "x", "y", "list"} == set(found["names"])


def test_outside_a_driver_a_task_is_the_function_and_a_driver_too() -> None:
    from toolkit import pipeline, task

    doubled = task(len, name="length")
    assert doubled("four") == 4
    assert pipeline(lambda value: value)(3) == 3


def test_a_decorated_task_is_found_again_in_the_step(project: LocalProject) -> None:
    project.write(
        "driver.py",
        "from toolkit import pipeline, task\n@task(returns=['x'])\ndef make():\n    return helper() + 1\n"
        "@task\ndef helper():\n    return 1\n@pipeline(name='named')\ndef main():\n    make()\n    helper()\n"
        "if __name__ == '__main__':\n    main.execute()\n",
    )
    assert project.run("driver.py") == 0, project.err
    assert project.show()["parameters"] == {"x": 2}
    assert project.show()["pipeline"] == "named"
