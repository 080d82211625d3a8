"""Retries: how many attempts there are, and of what."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import OVERRIDDEN_BY, SKIPPED, Case, Expect, attempt, failed, functions, tried


def retry(limit: int, **more: Any) -> dict[str, Any]:
    """A configuration with retries."""
    return {"retry_strategy": {"limit": limit, **more}}


THIRD = """\
def third():
    if volume.attempts("third") < 2:
        sys.exit(7)
    return "done"

def after(word):
    return word + "!"
"""

CASES = (
    Case(
        "third-attempt",
        "A step that fails is tried again as often as the settings say, and the run goes on with what then came of it.",
        steps=["PythonTask(functions.third, returns=['word'])", "PythonTask(functions.after, returns=['word'])"],
        code=THIRD,
        config=retry(2, back_off={"duration_in_seconds": 1, "factor": 1}),
        expect=Expect(
            steps={
                "third": tried(attempt(7, "sys.exit(7)"), attempt(7, "sys.exit(7)"), attempt(0)),
                "after": tried(attempt(0)),
            },
            parameters={"word": "done!"},
        ),
    ),
    Case(
        "retries-used-up",
        "When all attempts have failed, so has the step; each has its own output.",
        **functions(only="print('attempt', volume.attempts('only'))\nsys.exit(4)", never="pass"),
        config=retry(1),
        expect=Expect(
            code=1, steps={"only": tried(attempt(4), attempt(4)), "never": SKIPPED}, output={"only": "attempt 1"}
        ),
    ),
    Case(
        "retry-policies",
        "OnFailure retries a step that failed; OnError does not, for it is for what the engine did.",
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
        expect=Expect(code=1, steps={"again": tried(attempt(1), attempt(0)), "once": failed(9)}),
    ),
    Case(
        "no-time-for-a-retry",
        "There is no further attempt when the wait before it would end after the longest time of all attempts.",
        **functions(only="sys.exit(6)"),
        config=retry(5, back_off={"duration_in_seconds": 60, "factor": 2, "max_duration": 30}),
        expect=Expect(code=1, steps={"only": failed(6)}),
    ),
)
