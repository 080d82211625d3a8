"""Compares a run with what its case expects; yields a sentence for each difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.case import OK, PASSED, SKIPPED, Case, Step, digest
from tests.conformance.observed_run import ObservedRun

_STATUS_OF_RUN = {0: "succeeded", 1: "failed", 3: "failed", 130: "cancelled"}


def problems(case: Case, observed: ObservedRun) -> Iterator[str]:
    """What differs from the case's expectation."""
    expect, result = case.expect, observed.result
    if result.code != expect.code:
        yield f"the exit code is {result.code} and not {expect.code}: {result.err[-3000:]}"
    if expect.stderr not in result.err:
        yield f"the command did not print {expect.stderr!r}: {result.err[-2000:]}"
    if "Traceback" in result.err and "Traceback" not in json.dumps(observed.logs):
        yield f"the command shows a traceback of toolkit: {result.err[-3000:]}"
    for name in observed.left:
        yield f"it left {name}"
    if expect.no_run:
        if observed.run is not None:
            yield f"there is a run: {observed.run}"
        return
    if observed.run is None:
        yield "there is no run"
        return
    if observed.run["status"] != _STATUS_OF_RUN[expect.code]:
        yield f"the run is {observed.run['status']}"
    if expect.reason not in observed.run["reason"]:
        yield f"the run's reason is {observed.run['reason']!r}"
    attempts = sum(len(row["attempts"]) for row in observed.run["steps"])
    if observed.pods not in (None, attempts):
        yield f"there were {observed.pods} pods for {attempts} attempts"
    for labels in observed.labels:
        if not expect.labels.items() <= labels.items():
            yield f"a pod has the labels {labels}"
    yield from _steps(case, observed.run)
    yield from _values(case, observed.run)
    yield from _texts(case, observed)


def _steps(case: Case, run: dict[str, Any]) -> Iterator[str]:
    rows = {row["path"]: row for row in run["steps"]}
    expected = case.expect.steps
    if expected is None:
        expected = {path: OK if row["type"] == "task" else PASSED for path, row in rows.items()}
        yield from (f"there is no step {path!r}: {list(rows)}" for path in case.expect.among if path not in rows)
        skipped = tuple(f"{path}/" for path, step in case.expect.among.items() if step == SKIPPED)
        expected.update((path, SKIPPED) for path in rows if path.startswith(skipped))
        expected.update(case.expect.among)
        if case.expect.rows not in (None, len(rows)):
            yield f"there are {len(rows)} steps and not {case.expect.rows}: {list(rows)}"
    if list(rows) != list(expected):
        yield f"the steps are {list(rows)} and not {list(expected)}"
    for path, step in expected.items():
        if path in rows:
            yield from _step(step, rows[path])


def _step(step: Step, row: dict[str, Any]) -> Iterator[str]:
    path, attempts = row["path"], row["attempts"]
    if row["status"] != step.status:
        yield f"the step {path!r} is {row['status']} and not {step.status}: {[attempt['reason'] for attempt in attempts]}"
    if len(attempts) != len(step.attempts):
        yield f"the step {path!r} has {len(attempts)} attempts and not {len(step.attempts)}"
    for number, (expected, attempt) in enumerate(zip(step.attempts, attempts, strict=False), 1):
        if attempt["number"] != number:
            yield f"the attempt {number} of {path!r} has the number {attempt['number']}"
        if (attempt["status"], attempt["exit_code"]) != (expected.status, expected.exit_code):
            yield f"the attempt {number} of {path!r} is {attempt['status']} with {attempt['exit_code']}: {attempt['reason']}"
        if expected.reason not in attempt["reason"] or bool(attempt["reason"]) != (attempt["status"] != "succeeded"):
            yield f"the reason of the attempt {number} of {path!r} is {attempt['reason']!r}"


def _values(case: Case, run: dict[str, Any]) -> Iterator[str]:
    for name, value in case.expect.parameters.items():
        actual = run["parameters"].get(name)
        if actual != value or type(actual) is not type(value):
            yield f"the parameter {name} is {_short(actual)} and not {_short(value)}"
    rows = {row["path"]: row for row in run["steps"]}
    for path, files in case.expect.puts.items():
        put = {entry["name"]: entry["sha256"] for entry in rows[path]["attempts"][-1]["catalog"]["put"]}
        if put != (expected := {name: digest(content) for name, content in files.items()}):
            yield f"the step {path!r} put {put} and not {expected}"
    for path, sizes in case.expect.left.items():
        left = rows[path]["attempts"][-1].get("left")
        found = None if left is None else {file["name"]: file["size"] for file in left["files"]}
        if found != sizes:
            yield f"the step {path!r} left {found} and not {sizes}"
        changed = [file["name"] for file in (left or {"files": []})["files"] if file.get("project")]
        if changed != list(case.expect.changed.get(path, ())):
            yield f"of what the step {path!r} left the project has {changed}"


def _texts(case: Case, observed: ObservedRun) -> Iterator[str]:
    outputs = observed.outputs()
    for path, text in case.expect.output.items():
        if text not in outputs.get(path, ""):
            yield f"the output of {path!r} does not contain {_short(text)}: {_short(outputs.get(path))}"
    everything = (
        observed.result.out + observed.result.err + json.dumps([observed.run, observed.logs], ensure_ascii=False)
    )
    for text in case.expect.absent:
        if text in everything:
            yield f"{text!r} appears at {everything[max(0, everything.index(text) - 200) :][:400]!r}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
