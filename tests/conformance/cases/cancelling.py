"""SIGTERM to the command while a step runs: the run ends as cancelled, and nothing goes on anywhere."""

from __future__ import annotations

from tests.conformance.case import SKIPPED, Case, Expect, cancelled, functions

POLITE = """\
import signal
def leave(*_):
    print("good bye", flush=True)
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


CASES = (
    Case(
        "cancel-polite",
        "A step that handles SIGTERM ends by itself, and what it had put is kept.",
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
        "A step that ignores SIGTERM is killed after its grace period, with all that it started.",
        **functions(deaf=DEAF, never="pass"),
        config={"grace_period_in_seconds": 2},
        cancel_at="ready",
        expect=Expect(
            code=130, steps={"deaf": cancelled(137), "never": SKIPPED}, output={"deaf": "ready"}, reason="cancelled"
        ),
    ),
)
