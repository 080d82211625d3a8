"""Parallel branches and nested pipelines: what they see, what they return, and how they fail."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, Step, failed, written

PARALLEL = """\
def before():
    open("outer.txt", "w").write("outer")
    return 1, "outer", "untouched"

def left(x, shared):
    # It ends last, although it is the earlier branch in order of definition.
    time.sleep(0.5)
    open("data.txt", "w").write("of left")
    open("left.txt", "w").write("left")
    return x + 10, "left", shared

def left_again(x, shared, untouched, seen):
    assert (x, shared, untouched, seen) == (11, "left", "untouched", "outer")
    assert open("outer.txt").read() == "outer", "a step before what is around this one can be named"
    return "only left"

def right(x, shared, missing="not here"):
    open("data.txt", "w").write("of right")
    assert (x, shared, missing) == (1, "outer", "not here"), "what runs beside is not seen"
    return 20, "right"

def after(x, shared, seen, only_left, first):
    assert open("left.txt").read() == "left" and open("data.txt").read() == "of left"
    return [x, shared, seen, only_left, first]

p = Pipeline(steps=[
    PythonTask(before, returns=["x", "shared", "untouched"], catalog=Catalog(put=["outer.txt"])),
    Parallel("both", branches={
        "left": Pipeline(steps=[
            PythonTask(left, returns=["x", "shared", "seen"], catalog=Catalog(put=["data.txt", "left.txt"])),
            PythonTask(left_again, returns=["only_left"], catalog=Catalog(get=["before:outer.txt"])),
        ]),
        "right": Pipeline(steps=[
            Stub("nothing"),
            PythonTask(right, returns=["x", "shared"], catalog=Catalog(put=["data.txt"])),
        ]),
        "empty": Stub("to do").as_pipeline(),
    }),
    PythonTask(after, returns=["all"], bind={"first": "both/left/left.x"},
        catalog=Catalog(get=["left.txt", "both/left/left:data.txt"])),
    ShellTask("shell", "echo $x $shared && cat data.txt", catalog=Catalog(get=["both/right/right:data.txt"])),
])
"""
ONE_KEY = """\
p = Pipeline(steps=[
    Parallel("both", branches={
        side: ShellTask("writes", f"echo {side} > data.txt && echo {side} > {side}.txt",
            catalog=Catalog(put=["*.txt"])).as_pipeline()
        for side in ("left", "right")
    }),
    ShellTask("each", "cat left.txt right.txt", catalog=Catalog(get=["left.txt", "right.txt"])),
    ShellTask("one", "cat data.txt", catalog=Catalog(get=["both/left/writes:data.txt"])),
    ShellTask("gets", "cat data.txt", catalog=Catalog(get=["data.txt"])),
])
"""
BOTH_FAIL = """\
def fails(name):
    sys.exit(len(name))

def looks(x):
    return x + 1

def branch(name):
    return Pipeline(steps=[
        ShellTask("before", f"echo {name} > {name}.txt", catalog=Catalog(put=[f"{name}.txt"])),
        PythonTask(fails, bind={"name": {"value": name}}),
        Stub("never"),
    ])

p = Pipeline(steps=[
    ShellTask("first", "export x=1", returns=["x"]),
    Pipeline(name="inner", steps=[
        Parallel("both", branches={"one": branch("one"), "fine": Pipeline(steps=[ShellTask("fine", "echo fine")]),
            "three": branch("three")},
            on_failure=Pipeline(steps=[
                PythonTask(looks, returns=["x"]),
                ShellTask("reads", "cat one.txt three.txt", catalog=Catalog(get=["*.txt"])),
            ])),
        Stub("not after a handler"),
    ]),
    PythonTask(looks, returns=["y"]),
])
"""
UNHANDLED = """\
p = Pipeline(steps=[
    Parallel("both", branches={
        "good": Pipeline(steps=[ShellTask("works", "true"), ShellTask("goes on", "export x=1", returns=["x"])]),
        "bad": Pipeline(steps=[ShellTask("fails", "exit 3"), Stub("never")]),
    }),
    Stub("never"),
])
"""
NESTED = """\
def deeper(depth, x):
    return depth + 1, x + [depth]

def level(number):
    inner = [] if number == 4 else [level(number + 1)]
    return Pipeline(name=f"level {number}", steps=[PythonTask(deeper, returns=["depth", "x"]), *inner])

def last(depth, x, twice, first):
    return [depth, x, twice, first]

again = Pipeline(steps=[ShellTask("twice", "export twice=$((${twice:-1} * 2))", returns=["twice"])], name="again")

p = Pipeline(steps=[
    level(1),
    again,
    Nested("once more", again),
    PythonTask(last, returns=["all"], bind={"first": "level 1/level 2/deeper.x"}),
])
p.execute()
"""
ODD = ("a b", "ünïcödé 数据", "it's", '"quoted" $HOME', "{{x}}", "-1", "class", "0")
ODD_NAMES = f"""\
ODD = {ODD!r}

p = Pipeline(steps=[
    Parallel("the 'branches' {{{{x}}}}", branches={{
        name: Pipeline(steps=[
            Conditional("if: " + name, "choice", branches={{"no": Stub("no").as_pipeline(), name: ShellTask(
                name, "export n=1 && printf '%s' \\"$choice\\" > said", returns=["n"], catalog=Catalog(put=["said"])
            ).as_pipeline()}}, default=Stub("other").as_pipeline()),
        ])
        for name in ODD
    }}),
])
"""
PLACE = "the 'branches' {{x}}"


def odd_steps(chosen: str) -> dict[str, Step]:
    """The rows of ODD_NAMES when one of them is chosen."""
    rows: dict[str, Step] = {PLACE: PASSED}
    for name in ODD:
        inside = f"{PLACE}/{name}/if: {name}"
        rows[inside] = PASSED
        rows[f"{inside}/no/no"] = SKIPPED
        rows[f"{inside}/{name}/{name}"] = OK if name == chosen else SKIPPED
        rows[f"{inside}/default/other"] = SKIPPED if name == chosen else PASSED
    return rows


CASES = (
    Case(
        "parallel",
        "Branches see their own values first, then outer ones. Of one name, the later branch's value counts.",
        **written(PARALLEL),
        expect=Expect(
            rows=9,
            parameters={
                "x": 20,
                "shared": "right",
                "seen": "outer",
                "only_left": "only left",
                "all": [20, "right", "outer", "only left", 11],
            },
            puts={
                "before": {"outer.txt": "outer"},
                "both/left/left": {"data.txt": "of left", "left.txt": "left"},
                "both/right/right": {"data.txt": "of right"},
            },
            output={"shell": "20 right\nof right"},
        ),
    ),
    Case(
        "one-key-of-two-branches",
        "When the patterns of two branches put one name, getting it is an error that names both. The run's end names them too.",
        **written(ONE_KEY),
        expect=Expect(
            code=1,
            among={
                "gets": failed(1, "which both both/left/writes and both/right/writes put, side by side"),
            },
            output={"each": "left\nright\n", "one": "left\n"},
        ),
    ),
    Case(
        "both-branches-fail",
        "Branches run to their own ends. Then the parallel's handler runs and sees what they put, and the run continues.",
        **written(BOTH_FAIL),
        expect=Expect(
            steps={
                "first": OK,
                "inner": PASSED,
                "inner/both": BROKEN,
                "inner/both/one/before": OK,
                "inner/both/one/fails": failed(3, "sys.exit(3)"),
                "inner/both/one/never": SKIPPED,
                "inner/both/fine/fine": OK,
                "inner/both/three/before": OK,
                "inner/both/three/fails": failed(5, "sys.exit(5)"),
                "inner/both/three/never": SKIPPED,
                "inner/both/on_failure/looks": OK,
                "inner/both/on_failure/reads": OK,
                "inner/not after a handler": SKIPPED,
                "looks": OK,
            },
            parameters={"x": 2, "y": 3},
            output={"inner/both/on_failure/reads": "one\nthree\n"},
        ),
    ),
    Case(
        "a-branch-fails",
        "A branch that fails ends no other branch. It fails the run, with its step's reason.",
        **written(UNHANDLED),
        expect=Expect(
            code=1,
            steps={
                "both": BROKEN,
                "both/good/works": OK,
                "both/good/goes on": OK,
                "both/bad/fails": failed(3),
                "both/bad/never": SKIPPED,
                "never": SKIPPED,
            },
            parameters={"x": 1},
            reason="the step both/bad/fails failed",
        ),
    ),
    Case(
        "nested-pipelines",
        "Pipelines nest four deep, and one occurs twice: values go in and come out.",
        **written(NESTED),
        arguments=["--param", "depth=0", "--param", "x=[]"],
        expect=Expect(
            rows=13,
            parameters={
                "depth": 4,
                "x": [0, 1, 2, 3],
                "twice": 4,
                "all": [4, [0, 1, 2, 3], 4, [0, 1]],
            },
        ),
    ),
    Case(
        "names-of-branches",
        "Any printable name can be a branch's name, and a value with quotes chooses the branch of that name.",
        core="names that two template languages would change",
        **written(ODD_NAMES),
        arguments=["--param", 'choice="\\"quoted\\" $HOME"'],
        expect=Expect(
            steps=odd_steps('"quoted" $HOME'),
            puts={
                f'{PLACE}/"quoted" $HOME/if: "quoted" $HOME/"quoted" $HOME/"quoted" $HOME': {"said": '"quoted" $HOME'}
            },
        ),
    ),
)
