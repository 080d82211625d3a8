"""SIGTERM to the command while a step runs: the run is cancelled, and nothing keeps running."""

from __future__ import annotations

from tests.conformance.case import SKIPPED, Case, Expect, Step, cancelled, functions, written

POLITE = """\
import signal
def leave(*_):
    # A second SIGTERM would print it again.
    print("good bye", flush=True)
    time.sleep(0.5)
    open("half.txt", "w").write("half")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(1000)
"""
DEAF = """\
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
print("ready", flush=True)
time.sleep(1000)
"""
IN_COMPOSITES = """\
def sleeps(n):
    print("ready", flush=True)
    time.sleep(1000)

p = Pipeline(steps=[
    Nested("pipeline", Pipeline(steps=[
        Map("map", iterate_on="ns", iterate_as="n", concurrency=1, branch=Pipeline(steps=[
            PythonTask(sleeps, on_failure=ShellTask("helps", "true").as_pipeline(), max_attempts=3),
            Stub("then"),
        ]), on_failure=ShellTask("helps", "true").as_pipeline()),
    ]), on_failure=ShellTask("helps", "true").as_pipeline()),
    Stub("never"),
])
"""
ENDED = Step("cancelled")

CASES = (
    Case(
        "cancel-polite",
        "A step that handles SIGTERM stops, and what it has put is kept.",
        core="what a step writes when it is asked to stop would be lost",
        **{
            **functions(polite=POLITE, never="pass"),
            "steps": [
                "PythonTask(functions.polite, catalog=Catalog(put=['half.txt']))",
                "Stub('stub')",
                "PythonTask(functions.never)",
            ],
        },
        config={"grace_period_in_seconds": 60},
        cancel_at="ready",
        expect=Expect(
            code=130,
            steps={"polite": cancelled(143), "stub": SKIPPED, "never": SKIPPED},
            output={"polite": "good bye"},
            puts={"polite": {"half.txt": "half"}},
            reason="cancelled",
        ),
    ),
    Case(
        "cancel-deaf",
        "A step that ignores SIGTERM is killed after its grace period, with all processes that it started.",
        core="a step that does not stop would run for ever",
        **functions(deaf=DEAF, never="pass"),
        config={"grace_period_in_seconds": 2},
        cancel_at="ready",
        expect=Expect(
            code=130, steps={"deaf": cancelled(137), "never": SKIPPED}, output={"deaf": "ready"}, reason="cancelled"
        ),
    ),
    Case(
        "cancel-in-composites",
        "A composite around a step that was asked to stop is cancelled too: no further item, attempt or handler starts.",
        **written(IN_COMPOSITES),
        arguments=["--param", "ns=[1, 2]"],
        cancel_at="ready",
        expect=Expect(
            code=130,
            steps={
                "pipeline": ENDED,
                "pipeline/map": ENDED,
                "pipeline/map/0/sleeps": cancelled(143),
                "pipeline/map/0/sleeps/on_failure/helps": SKIPPED,
                "pipeline/map/0/then": SKIPPED,
                "pipeline/map/1/sleeps": SKIPPED,
                "pipeline/map/1/sleeps/on_failure/helps": SKIPPED,
                "pipeline/map/1/then": SKIPPED,
                "pipeline/map/on_failure/helps": SKIPPED,
                "pipeline/on_failure/helps": SKIPPED,
                "never": SKIPPED,
            },
            reason="cancelled",
        ),
    ),
)
