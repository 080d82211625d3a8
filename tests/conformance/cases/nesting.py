"""Composites in composites: in any order, to any depth, and with only stubs in them."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import PASSED, SKIPPED, Case, Expect, failed, written

FIRST = """\
def lists(groups):
    return groups[::-1]

def collects(**everything):
    return {name: everything.get(name) for name in ("which", "letter_of")}

def of_letter(kind, letter, group):
    return f"{letter} of {kind} in {len(group)}"

def which(i, kind):
    return f"{kind} {i}"

def kinds(name, iterate_on):
    return Map(name, iterate_on=iterate_on, iterate_as="group", branch=Pipeline(steps=[
        Map("kinds", iterate_on="group", iterate_as="kind", branch=Pipeline(steps=[
            Conditional("kind?", "kind", branches={
                "loop": Pipeline(steps=[
                    Loop("twice", max_iterations=3, break_on="stop", index_as="i", branch=Pipeline(steps=[
                        Conditional("i?", "i", branches={
                            "0": PythonTask(which, name="first", returns=["which"]).as_pipeline(),
                            "1": PythonTask(which, name="second", returns=["which"]).as_pipeline(),
                        }),
                        ShellTask("goes on", "export stop=$i", returns=["stop"]),
                    ])),
                ]),
                "map": Map("letters", iterate_on="letters", iterate_as="letter",
                    branch=PythonTask(of_letter, returns=["letter_of"]).as_pipeline()).as_pipeline(),
            }, default=Stub("nothing to do").as_pipeline()),
        ])),
    ]))

p = Pipeline(steps=[
    kinds("given", "groups"),
    PythonTask(collects, returns=["first"]),
    PythonTask(lists, returns=["lists"]),
    kinds("returned", "lists"),
    PythonTask(collects, name="collects again", returns=["second"]),
])
"""
TOGETHER: dict[str, list[Any]] = {
    "which": [["loop 1", None], [], None],
    "letter_of": [[None, ["x of map in 2"]], [], None],
}
IN_EACH_OTHER = """\
def deep(root, fold, number, word, i):
    return [root, fold, number, word, i]

def numbers(fold):
    return [10 * fold]

def ends(i):
    return i == 1

def after(deepest, also, both):
    return [deepest, also, both]

p = Pipeline(steps=[
    Parallel("sides", {
        "left": Pipeline(steps=[
            Map("folds", iterate_on="folds", iterate_as="fold", branch=Pipeline(steps=[
                PythonTask(numbers, returns=["numbers"]),
                Parallel("pair", {
                    "one": Map("numbers", iterate_on="numbers", iterate_as="number", concurrency=1, branch=Pipeline(steps=[
                        Nested("words", Pipeline(steps=[
                            ShellTask("word", 'export word="word$number"', returns=["word"]),
                            Loop("loop", max_iterations=5, break_on="over", index_as="i", branch=Pipeline(steps=[
                                PythonTask(ends, returns=["over"]),
                                Conditional("last?", "over", {
                                    "True": PythonTask(deep, returns=["deepest"]).as_pipeline(),
                                    "False": Stub("not yet").as_pipeline(),
                                }),
                            ])),
                        ])),
                    ])).as_pipeline(),
                    "other": ShellTask("other", 'export also="$root $fold"', returns=["also"]).as_pipeline(),
                }),
                ShellTask("both", 'export both="$also $deepest"', returns=["both"]),
            ])),
        ]),
        "right": Parallel("right", {"a": Parallel("a", {"b": Stub("c").as_pipeline()}).as_pipeline()}).as_pipeline(),
    }),
    PythonTask(after, returns=["all"]),
])
"""
DEEPEST = [[["r", fold, number, f"word{number}", 1] for number in (10 * fold,)] for fold in (1, 2)]
STUBS = """\
p = Pipeline(steps=[
    Parallel("parallel", {"a": Stub("x").as_pipeline(), "b": Pipeline(steps=[Stub("x"), Stub("y")])}),
    Map("map", iterate_on="items", iterate_as="item", branch=Pipeline(steps=[
        Map("inner", iterate_on="item", iterate_as="one", branch=Stub("x").as_pipeline()),
        Stub("after"),
    ])),
    Conditional("conditional", "choice", {"a": Stub("x").as_pipeline(), "b": Stub("y").as_pipeline()}),
    Nested("pipeline", Pipeline(steps=[Stub("x"), Success("ends"), Stub("y")])),
    Fail("fails", ),
    Stub("not reached"),
])
"""
AFTER_EACH_OTHER = """\
def fails():
    sys.exit(1)

def two():
    return [1, 2], "a"

def others():
    return [1, 3], "b"

def tenfold(n):
    return n * 10

def outer_file():
    open("outer.txt", "w").write("outer")

def item_file(n):
    open("item.txt", "w").write(str(n))
    return n

def files(k, n):
    return [k, n, open("item.txt").read(), open("outer.txt").read()]

def ends(i):
    return i == 1

def tens(name, returns):
    return PythonTask(tenfold, name=name, returns=[returns]).as_pipeline()

p = Pipeline(steps=[
    PythonTask(outer_file, catalog=Catalog(put=["outer.txt"])),
    Nested("load", Pipeline(steps=[
        PythonTask(fails, returns=["ns", "word"], on_failure=PythonTask(two, returns=["ns", "word"]).as_pipeline()),
    ])),
    Map("after a handler", iterate_on="ns", iterate_as="n", branch=tens("tenfold", "m")),
    Map("after a map", iterate_on="m", iterate_as="n", branch=tens("tenfold", "o")),
    Parallel("both", {
        "two": PythonTask(two, returns=["ns", "word"]).as_pipeline(),
        "three": PythonTask(others, returns=["ns", "word"]).as_pipeline(),
    }),
    Conditional("after a parallel", "word", {
        "a": Stub("a").as_pipeline(), "b": ShellTask("b", "export said=b", returns=["said"]).as_pipeline(),
    }),
    Map("outer", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[
        PythonTask(item_file, returns=["q"], catalog=Catalog(put=["item.txt"])),
        Map("inner", iterate_on="ks", iterate_as="k",
            branch=PythonTask(files, returns=["r"], catalog=Catalog(get=["item.txt", "outer.txt"])).as_pipeline()),
    ])),
    Loop("loop", max_iterations=5, break_on="over", index_as="i", branch=Pipeline(steps=[
        Map("over what it made", iterate_on="ns", iterate_as="n", branch=tens("tenfold", "ns")),
        PythonTask(ends, returns=["over"]),
    ])),
    ShellTask("shows", 'echo "$m $o $said $ns"'),
])
p.execute()
"""
BEGINS = """\
def lists():
    return [["skip", "take"], []]

p = Pipeline(steps=[
    PythonTask(lists, returns=["groups"]),
    Map("outer", iterate_on="groups", iterate_as="group", branch=Pipeline(steps=[
        Map("inner", iterate_on="group", iterate_as="what", branch=Pipeline(steps=[
            Conditional("take?", "what", {
                "take": ShellTask("takes", 'export taken="$what"', returns=["taken"]).as_pipeline(),
            }, default=Stub("skips").as_pipeline()),
        ])),
    ])),
    ShellTask("shows", 'echo "$taken"'),
])
"""

CASES = (
    Case(
        "branch-begins-with-a-map",
        "A branch may begin with a map whose branch begins with a conditional, so that no step runs before they are decided.",
        core="a map's fan-out over control values that another step made",
        **written(BEGINS),
        expect=Expect(
            among={
                "outer/0/inner/0/take?/take/takes": SKIPPED,
                "outer/0/inner/1/take?/default/skips": SKIPPED,
            },
            output={"shows": '[[null, "take"], []]\n'},
        ),
    ),
    Case(
        "first-in-a-branch",
        "A branch may begin with a map, a conditional or a loop, three deep, over values that are given or returned.",
        **written(FIRST),
        arguments=["--param", 'groups=[["loop", "map"], [], ["other"]]', "--param", 'letters=["x"]'],
        expect=Expect(
            among={
                f"{name}/{path}": SKIPPED
                for name, loops in (("given", "0"), ("returned", "2"))
                for path in (
                    f"{loops}/kinds/0/kind?/loop/twice/0/i?/1/second",
                    f"{loops}/kinds/0/kind?/loop/twice/1/i?/0/first",
                    f"{loops}/kinds/0/kind?/map/letters",
                    f"{loops}/kinds/0/kind?/default/nothing to do",
                    f"{loops}/kinds/1/kind?/loop/twice",
                    f"{loops}/kinds/1/kind?/default/nothing to do",
                    f"{'2' if loops == '0' else '0'}/kinds/0/kind?/loop/twice",
                    f"{'2' if loops == '0' else '0'}/kinds/0/kind?/map/letters",
                )
            },
            parameters={
                "first": TOGETHER,
                "second": {name: one[::-1] for name, one in TOGETHER.items()},
            },
        ),
    ),
    Case(
        "in-each-other",
        "A parallel, a map, a parallel, a map, a pipeline, a loop and a conditional nest. Inner steps see all outer values.",
        **written(IN_EACH_OTHER),
        arguments=["--param", "root=r", "--param", "folds=[1, 2]"],
        expect=Expect(
            among={
                f"sides/left/folds/{fold}/pair/one/numbers/{number}/words/loop/{path}": SKIPPED
                for fold in (0, 1)
                for number in (0,)
                for path in ("0/last?/True/deep", "1/last?/False/not yet")
            },
            parameters={
                "deepest": DEEPEST,
                "also": ["r 1", "r 2"],
                "all": [
                    DEEPEST,
                    ["r 1", "r 2"],
                    [f'r {fold} [["r", {fold}, {fold}0, "word{fold}0", 1]]' for fold in (1, 2)],
                ],
            },
        ),
    ),
    Case(
        "stubs-everywhere",
        "Composites that hold only stubs have no container, and end the run as they say.",
        core="composites without a pod",
        **written(STUBS),
        arguments=["--param", "items=[[1, 2], []]", "--param", "choice=b"],
        expect=Expect(
            code=1,
            reason="the step fails ends its pipeline with a failure",
            steps=dict.fromkeys(
                (
                    *("parallel", "parallel/a/x", "parallel/b/x", "parallel/b/y"),
                    *("map", "map/0/inner", "map/0/inner/0/x", "map/0/inner/1/x", "map/0/after"),
                    *("map/1/inner", "map/1/after", "conditional", "conditional/a/x", "conditional/b/y"),
                    *("pipeline", "pipeline/x", "pipeline/ends", "pipeline/y", "fails", "not reached"),
                ),
                PASSED,
            )
            | dict.fromkeys(("conditional/a/x", "pipeline/y", "not reached"), SKIPPED),
        ),
    ),
    Case(
        "after-each-other",
        "What a handler, a map, a parallel or a loop returned can decide the next composite. Its steps see their files.",
        **written(AFTER_EACH_OTHER),
        arguments=["--param", 'ks=["k"]'],
        expect=Expect(
            among={
                "load/fails": failed(1, "sys.exit(1)"),
                "after a parallel/a/a": SKIPPED,
            },
            parameters={
                "m": [10, 20],
                "o": [100, 200],
                "said": "b",
                "word": "b",
                "q": [1, 3],
                "r": [[["k", n, str(n), "outer"]] for n in (1, 3)],
                "ns": [100, 300],
            },
            output={"shows": "[10, 20] [100, 200] b [100, 300]\n"},
        ),
    ),
)
