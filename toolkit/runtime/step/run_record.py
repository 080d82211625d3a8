"""run.json, the run's own record: it is on the volume before the first step begins.

On this machine the client writes it. On a cluster no client sees the volume, so the record comes with the plan, and the first
container of the run publishes it.
"""

from __future__ import annotations

import os

from ..shared import records
from ..shared.layout import SHARED_MODE
from ..shared.protocol import CONTINUED_FOLDER, MOVED_RECORD, RUN_RECORD, RUN_RECORD_FILE, STEPS_FOLDER
from ..shared.scope import load_json
from ..shared.whole_files import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ..shared.documents import SubmittedRecord


class WrongRun(Exception):
    """The volume is not the run's, or another run has the run id there."""


def submitted_record(folder: str) -> Optional[SubmittedRecord]:
    """The record that came with the plan; None where the client writes it itself."""
    try:
        document = load_json(os.path.join(folder, RUN_RECORD_FILE))
    except FileNotFoundError:
        return None
    return records.checked_submitted(document)


def publish_run(run_folder: str, run_id: str, submitted: Optional[SubmittedRecord]) -> None:
    """Makes sure that run.json is there and is this run's; for a continuation, its own run.json as well.

    Args:
        submitted: the record that came with the plan.

    Raises:
        WrongRun: there is no record and none came with the plan, the record is another run's, or the run was moved away.
        OSError: the volume can't be written.
    """
    target = os.path.join(run_folder, RUN_RECORD)
    published = records.read(target)
    if published is None and (not submitted or "part" in submitted):
        raise WrongRun(f"{run_folder} holds no {RUN_RECORD}: the volume that this container sees is not the run's")
    if not submitted:
        return
    if "part" in submitted:
        target = os.path.join(run_folder, CONTINUED_FOLDER, str(submitted["part"]), RUN_RECORD)
        published = records.read(target)
        if published is None and os.path.exists(os.path.join(run_folder, MOVED_RECORD)):
            raise WrongRun(f"the run {run_id} was moved away from this volume before it could resume here")
    if published is None:
        # A schedule submits a record without its time and its Workflow, which has the run's id as its name.
        record = {"started": records.now(), **submitted, "run_id": run_id, "driver": {"workflow": run_id}}
        _make_shared(os.path.join(run_folder, STEPS_FOLDER))
        _make_shared(os.path.dirname(target))
        # Where another container of the run was faster, its record stays.
        write_whole(target, records.encode(record), replace=False)
        published = records.read(target) or {}
    if published.get("submission") != submitted.get("submission"):
        raise WrongRun(f"the run id {run_id} is another run's on this volume: choose another --run-id")


def _make_shared(folder: str) -> None:
    """Makes a folder and those missing above it, so that all steps of the group can write there, whatever their user."""
    if os.path.isdir(folder):
        return
    _make_shared(os.path.dirname(folder))
    try:
        os.mkdir(folder)
    except FileExistsError:
        return
    os.chmod(folder, SHARED_MODE)
