"""One run in the ``local`` or ``process`` environment, from the command to its end record."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import names
from toolkit import secrets as providers
from toolkit.backends import driver, volumes
from toolkit.backends.completed_work import CompletedWork
from toolkit.backends.scheduler import Cancel, Outcome, Scheduler
from toolkit.errors import BadInput, ToolkitError
from toolkit.plan.plan import PlannedStep
from toolkit.plan.planner import plan
from toolkit.project import Project
from toolkit.report.reporter import Reporter
from toolkit.run.environment import LocalEnvironment, ProcessEnvironment
from toolkit.run.prepare import (
    check_parameters,
    continue_run,
    create_run,
    run_record,
    secret_names,
    write_end,
    write_plan,
)
from toolkit.run.request import Request
from toolkit.runtime.shared.records import now
from toolkit.runtime.shared.tree import Tree
from toolkit.store.reader import NoRun, RunLog

if TYPE_CHECKING:
    from toolkit.run.continuation import Continuation


_YOUNG = 3600.0
"""Seconds for which a folder without a record is left alone."""


def run_on_this_machine(request: Request, reporter: Reporter, continuation: Continuation | None = None) -> Outcome:
    """Runs a pipeline to its end.

    Args:
        continuation: the run to go on with; None begins one.

    Raises:
        BadInput: configuration, pipeline, parameters or secrets are wrong, or the pipeline is not the run's; nothing was started.
        Infrastructure: engine or disk.
    """
    run_id = names.run_id(request.run_id) if request.run_id else names.new_run_id()
    project = request.project
    provider = providers.provider(project)
    provider.require(one.environment_variable for one in project.config.executor.config.secrets_from_k8s)
    volumes.make_private_state(project)
    side = (
        LocalEnvironment(request, reporter.note)
        if request.environment == "local"
        else ProcessEnvironment(request, reporter.note)
    )
    run_log = volumes.host_path(project, project.config.run_log_store.log_folder)
    if continuation is None and (run_log / run_id).exists():
        raise BadInput(f"there is a run {run_id} already: choose another --run-id, or `toolkit show {run_id}`")
    _sweep(project, run_log)
    pipeline = side.describe()
    made = plan(pipeline, project.config, request.reference.import_roots(project))
    check_parameters(made, request.parameters)
    kept = continuation.kept(made, reporter.note) if continuation is not None else frozenset()
    needed = secret_names(made)
    values = provider.require(needed)
    side.check(made)
    side.prepare_volumes(made)
    name = pipeline.name or request.reference.file.stem
    record = run_record(request, side.image_record(), made, run_id, name)
    if continuation is None:
        run_folder = ends = create_run(run_log, run_id, record, side.user)
    else:
        run_folder = continuation.run.folder
        ends = continue_run(
            run_folder, {**record, "started": continuation.run.record["started"], "continued": now()}, side.user
        )
    private = project.state / "runs" / run_id
    write_plan(private, made, request.parameters)
    reporter.began(run_id, name, made, run_folder)

    def own(step: PlannedStep) -> dict[str, str]:
        assert step.task is not None
        every = [one.environment_variable for one in made.settings_of(step).secrets]
        return {key: values[key] for key in [*every, *step.task.secrets] if key in values}

    controls = record["controls"]
    completed_work = (
        CompletedWork(Tree(made.document()), run_folder, kept, controls) if continuation is not None else None
    )
    cancel = Cancel()
    try:
        config = project.config.executor.config
        scheduler = Scheduler(
            made,
            side.launcher(made, run_id, private, needed),
            run_folder,
            own,
            reporter,
            cancel,
            config.max_workflow_duration_in_seconds,
            config.parallelism,
            controls,
            completed_work,
        )
        return _follow(scheduler, cancel, ends, reporter)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _follow(scheduler: Scheduler, cancel: Cancel, ends: Path, reporter: Reporter) -> Outcome:
    """Runs the plan, and records in the folder ``ends`` how that ended."""
    outcome = Outcome("failed", "the client failed", fault=True)
    try:
        with _signals(cancel, scheduler):
            outcome = scheduler.run()
    except ToolkitError as error:
        outcome = Outcome("failed", str(error), fault=True)
        raise
    finally:
        write_end(ends, outcome)
    reporter.finished(outcome)
    return outcome


@contextmanager
def _signals(cancel: Cancel, scheduler: Scheduler) -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel; the second kills; the third leaves and names what remains."""

    def on_signal(*_: object) -> None:
        cancel()
        if cancel.count >= 3:
            left = ", ".join(scheduler.unfinished()) or "nothing"
            os.write(2, f"toolkit: left at once; what may still be there: {left}\n".encode())
            os._exit(130)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sweep(project: Project, run_log: Path) -> None:
    """Removes the private folders of runs whose client was killed before it could."""
    log = RunLog(run_log, driver.is_driven)
    for kind in ("runs", "work"):
        for folder in (project.state / kind).glob("*"):
            try:
                active = log.run(folder.name).active
            except NoRun:
                # Another client may be just about to publish its record.
                active = time.time() - folder.stat().st_mtime < _YOUNG
            if not active:
                shutil.rmtree(folder, ignore_errors=True)
