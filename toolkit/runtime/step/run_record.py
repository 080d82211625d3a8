"""The run's own record: there before the first step begins, whoever writes it.

On one machine the client does. On a cluster no client sees the volume, so the record comes with the plan, and the first
container of the run that sees the volume publishes it.
"""

from __future__ import annotations

import os

from ..shared import records
from ..shared.layout import SHARED_MODE
from ..shared.protocol import CONTINUED_FOLDER, MOVED_RECORD, PART, RUN_RECORD, RUN_RECORD_FILE, STEPS_FOLDER
from ..shared.scope import load_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WrongRun(Exception):
    """The volume is not the run's, or the run id is another run's there."""


def submitted_record(folder: str) -> dict[str, Any]:
    """The record that came with the plan; empty where the client writes it itself."""
    try:
        return load_json(os.path.join(folder, RUN_RECORD_FILE))
    except FileNotFoundError:
        return {}


def publish_run(run_folder: str, run_id: str, given: dict[str, Any]) -> None:
    """Makes sure that run.json is there and this run's; of a run that goes on, that of its part.

    Args:
        given: the record that came with the plan.

    Raises:
        WrongRun: there is no record and none was given, there is another run's, or it was moved away.
        OSError: the volume can't be written.
    """
    target = os.path.join(run_folder, RUN_RECORD)
    known = records.read(target)
    if known is None and (not given or PART in given):
        raise WrongRun(f"{run_folder} holds no {RUN_RECORD}: the volume that this container sees is not the run's")
    if not given:
        return
    if PART in given:
        target = os.path.join(run_folder, CONTINUED_FOLDER, str(given[PART]), RUN_RECORD)
        known = records.read(target)
        if known is None and os.path.exists(os.path.join(run_folder, MOVED_RECORD)):
            raise WrongRun(f"the run {run_id} was moved away from this volume before it could go on here")
    if known is None:
        mine = dict(given, run_id=run_id)
        mine.setdefault("started", records.now())
        _make_shared(os.path.join(run_folder, STEPS_FOLDER))
        _make_shared(os.path.dirname(target))
        _publish_once(target, records.encode(mine))
        known = records.read(target) or {}
    if known.get("submission") != given.get("submission"):
        raise WrongRun(f"the run id {run_id} is another run's on this volume: choose another --run-id")


def _make_shared(folder: str) -> None:
    """Makes a folder and what is missing above it, for all steps of the group whatever their user."""
    if os.path.isdir(folder):
        return
    _make_shared(os.path.dirname(folder))
    try:
        os.mkdir(folder)
    except FileExistsError:
        return
    os.chmod(folder, SHARED_MODE)


def _publish_once(target: str, data: bytes) -> None:
    """Publishes a file unless another container of the run was faster: the first one's stays."""
    temporary = f"{target}.{os.uname().nodename}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            pass
        except OSError:
            # A file system without hard links, as some network ones are.
            if not os.path.exists(target):
                os.rename(temporary, target)
    finally:
        try:
            os.unlink(temporary)
        except OSError:
            pass
