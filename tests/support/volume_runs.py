"""Runs in a volume's run log, with only the parts of their records that reading and moving a run needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.runtime.shared import layout, records


def run_record(run_id: str, **fields: Any) -> Any:
    """A run's record, with only the keys that are needed here."""
    plan = json.dumps({"steps": [], "filler": "x" * 1000})
    return {"version": 1, "run_id": run_id, "started": "2026-01-02T03:04:05.678Z", "plan": plan, **fields}


def make_run(run_log: Path, run_id: str, steps: Mapping[str, str] = {}, ended: bool = True, **fields: Any) -> Path:
    """Writes a run to the volume, with the output of each step."""
    folder = run_log / run_id
    folder.mkdir(parents=True)
    records.write(str(folder / "run.json"), run_record(run_id, **fields))
    (folder / "steps").mkdir()
    for path, output in steps.items():
        attempt(folder, path, output)
    if ended:
        records.write(str(folder / "end.json"), {"version": 1, "status": "succeeded", "ended": "2026", "reason": ""})
    return folder


def go_on(folder: Path, number: int, status: str = "") -> Path:
    """Adds a continuation to a run; with a status, it has ended."""
    part = folder / "continued" / str(number)
    part.mkdir(parents=True)
    first = json.loads((folder / "run.json").read_bytes())
    records.write(str(part / "run.json"), {**first, "continued": f"2026-02-{number:02}", "part": number})
    if status:
        records.write(str(part / "end.json"), {"version": 1, "status": status, "ended": "2026", "reason": ""})
    return part


def attempt(run_folder: Path, path: str, output: str, number: int = 1, ended: bool = True) -> Path:
    """Writes the files of an attempt."""
    folder = Path(layout.attempt_folder(str(run_folder), path, number))
    folder.mkdir(parents=True)
    records.write(str(folder / "begin.json"), {"started": "2026", "step": path})
    (folder / "output.log").write_text(output)
    if ended:
        records.write(str(folder / "end.json"), {"status": "succeeded", "exit_code": 0, "step": path})
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
