"""Parameters: every kind of value, from every source to every kind of step."""

from __future__ import annotations

import json
import re

from tests.conformance.case import OK, PASSED, SKIPPED, Case, Expect, failed, written

VALUES = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "large_number": 2**70,
    "negative": -1,
    "real": 0.1,
    "huge": 1e300,
    "empty": "",
    "number_text": "007",
    "true_text": "true",
    "quotes": 'it\'s "quoted" `here` \\ \\n %s',
    "lines": "one\ntwo\r\n\tthree\n",
    "command": "$(id) ${HOME} $HOME $$",
    "template": "{{x}} {{=1+1}} {{workflow.name}}",
    "text": "ünïcödé 数据 🎉 \u2028 \u0000"[:-2],
    "list": [1, [2, [3, []]], None, "x"],
    "nested": {"a": [1, None, {"b": "é", "$": "{{y}}"}], "y": True, "": {}},
    "y": "n",
}
"""By names of which some are words of shells, YAML or Python's."""

KINDS = """\
from dataclasses import dataclass
from enum import Enum
from typing import Optional

VALUES = json.load(open(os.path.join(os.path.dirname(__file__), "values.json")))

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int
    y: float = 0.5

class Model:
    # As pydantic's are, which the image need not have.
    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, mode):
        assert mode == "json"
        return self.fields

    @classmethod
    def model_validate(cls, data):
        return cls(**data)

class Thing:
    def __init__(self, n):
        self.n = n

def makes():
    return tuple(VALUES.values())

def same(**everything):
    for name, value in VALUES.items():
        assert json.dumps(everything[name]) == json.dumps(value), (name, everything[name])
    return len(everything)

def kinds():
    thing = {"a set": {1, 2}, "itself": Thing(3)}
    return Point(1), Model(a=1), (1, 2), thing, {"loss": 0.25, "n": 3}, 0.5

def takes(point: Point, model: Model, pair: tuple[int, int], thing, scores: dict, score: float, missing="its default"):
    assert point == Point(1, 0.5) and model.fields == {"a": 1} and pair == (1, 2), (point, model.fields, pair)
    assert thing["a set"] == {1, 2} and thing["itself"].n == 3 and scores["n"] == 3 and score == 0.5
    return missing

def casts(flag: bool, count: int, ratio: float, text: str, colour: Colour, maybe: Optional[int], items: list[int]):
    return [flag, count, ratio, text, colour.value, maybe, items]

def bound(first, second, constant, given=7, *, only):
    return [first, second, constant, given, only]

def positional(a, /, b=2, *rest, c=3, **more):
    return [a, b, list(rest), c, sorted(more)[:2]]
"""
AS_GIVEN = r"""
def tells(version: str, number, z: str, plain, names: list[str], config: dict, rows: list, mood, literal: dict, large: int):
    assert (version, number, z, plain, names) == ("1.10", 1.1, "3.10", 3.1, ["1.10", "2"])
    assert json.dumps([config, rows, literal]) == json.dumps([
        {"zone": 1, "area": {"y": 2, "b": -0.0}}, [{"zip": "1", "name": "a", "age": 3.5}], {"q": 1, "c": [{"k": 2, "d": 3}]}
    ])
    assert mood == "\U0001f600" and large == 2**53 + 1, (mood, large)
    return {"of": version, "a": 1}

def each(item: str, number):
    return {"text": item, "number": number}

def joined(values):
    return {"texts": [value["text"] for value in values], "keys": list(values[0])}

CHECK = '''test "$version $exponent $versions $config" = '1.10 1e3 [1.10,2] {"zone": 1, "area": {"y": 2, "b": -0.0}}' || exit 9
export z=3.10 rows='[{"zip": "1", "name": "a", "age": 3.50}]'
'''

p = Pipeline(steps=[
    ShellTask("shell", CHECK, returns=["z", "rows"]),
    PythonTask(tells, returns=["told"], bind={
        "number": "version", "plain": "z", "names": "versions", "literal": {"value": {"q": 1, "c": [{"k": 2, "d": 3}]}},
    }),
    Conditional("by spelling", "z", {"3.1": Stub("the number").as_pipeline(), "3.10": Pipeline(steps=[
        Map("each", iterate_on="versions", iterate_as="item", reducer=joined,
            branch=PythonTask(each, returns=["seen"], bind={"number": "item"}).as_pipeline()),
    ])}),
    ShellTask("after", 'echo "$told|$z|$rows|$seen"'),
])
"""
ANNOTATED = """\
from __future__ import annotations

import collections, dataclasses, datetime, decimal, enum, fractions, ipaddress, pathlib, re, uuid
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar, Counter, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

if TYPE_CHECKING:
    from fractions import Fraction as Part

T = TypeVar("T")
Id = NewType("Id", int)

class Colour(enum.Enum):
    RED = "red"

class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2

class Name(str):
    pass

class Point(NamedTuple):
    x: int
    at: datetime.date

class Movie(TypedDict, total=False):
    shown: datetime.date

@dataclasses.dataclass(frozen=True)
class Base:
    kind: ClassVar[str] = "base"
    price: decimal.Decimal = decimal.Decimal(0)

@dataclasses.dataclass(frozen=True)
class Node(Base):
    scale: dataclasses.InitVar[int] = 1
    below: Optional[Node] = None
    size: int = dataclasses.field(init=False, default=3)
    names: list[str] = dataclasses.field(default_factory=list)

@dataclasses.dataclass
class Box(Generic[T]):
    item: T

TWO = datetime.timezone(datetime.timedelta(hours=2))
KINDS = {
    "day": datetime.date(2024, 1, 3),
    "naive": datetime.datetime(2024, 1, 3, 10, 20, 30, 5),
    "aware": datetime.datetime(2024, 1, 3, 10, 20, tzinfo=TWO),
    "clock": datetime.time(10, 20, tzinfo=datetime.timezone.utc),
    "wait": datetime.timedelta(days=-1, microseconds=5),
    "price": decimal.Decimal("0.10"),
    "third": fractions.Fraction(1, 3),
    "key": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "path": pathlib.PurePosixPath("a/b"),
    "colour": Colour.RED,
    "rights": Rights.READ | Rights.WRITE,
    "literal": "b",
    "raw": b"\\x00\\xff",
    "tags": {"c", "a", "b"},
    "days": frozenset({datetime.date(2024, 1, 4), datetime.date(2024, 1, 3)}),
    "pair": (1, decimal.Decimal("1.0")),
    "queue": collections.deque([1, 2]),
    "counts": collections.Counter("aab"),
    "by_day": {datetime.date(2024, 1, 3): [datetime.timedelta(seconds=1.5)]},
    "point": Point(1, datetime.date(2024, 1, 3)),
    "movie": {"shown": datetime.date(2024, 1, 3)},
    "node": Node(decimal.Decimal("1.50"), below=Node(names=["x"])),
    "box": Box(datetime.date(2024, 1, 3)),
    "identity": 7,
    "name": Name("n"),
    "address": ipaddress.ip_address("10.0.0.1"),
    "pattern": re.compile("a+"),
    "one_of": decimal.Decimal("3"),
    "nothing": None,
    "none_by_default": None,
}

def makes():
    return tuple(KINDS.values())

def takes(
    day: datetime.date, naive: datetime.datetime, aware: datetime.datetime, clock: datetime.time, wait: datetime.timedelta,
    price: decimal.Decimal, third: Part, key: uuid.UUID, path: pathlib.PurePosixPath, colour: Colour, rights: Rights,
    literal: Literal["a", "b"], raw: bytes, tags: set[str], days: frozenset[datetime.date], pair: tuple[int, decimal.Decimal],
    queue: collections.deque[int], counts: Counter[str], by_day: Mapping[datetime.date, Sequence[datetime.timedelta]],
    point: Point, movie: Movie, node: Node, box: Box[datetime.date], identity: Id, name: Name,
    address: ipaddress.IPv4Address, pattern: re.Pattern[str], one_of: Union[int, decimal.Decimal, None],
    nothing: Optional[datetime.date], none_by_default: int = None,
):
    for key, value in list(locals().items()):
        wanted = KINDS[key]
        assert value == wanted and type(value) is type(wanted) and str(value) == str(wanted) or key in ("tags", "days") and (
            value == wanted and type(value) is type(wanted)), (key, value, wanted)
    assert naive.tzinfo is None and aware.tzinfo == TWO and node.below.names == ["x"] and node.price.as_tuple().exponent == -2

def plain(tags, days, wait, price, rights, raw, point, node, by_day):
    return [tags, days, wait, price, rights, raw, point, node, by_day]

def refused(price: int):
    pass
"""
ANNOTATED_NAMES = re.findall(r'^    "(\w+)": ', ANNOTATED, re.MULTILINE)
SHELL_NAMES = {"type": "t", "test": 1, "IF": [1], "fi": "x y", "export": "e", "local": {"a": 1}, "_": "u", "a1_B": True}

OWN_FILE = """\
train: {trees: 25, rate: 1e5}
items:
- 7
- 8
name: "1.10"
"""
DECLARED = {
    "functions.py": "def see(n, version, go):\n    return [n, version, go]\n",
    "driver.py": """\
import functions
from toolkit import *
see = task(functions.see, returns=["seen"])

@pipeline(name="declared")
def main(n: int = 3, version: str = "1.0", go: bool = True):
    see(n, version, go)
    ShellTask("tell", "env | grep stray; echo $n $version $go")()
""",
    "sdk.py": """\
import functions
from toolkit import *
p = Pipeline(
    name="declared",
    steps=[PythonTask(functions.see, returns=["seen"]), ShellTask("tell", "env | grep stray; echo $n $version $go")],
    parameters=[Parameter("n", int, 3), Parameter("version", str, "1.0"), Parameter("go", bool, True)],
)
""",
    "pipeline.yaml": """\
parameters:
  n: 3
  version: {type: str, default: "1.0"}
  go: {type: bool, default: true}
dag:
  name: declared
  start_at: see
  steps:
    see: {command: functions.see, returns: [seen], next: tell}
    tell: {command_type: shell, command: "env | grep stray; echo $n $version $go"}
""",
}

CASES = (
    Case(
        "values",
        "Values of every kind go unchanged from a Python step to others, to a shell step and back.",
        steps=[
            f"PythonTask(functions.makes, returns={list(VALUES)})",
            "PythonTask(functions.same, returns=['count'])",
            "ShellTask('shell', 'python3 check.py')",
            "ShellTask('through', 'for n in quotes lines command template text empty; do export $n; done; export zero nested list',"
            " returns=['quotes', 'lines', 'command', 'template', 'text', 'empty', 'zero', 'nested', 'list'])",
            "PythonTask(functions.same, name='after')",
        ],
        code=KINDS,
        files={
            "values.json": json.dumps(VALUES),
            "check.py": "import json, os\n"
            "for name, value in json.load(open('values.json')).items():\n"
            "    wanted = value if isinstance(value, str) else json.dumps(value)\n"
            "    found = os.environ.get(name)\n"
            "    assert found == wanted, (name, found)\n",
        },
        expect=Expect(parameters={**VALUES, "count": len(VALUES)}),
    ),
    Case(
        "kinds",
        "Models, dataclasses, tuples, objects and metrics; annotations, bindings, defaults, positions and **kwargs.",
        steps=[
            "PythonTask(functions.kinds, returns=['point', 'model', 'pair', pickled('thing'), metric('scores'), metric('score')])",
            "PythonTask(functions.takes, returns=['missing_was'])",
            "PythonTask(functions.casts, returns=['cast'])",
            "PythonTask(functions.bound, returns=['bound'], bind={'first': 'kinds.score', 'second': 'text',"
            " 'constant': {'value': [None, '{{x}}']}, 'only': 'takes.missing_was'})",
            "PythonTask(functions.positional, returns=['placed'], bind={'a': 'score', 'c': 'count'})",
            "ShellTask('shell', 'echo \"$point|$model|$pair|$scores|$score|${thing:-no objects}\"')",
        ],
        code=KINDS,
        files={"values.json": "{}"},
        arguments=[
            *("--param", "flag=False", "--param", 'count="12"', "--param", "ratio=2", "--param", "text=3.50"),
            *("--param", "colour=red", "--param", "maybe=null", "--param", 'items="[1, 2]"'),
        ],
        expect=Expect(
            parameters={
                "point": {"x": 1, "y": 0.5},
                "model": {"a": 1},
                "pair": [1, 2],
                "scores": {"loss": 0.25, "n": 3},
                "missing_was": "its default",
                "cast": [False, 12, 2.0, "3.50", "red", None, [1, 2]],
                "bound": [0.5, 3.5, [None, "{{x}}"], 7, "its default"],
                "placed": [0.5, 2, [], "12", ["bound", "cast"]],
            },
            output={"shell": '{"x": 1, "y": 0.5}|{"a": 1}|[1, 2]|{"loss": 0.25, "n": 3}|0.5|no objects\n'},
        ),
    ),
    Case(
        "annotations",
        "Values of every kind that the standard library has arrive as they were where they are annotated, and else as JSON.",
        steps=[
            f"PythonTask(functions.makes, returns={ANNOTATED_NAMES})",
            "PythonTask(functions.takes)",
            "PythonTask(functions.plain, returns=['plain'])",
            "PythonTask(functions.refused)",
        ],
        # Its annotations are text, which the first line of a file says.
        code="from annotated import makes, plain, refused, takes\n",
        files={"annotated.py": ANNOTATED},
        expect=Expect(
            code=1,
            steps={
                "makes": OK,
                "takes": OK,
                "plain": OK,
                "refused": failed(1, 'the parameter price can\'t be int: it is "0.10"'),
            },
            parameters={
                "plain": [
                    ["a", "b", "c"],
                    ["2024-01-03", "2024-01-04"],
                    -86399.999995,
                    "0.10",
                    3,
                    "data:application/octet-stream;base64,AP8=",
                    [1, "2024-01-03"],
                    {
                        "price": "1.50",
                        "below": {"price": "0", "below": None, "size": 3, "names": ["x"]},
                        "size": 3,
                        "names": [],
                    },
                    {"2024-01-03": [1.5]},
                ]
            },
        ),
    ),
    Case(
        "as-given",
        "Values keep the order of their keys everywhere, and what came as text is text where text is wanted, with its spelling.",
        core="spellings reach pods by a file of their own, and the order of keys through each kind of step",
        **written(
            AS_GIVEN, {"given.json": '{"config": {"zone": 1, "area": {"y": 2, "b": -0.0}}, "mood": "\\ud83d\\ude00"}'}
        ),
        environ={"TOOLKIT_PRM_versions": "[1.10,2]", "RUNNABLE_PRM_exponent": "1e3"},
        arguments=["-p", "given.json", "--param", "version=1.10", "--param", f"large={2**53 + 1}"],
        expect=Expect(
            among={"by spelling": PASSED, "by spelling/3.1/the number": SKIPPED, "by spelling/3.10/each": PASSED},
            parameters={
                "version": 1.1,
                "exponent": 1000.0,
                "versions": [1.1, 2],
                "z": 3.1,
                "told": {"of": "1.10", "a": 1},
                "seen": {"texts": ["1.10", "2"], "keys": ["text", "number"]},
            },
            output={
                "after": '{"of": "1.10", "a": 1}|3.10|[{"zip": "1", "name": "a", "age": 3.50}]|'
                '{"texts": ["1.10", "2"], "keys": ["text", "number"]}\n'
            },
        ),
    ),
    Case(
        "large-values",
        "Values of 100 kB and 2 MB reach Python steps unchanged, and shell steps as files.",
        core="values beyond an environment string, parameters beyond an argument",
        steps=[
            "PythonTask(functions.makes, returns=['large', 'huge'])",
            "PythonTask(functions.looks, returns=['sizes'])",
            'ShellTask(\'shell\', \'test -z "$large$huge" && cat "$large_FILE" "$huge_FILE" "$root_FILE" | wc -c\')',
        ],
        code="""\
def makes():
    return "é" * 50_000, ["x" * 1_000_000, "y" * 1_000_000]

def looks(large, huge, root):
    assert large == "é" * 50_000 and huge == ["x" * 1_000_000, "y" * 1_000_000] and set(root) == {"r"}
    return [len(large), len(huge), len(root)]
""",
        files={"root.json": json.dumps({"root": "r" * 300_000})},
        arguments=["-p", "root.json"],
        expect=Expect(parameters={"sizes": [50_000, 2, 300_000]}, output={"shell": str(100_000 + 2_000_008 + 300_000)}),
    ),
    Case(
        "where-values-are-from",
        "A file, the environment and the command line give parameters; the later ones count. A step's return counts above all.",
        steps=[
            "PythonTask(functions.all, returns=['all'])",
            "PythonTask(functions.returns, returns=['of_file'])",
            "PythonTask(functions.again, returns=['newest'])",
            "PythonTask(functions.again, name='of the run', returns=['oldest'], bind={'of_file': {'parameter': 'of_file'}})",
        ],
        code="""\
def all(**everything):
    return everything

def returns(of_file):
    return [of_file, "by a step"]

def again(of_file):
    return of_file
""",
        files={
            "given.yaml": "of_file: file\nof_runnable: file\nof_toolkit: file\nof_option: file\nnested: {a: [1, 'x']}\n"
        },
        environ={
            "RUNNABLE_PRM_of_runnable": '"runnable"',
            "RUNNABLE_PRM_of_toolkit": "runnable",
            "TOOLKIT_PRM_of_toolkit": '["toolkit"]',
            "TOOLKIT_PRM_of_option": "toolkit",
        },
        arguments=["-p", "given.yaml", "--param", "of_option=3", "--param", "text=it's $(so) {{x}}"],
        expect=Expect(
            parameters={
                "all": {
                    "of_file": "file",
                    "of_runnable": "runnable",
                    "of_toolkit": ["toolkit"],
                    "of_option": 3,
                    "nested": {"a": [1, "x"]},
                    "text": "it's $(so) {{x}}",
                },
                "newest": ["file", "by a step"],
                "oldest": "file",
            }
        ),
    ),
    Case(
        "words-of-the-shell",
        "Parameters with names that mean something to the shell reach a command, and what it exports is JSON where possible.",
        steps=[
            f"PythonTask(functions.makes, returns={list(SHELL_NAMES)})",
            "ShellTask('shell', 'python3 -c \"import os; print([os.environ[n] for n in '"
            f" + repr({list(SHELL_NAMES)}).replace('\\'', '\\\\\\'').replace('\\\\', '') + ' if n != chr(95)])\"; "
            'export n=1 f=1.50 t=true z=null l="[1, 2]" d=\\\'{"a": 1}\\\' s=one q="" bad="[1," big=1e999\','
            " returns=['n', 'f', 't', 'z', 'l', 'd', 's', 'q', 'bad', 'big'])",
        ],
        code=f"def makes():\n    return {tuple(SHELL_NAMES.values())!r}\n",
        expect=Expect(
            parameters={
                **SHELL_NAMES,
                **{"n": 1, "f": 1.5, "t": True, "z": None, "l": [1, 2], "d": {"a": 1}, "s": "one", "q": ""},
                **{"bad": "[1,", "big": "1e999"},
            },
            output={"shell": "['t', '1', '[1]', 'x y', 'e', '{\"a\": 1}', 'true']"},
        ),
    ),
    Case(
        "parameters-own-file",
        "Scripts that read the pipeline's parameters_file find the run's values there: in each step, in each item of a "
        "container that several share, and where the root is read-only. What has not changed is spelled as it was.",
        core="the file's new text crosses the ConfigMap of a cluster",
        files={
            "conf/params.yaml": "# of the scripts\ntrain: {trees: 6, rate: 1e5}\nitems: [1, 2, 3]\nname: '1.9'\n",
            "pipeline.py": """\
import functions
from toolkit import Map, Pipeline, PythonTask, ShellTask

each = Pipeline(steps=[
    PythonTask(functions.read, name="function", returns=["text"]),
    ShellTask("shell", 'seen=$(cat conf/params.yaml); export seen', returns=["seen"]),
])
pipeline = Pipeline(parameters_file="conf/params.yaml", steps=[
    PythonTask(functions.read, returns=["first"]),
    Map("m", branch=each, iterate_on="items", iterate_as="i"),
    ShellTask("last", "cat conf/params.yaml; echo $train $name; rm conf/params.yaml"),
])
""",
        },
        code="def read(): return open('conf/params.yaml').read()",
        config={"pods_per_map": 1, "read_only_root": True, "scratch_size": "32Mi"},
        arguments=(
            "--param",
            "train.trees=25",
            "--param",
            "items=[7, 8]",
            "--param",
            "name=1.10",
            "--param",
            "other=1",
        ),
        expect=Expect(
            rows=7,
            among={"m": PASSED},
            parameters={"first": OWN_FILE, "text": [OWN_FILE] * 2, "seen": [OWN_FILE.strip()] * 2, "name": "1.10"},
            output={"last": OWN_FILE + '{"trees": 25, "rate": 100000.0} 1.10\n'},
        ),
    ),
    Case(
        "declared",
        "Declared parameters are all that there is: a default is the run's value and recorded, a text is of its type.",
        files=DECLARED,
        pipeline="driver.py",
        also=("sdk.py", "pipeline.yaml"),
        compiles=True,
        environ={"TOOLKIT_PRM_stray": "1"},
        arguments=["--param", "version=1.10", "--param", "go=no"],
        expect=Expect(
            parameters={"n": 3, "version": "1.10", "go": False, "seen": [3, "1.10", False]},
            output={"tell": "3 1.10 false\n"},
            stderr="stray is given by a file or the environment, and nothing in this pipeline takes it",
            absent=["stray=1"],
        ),
    ),
)
