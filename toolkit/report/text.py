"""Runs as text for a person: aligned columns, no colour that a file or a pipe would keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from toolkit.report.outline import Line, lines

_LONGEST_VALUE = 80
_MOST_FAILURES = 10
"""Failed steps that are told of one by one."""


def print_runs(rows: Sequence[dict[str, Any]]) -> None:
    """A table of runs."""
    if not rows:
        print("no runs")
        return
    table: list[tuple[str, ...]] = [("RUN", "PIPELINE", "ENVIRONMENT", "STATUS", "STARTED", "TOOK", "TAG")]
    for row in rows:
        took = _took(row["started"], row["ended"])
        started = row["started"].replace("T", " ")[:19]
        table.append((row["run_id"], row["pipeline"], row["environment"], row["status"], started, took, row["tag"]))
    print_table(table)


def print_run(document: dict[str, Any]) -> None:
    """One run: its head, a row for each step, then values, files and what failed."""
    took = _took(document["started"], document["ended"])
    image = document["image"]["reference"] if document["image"] else "none (plain processes)"
    print(f"run         {document['run_id']}")
    print(f"pipeline    {document['pipeline']}")
    print(f"environment {document['environment']}")
    print(f"status      {document['status']}" + (f" in {took}" if took else ""))
    if document["tag"]:
        print(f"tag         {document['tag']}")
    print(f"started     {document['started'].replace('T', ' ')[:19]} UTC")
    print(f"image       {image}")
    if document["without_effect"]:
        print(f"no effect   {', '.join(document['without_effect'])} (in this environment)")
    print()
    shown = lines(document["steps"])
    table: list[tuple[str, ...]] = [("STEP", "TYPE", "STATUS", "TOOK", "RESULT", "FILES")]
    for line in shown:
        table.append(_step_row(line))
    print_table(table)
    if document["parameters"]:
        print("\nparameters")
        for name, value in document["parameters"].items():
            print(f"  {name} = {_value(value)}")
    _print_failures(document)


def _step_row(line: Line) -> tuple[str, ...]:
    step = line.row
    label = "  " * line.depth + line.label
    if step is None:
        return (label, "", "", "", "", "")
    kind = step["kind"] or step["type"]
    attempts = step["attempts"]
    more = [f"{len(attempts)} attempts"] if len(attempts) > 1 else []
    if "on_failure" in step:
        more.append(f"on_failure {step['on_failure']}")
    status = step["status"] + (f" ({', '.join(more)})" if more else "")
    if not attempts:
        return (label, kind, status, _took(line.started, line.ended), _inside(step), "")
    last = attempts[-1]
    returns = ", ".join(f"{name}={_value(value, 30)}" for name, value in last["output_parameters"].items())
    files = [f"put {one['name']}" for one in last["catalog"]["put"]] + [
        f"got {one['name']}" for one in last["catalog"]["get"]
    ]
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return (label, kind, status, _took(last["started"], last["ended"]), returns, shown)


def _inside(step: dict[str, Any]) -> str:
    """What there is to say of a composite in a few words."""
    if "branch" in step:
        return f"branch {step['branch']}"
    if step.get("iterations"):
        return _count(step["iterations"], "iteration")
    if "items" not in step:
        return ""
    states = step["item_status"]
    counts = ", ".join(f"{states[status]:,} {status}" for status in _ORDER if status in states)
    return _count(step["items"], "item") + (f": {counts}" if counts and set(states) != {step["status"]} else "")


_ORDER = ("succeeded", "failed", "cancelled", "skipped", "running", "waiting")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _print_failures(document: dict[str, Any]) -> None:
    """Each step that failed, those first that nothing has made good; then what else the run failed for."""
    failed = [step for step in document["steps"] if step["status"] == "failed"]
    # A composite fails because of what is inside it, unless there is nothing that failed.
    parts = {part for step in failed for part in _around(step["path"])}
    failed = [step for step in failed if step["attempts"] or step["path"] not in parts]
    good = {step["path"] for step in document["steps"] if step.get("on_failure") == "succeeded"}
    failed.sort(key=lambda step: _is_handled(step["path"], good))
    for step in failed[:_MOST_FAILURES]:
        _print_failure(step, _is_handled(step["path"], good))
    if len(failed) > _MOST_FAILURES:
        print(f"\nand {_count(len(failed) - _MOST_FAILURES, 'more failed step')}: `toolkit show --json` has them all")
    reason = document["reason"]
    told = any(f"the step {step['path']} " in reason or step.get("reason") == reason for step in failed)
    if reason and document["status"] != "succeeded" and not told:
        print(f"\n{reason}")


def _around(path: str) -> list[str]:
    """The paths of all that a path is in."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _is_handled(path: str, good: set[str]) -> bool:
    """Whether the on_failure of a step, or of a composite around it, has succeeded instead of it."""
    return any(one in good and not path.startswith(f"{one}/on_failure/") for one in [*_around(path), path])


def _print_failure(step: dict[str, Any], made_good: bool) -> None:
    last = step["attempts"][-1] if step["attempts"] else step
    reason = last["reason"]
    more = []
    if step["attempts"] and str(last["exit_code"]) not in reason:
        more.append(f"exit code {last['exit_code']}")
    if made_good:
        more.append("handled: on_failure succeeded")
    print(f"\n{step['path']} failed: {reason}" + (f" ({'; '.join(more)})" if more else ""))
    if "exception" in last:
        print("".join(f"  {line}\n" for line in last["exception"]["traceback"].splitlines()), end="")


def print_catalog(rows: Sequence[dict[str, Any]]) -> None:
    """A table of files."""
    if not rows:
        print("the run put no files into the catalog")
        return
    table: list[tuple[str, ...]] = [("FILE", "STEP", "SIZE", "SHA256")]
    table += [(row["name"], row["step"], _size(row["size"]), row["sha256"][:16]) for row in rows]
    print_table(table)


def print_table(rows: Iterable[tuple[str, ...]]) -> None:
    kept = [tuple(clean(cell) for cell in row) for row in rows]
    used = [column for column in range(len(kept[0])) if any(row[column] for row in kept[1:])]
    widths = {column: max(len(row[column]) for row in kept) for column in used}
    for row in kept:
        print("  ".join(row[column].ljust(widths[column]) for column in used).rstrip())


def clean(cell: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in cell)


def _value(value: Any, longest: int = _LONGEST_VALUE) -> str:
    if isinstance(value, dict) and set(value) == {"object", "sha256", "size"}:
        return f"<{value['object']}, {_size(value['size'])}>"
    shown = clean(json.dumps(value, ensure_ascii=False))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def _took(started: str | None, ended: str | None) -> str:
    if not started or not ended:
        return ""
    seconds = (_time(ended) - _time(started)).total_seconds()
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
