"""One run in the ``argo`` environment: it is prepared here, submitted to the cluster, and followed to its end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from toolkit import names
from toolkit.backends import volumes
from toolkit.backends.argo import preflight, submit
from toolkit.backends.argo.cluster import Cluster, open_cluster
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.argo.compile.workflow import Image, Manifests, compile_run
from toolkit.backends.argo.follow.follower import Follower
from toolkit.backends.argo.shutdown import shut_down_run
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.completed_work import CompletedWork
from toolkit.backends.scheduler import Cancel, Outcome
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.project import Project
from toolkit.report.reporter import Reporter
from toolkit.report.side_by_side import put_side_by_side
from toolkit.run.kept import keep_request
from toolkit.run.preparation import Preparation, initial_controls, prepare
from toolkit.run.records import write_end
from toolkit.run.request import Request
from toolkit.run.signals import cancel_on_signals
from toolkit.run.submission import cluster_record, deliver_images, request_hash, submission
from toolkit.run.volume_reader import EndedRun
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.records import now
from toolkit.runtime.shared.records import write as write_record
from toolkit.runtime.shared.scope import RunPlan
from toolkit.runtime.shared.tree import Tree
from toolkit.store import writer
from toolkit.store.reader import newest_number, part_folder

if TYPE_CHECKING:
    from toolkit.run.continuation import Continuation
    from toolkit.runtime.shared.documents import DescribeResponse, RunRecord

_SHARED_LIBRARIES = ("requests", "websocket")
"""What Docker's and Kubernetes' client libraries both import. Where two threads import one at once, one may get half of it."""
_OUTPUT_LIMIT = 60.0
"""Seconds after the end of a run in which the rest of its steps' output is told."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What cancels the run. A hang-up ends the client alone: the run needs none."""


def run_on_cluster(request: Request, reporter: Reporter, continuation: Continuation | None = None) -> Outcome | None:
    """Submits a pipeline and follows the run to its end; returns None for a run that is detached from the client.

    A run of this id that is on the cluster already is followed if it was asked for with the same request.

    Args:
        continuation: the run that is resumed, whose records are on the cluster's volume and in the mirror; None begins one.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong; nothing was submitted.
        Infrastructure: engine, cluster, network or disk.
    """
    run_id = names.run_id(request.run_id) if request.run_id else names.new_run_id()
    project = request.project
    volumes.make_private_state(project)
    for shared in _SHARED_LIBRARIES:
        import_module(shared)
    with ThreadPoolExecutor(max_workers=1) as background:
        # The client library takes half a second to import. Meanwhile the pipeline is prepared.
        opening: Future[Cluster] = background.submit(open_cluster, project, request.context, request.namespace)

        def of_the_run() -> Mapping[str, DescribeResponse]:
            if continuation is not None:
                return request.described
            record = submit.submitted_record(opening.result(), run_id) if request.run_id else None
            return record.get("described", {}) if record is not None else {}

        preparation = prepare(request, reporter.note, described=of_the_run, with_revision=True)
        requested = request_hash(preparation)
        cluster = opening.result()
    reporter.note(f"cluster: context {cluster.context or 'of this pod'}, namespace {cluster.namespace}")
    if project.config.executor.config.schedules:
        reporter.note("this starts one run now: for executor.config.schedules, `toolkit compile` prints a CronWorkflow")
    cancel = Cancel()
    mirror = Mirror(project, cluster)
    with cancel_on_signals(cancel, _SIGNALS, lambda: f"the Workflow {run_id} and its pods"):
        omitted_work = None
        if continuation is not None:
            omitted_work = _resume(preparation, cluster, mirror, continuation, reporter)
        elif submit.is_submitted(cluster, run_id, requested):
            reporter.note(f"the run {run_id} is on the cluster already: following it")
        else:
            _submit(preparation, cluster, mirror, run_id, reporter)
        if request.detach:
            if cancel.count:
                shut_down_run(cluster, run_id, kill=False)
                return Outcome("cancelled", "cancelled")
            return None
        return _follow(preparation, cluster, mirror, run_id, cancel, reporter, omitted_work)


def _submit(preparation: Preparation, cluster: Cluster, mirror: Mirror, run_id: str, reporter: Reporter) -> None:
    record, images = _record(preparation, cluster, run_id, reporter)
    objects = _compile(preparation, cluster, images, record, reporter)
    folder = mirror.run_folder(run_id)
    if (folder / RUN_RECORD).exists():
        raise BadInput(f"there is a run {run_id} already: choose another --run-id, or `toolkit show {run_id}`")
    submit.submit(cluster, objects)
    keep_request(mirror.home, record)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(str(folder / RUN_RECORD), record)


def _resume(
    preparation: Preparation, cluster: Cluster, mirror: Mirror, continuation: Continuation, reporter: Reporter
) -> OmittedWork:
    """Submits what is left to do of a run; returns what is done of it."""
    run, plan = continuation.run, preparation.plan
    kept = continuation.kept_steps(plan, reporter.note)
    tree = Tree(plan.document())
    request = preparation.request
    controls = initial_controls(plan, request.parameters, request.spellings)[0]
    omitted_work = OmittedWork(tree, run.folder, CompletedWork(tree, run.folder, kept, controls))
    record, images = _record(preparation, cluster, run.id, reporter)
    part = newest_number(run.folder) + 1
    record["started"] = run.record["started"]
    record["continued"] = now()
    record["part"] = part
    record["attempts"] = omitted_work.attempts
    record["again"] = sorted(step.path for step in plan.tasks() if step.path not in kept)
    objects = _compile(preparation, cluster, images, record, reporter, omitted_work)
    submit.delete_previous(cluster, run.id)
    submit.submit(cluster, objects)
    keep_request(mirror.home, record)
    folder = part_folder(mirror.run_folder(run.id), part)
    mirror.forget(run.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(str(folder / RUN_RECORD), record)
    return omitted_work


def _record(
    preparation: Preparation, cluster: Cluster, run_id: str, reporter: Reporter
) -> tuple[RunRecord, dict[str | None, Image]]:
    """The run's record, and the images that it is about, which are then where the nodes find them."""
    images = deliver_images(preparation, reporter.note)
    context = {"context": cluster.context, "namespace": cluster.namespace}
    record = cluster_record(preparation, images, run_id, context)
    record["submission"] = os.urandom(8).hex()
    return record, images


def _compile(
    preparation: Preparation,
    cluster: Cluster,
    images: dict[str | None, Image],
    record: RunRecord,
    reporter: Reporter,
    omitted_work: OmittedWork | None = None,
) -> Manifests:
    """The objects of a run, once preflight has found that the cluster can run them."""
    config = preparation.request.project.config
    objects = compile_run(
        preparation.plan, config, submission(preparation, images, record["run_id"], record, omitted_work)
    )
    _write_output_file(preparation.request.project, objects)
    findings = preflight.check(cluster, preflight.needs_of(preparation.plan, config, images))
    for finding in findings:
        if finding.level == "warning":
            reporter.note(f"{finding.what}: {finding.remedy}" if finding.remedy else finding.what)
    preflight.require(findings)
    return objects


def _write_output_file(project: Project, objects: Manifests) -> None:
    """Writes the manifest where ``executor.config.output_file`` names a file for it."""
    name = project.config.executor.config.output_file
    if name is None:
        return
    path = project.home / name
    try:
        path.write_text(to_text(objects), encoding="utf-8")
    except OSError as error:
        raise Infrastructure(f"executor.config.output_file {path} can't be written: {error.strerror}") from None


class _Outputs:
    """Tells the reporter what the steps write, in the background, where the request asks for it.

    What can't be read of it changes nothing of the run.
    """

    def __init__(self, request: Request, cluster: Cluster, run_id: str, reporter: Reporter) -> None:
        self._thread: threading.Thread | None = None
        lines = request.lines_on_cluster
        if not request.logs or lines is None:
            return

        def tell() -> None:
            try:
                for path, number, data in lines(request.project, cluster, run_id):
                    reporter.output(path, number, data)
            except ToolkitError as error:
                reporter.note(f"what the steps write can't be shown as it comes: {error}")

        self._thread = threading.Thread(target=tell, daemon=True, name="outputs")
        self._thread.start()

    def wait(self, cancel: Cancel) -> None:
        """Waits until all is told of a run that has ended; a further signal ends the wait."""
        signals, until = cancel.count, time.monotonic() + _OUTPUT_LIMIT
        while self._thread is not None and self._thread.is_alive():
            if cancel.count > signals or time.monotonic() > until:
                return
            self._thread.join(0.1)


def _follow(
    preparation: Preparation,
    cluster: Cluster,
    mirror: Mirror,
    run_id: str,
    cancel: Cancel,
    reporter: Reporter,
    omitted_work: OmittedWork | None,
) -> Outcome:
    """Follows the run to its end, and has all of its records in the mirror then."""
    project = preparation.request.project
    executor = project.config.executor.config
    folder = mirror.run_folder(run_id)
    private = project.state / "runs" / run_id
    reporter.began(run_id, preparation.name, preparation.plan, folder)

    ended_run = EndedRun(project, cluster, mirror, run_id, reporter.note)
    follower = Follower(
        cluster,
        run_id,
        preparation.plan,
        reporter,
        cancel,
        reporter.note,
        partial(writer.write_engine, folder),
        private,
        start_limit=executor.start_timeout_in_seconds,
        time_limit=executor.max_workflow_duration_in_seconds,
        omitted_work=omitted_work,
        ending=ended_run.start,
    )
    outputs = _Outputs(preparation.request, cluster, run_id, reporter)
    try:
        outcome = follower.run()
        outputs.wait(cancel)
    except BaseException:
        ended_run.discard()
        raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
    write_end(folder, newest_number(folder), outcome, follower.ended())
    reporter.finished(outcome)
    if follower.has_begun():
        ended_run.keep(cancel)
    # As far as its records are on this machine.
    request = preparation.request
    for sentence in put_side_by_side(
        RunPlan(preparation.plan.document(), request.parameters, request.spellings), folder
    ):
        reporter.note(sentence)
    return outcome
