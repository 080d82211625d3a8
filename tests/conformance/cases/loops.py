"""Loops: how they end, what an iteration sees, and what they return."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, failed, written

BREAKS = """\
def step(index, total, seen=(), missing="never there"):
    before = open("state.txt").read()
    with open("state.txt", "w") as file:
        file.write(f"of {index}")
    assert os.environ["index"] == str(index) and before == (f"of {index - 1}" if index else "before\\n")
    return total + index * 10, [*seen, [index, total, missing]]

def judge(total, index):
    return total >= limit()

def limit():
    return 10

def after(total, seen, index="gone"):
    return [total, len(seen), index, os.environ.get("index"), open("state.txt").read()]

p = Pipeline(steps=[
    ShellTask("begins", "echo before > state.txt", catalog=Catalog(put=["state.txt"])),
    Loop("until enough", max_iterations=10, break_on="enough", index_as="index", branch=Pipeline(steps=[
        PythonTask(step, returns=["total", "seen"], catalog=Catalog(get=["state.txt"], put=["state.txt"])),
        ShellTask("says", 'echo "$index: $total" && cat state.txt', catalog=Catalog(get=["state.txt"])),
        PythonTask(judge, returns=["enough"]),
    ])),
    PythonTask(after, returns=["all"], catalog=Catalog(get=["state.txt"])),
])
"""
LIMIT = """\
p = Pipeline(steps=[
    Loop("twice", max_iterations=2, break_on="done", index_as="i", branch=Pipeline(steps=[
        ShellTask("counts", "export n=$((${n:-0} + 1)) done=false odd=$((i % 2))", returns=["n", "done", "odd"]),
        Conditional("odd?", "odd", branches={
            "1": ShellTask("odd", 'export said="$said odd $i"', returns=["said"]).as_pipeline(),
            "0": ShellTask("even", 'export said="$said even $i"', returns=["said"]).as_pipeline(),
        }),
    ])),
    Loop("once", max_iterations=1, break_on="done", branch=ShellTask(
        "only", 'export m=$n; echo "[$i]"', returns=["m"]).as_pipeline()),
    Loop("ends by a text", max_iterations=5, break_on="stop", branch=ShellTask(
        "stops", "export stop=True times=$((${times:-0} + 1))", returns=["stop", "times"]).as_pipeline()),
    Loop("of the loop", max_iterations=2, break_on="never", index_as="outer", branch=Pipeline(steps=[
        Loop("inner", max_iterations=1, break_on="never", index_as="inner", branch=ShellTask(
            "writes", 'export trace="$trace $outer$inner" never=0', returns=["trace", "never"]).as_pipeline()),
    ])),
    ShellTask("after", 'echo "$n$said$trace $times"'),
])
"""
FAILS = """\
def works(i):
    open(f"{i}.txt", "w").write(str(i))
    if i == 1:
        raise ValueError("the second time")
    return i, False

p = Pipeline(steps=[
    Nested("handled", Pipeline(steps=[
        Loop("fails", max_iterations=5, break_on="done", index_as="i",
            branch=Pipeline(steps=[
                PythonTask(works, returns=["last", "done"], catalog=Catalog(put=["*.txt"])),
                Stub("after works"),
            ]),
            on_failure=ShellTask("helps", 'cat 0.txt 1.txt && echo "${i:-no index}"',
                catalog=Catalog(get=["*.txt"])).as_pipeline()),
        Stub("never"),
    ])),
    Loop("of a word", max_iterations=2, break_on="word", branch=ShellTask(
        "says", "export word=perhaps", returns=["word"]).as_pipeline()),
    Stub("not reached"),
])
"""

CASES = (
    Case(
        "loop",
        "A loop ends when its parameter is true. Its index is a parameter and a variable. Iterations see earlier results.",
        **written(BREAKS),
        arguments=["--param", "total=0"],
        expect=Expect(
            rows=9,
            parameters={
                "total": 10,
                "enough": True,
                "seen": [[0, 0, "never there"], [1, 0, "never there"]],
                "all": [10, 2, "gone", None, "of 1"],
            },
            puts={f"until enough/{n}/step": {"state.txt": f"of {n}"} for n in range(2)},
            output={"until enough/1/says": "1: 10\nof 1"},
        ),
    ),
    Case(
        "loop-to-its-limit",
        'Reaching the limit is a success. Conditionals and loops nest in a loop, and the text "true" ends one.',
        **written(LIMIT),
        expect=Expect(
            among={
                "twice/0/odd?/1/odd": SKIPPED,
                "twice/1/odd?/0/even": SKIPPED,
            },
            rows=19,
            parameters={
                "n": 2,
                "m": 2,
                "done": False,
                "said": " even 0 odd 1",
                "trace": " 00 10",
                "times": 1,
            },
            output={"after": "2 even 0 odd 1 00 10 1\n", "once/0/only": "[]\n"},
        ),
    ),
    Case(
        "loop-that-fails",
        "A failing iteration, or a value that is no bool, fails the loop. Its handler sees the files of all iterations.",
        core="an iteration that fails, and a value that is neither true nor false",
        **written(FAILS),
        expect=Expect(
            code=1,
            reason='the loop of a word breaks on word, which is neither true nor false but "perhaps"',
            steps={
                "handled": PASSED,
                "handled/fails": BROKEN,
                "handled/fails/0/works": OK,
                "handled/fails/0/after works": PASSED,
                "handled/fails/1/works": failed(1, "ValueError: the second time"),
                "handled/fails/1/after works": SKIPPED,
                "handled/fails/on_failure/helps": OK,
                "handled/never": SKIPPED,
                "of a word": BROKEN,
                "of a word/0/says": OK,
                "not reached": SKIPPED,
            },
            output={"handled/fails/on_failure/helps": "01no index\n"},
        ),
    ),
)
