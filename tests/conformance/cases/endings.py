"""How steps end: which ends are successes and which are failures, with exit codes and reasons."""

from __future__ import annotations

from tests.conformance.case import BROKEN, OK, PASSED, SKIPPED, Case, Expect, cancelled, failed, functions, written
from tests.conformance.exemptions import NO_LIMITS, ORPHANS

EAT = "hoard = []\nwhile True: hoard.append(b'x' * 8_000_000)"
# Argo's own process in the container takes about 20 MB of the limit, so the code has to be the largest process there.
SMALL = {"resources": {"limits": {"memory": "256Mi"}}}

CASES = (
    Case(
        "successes",
        "These are successes: a returned value, sys.exit(0), an exit handler, and threads and processes that are left behind.",
        steps=[
            "PythonTask(functions.returns, returns=['x'])",
            "PythonTask(functions.leaves)",
            "PythonTask(functions.at_exit)",
            "PythonTask(functions.threads)",
            "PythonTask(functions.background)",
            "PythonTask(functions.waits, returns=['y'])",
            "ShellTask('shell', 'sleep 1000 & false | true')",
            "ShellTask('exits', 'export z=3; exit 0; false', returns=['z'])",
        ],
        code="""\
import asyncio, atexit, subprocess, threading

def returns():
    return 1

def leaves():
    sys.exit(0)

def at_exit():
    atexit.register(print, "the last word")

def threads():
    threading.Thread(target=lambda: (time.sleep(0.1), print("a thread's word", flush=True))).start()

def background():
    subprocess.Popen(["sleep", "1000"])

async def waits(x):
    await asyncio.sleep(0)
    return x + 1
""",
        expect=Expect(
            parameters={"x": 1, "y": 2, "z": 3}, output={"at_exit": "the last word", "threads": "a thread's word"}
        ),
    ),
    Case(
        "composite-ends",
        "terminate_with_success and terminate_with_failure of a composite end the pipeline once it has succeeded, and only then.",
        **written("""\
import argparse

def one():
    return 1

def two(args: argparse.Namespace):
    return vars(args)

def broken():
    sys.exit(5)

one_step = Pipeline(steps=[PythonTask(one, returns=["n"])])
ends = {"terminate_with_success": True}
p = Pipeline(steps=[
    Nested("nested", Pipeline(steps=[Parallel("parallel", {"a": one_step, "b": one_step}, **ends), Stub("after parallel")])),
    Nested("mapped", Pipeline(steps=[Map("map", one_step, "xs", "x", **ends), Stub("after map")])),
    Nested("looped", Pipeline(steps=[Loop("loop", one_step, 3, "n", **ends), Stub("after loop")])),
    Nested("chosen", Pipeline(steps=[Conditional("choice", "n", {"1": one_step}, **ends), Stub("after choice")])),
    PythonTask(two, returns=["everything"]),
    Nested("handled", Pipeline(steps=[
        Nested("fails", Pipeline(steps=[PythonTask(broken)]), on_failure=Pipeline(steps=[Stub("mends")]), **ends),
        Stub("after handled"),
    ])),
    Nested("last", one_step, terminate_with_failure=True),
    Stub("never"),
])
"""),
        arguments=["--param", "xs=[1]"],
        expect=Expect(
            code=1,
            steps={
                "nested": PASSED,
                "nested/parallel": PASSED,
                "nested/parallel/a/one": OK,
                "nested/parallel/b/one": OK,
                "nested/after parallel": SKIPPED,
                "mapped": PASSED,
                "mapped/map": PASSED,
                "mapped/map/0/one": OK,
                "mapped/after map": SKIPPED,
                "looped": PASSED,
                "looped/loop": PASSED,
                "looped/loop/0/one": OK,
                "looped/after loop": SKIPPED,
                "chosen": PASSED,
                "chosen/choice": PASSED,
                "chosen/choice/1/one": OK,
                "chosen/after choice": SKIPPED,
                "two": OK,
                "handled": PASSED,
                "handled/fails": BROKEN,
                "handled/fails/broken": failed(5),
                "handled/fails/on_failure/mends": PASSED,
                "handled/after handled": SKIPPED,
                "last": PASSED,
                "last/one": OK,
                "never": SKIPPED,
            },
            parameters={"n": 1, "xs": [1], "everything": {"n": 1, "xs": [1]}},
            reason="the step last ends its pipeline with a failure",
        ),
    ),
    Case(
        "pending-work",
        "A lazy iterator, an asynchronous generator, a future and a coroutine in a list are run to their ends by the step that "
        "returns them.",
        steps=[
            "PythonTask(functions.writes, catalog=Catalog(put=['rows.txt']))",
            "PythonTask(functions.streams, returns=['streamed'])",
            "PythonTask(functions.submits, returns=['submitted'])",
            "PythonTask(functions.gathers, returns=['first', 'second'])",
            "PythonTask(functions.fails)",
        ],
        code="""\
import asyncio, concurrent.futures

def write(row):
    with open("rows.txt", "a") as file:
        file.write(row)

def writes():
    return map(write, "ab")

async def rows():
    for row in "ab":
        await asyncio.sleep(0)
        yield row

def streams():
    return rows()

def submits():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return pool.submit(sum, [1, 2])

async def twice(number):
    return 2 * number

def gathers():
    return [twice(1), twice(2)]

def fails():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return [pool.submit(int, "no number")]
""",
        expect=Expect(
            code=1,
            among={"fails": failed(1, "ValueError: invalid literal")},
            rows=5,
            parameters={"streamed": ["a", "b"], "submitted": 3, "first": 2, "second": 4},
            puts={"writes": {"rows.txt": "ab"}},
        ),
    ),
    Case(
        "exception",
        "An exception fails the step. Its traceback is in the output and the record, and no later step runs.",
        **functions(
            first="pass",
            raises="try:\n    {}['inner']\nexcept KeyError as error:\n    raise ValueError('no good') from error",
            never="pass",
        ),
        expect=Expect(
            code=1,
            steps={"first": OK, "raises": failed(1, "ValueError: no good"), "never": SKIPPED},
            output={"raises": "direct cause of the following exception"},
            stderr='functions.py", line',
            reason="the step raises failed: ValueError: no good",
        ),
    ),
    Case(
        "sys-exit",
        "sys.exit(3) is recorded as exit code 3; the command exits with 1.",
        **functions(only="sys.exit(3)", never="pass"),
        expect=Expect(code=1, steps={"only": failed(3, "sys.exit(3)"), "never": SKIPPED}),
    ),
    Case(
        "sys-exit-text",
        "sys.exit('text') is exit code 1, and the text is the reason.",
        **functions(only="sys.exit('no coffee')"),
        expect=Expect(code=1, steps={"only": failed(1, "no coffee")}, output={"only": "no coffee"}),
    ),
    Case(
        "os-exit-0",
        "A process that exits with 0 before the function has returned has failed.",
        **functions(only="os._exit(0)", never="pass"),
        expect=Expect(code=1, steps={"only": failed(1, "ended with 0 before the function returned"), "never": SKIPPED}),
    ),
    Case(
        "os-exit-5",
        "The user's own exit code is recorded.",
        **functions(only="os._exit(5)"),
        expect=Expect(code=1, steps={"only": failed(5, "exit code 5")}),
    ),
    Case(
        "kills-itself",
        "The reason of a step that a signal ended names the signal.",
        **functions(only="os.kill(os.getpid(), 9)"),
        expect=Expect(code=1, steps={"only": failed(137, "killed by signal 9")}),
    ),
    Case(
        "kills-the-runtime",
        "A step whose runtime was killed has failed, although nothing recorded its end.",
        core="without its record a failure could be taken for a success",
        **functions(only="os.kill(os.getppid(), 9)\ntime.sleep(100)", never="pass"),
        exempt={"process": ORPHANS},
        expect=Expect(code=1, steps={"only": failed(137, "without its record"), "never": SKIPPED}),
    ),
    Case(
        "memory-of-the-step",
        "A step that the kernel kills at its memory limit has failed, for that reason.",
        **functions(only=f"print('begins', flush=True)\n{EAT}", never="pass"),
        config=SMALL,
        exempt={"process": NO_LIMITS},
        expect=Expect(
            code=1,
            steps={"only": failed(137, "out of memory"), "never": SKIPPED},
            output={"only": "begins"},
            reason="out of memory",
        ),
    ),
    Case(
        "memory-of-a-child",
        "When the kernel kills any process of the step for memory, the step fails, even if its function returns.",
        core="a memory kill that the step survives could be taken for a success",
        **functions(
            only=f"import subprocess\ncode = subprocess.run([sys.executable, '-c', {EAT!r}]).returncode\n"
            "print('it ended with', code)",
            never="pass",
        ),
        config=SMALL,
        exempt={"process": NO_LIMITS},
        expect=Expect(
            code=1,
            steps={"only": failed(137, "out of memory"), "never": SKIPPED},
            output={"only": "it ended with -9"},
        ),
    ),
    Case(
        "shell-exit",
        "The exit code of the command is that of the step.",
        steps=["ShellTask('fine', 'true')", "ShellTask('only', 'echo done; exit 7')", "Stub('never')"],
        expect=Expect(code=1, steps={"fine": OK, "only": failed(7, "exit code 7"), "never": SKIPPED}),
    ),
    Case(
        "shell-not-found",
        "A command that does not exist fails as in any shell.",
        steps=["ShellTask('only', 'no-such-command-at-all')"],
        expect=Expect(code=1, steps={"only": failed(127, "exit code 127")}, output={"only": "not found"}),
    ),
    Case(
        "step-time-limit",
        "A step that exceeds its time limit is ended for that reason, and what it has written is kept.",
        core="a step would run for ever",
        **functions(only="print('begins', flush=True)\ntime.sleep(1000)", never="pass"),
        config={"max_step_duration_in_seconds": 1, "grace_period_in_seconds": 1},
        expect=Expect(
            code=1,
            steps={"only": failed(143, "time limit of 1 s"), "never": SKIPPED},
            output={"only": "begins"},
        ),
    ),
    Case(
        "run-time-limit",
        "A run that exceeds its time limit is ended for that reason.",
        core="a run would go on for ever",
        **functions(only="time.sleep(1000)", never="pass"),
        config={"max_workflow_duration_in_seconds": 15, "grace_period_in_seconds": 1},
        expect=Expect(
            code=1,
            steps={"only": cancelled(143), "never": SKIPPED},
            reason="time limit of 15 s",
        ),
    ),
    Case(
        "returns-too-few",
        "A step that returns fewer values than it declares fails.",
        **{**functions(two="return 1, 2"), "steps": ["PythonTask(functions.two, returns=['a', 'b', 'c'])"]},
        expect=Expect(code=1, steps={"two": failed(1, "declares 3 returns (a, b, c) but returned 2")}, parameters={}),
    ),
    Case(
        "returns-no-json",
        "A return that JSON can't hold is refused by its name, and never converted.",
        **{**functions(only="return range(3)"), "steps": ["PythonTask(functions.only, returns=['a'])"]},
        expect=Expect(code=1, steps={"only": failed(1, "a is a range, which is not JSON")}),
    ),
    Case(
        "shell-returns-nothing",
        "A shell step that does not export a declared return has failed.",
        steps=["ShellTask('only', 'gone=1', returns=['gone'])"],
        expect=Expect(code=1, steps={"only": failed(1, "did not export gone")}),
    ),
    Case(
        "parameter-of-a-kind",
        "A returned value that can't be cast to the function's annotation fails the step, and the reason names the parameter.",
        steps=["PythonTask(functions.gives, returns=['count'])", "PythonTask(functions.takes)"],
        code="def gives():\n    return 'many'\n\n\ndef takes(count: int):\n    pass\n",
        expect=Expect(code=1, steps={"gives": OK, "takes": failed(1, "the parameter count can't be int")}),
    ),
)
