"""The runs on a cluster as this machine sees them: a mirror of their records, which a pod that lives for seconds updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, Forbidden, KubernetesObject, Unreachable
from toolkit.backends.argo.compile.workflow import MANAGED, PART_ANNOTATION
from toolkit.backends.argo.follow.engine_view import engine_view
from toolkit.backends.argo.follow.nodes import node_attempts
from toolkit.backends.argo.follow.outcome import ended_at, engine_record, kubernetes_time, outcome_of
from toolkit.backends.argo.pods import NODE_ANNOTATION, WORKFLOW_LABEL
from toolkit.backends.argo.shutdown import give_up_reason
from toolkit.backends.argo.submit import packed_record
from toolkit.backends.argo.volume.answer import ServerError
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.mirror_files import object_path
from toolkit.backends.argo.volume.reader_pod import ReaderPod, missing_pod_rights
from toolkit.backends.argo.workflow_status import FINISHED, workflow_status
from toolkit.backends.scheduler import Outcome
from toolkit.build.delivery.deliver import deliver
from toolkit.build.image.builder import build
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.report.view import states_of
from toolkit.run.kept import kept_request
from toolkit.run.records import write_end
from toolkit.run.request import Note
from toolkit.run.volume_reader import image_in_pods, reader_pod
from toolkit.runtime.shared.causes import POD_REMOVED
from toolkit.runtime.shared.protocol import END_RECORD, RUN_RECORD
from toolkit.runtime.shared.records import checked_run, checked_submitted
from toolkit.runtime.shared.records import write as write_record
from toolkit.runtime.shared.tree import ON_EXIT, Tree
from toolkit.store import writer
from toolkit.store.completion import complete_run, complete_run_end
from toolkit.store.engine_view import EngineView
from toolkit.store.reader import DamagedRun, NoRun, Run, RunLog, newest_number, newest_part, part_folder
from toolkit.store.verdict import LOST_RUN_ON_CLUSTER, Attempt, merge_all

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DriverRecord, ListedRun, RunRecord, SubmittedRecord


class ClusterRunLog(RunLog):
    """The run log in a mirror, and what the engine says of those runs whose volume could not be read.

    Attributes:
        views: by run id.
    """

    def __init__(self, folder: Path, is_driven: Callable[[RunRecord], bool]) -> None:
        super().__init__(folder, is_driven)
        self.views: dict[str, EngineView] = {}

    def driver_of(self, run_id: str) -> DriverRecord:
        """The Workflow of a run whose record does not name it: that of a schedule can't."""
        return {"workflow": run_id}

    def engine_view(self, run: Run) -> EngineView | None:
        """What the engine says of a run whose volume could not be read."""
        return self.views.get(run.id)

    def attempts(self, run: Run, path: str) -> list[Attempt]:
        """The attempts of a step, in order: by the records that are here, else by the engine's word."""
        view = self.views.get(run.id)
        if view is None:
            return super().attempts(run, path)
        attempts = {attempt.number: attempt for attempt in merge_all(run.folder, path, run.active, unread=True)}
        for seen in view.attempts.get(path, ()):
            if seen.number not in attempts or attempts[seen.number].unread:
                begin = attempts[seen.number].begin if seen.number in attempts else {}
                attempts[seen.number] = replace(seen, begin=begin)
        return [attempts[number] for number in sorted(attempts)]


class ClusterRuns:
    """The runs of one project's volume on a cluster.

    Args:
        note: is given a sentence about what takes time.

    Attributes:
        mirror: what this machine has of the volume. log: the run log in it.
    """

    def __init__(self, project: Project, cluster: Cluster, note: Note) -> None:
        self._project = project
        self.cluster = cluster
        self._note = note
        self.mirror = Mirror(project, cluster)
        self._active: dict[str, bool] = {}
        self._unreadable: Infrastructure | None = None
        self.log = ClusterRunLog(self.mirror.run_log, self._is_driven)

    def _is_driven(self, record: RunRecord) -> bool:
        return self._active.get(record["run_id"], False)

    def is_mirrored(self, run_id: str) -> bool:
        """Whether the mirror has the record of the run's newest part at least."""
        return (newest_part(self.mirror.run_folder(run_id)) / RUN_RECORD).exists()

    def find_workflow(self, run_id: str) -> KubernetesObject | None:
        """The Workflow of a run; None where there is none, or one of that name is not ours."""
        workflow = self.cluster.find(WORKFLOWS, "workflows", run_id)
        return workflow if workflow is not None and _is_ours(workflow) else None

    def run(self, run_id: str, logs: bool = False, needs_volume: bool = False) -> Run:
        """A run as it is now.

        Where the volume can't be read, it is what the cluster knows of the run, and :meth:`ClusterRunLog.engine_view` says so.

        Args:
            logs: whether the output of its steps must be in the mirror as well.
            needs_volume: whether what the cluster knows is not enough.

        Raises:
            NoRun: neither cluster nor volume has it. Infrastructure: they can't be asked.
        """
        self.log.views.pop(run_id, None)
        if self.mirror.is_complete(run_id, logs) and not self._was_resumed(run_id):
            return self.log.run(run_id)
        workflow = self.find_workflow(run_id)
        has_begun = True
        if workflow is not None:
            self._keep_record(run_id, workflow)
            has_begun = workflow_status(workflow) not in ("", "Pending")
            if self._was_given_up(run_id, workflow):
                has_begun = False
                self._keep_workflow(run_id, workflow)
        if has_begun:
            try:
                self._check_readable()
                self._update_mirror(run_id, workflow, logs)
            except Infrastructure as error:
                if needs_volume:
                    what = f"what the steps of the run {run_id} have done is only on the volume, which can't be read"
                    raise Infrastructure(f"{what}: {error}") from None
                if workflow is not None:
                    self._keep_record(run_id, workflow, alone=True)
                if not self._is_known(run_id, workflow):
                    raise
                self._give_up_volume(
                    error, "what only it knows of the run is unknown (values, files, output and times)"
                )
                if workflow is not None:
                    self._keep_workflow(run_id, workflow)
                self._keep_view(run_id, workflow, str(error))
        return self.log.run(run_id)

    def _check_readable(self) -> None:
        """Raises the error again with which the volume could not be read before: one command asks once."""
        if self._unreadable is not None:
            raise self._unreadable

    def _give_up_volume(self, error: Infrastructure, consequence: str) -> None:
        if self._unreadable is None:
            self._note(f"the volume can't be read, so {consequence}: {error}")
        self._unreadable = error

    def _is_known(self, run_id: str, workflow: KubernetesObject | None) -> bool:
        """Whether cluster and mirror know enough of a run to show it without the volume."""
        if not self.is_mirrored(run_id):
            return False
        return workflow is not None or self.log.run(run_id).end is not None

    def _keep_view(self, run_id: str, workflow: KubernetesObject | None, why: str) -> None:
        run = self.log.run(run_id)
        if workflow is None or _part(workflow) != newest_number(run.folder):
            self.log.views[run_id] = EngineView(why)
            return
        first, part = run.record.get("attempts", {}), _part(workflow)
        pods = self._pods(run_id)
        self.log.views[run_id] = engine_view(workflow, pods, Tree(run.plan()), str(run.folder), why, first, part > 0)

    def _was_resumed(self, run_id: str) -> bool:
        """Whether another client has resumed a run that is complete in the mirror. A run that has succeeded stays as it is."""
        run = self.log.run(run_id)
        if run.end is None or run.end["status"] == "succeeded":
            return run.end is None
        try:
            workflow = self.find_workflow(run_id)
        except Infrastructure:
            return False
        return workflow is not None and _part(workflow) > newest_number(run.folder)

    def _update_mirror(self, run_id: str, workflow: KubernetesObject | None, logs: bool) -> None:
        """Fetches what the mirror lacks of a run, and publishes what the volume lacks of its end."""
        with self.reader(run_id) as pod:
            self._bring(pod, run_id, workflow, logs)

    def _bring(self, pod: ReaderPod, run_id: str, workflow: KubernetesObject | None, logs: bool) -> None:
        # First what the volume has: another client may have seen more of the run's end than can be seen now.
        try:
            self.mirror.sync(pod, run_id, logs=logs)
        except NoRun:
            # None of its steps has written to the volume.
            if not self.is_mirrored(run_id):
                raise
        self._settle(pod, run_id, workflow)
        if not self.mirror.is_complete(run_id, logs) and self.log.run(run_id).end is not None:
            # The end is on the volume only now: with it the mirror is known to have all.
            self.mirror.sync(pod, run_id, logs=logs)

    def bring_records(self, run_ids: Iterable[str]) -> None:
        """Has the records of these runs in the mirror, through one pod. Where the volume can't be read, a note says so."""
        missing = [run_id for run_id in run_ids if not self.mirror.is_complete(run_id, logs=False)]
        if not missing:
            return
        try:
            self._check_readable()
            with self.reader(missing[-1]) as pod:
                for run_id in missing:
                    try:
                        self._bring(pod, run_id, None, logs=False)
                    except (NoRun, DamagedRun) as error:
                        self._note(f"what the run {run_id} has returned is left out: {error}")
        except Infrastructure as error:
            self._give_up_volume(error, f"the values of {len(missing)} runs are left out as far as they are not here")

    def _was_given_up(self, run_id: str, workflow: KubernetesObject) -> bool:
        """Whether a client gave the run up before its first container ran. Then the volume has nothing of it."""
        if not give_up_reason(workflow) or workflow_status(workflow) not in FINISHED or not self.is_mirrored(run_id):
            return False
        if _part(workflow):
            return False
        tasks = _tasks(self.log.run(run_id))
        return all(
            attempt.number == 1 and (attempt.exit_code is None or attempt.shut_down)
            for attempt in node_attempts(workflow, tasks)
        )

    def _settle(self, pod: ReaderPod, run_id: str, workflow: KubernetesObject | None) -> None:
        """Records the end of a run whose records are in the mirror, and publishes what the volume lacks of it."""
        # The Workflow may have been created since it was looked for.
        workflow = workflow or self.find_workflow(run_id)
        if workflow is not None:
            # The plan, which says what the nodes are, may be in the mirror only now.
            self._keep_workflow(run_id, workflow)
        elif self.log.run(run_id).end is None:
            folder = self.mirror.run_folder(run_id)
            write_end(folder, newest_number(folder), self._outcome_of_records(run_id))
        try:
            self.mirror.publish(pod, run_id)
        except Infrastructure as error:
            # All that the volume has was read.
            self._note(f"what this client saw of the run {run_id} can't be written to the volume: {error}")

    def _outcome_of_records(self, run_id: str) -> Outcome:
        """The outcome of a run whose Workflow is gone, from what its steps recorded. Without an end it is lost."""
        run = self.log.run(run_id)
        states = states_of(self.log, run)
        status, reason = states.root.status, states.root.reason
        if status == "succeeded":
            return Outcome("succeeded")
        of_pipeline = [row for row in states.rows if states.on_exit is None or not row.path.startswith(f"{ON_EXIT}/")]
        last_attempts = [row.attempts[-1] for row in of_pipeline if row.attempts]
        if status == "cancelled" or any(attempt.reason == POD_REMOVED.reason for attempt in last_attempts):
            return Outcome("failed", "its Workflow was deleted while a step ran", fault=True)
        if status != "failed" or reason == LOST_RUN_ON_CLUSTER or any(not attempt.end for attempt in last_attempts):
            return Outcome("failed", LOST_RUN_ON_CLUSTER, fault=True)
        fault = any(attempt.fault for attempt in last_attempts if attempt.status == "failed")
        return Outcome("failed", reason, fault)

    def known_runs(self) -> list[Run]:
        """The runs that the cluster has a Workflow of, and those in the mirror. This starts no pod.

        Raises:
            Infrastructure: the cluster can't be asked.
        """
        self._keep_workflows()
        return self.log.runs()

    def runs(self) -> list[Run]:
        """All runs on the volume and on the cluster. Where the volume can't be read, those of :meth:`known_runs`.

        Raises:
            Infrastructure: the cluster can't be asked.
        """
        self._keep_workflows()
        runs = {run.id: run for run in self.log.runs()}
        try:
            self._check_readable()
            with self.reader(None) as pod:
                for document in self.mirror.runs(pod):
                    run = self._listed(pod, document, runs)
                    if run is not None:
                        runs[run.id] = run
        except Infrastructure as error:
            self._give_up_volume(
                error, "these are only the runs that the cluster has a Workflow of, or that were seen before"
            )
        return list(runs.values())

    def _listed(self, pod: ReaderPod, document: ListedRun, known: Mapping[str, Run]) -> Run | None:
        """A run of the volume's listing as it is now; None where nothing is to be said of it, or nothing more than is known."""
        run_id = str(document["run"].get("run_id"))
        try:
            folder = self.mirror.run_folder(run_id)
            record = complete_run(document["run"], run_id, self.log.driver_of(run_id))
            end = complete_run_end(document["end"]) if document["end"] is not None else None
            if end is None and not self._active.get(run_id, False):
                # Its end is not published yet. As long as the Workflow is there, the outcome can be known.
                self.mirror.sync(pod, run_id, logs=False)
                self._settle(pod, run_id, None)
                return self.log.run(run_id)
        except (ValueError, NoRun, DamagedRun, ServerError) as error:
            # One run that can't be read must not keep the others from being listed.
            self._note(f"the run {run_id} is left out, because its records can't be read: {error}")
            return None
        if run_id not in known or end is not None:
            # What is on the volume counts, also where this machine has seen less of the end.
            return Run(folder, record, end, active=end is None)
        return None

    def _keep_workflows(self) -> None:
        workflows = self.cluster.list(WORKFLOWS, "workflows", labels=f"{MANAGED[0]}={MANAGED[1]}")["items"]
        for workflow in workflows:
            name = workflow["metadata"]["name"]
            try:
                if not self.mirror.is_complete(name, logs=False):
                    self._keep_workflow(name, workflow)
            except (NoRun, DamagedRun):
                # It is labelled like ours, and has a name that no run has, or a plan that is none.
                continue

    def catalog(self, run: Run, digests: Iterable[str]) -> Path | None:
        """The mirror's catalog, which then holds these objects; None where nothing is stored.

        Raises:
            Infrastructure: the volume can't be read, or an object is missing or damaged.
        """
        folder = self.mirror.catalog
        if folder is None:
            return None
        missing = [digest for digest in digests if not object_path(folder, digest).exists()]
        if missing:
            with self.reader(run.id) as pod:
                self.mirror.objects(pod, missing)
        return folder

    # --- what the cluster says --------------------------------------------------------------------------------------

    def _keep_workflow(self, run_id: str, workflow: KubernetesObject) -> None:
        """Writes what the Workflow says of the run into the mirror, if the run's plan is there."""
        self._keep_record(run_id, workflow)
        folder = self.mirror.run_folder(run_id)
        # A Workflow says nothing of the part of the run that was begun after it.
        counts = self.is_mirrored(run_id) and _part(workflow) == newest_number(folder)
        if counts and workflow_status(workflow) in FINISHED and not (newest_part(folder) / END_RECORD).exists():
            self._keep_end(folder, workflow)

    def _keep_record(self, run_id: str, workflow: KubernetesObject, alone: bool = False) -> None:
        """Writes the run's record into the mirror if it is not there, and remembers whether the run is active.

        Args:
            alone: whether to write that of a part also where those before it are not here.
        """
        self._active[run_id] = workflow_status(workflow) not in FINISHED
        part = _part(workflow)
        top = self.mirror.run_folder(run_id)
        folder = part_folder(top, part)
        if (folder / RUN_RECORD).exists() or (part and not alone and not (top / RUN_RECORD).exists()):
            # It is in the mirror already, or is fetched from the volume with the parts before it.
            return
        record = self._submitted_record(workflow)
        if record is not None and record.get("part", 0) == part:
            folder.mkdir(parents=True, exist_ok=True)
            write_record(str(folder / RUN_RECORD), record)
            self.mirror.forget(run_id)

    def _submitted_record(self, workflow: KubernetesObject) -> RunRecord | None:
        """run.json as it was submitted. Until the first step runs, only the ConfigMap has it, which a schedule's runs share."""
        run_id = workflow["metadata"]["name"]
        try:
            packed = packed_record(self.cluster, run_id, workflow)
            if packed is None:
                return None
            record = checked_run({**packed, "run_id": run_id})
        except (Forbidden, ValueError, OSError, EOFError):
            return None
        if not record.get("started"):
            began = kubernetes_time(workflow["metadata"]["creationTimestamp"])
            context = {"context": self.cluster.context, "namespace": self.cluster.namespace}
            record = {**record, "started": began, "context": context, "driver": self.log.driver_of(run_id)}
        return record

    def _keep_end(self, folder: Path, workflow: KubernetesObject) -> None:
        """Writes the engine's verdicts and the end of a run that no client followed to its end."""
        run = self.log.run(folder.name)
        tasks = _tasks(run)
        pods = self._pods(folder.name)
        limit = (workflow.get("spec") or {}).get("activeDeadlineSeconds")
        verdicts = {
            (attempt.path, attempt.number): engine_record(attempt, pods.get(attempt.node), workflow, limit)
            for attempt in node_attempts(workflow, tasks, run.record.get("attempts", {}))
        }
        for (path, number), verdict in verdicts.items():
            writer.write_engine(folder, path, number, verdict)
        kept = [row["path"] for row in run.plan()["steps"] if row.get("keep_failure")]
        outcome = outcome_of(workflow, tasks, verdicts, limit, kept)
        write_end(folder, newest_number(folder), outcome, ended_at(workflow))

    def _pods(self, run_id: str) -> dict[str, KubernetesObject]:
        """The pods of a run, by the ids of their nodes; none where they can't be listed."""
        try:
            pods = self.cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={run_id}")["items"]
        except (ApiError, Unreachable):
            return {}
        return {(pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION, ""): pod for pod in pods}

    # --- the pod ----------------------------------------------------------------------------------------------------

    def request_of(self, run_id: str) -> SubmittedRecord | None:
        """What a run was asked for: by the word of the cluster, whose ConfigMap no step can write, or else of this machine.

        None where neither has it: the Workflow was deleted, and another machine had submitted it.

        Raises:
            Infrastructure: the cluster can't be asked.
        """
        try:
            packed = packed_record(self.cluster, run_id)
        except (ApiError, ValueError, OSError, EOFError):
            # Not everybody may read ConfigMaps.
            packed = None
        if packed is not None:
            return checked_submitted({**packed, "run_id": run_id})
        if not self.is_mirrored(run_id):
            return None
        return kept_request(self.mirror.home, self.log.run(run_id).record)

    def reader(self, run_id: str | None) -> ReaderPod:
        """A pod that reads the volume, placed as the steps' pods are.

        Args:
            run_id: of a run whose image the nodes most likely have, if it is known what the run was asked for. Else, and
                for None, it takes the project's image, and delivers it. The image that a record on the volume names is not
                run: a step may have written it.
        """
        request = self.request_of(run_id) if run_id is not None else None
        return reader_pod(self._project, self.cluster, self.mirror, image_in_pods(request) or self._own_image())

    def _check_rights(self) -> None:
        """Refuses before an image is built for it what the API would refuse afterwards.

        Raises:
            Forbidden: the user may not create pods.
        """
        try:
            may_create = self.cluster.may("create", "", "pods")
        except ApiError:
            return
        if not may_create:
            raise missing_pod_rights(self.cluster.namespace)

    def _own_image(self) -> tuple[str, str]:
        """The project's image as it is now, and how to pull it. Any image with the runtime can read a volume."""

        def drop(sentence: str) -> None:
            """Takes what is reported about an image that the user has not asked for."""

        self._check_rights()
        built = build(self._project, report=self._note)
        delivered = deliver(self._project, built, drop, context=self.cluster.context)
        return delivered.name_in_pods, "Never" if delivered.pull_policy_never else "IfNotPresent"


def _is_ours(workflow: KubernetesObject) -> bool:
    return bool((workflow["metadata"].get("labels") or {}).get(MANAGED[0]) == MANAGED[1])


def _part(workflow: KubernetesObject) -> int:
    """The number of the continuation that a Workflow is; 0 is the run as it began."""
    number = str((workflow["metadata"].get("annotations") or {}).get(PART_ANNOTATION, "0"))
    return int(number) if number.isdecimal() else 0


def _tasks(run: Run) -> list[str]:
    """The paths of a run's tasks, in plan order."""
    return [step["path"] for step in run.plan()["steps"] if step["type"] == "task"]
