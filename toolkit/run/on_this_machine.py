"""One run in the ``local`` or ``process`` environment, from the command to its end record."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import names
from toolkit import secrets as providers
from toolkit.backends import driver, process, volumes
from toolkit.backends.completed_work import CompletedWork
from toolkit.backends.scheduler import Cancel, Outcome, Scheduler
from toolkit.errors import BadInput, ToolkitError
from toolkit.plan.plan import PlannedStep
from toolkit.project import Project
from toolkit.report.reporter import Reporter
from toolkit.report.side_by_side import put_side_by_side
from toolkit.run.ground import make_work_folder, prepare_ground
from toolkit.run.kept import keep_request
from toolkit.run.launch import make_launcher, prepare_volumes
from toolkit.run.preparation import prepare
from toolkit.run.records import continue_run, create_run, run_record, write_end, write_ended, write_plan
from toolkit.run.request import Request
from toolkit.run.signals import cancel_on_signals
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.records import now
from toolkit.runtime.shared.scope import RunPlan
from toolkit.runtime.shared.tree import Tree
from toolkit.store.reader import NoRun, RunLog

if TYPE_CHECKING:
    from toolkit.backends.debug_terminal import DebugTerminal
    from toolkit.run.continuation import Continuation

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What cancels the run. A hang-up does so as well, because the steps can't run without this client."""
_ORPHAN_AGE = 3600.0
"""Seconds for which a folder without a record is left alone."""


def run_on_this_machine(request: Request, reporter: Reporter, continuation: Continuation | None = None) -> Outcome:
    """Runs a pipeline to its end.

    Args:
        continuation: the run that is resumed; None begins one.

    Raises:
        BadInput: configuration, pipeline, parameters or secrets are wrong, or the pipeline is not the run's; nothing was started.
        Infrastructure: engine or disk.
    """
    run_id = names.run_id(request.run_id) if request.run_id else names.new_run_id()
    project = request.project
    config = project.config.executor.config
    provider = providers.provider(project)
    provider.require(secret.environment_variable for secret in config.secrets_from_k8s)
    volumes.make_private_state(project)
    volumes.check(project)
    run_log = volumes.host_path(project, project.config.run_log_store.log_folder)
    if continuation is None and (run_log / run_id / RUN_RECORD).exists():
        raise BadInput(f"there is a run {run_id} already: choose another --run-id, or `toolkit show {run_id}`")
    _sweep(project, run_log)
    preparation = prepare(request, reporter.note, described=lambda: request.described, with_revision=True)
    plan = preparation.plan
    kept = continuation.kept_steps(plan, reporter.note) if continuation is not None else frozenset()
    secret_names = preparation.secret_names()
    values = provider.require(secret_names)
    # What can't be built is found before there is a record of the run.
    preparation.images()
    prepare_volumes(preparation)
    ground = prepare_ground(preparation) if preparation.image is None else None
    record = run_record(preparation, run_id, preparation.image_record())

    def secrets_of(step: PlannedStep) -> dict[str, str]:
        assert step.task is not None
        shared = [secret.environment_variable for secret in plan.settings_of(step).secrets]
        return {name: values[name] for name in [*shared, *step.task.secrets] if name in values}

    private = project.state / "runs" / run_id
    cancel = Cancel()
    schedulers: list[Scheduler] = []

    terminal = _terminal(reporter) if ground is not None else None

    def remains() -> str:
        if terminal is not None:
            terminal.restore()
        return ", ".join(name for scheduler in schedulers for name in scheduler.unfinished()) or "nothing"

    # Signals are handled from the moment at which there is a run, so that none leaves it without an end.
    # They are handled until the lock is released, because `toolkit cancel` signals whoever holds it.
    with cancel_on_signals(cancel, _SIGNALS, remains), driver.driving(project, run_id):
        part = 0
        if continuation is None:
            run_folder = create_run(run_log, run_id, record, preparation.user)
        else:
            run_folder = continuation.run.folder
            record = {**record, "started": continuation.run.record["started"], "continued": now()}
            part = continue_run(run_folder, record)
        outcome = Outcome("failed", "the client failed", fault=True)
        try:
            # Before any step runs: from then on a record is a step's word as well.
            if ground is not None:
                make_work_folder(project, run_id)
            keep_request(project.state, record)
            write_plan(private, preparation)
            reporter.began(run_id, preparation.name, plan, run_folder)
            controls = record["controls"]
            completed_work = (
                CompletedWork(Tree(plan.document()), run_folder, kept, controls) if continuation is not None else None
            )
            scheduler = Scheduler(
                plan,
                make_launcher(preparation, run_id, private, secret_names, ground, terminal),
                run_folder,
                secrets_of,
                reporter,
                cancel,
                config.max_workflow_duration_in_seconds,
                config.parallelism,
                controls,
                completed_work,
                lambda status: write_ended(private, status),
            )
            schedulers.append(scheduler)
            outcome = scheduler.run()
        except ToolkitError as error:
            outcome = Outcome("failed", str(error), fault=True)
            raise
        finally:
            shutil.rmtree(private, ignore_errors=True)
            # This client holds the run's lock, so an end that is there is a step's.
            write_end(run_folder, part, outcome, replace=True)
        for sentence in put_side_by_side(
            RunPlan(plan.document(), preparation.request.parameters, preparation.request.spellings), run_folder
        ):
            reporter.note(sentence)
        reporter.finished(outcome)
        return outcome


def _terminal(reporter: Reporter) -> DebugTerminal | None:
    """The user's terminal for a step's debugger, where there is one."""
    # Sockets that keep messages apart, and terminals that a session takes by opening them, are Linux's.
    if not (sys.platform == "linux" and os.isatty(0) and os.isatty(1)):
        return None
    from toolkit.backends.debug_terminal import DebugTerminal

    return DebugTerminal(reporter.hold, reporter.resume)


def _sweep(project: Project, run_log: Path) -> None:
    """Removes the private folders of runs whose client was killed before it could."""
    log = RunLog(run_log, driver.is_driven(project))
    for kind in ("runs", "work"):
        for folder in (project.state / kind).glob("*"):
            try:
                active = driver.holds_lock(project, folder.name) or log.run(folder.name).active
            except NoRun:
                # Another client may be just about to publish its record.
                active = time.time() - folder.stat().st_mtime < _ORPHAN_AGE
            if not active:
                process.remove(folder)
