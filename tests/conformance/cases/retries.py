"""Retries: how often a step is attempted, and what of a failed run is run again."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import OVERRIDDEN_BY, SKIPPED, Case, Expect, attempt, attempted, failed, functions, written


def retry(limit: int, **more: Any) -> dict[str, Any]:
    """A configuration with retries."""
    return {"retry_strategy": {"limit": limit, **more}}


THIRD = """\
def second():
    if volume.attempts("second") < 1:
        sys.exit(7)
    return "done"

def after(word):
    return word + "!"
"""

AGAIN = """\
import signal

def broken():
    return os.environ["MENDED"] == "no"

def begins():
    return [1, 2], "a", "by begins"

def item(n):
    open("item.txt", "w").write(f"{n} {broken() and n == 2}")
    if broken() and n == 2:
        raise ValueError("item 2")
    return n * 10

def killed():
    if broken():
        os.kill(os.getpid(), signal.SIGKILL)
    return "chosen"

def round(i, total):
    if broken() and i == 1:
        sys.exit(7)
    return total + i, i == 1

def puts():
    if not broken():
        open("late.txt", "w").write("late")

def helper():
    sys.exit(9 if broken() else 0)

def never_mended():
    raise RuntimeError("this is what the handler is for")

def together(squares, word, total, handled, made):
    return [squares, word, total, handled, made, open("late.txt").read(), open("1/item.txt").read()]

p = Pipeline(steps=[
    PythonTask(begins, returns=["ns", "choice", "made"]),
    Parallel("all", {
        "map": Pipeline(steps=[
            Map("items", iterate_on="ns", iterate_as="n", branch=Pipeline(steps=[
                PythonTask(item, returns=["squares"], catalog=Catalog(put=["item.txt"])),
                ShellTask("then", "echo $squares"),
            ])),
            Stub("after the map"),
        ]),
        "conditional": Conditional("choice?", "choice", {
            "a": PythonTask(killed, returns=["word"]).as_pipeline(), "b": Stub("b").as_pipeline(),
        }).as_pipeline(),
        "loop": Loop("rounds", max_iterations=5, break_on="over", index_as="i", branch=Pipeline(steps=[
            PythonTask(round, returns=["total", "over"]),
        ])).as_pipeline(),
        "nested": Nested("inner", Pipeline(steps=[
            PythonTask(puts, catalog=Catalog(put=["late.txt"])),
            ShellTask("reads", "cat late.txt", catalog=Catalog(get=["late.txt"])),
        ])).as_pipeline(),
        "handler": PythonTask(never_mended, on_failure=Pipeline(steps=[PythonTask(helper)])).as_pipeline(),
        "handled": Pipeline(steps=[
            PythonTask(never_mended, on_failure=ShellTask("helps", "export handled=1", returns=["handled"]).as_pipeline()),
            Stub("not after a handler"),
        ]),
        "fine": ShellTask("fine", "true").as_pipeline(),
    }),
    PythonTask(together, returns=["together"], catalog=Catalog(get=["late.txt", "1/item.txt"])),
])
"""
REFUSED = failed(1, "RuntimeError: this is what the handler is for")

ONCE_MORE = """\
def begins():
    return [1, 2]

def item(n):
    open("item.txt", "w").write(os.environ["MENDED"])
    if n == 2 and os.environ["MENDED"] == "no":
        raise ValueError("item 2")
    return n * 10

p = Pipeline(steps=[
    PythonTask(begins, returns=["ns"]),
    Map("items", iterate_on="ns", iterate_as="n", branch=PythonTask(
        item, returns=["m"], catalog=Catalog(put=["item.txt"])).as_pipeline()),
    ShellTask("after", 'cat 0/item.txt 1/item.txt && echo " $m"', catalog=Catalog(get=["*/item.txt"])),
])
"""

WATCHED = """\
import signal

def watched():
    before = volume.attempts("watched")
    if before < 2:
        # A plain process has no first process of its own.
        first_process = before == 1 and "CONFORMANCE_VOLUME" not in os.environ
        os.kill(1 if first_process else os.getppid(), signal.SIGTERM)
        time.sleep(1000)

def reserved():
    sys.exit(117)
"""

CASES = (
    Case(
        "retry-of-an-item",
        "A failed run resumes at the item that failed. What succeeded is not run again, and its results are there.",
        core="a run that continues as another Workflow",
        **written(ONCE_MORE),
        config={"environment": {"MENDED": "$MENDED"}},
        environ={"TOOLKIT_VAR_MENDED": "no"},
        fix={"TOOLKIT_VAR_MENDED": "yes"},
        expect=Expect(
            among={"items/1/item": attempted(attempt(1, "ValueError: item 2"), attempt(0))},
            rows=5,
            parameters={"m": [10, 20]},
            output={"after": "noyes [10, 20]\n"},
        ),
    ),
    Case(
        "retry-of-a-run",
        "A run that failed in composites of every kind resumes where each failed. What succeeded is not run again.",
        **written(AGAIN),
        config={"environment": {"MENDED": "$MENDED"}},
        environ={"TOOLKIT_VAR_MENDED": "no"},
        fix={"TOOLKIT_VAR_MENDED": "yes"},
        arguments=["--param", "total=0"],
        expect=Expect(
            among={
                "all/map/items/1/item": attempted(attempt(1, "ValueError: item 2"), attempt(0)),
                "all/conditional/choice?/a/killed": attempted(attempt(137), attempt(0)),
                "all/conditional/choice?/b/b": SKIPPED,
                "all/loop/rounds/1/round": attempted(attempt(7), attempt(0)),
                "all/nested/inner/puts": attempted(attempt(1, "did not write late.txt"), attempt(0)),
                "all/handler/never_mended": attempted(
                    *[attempt(1, "RuntimeError: this is what the handler is for")] * 2
                ),
                "all/handler/never_mended/on_failure/helper": attempted(attempt(9), attempt(0)),
                "all/handled/never_mended": REFUSED,
                "all/handled/not after a handler": SKIPPED,
            },
            parameters={"together": [[10, 20], "chosen", 1, 1, "by begins", "late", "2 False"]},
            output={"all/map/items/1/then": "20\n", "all/nested/inner/reads": "late"},
        ),
    ),
    Case(
        "second-attempt",
        "A step that fails is attempted again as often as the settings say, and the run continues with the last attempt's results.",
        core="a further attempt is another pod, after a wait",
        steps=["PythonTask(functions.second, returns=['word'])", "PythonTask(functions.after, returns=['word'])"],
        code=THIRD,
        config=retry(1, back_off={"duration_in_seconds": 1, "factor": 1}),
        expect=Expect(
            steps={
                "second": attempted(attempt(7, "sys.exit(7)"), attempt(0)),
                "after": attempted(attempt(0)),
            },
            parameters={"word": "done!"},
        ),
    ),
    Case(
        "retries-used-up",
        "When all attempts have failed, the step has failed. Each attempt has its own output.",
        **functions(only="print('attempt', volume.attempts('only'))\nsys.exit(4)", never="pass"),
        config=retry(1),
        expect=Expect(
            code=1, steps={"only": attempted(attempt(4), attempt(4)), "never": SKIPPED}, output={"only": "attempt 1"}
        ),
    ),
    Case(
        "retry-policies",
        "OnFailure retries a step that failed. OnError does not, because it is for failures of the engine.",
        steps=[
            f"PythonTask(functions.again, overrides={{{OVERRIDDEN_BY!r}: 'failure'}})",
            f"PythonTask(functions.once, overrides={{{OVERRIDDEN_BY!r}: 'error'}})",
        ],
        code="def again():\n    sys.exit(volume.attempts('again') < 1)\n\ndef once():\n    sys.exit(9)\n",
        config={
            "overrides": {
                "failure": retry(3, retry_policy="OnFailure"),
                "error": retry(3, retry_policy="OnError"),
            }
        },
        expect=Expect(code=1, steps={"again": attempted(attempt(1), attempt(0)), "once": failed(9)}),
    ),
    Case(
        "a-step-ends-itself",
        "A step whose own processes end its runtime has failed, and is not cancelled; 117 is an exit code like any other.",
        core="a step's own end could count as somebody else's",
        steps=[
            f"PythonTask(functions.watched, overrides={{{OVERRIDDEN_BY!r}: 'failure'}})",
            f"PythonTask(functions.reserved, overrides={{{OVERRIDDEN_BY!r}: 'error'}})",
        ],
        code=WATCHED,
        config={
            "overrides": {
                "failure": retry(2, retry_policy="OnFailure"),
                "error": retry(2, retry_policy="OnError"),
            }
        },
        expect=Expect(
            code=1,
            steps={
                "watched": attempted(*[attempt(143, "a process of the step sent a signal to end it")] * 2, attempt(0)),
                "reserved": failed(117, "sys.exit(117)"),
            },
        ),
    ),
    Case(
        "no-time-for-a-retry",
        "There is no further attempt when the wait before it would exceed the longest time of all attempts.",
        **functions(only="sys.exit(6)"),
        config=retry(5, back_off={"duration_in_seconds": 60, "factor": 2, "max_duration": 30}),
        expect=Expect(code=1, steps={"only": failed(6)}),
    ),
)
