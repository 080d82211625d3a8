"""How a run has ended, as the steps of its on_exit are told: its status, and the paths of the steps that failed.

The status comes from whoever runs the pipeline. The paths come from the records, so that they are the same in every environment and
need no client.
"""

from __future__ import annotations

import os
import time

from ..shared import layout, records
from ..shared.protocol import BEGIN_RECORD, END_RECORD, ENDED_FILE, ENDED_VARIABLE, ENGINE_RECORD
from ..shared.tree import ANY, ON_EXIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from ..shared.documents import EndingRecord
    from ..shared.locations import Locations
    from ..shared.scope import RunPlan

_MARGIN = 5.0
"""Seconds, beyond the grace period, in which a step that was asked to stop has written its record."""


def run_ending(plan: RunPlan, locations: Locations, run_folder: str) -> Optional[EndingRecord]:
    """How the run has ended; None where nobody says it, as where a person runs single steps."""
    status = _status(locations)
    if status is None:
        return None
    if status != "succeeded":
        _await_ends(plan, run_folder)
    failed = [path for path in _task_paths(plan, run_folder) if _has_failed(run_folder, path, status)]
    return {"status": status, "failed": failed}


def _status(locations: Locations) -> Optional[str]:
    """The run's status: from the client's file, else from what Argo puts into a variable: its own word, and a request to stop."""
    file = os.path.join(locations.run, ENDED_FILE)
    if os.path.exists(file):
        with open(file, encoding="ascii") as stream:
            return stream.read().strip()
    phase, _, asked = os.environ.get(ENDED_VARIABLE, "").partition(" ")
    if not phase:
        return None
    return "succeeded" if phase == "Succeeded" else "cancelled" if asked.strip() else "failed"


def _task_paths(plan: RunPlan, run_folder: str) -> Iterator[str]:
    """The instance paths of the tasks of the pipeline itself that have attempts, in the order of the plan."""
    for template, row in plan.rows.items():
        if row["type"] == "task" and not template.startswith(f"{ON_EXIT}/"):
            yield from _instances(run_folder, template.split("/"), [])


def _instances(run_folder: str, rest: list[str], path: list[str]) -> Iterator[str]:
    if not rest:
        if layout.attempts(run_folder, "/".join(path)):
            yield "/".join(path)
        return
    below = [rest[0]]
    if rest[0] == ANY:
        below = [str(position) for position in layout.attempts(run_folder, "/".join(path))]
    for part in below:
        yield from _instances(run_folder, rest[1:], [*path, part])


def _newest(run_folder: str, path: str) -> str:
    return layout.attempt_folder(run_folder, path, layout.attempts(run_folder, path)[-1])


def _await_ends(plan: RunPlan, run_folder: str) -> None:
    """Waits for the steps that were asked to stop: Argo does not, before it runs what comes after the pipeline."""
    grace = max(settings["grace_period"] for settings in plan.document["settings"])
    until = time.monotonic() + grace + _MARGIN
    waiting = list(_task_paths(plan, run_folder))
    while waiting := [path for path in waiting if _is_open(_newest(run_folder, path))]:
        if time.monotonic() > until:
            return
        time.sleep(0.2)


def _is_open(folder: str) -> bool:
    """Whether an attempt has begun and nothing says yet that it has ended."""
    has_begun = os.path.exists(os.path.join(folder, BEGIN_RECORD))
    return has_begun and not any(os.path.exists(os.path.join(folder, name)) for name in (END_RECORD, ENGINE_RECORD))


def _has_failed(run_folder: str, path: str, status: str) -> bool:
    """Whether the newest attempt of a task failed, by its own record and by the client's."""
    folder = _newest(run_folder, path)
    end = records.read_end(os.path.join(folder, END_RECORD))
    engine = records.read_engine(os.path.join(folder, ENGINE_RECORD))
    if engine is not None and (end is None or end.get("status") == "cancelled"):
        return not engine.get("cancelled") and engine.get("exit_code") != 0
    if end is not None:
        return end.get("status") == "failed"
    # Without a client's record: its container is gone without a word.
    return status == "failed"


__all__ = ["run_ending"]
