"""How steps end: what is a success and what is not, with which exit code and which reason."""

from __future__ import annotations

from tests.conformance.case import OK, SKIPPED, Case, Expect, cancelled, failed, functions
from tests.conformance.exemptions import NO_LIMITS, ORPHANS

EAT = "hoard = []\nwhile True: hoard.append(b'x' * 8_000_000)"
# Argo's own process in the container takes some 20 MB of it, so the code has to be what is largest there.
SMALL = {"resources": {"limits": {"memory": "256Mi"}}}

CASES = (
    Case(
        "successes",
        "What ends well does: a value returned, sys.exit(0), an exit handler, threads and processes left behind.",
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
        "exception",
        "An exception fails the step; its own traceback is in the output and the record, and no step comes after it.",
        **functions(
            first="pass",
            raises="try:\n    {}['inner']\nexcept KeyError as error:\n    raise ValueError('no good') from error",
            never="pass",
        ),
        expect=Expect(
            code=1,
            steps={"first": OK, "raises": failed(1, "ValueError: no good"), "never": SKIPPED},
            output={"raises": "direct cause of the following exception"},
            said='functions.py", line',
            reason="the step raises failed: ValueError: no good",
        ),
    ),
    Case(
        "sys-exit",
        "sys.exit(3) is exit code 3 in the record, and 1 of the command.",
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
        "A process that ends with 0 before the function returned has failed.",
        **functions(only="os._exit(0)", never="pass"),
        expect=Expect(code=1, steps={"only": failed(1, "ended with 0 before the function returned"), "never": SKIPPED}),
    ),
    Case(
        "os-exit-5",
        "An exit code of the user's own is in the record.",
        **functions(only="os._exit(5)"),
        expect=Expect(code=1, steps={"only": failed(5, "exit code 5")}),
    ),
    Case(
        "kills-itself",
        "A step that a signal ended says which.",
        **functions(only="os.kill(os.getpid(), 9)"),
        expect=Expect(code=1, steps={"only": failed(137, "killed by signal 9")}),
    ),
    Case(
        "kills-the-runtime",
        "A step whose runtime was killed has failed, although nobody wrote how it ended.",
        core="without its record a failure could be taken for a success",
        **functions(only="os.kill(os.getppid(), 9)\ntime.sleep(100)", never="pass"),
        exempt={"process": ORPHANS},
        expect=Expect(code=1, steps={"only": failed(137, "without its record"), "never": SKIPPED}),
    ),
    Case(
        "memory-of-the-step",
        "A step that the kernel kills at its memory limit has failed for that reason.",
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
        "A memory kill of any process of the step fails it, even if the step itself went on to its end.",
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
        "A command's exit code is the step's.",
        steps=["ShellTask('fine', 'true')", "ShellTask('only', 'echo done; exit 7')", "Stub('never')"],
        expect=Expect(code=1, steps={"fine": OK, "only": failed(7, "exit code 7"), "never": SKIPPED}),
    ),
    Case(
        "shell-not-found",
        "A command that is not there fails as in any shell.",
        steps=["ShellTask('only', 'no-such-command-at-all')"],
        expect=Expect(code=1, steps={"only": failed(127, "exit code 127")}, output={"only": "not found"}),
    ),
    Case(
        "step-time-limit",
        "A step that takes too long is ended, for that reason, and what it had written is kept.",
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
        "A run that takes too long is ended, for that reason.",
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
        "As many values as declared must be returned.",
        **{**functions(two="return 1, 2"), "steps": ["PythonTask(functions.two, returns=['a', 'b', 'c'])"]},
        expect=Expect(code=1, steps={"two": failed(1, "declares 3 returns (a, b, c) but returned 2")}, parameters={}),
    ),
    Case(
        "returns-no-json",
        "What JSON can't hold is refused with its name, never converted.",
        **{**functions(only="return {1, 2}"), "steps": ["PythonTask(functions.only, returns=['a'])"]},
        expect=Expect(code=1, steps={"only": failed(1, "a is a set, which is not JSON")}),
    ),
    Case(
        "shell-returns-nothing",
        "A shell step that does not export what it declares has failed.",
        steps=["ShellTask('only', 'gone=1', returns=['gone'])"],
        expect=Expect(code=1, steps={"only": failed(1, "did not export gone")}),
    ),
    Case(
        "parameter-of-a-kind",
        "A value that can't be what the function's annotation says fails the step and names the parameter.",
        steps=["PythonTask(functions.takes)"],
        code="def takes(count: int):\n    pass\n",
        arguments=["--param", "count=many"],
        expect=Expect(code=1, steps={"takes": failed(1, "the parameter count can't be int")}),
    ),
)
