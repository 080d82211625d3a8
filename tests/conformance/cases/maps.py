"""Maps: their items, their collected values, and how they fail."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, attempt, attempted, failed, written

ITEMS = """\
class Thing:
    def __init__(self, item):
        self.item = item

def looks(item, word, prefix="no prefix"):
    with open("part.txt", "w") as file:
        json.dump(item, file)
    return Thing(item), [item, word], {"size": len(str(item))}

def again(thing, pair, item, sizes):
    assert thing.item == item == pair[0] and sizes == {"size": len(str(item))}
    return f"{pair[1]} {item}"

def collects(things, texts, pair, sizes, items, outer):
    assert [thing.item for thing in things] == items, things
    assert open("0/part.txt").read() == '"a.csv"' and open("2/part.txt").read() == '"a.csv"'
    assert not os.path.exists("1/part.txt")
    return [texts, pair, sizes, outer]

def more(things, item="no item"):
    return sorted(str(thing.item) for thing in things), item

p = Pipeline(steps=[
    Map("each", iterate_on="items", iterate_as="item", branch=Pipeline(steps=[
        PythonTask(looks, returns=[pickled("thing"), "pair", metric("sizes")], catalog=Catalog(put=["part.txt"])),
        ShellTask("shell", 'export texts="$word $item"; cat part.txt', returns=["texts"], catalog=Catalog(get=["part.txt"])),
        PythonTask(again, returns=["outer"]),
    ])),
    PythonTask(collects, returns=["all"], bind={"things": "each.thing"},
        catalog=Catalog(get=["0/part.txt", "[2-9]/part.txt"])),
    PythonTask(more, returns=["sorted", "item_after"], bind={"things": "thing"}),
])
"""
MIXED: list[Any] = ["a.csv", {"k": 1}, "a.csv"]
TEXTS = ["for a.csv", 'for {"k": 1}', "for a.csv"]
FEW = """\
def doubled(n):
    return n * 2

def sums(empty_m, one_m, total_empty, total_one):
    return [empty_m, one_m, total_empty, total_one]

def each(name, **more):
    return Map(name, iterate_on=name, iterate_as="n", **more)

p = Pipeline(steps=[
    each("empty", branch=PythonTask(doubled, returns=["empty_m"]).as_pipeline()),
    each("one", branch=PythonTask(doubled, returns=["one_m"]).as_pipeline()),
    Nested("summed", Pipeline(steps=[
        Map("empty", iterate_on="empty", iterate_as="n", reducer=sum,
            branch=PythonTask(doubled, returns=["total_empty"]).as_pipeline()),
        Map("one", iterate_on="one", iterate_as="n", reducer="sum",
            branch=PythonTask(doubled, returns=["total_one"]).as_pipeline()),
    ])),
    PythonTask(sums, returns=["all"]),
    Map("stubs", iterate_on="all", iterate_as="n", branch=Stub("nothing").as_pipeline()),
    Map("none of them", iterate_on="empty", iterate_as="n", reducer="max",
        branch=PythonTask(doubled, returns=["largest"]).as_pipeline()),
    PythonTask(doubled, name="does not need it", bind={"n": "total_one"}),
    PythonTask(doubled, name="takes the largest", bind={"n": "largest"}),
])
"""
REDUCERS = """\
def same(n):
    return n

def squares(values):
    return {"of": [value ** 2 for value in values], "how many": len(values)}

def joined(values):
    assert os.environ.get("TOOLKIT_MISSING") is None
    return "-".join(str(value["n"]) for value in values)

class Box:
    def __init__(self, n):
        self.n = n

def boxed(n):
    return Box(n)

def box_of_boxes(values):
    return Box([box.n for box in values])

def emptied(boxes):
    assert type(boxes) is Box, "the class that this module knows"
    return sum(boxes.n)

def decides(values):
    return "many" if len(values) > 1 else "few"

def document(n):
    return {"n": n}

def each(name, reducer, function=same):
    kind = pickled if function is boxed else json_
    return name, Pipeline(steps=[
        Map("m", iterate_on="ns", iterate_as="n", reducer=reducer,
            branch=PythonTask(function, returns=[kind(name)]).as_pipeline())
    ])

json_ = sys.modules["toolkit"].json

p = Pipeline(steps=[
    Parallel("all", branches=dict([
        each("none", None), each("list", "list"), each("sum", "sum"), each("max", max), each("min", "min"),
        each("last", "last"), each("function", squares), each("dotted", "pipeline.joined", document),
        each("boxes", box_of_boxes, boxed), each("decision", decides),
    ])),
    PythonTask(emptied, returns=["emptied"]),
    ShellTask("shell", 'echo "$none $sum $max $min $last $dotted $function ${boxes:-no objects}"'),
    Conditional("by what was reduced", "decision", branches={
        "few": Stub("few").as_pipeline(),
        "many": Pipeline(steps=[
            Map("again", iterate_on="none", iterate_as="n", branch=PythonTask(same, returns=["again"]).as_pipeline()),
        ]),
    }),
])
"""
FAILING = """\
def works(n, limit):
    with open("n.txt", "w") as file:
        file.write(str(n))
    if n > limit:
        raise ValueError(f"{n} is too much")
    return n

def looks(ns, limit):
    return [[number, open(f"{number}/n.txt").read()] for number in sorted(os.listdir(".")) if number.isdigit()]

p = Pipeline(steps=[
    Map("all", iterate_on="ns", iterate_as="n", concurrency=1,
        branch=Pipeline(steps=[
            PythonTask(works, returns=["n"], catalog=Catalog(put=["n.txt"])),
            ShellTask("then", "echo $n went well"),
        ]),
        on_failure=Pipeline(name="look", steps=[PythonTask(looks, returns=["seen"], catalog=Catalog(get=["*/n.txt"]))])),
    Stub("not after a handler"),
])
"""
UNHANDLED = """\
def works(n):
    if volume.attempts(f"item {n}") < n:
        sys.exit(n)
    return n * 10

p = Pipeline(steps=[
    Map("all", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[
        PythonTask(works, returns=["m"], max_attempts=2),
        ShellTask("then", "echo $m"),
    ])),
    Stub("never"),
])
"""
AT_RUN_TIME = """\
import fcntl

def lists(word):
    return [[word] * n for n in range(2)]

def alone(n):
    # Each item that runs has a lock, and never more of them than the limit.
    for number in range(2):
        file = open(os.path.join(volume.folder(), f"place {number}"), "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            file.close()
    else:
        raise RuntimeError("there are more than two at once")
    time.sleep(0.1)
    return n

def one(outer, inner, word, ns):
    return [len(outer), inner, word, len(ns)]

p = Pipeline(steps=[
    ShellTask("counts", "export ns='[1, \\"2\\", {\\"a\\": 5}]'", returns=["ns"]),
    Map("as text", iterate_on="ns", iterate_as="n", branch=PythonTask(alone, returns=["all"]).as_pipeline(), concurrency=2),
    PythonTask(lists, returns=["lists"]),
    Map("outer", iterate_on="lists", iterate_as="outer", branch=Pipeline(steps=[
        Stub("nothing"),
        Map("inner", iterate_on="outer", iterate_as="inner", branch=PythonTask(one, returns=["seen"]).as_pipeline()),
        ShellTask("after", 'export text="$seen"', returns=["text"]),
    ])),
])
"""
NO_LIST = """\
p = Pipeline(steps=[
    ShellTask("counts", "export ns='not a list'", returns=["ns"]),
    Pipeline(name="handled", steps=[
        Map("of a number", iterate_on="number", iterate_as="n", branch=ShellTask("never", "true").as_pipeline(),
            on_failure=ShellTask("instead", "echo instead").as_pipeline()),
    ]),
    Map("of a text", iterate_on="ns", iterate_as="n", branch=ShellTask("never", "true").as_pipeline()),
    Stub("not reached"),
])
"""
GROUPS = """\
def works(n, seen=None):
    assert seen is None and not os.path.exists("left.txt"), "an item finds nothing of the one before it"
    open("left.txt", "w").write(str(n))
    print("works on", n)
    if n == 2:
        raise ValueError("not 2")
    return n * 10

def then(m, n):
    assert m == n * 10 and open("left.txt").read() == str(n)
    return m + 1

def shaky(n):
    before = volume.attempts(f"shaky {n}")
    if n in (3, 4) and before < 1:
        sys.exit(n)
    return before

p = Pipeline(steps=[
    Pipeline(name="handled", steps=[
        Map("grouped", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[
            PythonTask(works, returns=["m"], catalog=Catalog(put=["left.txt"])),
            PythonTask(then, returns=["more"], catalog=Catalog(get=["left.txt"])),
        ]), on_failure=ShellTask("looks", "cat 0/left.txt 4/left.txt", catalog=Catalog(get=["*/left.txt"])).as_pipeline()),
    ]),
    Map("doubled", iterate_on="ns", iterate_as="n", branch=ShellTask(
        "doubles", "export double=$((n * 2))", returns=["double"]).as_pipeline()),
    ShellTask("shows", 'echo "$double"'),
    Map("tried again", iterate_on="ns", iterate_as="n",
        branch=PythonTask(shaky, returns=["before"], max_attempts=2).as_pipeline()),
    ShellTask("and then", 'echo "$before"'),
    Map("too many", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[Stub("which no pod"), Stub("could have in it")])),
])
"""
SHARED_PODS = """\
def works(n):
    beside = os.path.join(os.path.dirname(os.path.realpath(__file__)), "left.txt")
    assert not os.path.exists(beside), "an item finds nothing of the one before it"
    open(beside, "w").write(str(n))
    assert os.path.exists("left.txt"), "the module lies in the step's folder"
    with open("there.txt", "a") as file:
        file.write("changed")
    assert open("there.txt").read() == "as it was, changed", "an item has files of its own"
    if n == 1:
        raise ValueError("not 1")
    return n * 10

p = Pipeline(steps=[
    Map("all", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[
        PythonTask(works, returns=["m"], catalog=Catalog(put=["left.txt"])),
        ShellTask("then", 'echo "$m"'),
    ]), on_failure=ShellTask("looks", "cat 0/left.txt 2/left.txt", catalog=Catalog(get=["*/left.txt"])).as_pipeline()),
])
"""

CASES = (
    Case(
        "items-share-pods",
        "When a map has more items than pods, an item that fails in a shared pod ends none of the other items.",
        core="the items of a map in groups",
        **written(SHARED_PODS, {"there.txt": "as it was, "}),
        arguments=["--param", "ns=[0, 1, 2]"],
        config={"pods_per_map": 2},
        expect=Expect(
            among={
                "all": BROKEN,
                "all/1/works": failed(1, "ValueError: not 1"),
                "all/1/then": SKIPPED,
            },
            rows=8,
            output={"all/on_failure/looks": "02"},
        ),
    ),
    Case(
        "map",
        "Items of several kinds run separate branches. Values, objects and files are collected in the order of the items.",
        **written(ITEMS),
        arguments=["--param", 'items=["a.csv", {"k": 1}, "a.csv"]', "--param", "word=for"],
        expect=Expect(
            rows=12,
            parameters={
                "items": MIXED,
                "pair": [[one, "for"] for one in MIXED],
                "sizes": [{"size": 5}, {"size": 8}, {"size": 5}],
                "texts": TEXTS,
                "outer": [f"for {one}" for one in MIXED],
                "all": [
                    TEXTS,
                    [[one, "for"] for one in MIXED],
                    [{"size": 5}, {"size": 8}, {"size": 5}],
                    [f"for {one}" for one in MIXED],
                ],
                "sorted": ["a.csv", "a.csv", "{'k': 1}"],
                "item_after": "no item",
            },
            puts={"each/1/looks": {"part.txt": '{"k": 1}'}, "each/2/looks": {"part.txt": '"a.csv"'}},
            output={"each/1/shell": '{"k": 1}'},
        ),
    ),
    Case(
        "few-items",
        "No item, or one item. A reducer that needs an item fails only the steps that take its value.",
        **written(FEW),
        arguments=["--param", "empty=[]", "--param", "one=[21]"],
        expect=Expect(
            code=1,
            steps={
                "empty": PASSED,
                "one": PASSED,
                "one/0/doubled": OK,
                "summed": PASSED,
                "summed/empty": PASSED,
                "summed/one": PASSED,
                "summed/one/0/doubled": OK,
                "sums": OK,
                "stubs": PASSED,
                **{f"stubs/{n}/nothing": PASSED for n in range(4)},
                "none of them": PASSED,
                "does not need it": OK,
                "takes the largest": failed(
                    1, "the reducer max of the map none of them can't make one value of largest: there are no items"
                ),
            },
            parameters={"empty_m": [], "one_m": [42], "total_empty": 0, "total_one": 42, "all": [[], [42], 0, 42]},
        ),
    ),
    Case(
        "reducers",
        "Each reducer: those with a name, and functions given directly or by dotted path, for values and for objects.",
        **written(REDUCERS),
        arguments=["--param", "ns=[3, 1]"],
        # The items of each map share one pod.
        config={"pods_per_map": 1},
        expect=Expect(
            among={"by what was reduced/few/few": SKIPPED},
            parameters={
                "none": [3, 1],
                "list": [3, 1],
                "sum": 4,
                "max": 3,
                "min": 1,
                "last": 1,
                "emptied": 4,
                "again": [3, 1],
            },
            output={"shell": '[3, 1] 4 3 1 1 3-1 {"of": [9, 1], "how many": 2} no objects\n'},
        ),
    ),
    Case(
        "a-failing-item",
        "The other items run to their ends. Then the map has failed, and its handler runs and sees their files.",
        **written(FAILING),
        arguments=["--param", "ns=[1, 7, 3]", "--param", "limit=5"],
        expect=Expect(
            steps={
                "all": BROKEN,
                "all/0/works": OK,
                "all/0/then": OK,
                "all/1/works": failed(1, "ValueError: 7 is too much"),
                "all/1/then": SKIPPED,
                "all/2/works": OK,
                "all/2/then": OK,
                "all/on_failure/looks": OK,
                "not after a handler": SKIPPED,
            },
            parameters={"seen": [["0", "1"], ["1", "7"], ["2", "3"]]},
            puts={"all/1/works": {"n.txt": "7"}},
        ),
    ),
    Case(
        "attempts-of-items",
        "An item's step is retried separately. A map that fails without a handler fails the run.",
        **written(UNHANDLED),
        arguments=["--param", "ns=[1, 2]"],
        expect=Expect(
            code=1,
            steps={
                "all": BROKEN,
                "all/0/works": attempted(attempt(1), attempt(0)),
                "all/0/then": OK,
                "all/1/works": attempted(attempt(2), attempt(2)),
                "all/1/then": SKIPPED,
                "never": SKIPPED,
            },
            reason="the step all/1/works failed",
            output={"all/0/then": "10\n"},
        ),
    ),
    Case(
        "maps-at-run-time",
        "Lists that steps return, also as text; the map's own concurrency; and a map over an item of another map.",
        **written(AT_RUN_TIME),
        arguments=["--param", "word=w"],
        expect=Expect(
            parameters={
                "all": [1, "2", {"a": 5}],
                "seen": [[], [[1, "w", "w", 3]]],
                "text": [[], [[1, "w", "w", 3]]],
            },
        ),
    ),
    Case(
        "no-list",
        "A map over a value that is no list fails, its reason names the value's kind, and its handler runs.",
        core="the client and Argo end a run whose map has no list",
        **written(NO_LIST),
        arguments=["--param", "number=3"],
        expect=Expect(
            code=1,
            reason='the map of a text iterates on ns, which is no list but "not a list"',
            steps={
                "counts": OK,
                "handled": PASSED,
                "handled/of a number": BROKEN,
                "handled/of a number/on_failure/instead": OK,
                "of a text": BROKEN,
                "not reached": SKIPPED,
            },
        ),
    ),
    Case(
        "items-in-groups",
        "When a map has more items than pods, a pod runs several, with the same results. A branch with composites is refused then.",
        **written(GROUPS),
        arguments=["--param", "ns=[0, 1, 2, 3, 4]"],
        config={"pods_per_map": 2},
        expect=Expect(
            code=1,
            reason="the map too many has 5 items, more than the 2 pods that it may have on a cluster",
            among={
                "handled/grouped": BROKEN,
                "handled/grouped/2/works": failed(1, "ValueError: not 2"),
                "handled/grouped/2/then": SKIPPED,
                "tried again/3/shaky": attempted(attempt(3), attempt(0)),
                "tried again/4/shaky": attempted(attempt(4), attempt(0)),
                "too many": BROKEN,
            },
            rows=28,
            parameters={"before": [0, 0, 0, 1, 1], "double": [0, 2, 4, 6, 8]},
            output={
                "shows": "[0, 2, 4, 6, 8]\n",
                "handled/grouped/on_failure/looks": "04",
                "handled/grouped/3/works": "works on 3\n",
            },
        ),
    ),
)
