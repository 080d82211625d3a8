"""What the client writes of a run: its record, its end, and the plan where the steps see it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from toolkit.backends import volumes
from toolkit.backends.driver import this_client
from toolkit.backends.scheduler import Outcome
from toolkit.config.effect import without_effect
from toolkit.errors import BadInput, Infrastructure
from toolkit.run.preparation import Preparation, initial_controls
from toolkit.runtime.shared.protocol import ENDED_FILE, PLAN_FILE
from toolkit.runtime.shared.records import checked_run_end, now
from toolkit.store import writer
from toolkit.store.reader import moved_to, part_folder

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DriverRecord, ImageRecord, RevisionRecord, RunRecord


def run_record(
    preparation: Preparation,
    run_id: str,
    image: ImageRecord | None,
    context: Mapping[str, str] | None = None,
    driver: DriverRecord | None = None,
) -> RunRecord:
    """run.json.

    Args:
        image: reference, digest and identity; None without containers.
        context: the cluster's, empty elsewhere. driver: what drives the run; None is this process.
    """
    request, plan = preparation.request, preparation.plan
    if driver is None:
        client = this_client()
        driver = {"host": client.host, "pid": client.pid, "started": client.started}
    record: RunRecord = {
        "version": 1,
        "run_id": run_id,
        "pipeline": preparation.name,
        "source": request.reference.recorded(request.project),
        "environment": request.environment,
        "context": dict(context or {}),
        "without_effect": list(without_effect(request.project.config.executor.config, request.environment)),
        "tag": request.tag,
        "started": now(),
        "image": image,
        "images": preparation.step_image_records(),
        "parameters": dict(request.parameters),
        "spellings": dict(request.spellings),
        "controls": initial_controls(plan, request.parameters, request.spellings)[0],
        "plan_hash": plan.hash(),
        "plan": plan.to_json().decode("ascii"),
        "driver": driver,
    }
    revision = preparation.revision()
    if revision is not None:
        known = {key: value for key, value in revision._asdict().items() if value not in ("", None)}
        record["revision"] = cast("RevisionRecord", known)
    if preparation.described:
        record["described"] = dict(preparation.described)
    if request.patches:
        record["patches"] = dict(request.patches)
    return record


def create_run(run_log: Path, run_id: str, record: RunRecord, user: int) -> Path:
    """Reserves the run id and writes run.json; returns the run's folder.

    Raises:
        BadInput: there is such a run. Infrastructure: the run log can't be written.
    """

    try:
        return writer.create_run(run_log, run_id, record, partial(volumes.share, user=user))
    except writer.RunExists:
        raise BadInput(f"there is a run {run_id} already: choose another --run-id") from None
    except OSError as error:
        raise Infrastructure(f"the run log {run_log} can't be written: {error.strerror}") from None


def continue_run(run_folder: Path, record: RunRecord) -> int:
    """Begins a continuation of a run that has ended; returns the number of the part.

    Raises:
        BadInput: another client has resumed it, or moves it. Infrastructure: the run log can't be written.
    """
    try:
        part = writer.create_continuation(run_folder, record)
        if moved_to(run_folder) is not None:
            # A client that moves a run marks it first and then checks that it does not run: one of the two sees the other.
            shutil.rmtree(part_folder(run_folder, part))
            raise BadInput(f"the run {run_folder.name} is being moved to a cluster")
        return part
    except writer.RunExists:
        raise BadInput(f"another client has just resumed the run {run_folder.name}") from None
    except OSError as error:
        raise Infrastructure(f"the run log {run_folder} can't be written: {error.strerror}") from None


def write_end(run_folder: Path, part: int, outcome: Outcome, ended: str | None = None, replace: bool = False) -> None:
    """Writes the end record of a part of a run.

    Args:
        part: its number; 0 is the run as it began. ended: the time of the end; None is now.
        replace: whether it counts although there is one.

    Raises:
        Infrastructure: the record of a success can't be written.
    """
    record = checked_run_end(
        {"version": 1, "ended": ended or now(), "status": outcome.status, "reason": outcome.reason}
    )
    try:
        writer.write_end(run_folder, record, part, replace)
    except OSError as error:
        if outcome.status == "succeeded":
            raise Infrastructure(f"the run's end can't be recorded in {run_folder}: {error.strerror}") from None


def write_plan(folder: Path, preparation: Preparation) -> None:
    """Makes the folder with the plan and the parameters, that every step of the run sees read-only.

    Raises:
        Infrastructure: it can't be written.
    """
    files = {PLAN_FILE: preparation.plan.to_json(), **preparation.parameter_files()}
    try:
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(gzip.compress(data, compresslevel=1, mtime=0))
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be written: {error.strerror}") from None


def write_ended(folder: Path, status: str) -> None:
    """Tells the steps of on_exit how the run has ended, in the folder of :func:`write_plan`.

    Raises:
        Infrastructure: it can't be written.
    """
    try:
        (folder / ENDED_FILE).write_text(status, encoding="ascii")
        (folder / ENDED_FILE).chmod(0o644)
    except OSError as error:
        raise Infrastructure(f"{folder / ENDED_FILE} can't be written: {error.strerror}") from None
