"""on_failure, and steps that end their pipeline: what runs, and what the result is."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, Step, attempt, attempted, failed, written

TASK = """\
def fails(x):
    open("half.txt", "w").write("as far as it came")
    open("state.txt", "w").write("of fails")
    raise ValueError(f"no {x}")

def looks(x, made="nothing"):
    assert open("half.txt").read() == "as far as it came" and open("state.txt").read() == "of fails"
    return x + 1, made

p = Pipeline(steps=[
    ShellTask("before", "export x=1; echo old > state.txt", returns=["x"], catalog=Catalog(put=["state.txt"])),
    PythonTask(fails, returns=["made"], catalog=Catalog(put=["half.txt", "state.txt", "never.txt"]), max_attempts=2,
        on_failure=Pipeline(name="the handler", steps=[
            Stub("first"),
            PythonTask(looks, returns=["x", "was"], catalog=Catalog(get=["half.txt", "state.txt"])),
            ShellTask("again", "echo $x && cat half.txt state.txt", catalog=Catalog(get=["*.txt"])),
        ])),
    PythonTask(looks, name="not after a handler"),
])
"""
FAILS_TOO = """\
def fails():
    sys.exit(3)

def fails_too():
    sys.exit(4)

def last():
    sys.exit(5)

p = Pipeline(steps=[
    ShellTask("before", "true"),
    PythonTask(fails, on_failure=Pipeline(steps=[
        ShellTask("works", "true", on_failure=ShellTask("not needed", "true").as_pipeline()),
        PythonTask(fails_too, on_failure=Pipeline(steps=[PythonTask(last), Stub("not this one")])),
    ])),
    Stub("never"),
])
"""
OF_EVERYTHING = """\
def fails(why=1):
    sys.exit(why)

def helps(name):
    return ShellTask("helps", f'export helped="$helped {name}"', returns=["helped"]).as_pipeline()

def broken(**bound):
    return PythonTask(fails, bind={name: {"value": value} for name, value in bound.items()}).as_pipeline()

def step(composite):
    # A sequence of its own, because a handler that succeeds ends the sequence of its step.
    return Pipeline(name=f"with {composite.name}", steps=[composite, Stub("skipped")])

p = Pipeline(steps=[
    ShellTask("begins", "export helped=begun", returns=["helped"]),
    step(Nested("pipeline", broken(), on_failure=helps("pipeline"))),
    step(Parallel("parallel", {"a": Stub("fine").as_pipeline(), "b": broken(why=2)}, on_failure=helps("parallel"))),
    step(Map("map", iterate_on="items", iterate_as="item", branch=broken(why=3), on_failure=helps("map"))),
    step(Conditional("conditional", "items", {"never": Stub("never").as_pipeline()}, default=broken(why=4),
        on_failure=helps("conditional"))),
    step(Loop("loop", broken(why=5), max_iterations=3, break_on="helped", on_failure=helps("loop"))),
    Parallel("inside", {
        "left": Pipeline(steps=[
            PythonTask(fails, name="in a branch", on_failure=helps("a branch")),
            ShellTask("after", "true"),
        ]),
        "right": Pipeline(steps=[ShellTask("fine", "export fine=1", returns=["fine"])]),
    }),
    ShellTask("shows", 'echo "$helped" $fine'),
])
"""
SUCCESS = """\
def decides(item):
    return item

p = Pipeline(steps=[
    Parallel("both", {
        "ends": Pipeline(steps=[
            ShellTask("early", "export early=1", returns=["early"], terminate_with_success=True,
                on_failure=Stub("not failed").as_pipeline()),
            ShellTask("not this", "false"),
        ]),
        "goes on": Pipeline(steps=[
            Stub("first", terminate_with_success=False),
            ShellTask("then", "export late=$early$early$early", returns=["late"]),
        ]),
    }),
    Map("each", iterate_on="items", iterate_as="item", branch=Pipeline(steps=[
        Conditional("enough?", "item", {
            "1": Pipeline(steps=[Success(), Stub("after success")]),
            "2": Pipeline(steps=[ShellTask("works", "export made=$item", returns=["made"])]),
        }),
        ShellTask("after the choice", "echo $item"),
    ])),
    Nested("inner", Pipeline(steps=[Stub("ends it", terminate_with_success=True), Stub("skipped")])),
    PythonTask(decides, returns=["decision"], bind={"item": "made"}, terminate_with_success=True),
    PythonTask(decides, name="not reached", bind={"item": "made"}),
])
"""
FAILURE = """\
p = Pipeline(steps=[
    Parallel("both", {
        "ends": Pipeline(steps=[
            ShellTask("works", "export works=1", returns=["works"], terminate_with_failure=True,
                on_failure=ShellTask("not for this", "true").as_pipeline()),
            Stub("not this"),
        ]),
        "goes on": Pipeline(steps=[ShellTask("fine", "export fine=1", returns=["fine"])]),
    }, on_failure=Pipeline(steps=[ShellTask("helps", "export helped=1", returns=["helped"]), Fail("gives up"), Stub("skipped")])),
    Stub("not reached"),
])
"""
FAIL_AT_ROOT = """\
p = Pipeline(steps=[
    ShellTask("works", "export x=1", returns=["x"], terminate_with_failure=True),
    Stub("not reached"),
])
"""


def handled(name: str, *inner: tuple[str, Step | None], why: int) -> dict[str, Step]:
    """The rows of a composite of OF_EVERYTHING with its handler."""
    place = f"with {name}/{name}"
    return {
        f"with {name}": PASSED,
        place: BROKEN,
        **{f"{place}/{path}": failed(why, f"sys.exit({why})") if step is None else step for path, step in inner},
        f"{place}/on_failure/helps": OK,
        f"with {name}/skipped": SKIPPED,
    }


CASES = (
    Case(
        "handler",
        "After the last attempt the handler runs. It sees what the step saw and put, and its success is that of the run.",
        **written(TASK),
        expect=Expect(
            steps={
                "before": OK,
                "fails": attempted(attempt(1, "ValueError: no 1"), attempt(1, "ValueError: no 1")),
                "fails/on_failure/first": PASSED,
                "fails/on_failure/looks": OK,
                "fails/on_failure/again": OK,
                "not after a handler": SKIPPED,
            },
            parameters={"x": 2, "was": "nothing"},
            puts={"fails": {"half.txt": "as far as it came", "state.txt": "of fails"}},
            output={"fails/on_failure/again": "2\nas far as it cameof fails"},
        ),
    ),
    Case(
        "handler-that-fails",
        "A handler that fails, and a failing handler of one of its steps, fail the run.",
        **written(FAILS_TOO),
        expect=Expect(
            code=1,
            reason="the step fails/on_failure/fails_too/on_failure/last failed",
            steps={
                "before": OK,
                "fails": failed(3),
                "fails/on_failure/works": OK,
                "fails/on_failure/works/on_failure/not needed": SKIPPED,
                "fails/on_failure/fails_too": failed(4),
                "fails/on_failure/fails_too/on_failure/last": failed(5),
                "fails/on_failure/fails_too/on_failure/not this one": SKIPPED,
                "never": SKIPPED,
            },
        ),
    ),
    Case(
        "handlers-of-everything",
        "Each kind of composite can have a handler, and so can a step in a branch.",
        **written(OF_EVERYTHING),
        arguments=["--param", "items=[1, 2]"],
        expect=Expect(
            steps={
                "begins": OK,
                **handled("pipeline", ("fails", None), why=1),
                **handled("parallel", ("a/fine", PASSED), ("b/fails", None), why=2),
                **handled("map", ("0/fails", None), ("1/fails", None), why=3),
                **handled("conditional", ("never/never", SKIPPED), ("default/fails", None), why=4),
                **handled("loop", ("0/fails", None), why=5),
                "inside": PASSED,
                "inside/left/in a branch": failed(1),
                "inside/left/in a branch/on_failure/helps": OK,
                "inside/left/after": SKIPPED,
                "inside/right/fine": OK,
                "shows": OK,
            },
            parameters={"helped": "begun pipeline parallel map conditional loop a branch", "fine": 1},
            output={"shows": "begun pipeline parallel map conditional loop a branch 1\n"},
        ),
    ),
    Case(
        "ends-with-success",
        "A step can end its pipeline as succeeded: a branch, an item, a nested pipeline, and the run.",
        **written(SUCCESS),
        arguments=["--param", "items=[1, 2]"],
        expect=Expect(
            steps={
                "both": PASSED,
                "both/ends/early": OK,
                "both/ends/early/on_failure/not failed": SKIPPED,
                "both/ends/not this": SKIPPED,
                "both/goes on/first": PASSED,
                "both/goes on/then": OK,
                "each": PASSED,
                "each/0/enough?": PASSED,
                "each/0/enough?/1/success": PASSED,
                "each/0/enough?/1/after success": SKIPPED,
                "each/0/enough?/2/works": SKIPPED,
                "each/0/after the choice": OK,
                "each/1/enough?": PASSED,
                "each/1/enough?/1/success": SKIPPED,
                "each/1/enough?/1/after success": SKIPPED,
                "each/1/enough?/2/works": OK,
                "each/1/after the choice": OK,
                "inner": PASSED,
                "inner/ends it": PASSED,
                "inner/skipped": SKIPPED,
                "decides": OK,
                "not reached": SKIPPED,
            },
            parameters={"early": 1, "late": "", "made": [None, 2], "decision": [None, 2]},
        ),
    ),
    Case(
        "ends-with-failure",
        "A step that ends its pipeline as failed has itself succeeded. The composite around it has failed, and may have a handler.",
        core="what Argo calls succeeded is a run that failed, with a handler",
        **written(FAILURE),
        expect=Expect(
            code=1,
            reason="the step both/on_failure/gives up ends its pipeline with a failure",
            steps={
                "both": BROKEN,
                "both/ends/works": OK,
                "both/ends/works/on_failure/not for this": SKIPPED,
                "both/ends/not this": SKIPPED,
                "both/goes on/fine": OK,
                "both/on_failure/helps": OK,
                "both/on_failure/gives up": PASSED,
                "both/on_failure/skipped": SKIPPED,
                "not reached": SKIPPED,
            },
            parameters={"works": 1, "fine": 1, "helped": 1},
        ),
    ),
    Case(
        "run-ends-with-failure",
        "A step can end the run as failed: the exit code is 1, although all steps that ran have succeeded.",
        core="what Argo calls succeeded is a run that failed",
        **written(FAIL_AT_ROOT),
        expect=Expect(
            code=1,
            reason="the step works ends its pipeline with a failure",
            steps={"works": OK, "not reached": SKIPPED},
            parameters={"x": 1},
        ),
    ),
)
