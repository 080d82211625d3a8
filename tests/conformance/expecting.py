"""Holds what was seen of a run against what its case expects; yields a sentence for each thing that is otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.case import OK, PASSED, SKIPPED, Case, Step, digest
from tests.conformance.running import Seen

_STATUS_OF_RUN = {0: "succeeded", 1: "failed", 3: "failed", 130: "cancelled"}


def problems(case: Case, seen: Seen) -> Iterator[str]:
    """Whatever is not as the case expects."""
    expect, result = case.expect, seen.result
    if result.code != expect.code:
        yield f"the exit code is {result.code} and not {expect.code}: {result.err[-3000:]}"
    if expect.said not in result.err:
        yield f"the command did not say {expect.said!r}: {result.err[-2000:]}"
    if "Traceback" in result.err and "Traceback" not in json.dumps(seen.logs):
        yield f"the command shows a traceback of ours: {result.err[-3000:]}"
    for one in seen.left:
        yield f"it left {one}"
    if expect.nothing:
        if seen.run is not None:
            yield f"there is a run: {seen.run}"
        return
    if seen.run is None:
        yield "there is no run"
        return
    if seen.run["status"] != _STATUS_OF_RUN[expect.code]:
        yield f"the run is {seen.run['status']}"
    if expect.reason not in seen.run["reason"]:
        yield f"the run's reason is {seen.run['reason']!r}"
    attempts = sum(len(row["attempts"]) for row in seen.run["steps"])
    if seen.pods not in (None, attempts):
        yield f"there were {seen.pods} pods for {attempts} attempts"
    for labels in seen.labels:
        if not expect.labels.items() <= labels.items():
            yield f"a pod has the labels {labels}"
    yield from _steps(case, seen.run)
    yield from _values(case, seen.run)
    yield from _texts(case, seen)


def _steps(case: Case, run: dict[str, Any]) -> Iterator[str]:
    rows = {row["path"]: row for row in run["steps"]}
    wanted = case.expect.steps
    if wanted is None:
        wanted = {path: OK if row["type"] == "task" else PASSED for path, row in rows.items()}
        yield from (f"there is no step {path!r}: {list(rows)}" for path in case.expect.among if path not in rows)
        skipped = tuple(f"{path}/" for path, step in case.expect.among.items() if step == SKIPPED)
        wanted.update((path, SKIPPED) for path in rows if path.startswith(skipped))
        wanted.update(case.expect.among)
        if case.expect.rows not in (None, len(rows)):
            yield f"there are {len(rows)} steps and not {case.expect.rows}: {list(rows)}"
    if list(rows) != list(wanted):
        yield f"the steps are {list(rows)} and not {list(wanted)}"
    for path, step in wanted.items():
        if path in rows:
            yield from _step(step, rows[path])


def _step(step: Step, row: dict[str, Any]) -> Iterator[str]:
    path, attempts = row["path"], row["attempts"]
    if row["status"] != step.status:
        yield f"the step {path!r} is {row['status']} and not {step.status}: {[one['reason'] for one in attempts]}"
    if len(attempts) != len(step.attempts):
        yield f"the step {path!r} has {len(attempts)} attempts and not {len(step.attempts)}"
    for number, (wanted, one) in enumerate(zip(step.attempts, attempts, strict=False), 1):
        if one["number"] != number:
            yield f"the attempt {number} of {path!r} has the number {one['number']}"
        if (one["status"], one["exit_code"]) != (wanted.status, wanted.exit_code):
            yield f"the attempt {number} of {path!r} is {one['status']} with {one['exit_code']}: {one['reason']}"
        if wanted.reason not in one["reason"] or bool(one["reason"]) != (one["status"] != "succeeded"):
            yield f"the reason of the attempt {number} of {path!r} is {one['reason']!r}"


def _values(case: Case, run: dict[str, Any]) -> Iterator[str]:
    for name, value in case.expect.parameters.items():
        found = run["parameters"].get(name)
        if found != value or type(found) is not type(value):
            yield f"the parameter {name} is {_short(found)} and not {_short(value)}"
    rows = {row["path"]: row for row in run["steps"]}
    for path, files in case.expect.puts.items():
        found = {one["name"]: one["sha256"] for one in rows[path]["attempts"][-1]["catalog"]["put"]}
        if found != (wanted := {name: digest(content) for name, content in files.items()}):
            yield f"the step {path!r} put {found} and not {wanted}"


def _texts(case: Case, seen: Seen) -> Iterator[str]:
    outputs = seen.outputs()
    for path, text in case.expect.output.items():
        if text not in outputs.get(path, ""):
            yield f"the output of {path!r} does not hold {_short(text)}: {_short(outputs.get(path))}"
    everything = seen.result.out + seen.result.err + json.dumps([seen.run, seen.logs], ensure_ascii=False)
    for text in case.expect.absent:
        if text in everything:
            yield f"{text!r} is seen at {everything[max(0, everything.index(text) - 200) :][:400]!r}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
