"""Graphs: what follows what, what a step sees, and what becomes of the rest when one fails."""

from __future__ import annotations

from tests.conformance.case import BROKEN, SKIPPED, Case, Expect, attempt, attempted, failed, written

WHOLE = """\
def size(n=2):
    return n

def numbers(n):
    open("numbers.txt", "w").write(f"{n} ")
    return list(range(n))

def total(ns, others, doubled):
    return sum(ns) + sum(others) + sum(doubled)

def double(n):
    return n * 2

def raised(twice, by):
    return twice + by

def both(choice, ns, label):
    return [choice, ns, label]

each = Pipeline(order="graph", steps=[
    # It is defined before what it takes.
    PythonTask(raised, returns=["doubled"]),
    PythonTask(double, returns=["twice"]),
    ShellTask("by", "export by=1", returns=["by"]),
])
p = Pipeline(order="graph", steps=[
    PythonTask(total, returns=["total"], bind={"ns": "few.ns", "others": "many.ns"}),
    PythonTask(numbers, name="few", returns=["ns"], catalog=Catalog(put=["numbers.txt"])),
    PythonTask(numbers, name="many", returns=["ns"], bind={"n": {"value": 4}}, catalog=Catalog(put=["numbers.txt"])),
    PythonTask(size, returns=["n"]),
    Map("each", iterate_on="few.ns", iterate_as="n", branch=each),
    # On a cluster its count is that of the map before it, which no task can see before all its items have ended.
    Map("again", iterate_on="doubled", iterate_as="n", branch=PythonTask(double, returns=["twice"]).as_pipeline()),
    ShellTask("hidden", "export hidden=1 label=l; echo x > hidden.txt", returns=["hidden", "label"],
        catalog=Catalog(put=["hidden.txt"])),
    # What is no ancestor is not seen, although it ended long before.
    ShellTask("looks", 'echo "${hidden-none} ${ns-none} ${n-none}" && cat numbers.txt && test ! -e hidden.txt', after=["waits"],
        catalog=Catalog(get=["many:numbers.txt"])),
    ShellTask("waits", "sleep 1", after=["hides"]),
    Stub("hides", after=["size"]),
    ShellTask("chooses", "export choice=yes", returns=["choice"]),
    Conditional("which", "choice", {
        "yes": PythonTask(both, returns=["both"], bind={"ns": "few.ns"}).as_pipeline(),
        "no": Stub("no").as_pipeline(),
    }),
    Nested("inside", Pipeline(order="graph", steps=[
        ShellTask("shows", 'echo "$both $total"', bind={"both": "both", "total": "total"}),
        ShellTask("beside", "cat hidden.txt", catalog=Catalog(get=["hidden.txt"])),
    ])),
])
"""
BROKEN_STEPS = """\
def fails():
    sys.exit(3)

def slow():
    time.sleep(2)
    return 1

def mended():
    if os.environ["MENDED"] == "no":
        raise ValueError("not yet")
    return 2

def joins(slow, mended):
    return slow + mended

p = Pipeline(order="graph", steps=[
    PythonTask(joins, returns=["joined"]),
    PythonTask(fails, on_failure=ShellTask("helps", "true").as_pipeline()),
    ShellTask("not after a handler", "true", after=["fails"]),
    Stub("nor this", after=["not after a handler"]),
    ShellTask("once", "true"),
    PythonTask(slow, returns=["slow"]),
    ShellTask("after the slow one", "echo $slow", after=["slow"]),
    PythonTask(mended, returns=["mended"]),
    Parallel("beside", {
        "one": PythonTask(mended, name="too", returns=["unused"]).as_pipeline(),
        "two": ShellTask("two", "true").as_pipeline(),
    }, after=["once"]),
])
"""

FORM_FUNCTIONS = """\
def load(name):
    return [name, len(name)]

def train(data, depth):
    return {"of": data[0], "depth": depth}

def best(a, b):
    return max([a, b], key=lambda model: model["depth"])

def item(n):
    return f"{n}!"
"""
SDK = """\
import functions
from toolkit import *

p = Pipeline(name="models", order="graph", steps=[
    PythonTask(functions.load, returns=["data"], bind={"name": {"value": "x"}}),
    PythonTask(functions.load, "load-2", returns=["data"], bind={"name": {"parameter": "second"}}),
    PythonTask(functions.train, returns=["model"], bind={"data": "load.data", "depth": {"value": 1}}),
    PythonTask(functions.train, "train-2", returns=["model"], bind={"data": "load-2.data", "depth": {"value": 7}}),
    PythonTask(functions.best, returns=["best"], bind={"a": "train.model", "b": "train-2.model"}),
    Map("each", iterate_on="load-2.data", iterate_as="n", branch=PythonTask(functions.item, returns=["items"]).as_pipeline()),
    ShellTask("last", 'echo "$best"', after=["best", "each"]),
])
"""
DRIVER = """\
import functions
from toolkit import *

load = task(functions.load, returns=["data"])
train = task(functions.train, returns=["model"])

@pipeline(name="models", order="graph")
def main(second):
    one = load("x")
    two = load(second)
    first = train(one, 1)
    best = task(functions.best, returns=["best"])(first, train(two, 7))
    Map("each", iterate_on=two, iterate_as="n", branch=PythonTask(functions.item, returns=["items"]).as_pipeline())()
    ShellTask("last", 'echo "$best"', after=["best", "each"])()

main.execute()
"""
YAML = """\
dag:
  name: models
  order: graph
  steps:
    load: {command: functions.load, returns: [{name: data}], bind: {name: {value: x}}}
    load-2: {command: functions.load, returns: [{name: data}], bind: {name: {parameter: second}}}
    train: {command: functions.train, returns: [{name: model}], bind: {data: load.data, depth: {value: 1}}}
    train-2: {command: functions.train, returns: [{name: model}], bind: {data: load-2.data, depth: {value: 7}}}
    best:
      command: functions.best
      returns: [{name: best}]
      bind: {a: train.model, b: train-2.model}
      next: last
    each:
      type: map
      iterate_on: load-2.data
      iterate_as: n
      branch: {start_at: item, steps: {item: {command: functions.item, returns: [{name: items}]}}}
      next: [last]
    last: {command_type: shell, command: 'echo "$best"'}
"""

CASES = (
    Case(
        "graph",
        "A graph runs a step as soon as what it takes, or is after, has ended, wherever the steps are defined. A step sees the "
        "values and files of its ancestors only.",
        core="edges, and control values along them, are a cluster's own",
        **written(WHOLE),
        expect=Expect(
            among={"which/no/no": SKIPPED},
            rows=25,
            parameters={"total": 11, "both": ["yes", [0, 1], "l"], "doubled": [1, 3], "twice": [2, 6]},
            output={
                "looks": "none [0, 1, 2, 3] 2\n4 ",
                "inside/shows": '["yes", [0, 1], "l"] 11\n',
                "inside/beside": "x\n",
            },
        ),
    ),
    Case(
        "graph-retry",
        "After a failure in a graph what depends on it is skipped and all else runs; behind a handler that succeeded, too. A retry "
        "keeps all that succeeded.",
        core="a cluster judges a graph by its leaves, and leaves out of one what is done",
        **written(BROKEN_STEPS),
        config={"environment": {"MENDED": "$MENDED"}},
        environ={"TOOLKIT_VAR_MENDED": "no"},
        fix={"TOOLKIT_VAR_MENDED": "yes"},
        expect=Expect(
            among={
                "fails": failed(3),
                "not after a handler": SKIPPED,
                "nor this": SKIPPED,
                "mended": attempted(attempt(1, "ValueError: not yet"), attempt(0)),
                "beside/one/too": attempted(attempt(1, "ValueError: not yet"), attempt(0)),
            },
            parameters={"joined": 3},
            output={"after the slow one": "1\n"},
        ),
    ),
    Case(
        "graph-failure",
        "A graph in which a step has failed fails for the first such step in the order of definition.",
        **written(BROKEN_STEPS),
        config={"environment": {"MENDED": "no"}},
        expect=Expect(
            code=1,
            among={
                "joins": SKIPPED,
                "fails": failed(3),
                "not after a handler": SKIPPED,
                "nor this": SKIPPED,
                "mended": failed(1, "ValueError: not yet"),
                "beside": BROKEN,
                "beside/one/too": failed(1, "ValueError: not yet"),
            },
            reason="the step mended failed: ValueError: not yet",
            parameters={"slow": 1},
        ),
    ),
    Case(
        "graph-forms",
        "A graph is the same plan and run as a list of steps, as a driver in which one task is called twice, and as YAML.",
        pipeline="sdk.py",
        also=("driver.py", "pipeline.yaml"),
        compiles=True,
        code=FORM_FUNCTIONS,
        files={"sdk.py": SDK, "driver.py": DRIVER, "pipeline.yaml": YAML},
        arguments=["--param", "second=other"],
        expect=Expect(
            parameters={"best": {"of": "other", "depth": 7}, "items": ["other!", "5!"]},
            output={"last": '{"of": "other", "depth": 7}\n'},
        ),
    ),
)
