"""Projects: where code may be, what it can import, and the three forms of one pipeline."""

from __future__ import annotations

from tests.conformance.case import Case, Expect, failed

SDK = """\
import functions
from toolkit import Catalog, Pipeline, PythonTask, pickled

pipeline = Pipeline(name="forms", steps=[
    PythonTask(functions.generate, returns=["x", "y", pickled("z")], catalog=Catalog(put=["data.csv"])),
    PythonTask(functions.consume, returns=["sum"], catalog=Catalog(get=["data.csv"])),
    PythonTask(
        functions.consume,
        name="consume-2",
        returns=["sum"],
        bind={"x": "consume.sum", "y": {"value": 1}},
        catalog=Catalog(get=["data.csv"]),
    ),
])

if __name__ == "__main__":
    pipeline.execute()
"""
DRIVER = """\
import functions
from toolkit import Catalog, pickled, pipeline, task

generate = task(functions.generate, returns=["x", "y", pickled("z")], catalog=Catalog(put=["data.csv"]))
consume = task(functions.consume, returns=["sum"], catalog=Catalog(get=["data.csv"]))

@pipeline(name="forms")
def main():
    x, y, z = generate()
    consume(x=consume(x, y), y=1)
"""
YAML = """\
dag:
  name: forms
  start_at: generate
  steps:
    generate:
      command: functions.generate
      returns: [{name: x}, {name: y}, {name: z, kind: object}]
      catalog: {put: [data.csv]}
      next: consume
    consume:
      command: functions.consume
      returns: [{name: sum}]
      catalog: {get: [data.csv]}
      next: consume-2
    consume-2:
      command: functions.consume
      returns: [{name: sum}]
      bind: {x: consume.sum, y: {value: 1}}
      catalog: {get: [data.csv]}
"""
FORMS = """\
def generate():
    with open("data.csv", "w") as file:
        file.write("1,2,3")
    return 3, 4, {1, 2}

def consume(x, y):
    assert open("data.csv").read() == "1,2,3"
    return x + y
"""
OWN_FILE = """\
import os
from dataclasses import dataclass

import sibling
import in_src
import in_package.module
from toolkit import Pipeline, PythonTask, ShellTask, pickled


@dataclass
class Point:
    x: int


def makes():
    assert __name__ != "__main__", "a step's module is never the main one"
    return Point(sibling.X + in_src.X + in_package.module.X), sorted(one for one in os.listdir("01-first") if one.endswith(".py"))


def takes(point):
    assert type(point) is Point, "the very class of this module"
    return point.x, os.path.basename(__file__)


p = Pipeline(steps=[
    PythonTask(makes, returns=[pickled("point"), "beside"]),
    PythonTask(takes, returns=["x", "file"]),
    ShellTask("shell", "ls */pipe*.py"),
])

if __name__ == "__main__":
    p.execute()
"""
LAYOUT = {
    "01-first/pipe line.py": OWN_FILE,
    "01-first/sibling.py": "X = 1\n",
    "src/in_src.py": "X = 20\n",
    "src/in_package/__init__.py": "",
    "src/in_package/module.py": "from . import other\nX = other.X\n",
    "src/in_package/other.py": "X = 300\n",
}
OUR_NAMES = (
    "records",
    "supervisor",
    "child",
    "layout",
    "protocol",
    "scope",
    "values",
    "watch",
    "signal",
    "select",
    "gzip",
)

CASES = (
    Case(
        "forms",
        "The SDK, driver and YAML forms of one pipeline give one plan and one run.",
        pipeline="sdk.py",
        also=("driver.py", "pipeline.yaml"),
        compiles=True,
        code=FORMS,
        files={"sdk.py": SDK, "driver.py": DRIVER, "pipeline.yaml": YAML},
        expect=Expect(parameters={"x": 3, "y": 4, "sum": 8}, puts={"generate": {"data.csv": "1,2,3"}}),
    ),
    Case(
        "script",
        "`python file.py` that calls execute() is the same run.",
        pipeline="sdk.py",
        script=True,
        code=FORMS,
        files={"sdk.py": SDK},
        expect=Expect(parameters={"x": 3, "y": 4, "sum": 8}),
    ),
    Case(
        "failing-script",
        "The exit code of a script is that of its run.",
        core="a script runs on a cluster too, and its exit code is that of the run",
        pipeline="sdk.py",
        script=True,
        code="def generate():\n    sys.exit(7)\n\ndef consume(x, y):\n    pass\n",
        files={
            "sdk.py": SDK.replace("steps=[", "steps=[").split("    PythonTask(functions.consume, returns")[0]
            + "])\npipeline.execute()\n"
        },
        expect=Expect(code=1, steps={"generate": failed(7, "sys.exit(7)")}),
    ),
    Case(
        "layout",
        "Code in a folder and a file of any name can import its siblings, src/ and packages. Its classes belong to its own module.",
        pipeline="01-first/pipe line.py",
        files=LAYOUT,
        expect=Expect(
            parameters={"x": 321, "file": "pipe line.py", "beside": ["pipe line.py", "sibling.py"]},
            output={"shell": "01-first/pipe line.py\n"},
        ),
    ),
    Case(
        "modules-of-our-names",
        "User modules with names of the runtime's or the standard library's modules are found by the user's code, and only there.",
        steps=["PythonTask(functions.only, returns=['x'])"],
        code="def only():\n    import records, signal, child\n    return [records.MINE, signal.MINE, child.MINE]\n",
        files={f"src/{name}.py": "MINE = 'mine'\n" for name in OUR_NAMES},
        expect=Expect(parameters={"x": ["mine"] * 3}),
    ),
    Case(
        "package-module",
        "A pipeline's file with relative imports is a module of its package, for its steps too.",
        files={
            "mypkg/__init__.py": "",
            "mypkg/logging.py": "def own():\n    return __name__\n",
            "mypkg/pipeline.py": "import logging\n\nfrom toolkit import Pipeline, PythonTask\n\nfrom .logging import own\n\n\n"
            "def here():\n    return [__name__, logging.INFO, own()]\n\n\n"
            "p = Pipeline(steps=[PythonTask(own, returns=['x']), PythonTask(here, returns=['y'])])\n",
        },
        pipeline="mypkg/pipeline.py",
        expect=Expect(parameters={"x": "mypkg.logging", "y": ["mypkg.pipeline", 20, "mypkg.logging"]}),
    ),
)
