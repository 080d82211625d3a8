"""Runs as text for a person: aligned columns, without colours that a file or a pipe would keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from toolkit.report.left import LeftFiles, template_of
from toolkit.report.outline import OutlineRow, outline
from toolkit.report.table import counted, print_table, printable, sized
from toolkit.runtime.shared.tree import HANDLER, REPEATED, paths_to

if TYPE_CHECKING:
    from toolkit.report.contract import CatalogFile, RunDocument, RunRow, StepDocument
    from toolkit.runtime.shared.documents import LeftFile

_LONGEST_VALUE = 80
_LONGEST_RESULT = 30
"""Characters of a value in a line of its own, and in the table."""
_MOST_FILES = 3
"""Files that the table names for a step."""
_MOST_FAILURES = 10
_LINES = "\n\t"
"""What a text of several lines may hold, beside what is printable."""
"""Failed steps that are printed one by one."""
_STATUS_ORDER = ("succeeded", "failed", "cancelled", "unknown", "skipped", "running", "waiting")
_UNKNOWN = "unknown"
"""Stands for what only a volume knows that could not be read."""
Table = list[tuple[str, ...]]


def print_runs(runs: Sequence[RunRow]) -> None:
    """Prints a table of runs."""
    if not runs:
        print("no runs")
        return
    table: Table = [("RUN", "PIPELINE", "ENVIRONMENT", "STATUS", "STARTED", "TOOK", "TAG")]
    for run in runs:
        took = _duration(run["started"], run["ended"])
        started = _to_seconds(run["started"])
        table.append((run["run_id"], run["pipeline"], run["environment"], run["status"], started, took, run["tag"]))
    print_table(table)


def print_values(runs: Sequence[RunRow], columns: Sequence[str]) -> None:
    """Prints a table of values, a row for each run and a column for each name."""
    if not runs:
        print("no runs")
        return
    table: Table = [("RUN", "STATUS", "TAG", *columns)]
    for run in runs:
        values = run["values"]
        cells = (_value(values[name], _LONGEST_RESULT) if name in values else "-" for name in columns)
        table.append((run["run_id"], run["status"], run["tag"], *cells))
    print_table(table)


def print_run(run: RunDocument) -> None:
    """Prints one run: its head, a row for each step, the parameters, and what failed."""
    took = _duration(run["started"], run["ended"])
    image = run["image"]["reference"] if run["image"] else "none (plain processes)"
    head = {
        "run": run["run_id"],
        "pipeline": run["pipeline"],
        "environment": run["environment"],
        "status": run["status"] + (f" in {took}" if took else ""),
        "on_exit": _on_exit(run),
        "tag": run["tag"],
        "started": f"{_to_seconds(run['started'])} UTC",
        "image": image,
        "commit": _commit(run),
        "no effect": f"{', '.join(run['without_effect'])} (in this environment)" if run["without_effect"] else "",
    }
    for label, text in head.items():
        if text:
            print(f"{label:<11} {printable(text)}")
    print()
    print_table([("STEP", "TYPE", "STATUS", "TOOK", "RESULT", "FILES"), *map(_step_row, outline(run["steps"]))])
    _print_left(run)
    unknown = run.get("unknown", [])
    if run["parameters"] or "parameters" in unknown:
        print("\nparameters")
        for name, value in run["parameters"].items():
            print(f"  {printable(name)} = {_value(value, _LONGEST_VALUE)}")
        if "parameters" in unknown:
            print("  (unknown: what the steps returned)")
    _print_failures(run)


def _on_exit(run: RunDocument) -> str:
    """What became of the steps after the pipeline, where that is not what anyone expects."""
    status = run.get("on_exit", "succeeded")
    return "" if status == "succeeded" else f"{status} (which does not change the run's status)"


def _commit(run: RunDocument) -> str:
    revision = run.get("revision")
    if revision is None:
        return ""
    repository = f" of {revision['repository']}" if "repository" in revision else ""
    return revision["commit"] + repository + (" with uncommitted changes" if revision.get("uncommitted") else "")


def _step_row(row: OutlineRow) -> tuple[str, ...]:
    step = row.step
    label = "  " * row.depth + row.label
    if step is None:
        return (label, "", "", "", "", "")
    kind = (step["kind"] or step["type"]) + (" (patched)" if step.get("patched") else "")
    attempts = step["attempts"]
    details = [f"{len(attempts)} attempts"] if len(attempts) > 1 else []
    if "on_failure" in step:
        kept = ", but keep_failure" if step.get("keep_failure") and step["on_failure"] == "succeeded" else ""
        details.append(f"on_failure {step['on_failure']}{kept}")
    status = step["status"] + (f" ({', '.join(details)})" if details else "")
    if not attempts:
        return (label, kind, status, _duration(row.started, row.ended), _composite_result(step), "")
    last = attempts[-1]
    if "catalog" in last.get("unknown", []):
        return (label, kind, status, _UNKNOWN, _UNKNOWN, _UNKNOWN)
    returns = ", ".join(f"{name}={_value(value, _LONGEST_RESULT)}" for name, value in last["output_parameters"].items())
    files = [f"put {file['name']}" for file in last["catalog"]["put"]]
    files += [f"got {file['name']}" for file in last["catalog"]["get"]]
    more = f" and {len(files) - _MOST_FILES} more" if len(files) > _MOST_FILES else ""
    shown = ", ".join(files[:_MOST_FILES]) + more
    return (label, kind, status, _duration(last["started"], last["ended"]), returns, shown)


def _composite_result(step: StepDocument) -> str:
    """What is known of a composite, in a few words: its branch, its iterations, or its items by their status."""
    if "branch" in step:
        return f"branch {step['branch']}"
    if step.get("iterations"):
        return counted(step["iterations"], "iteration")
    if "items" not in step:
        return ""
    statuses = step["item_status"]
    if set(statuses) == {step["status"]}:
        return counted(step["items"], "item")
    counts = ", ".join(f"{statuses[status]:,} {status}" for status in _STATUS_ORDER if status in statuses)
    return counted(step["items"], "item") + (f": {counts}" if counts else "")


def _print_failures(run: RunDocument) -> None:
    """Prints each step that failed, those that no on_failure handled first; then why the run failed, if that is not said yet."""
    failed = [step for step in run["steps"] if step["status"] == "failed"]
    # A composite fails because of a step inside it, unless no step inside it failed.
    around_failed = {path for step in failed for path in paths_to(step["path"])[:-1]}
    failed = [step for step in failed if step["attempts"] or step["path"] not in around_failed]
    handled = {
        step["path"] for step in run["steps"] if step.get("on_failure") == "succeeded" and not step.get("keep_failure")
    }
    failed.sort(key=lambda step: _is_handled(step["path"], handled))
    for step in failed[:_MOST_FAILURES]:
        _print_failure(step, _is_handled(step["path"], handled))
    if len(failed) > _MOST_FAILURES:
        print(f"\nand {counted(len(failed) - _MOST_FAILURES, 'more failed step')}: `toolkit show --json` has them all")
    reason = run["reason"]
    is_printed = any(f"the step {step['path']} " in reason or step.get("reason") == reason for step in failed)
    if reason and run["status"] != "succeeded" and not is_printed:
        print(f"\n{printable(reason, _LINES)}")


def _print_left(run: RunDocument) -> None:
    """Prints what each step left in its folder and nobody put. The items of a map are one step here."""
    repeated: set[str] = set()
    left = LeftFiles()
    for step in run["steps"]:
        path = template_of(step["path"], repeated)
        if step["type"] in REPEATED:
            repeated.add(path)
        if step["attempts"] and "left" in step["attempts"][-1]:
            recorded = step["attempts"][-1]["left"]
            files: list[LeftFile] = [
                {"name": file["name"], "size": file["size"], "project": file.get("project", False)}
                for file in recorded["files"]
            ]
            left.add(path, {**recorded, "files": files})
    lines = left.lines()
    if lines:
        print(f"\n{left.heading()}")
        for line in lines:
            print(f"  {printable(line)}")


def _is_handled(path: str, handled: set[str]) -> bool:
    """Whether the on_failure of a step, or of a composite around it, succeeded; what failed in that on_failure is not handled.

    Args:
        handled: the paths of the steps whose on_failure succeeded.
    """
    return any(step in handled and not path.startswith(f"{step}/{HANDLER}/") for step in paths_to(path))


def _print_failure(step: StepDocument, is_handled: bool) -> None:
    last = step["attempts"][-1] if step["attempts"] else None
    reason = last["reason"] if last is not None else step["reason"]
    details = []
    if last is not None and str(last["exit_code"]) not in reason:
        details.append(f"exit code {last['exit_code']}")
    if is_handled:
        details.append("handled: on_failure succeeded")
    text = f"{step['path']} failed: {reason}" + (f" ({'; '.join(details)})" if details else "")
    print(f"\n{printable(text, _LINES)}")
    if last is not None and "exception" in last:
        for line in printable(last["exception"]["traceback"], _LINES).splitlines():
            print(f"  {line}")


def print_catalog(files: Sequence[CatalogFile]) -> None:
    """Prints a table of files and objects by their keys. What has no key has its name, and its attempt behind its step."""
    if not files:
        print("the run put no files into the catalog, and returned no objects")
        return
    table: Table = [("KEY", "OBJECT", "STEP", "SIZE", "SHA256")]
    for file in files:
        key, step = file["key"], file["step"]
        if key is None:
            key, step = f"({file['name']})", f"{step} (attempt {file['attempt']})"
        table.append((key, file.get("object", ""), step, sized(file["size"]), file["sha256"][:16]))
    print_table(table)


def _value(value: object, longest: int) -> str:
    """A value as one line; an object by its type and size, and a large value by its kind and size."""
    if isinstance(value, dict) and set(value) in ({"object", "sha256", "size"}, {"kind", "sha256", "size"}):
        # A value of the user's may have these keys as well.
        kind, size = value.get("object", value.get("kind")), value["size"]
        if isinstance(kind, str) and isinstance(size, int):
            return f"<{printable(kind)}, {sized(size)}>"
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _duration(started: str | None, ended: str | None) -> str:
    """The time between two times of records; empty if one is missing, or none."""
    try:
        seconds = (_time(ended or "") - _time(started or "")).total_seconds()
    except ValueError:
        return ""
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _to_seconds(time: str) -> str:
    """A time of a record without its fraction of a second."""
    return time.replace("T", " ")[:19]


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
