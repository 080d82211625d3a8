"""Runs as text for a person: aligned columns, no colour that a file or a pipe would keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

_LONGEST_VALUE = 80


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
    _print_table(table)


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
    table: list[tuple[str, ...]] = [("STEP", "TYPE", "STATUS", "TOOK", "RETURNS", "FILES")]
    for step in document["steps"]:
        table.append(_step_row(step))
    _print_table(table)
    if document["parameters"]:
        print("\nparameters")
        for name, value in document["parameters"].items():
            print(f"  {name} = {_value(value)}")
    failed = [step for step in document["steps"] if step["status"] == "failed" and step["attempts"]]
    for step in failed:
        _print_failure(step)
    told = any(step["path"] in document["reason"] for step in failed)
    if document["reason"] and document["status"] != "succeeded" and not told:
        print(f"\n{document['reason']}")


def _step_row(step: dict[str, Any]) -> tuple[str, ...]:
    attempts = step["attempts"]
    kind = step["kind"] or step["type"]
    if not attempts:
        return (step["path"], kind, step["status"], "", "", "")
    last = attempts[-1]
    status = step["status"] + (f" ({len(attempts)} attempts)" if len(attempts) > 1 else "")
    returns = ", ".join(f"{name}={_value(value, 30)}" for name, value in last["output_parameters"].items())
    files = [f"put {one['name']}" for one in last["catalog"]["put"]] + [
        f"got {one['name']}" for one in last["catalog"]["get"]
    ]
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return (step["path"], kind, status, _took(last["started"], last["ended"]), returns, shown)


def _print_failure(step: dict[str, Any]) -> None:
    last = step["attempts"][-1]
    code = "" if str(last["exit_code"]) in last["reason"] else f" (exit code {last['exit_code']})"
    print(f"\n{step['path']} failed: {last['reason']}{code}")
    if "exception" in last:
        print("".join(f"  {line}\n" for line in last["exception"]["traceback"].splitlines()), end="")


def print_catalog(rows: Sequence[dict[str, Any]]) -> None:
    """A table of files."""
    if not rows:
        print("the run put no files into the catalog")
        return
    table: list[tuple[str, ...]] = [("FILE", "STEP", "SIZE", "SHA256")]
    table += [(row["name"], row["step"], _size(row["size"]), row["sha256"][:16]) for row in rows]
    _print_table(table)


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    kept = [tuple(_clean(cell) for cell in row) for row in rows]
    used = [column for column in range(len(kept[0])) if any(row[column] for row in kept[1:])]
    widths = {column: max(len(row[column]) for row in kept) for column in used}
    for row in kept:
        print("  ".join(row[column].ljust(widths[column]) for column in used).rstrip())


def _clean(cell: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in cell)


def _value(value: Any, longest: int = _LONGEST_VALUE) -> str:
    if isinstance(value, dict) and set(value) == {"object", "sha256", "size"}:
        return f"<{value['object']}, {_size(value['size'])}>"
    shown = _clean(json.dumps(value, ensure_ascii=False))
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
