"""The runs on a cluster as this machine sees them: a mirror of their records, which a pod that lives for seconds updates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, KubernetesObject, Unreachable
from toolkit.backends.argo.compile.pod import toleration
from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT, MANAGED, PART_ANNOTATION
from toolkit.backends.argo.follow.nodes import FINISHED, node_attempts
from toolkit.backends.argo.follow.outcome import ended_at, engine_record, outcome_of, workflow_status
from toolkit.backends.argo.pods import NODE_ANNOTATION, WORKFLOW_LABEL
from toolkit.backends.argo.shutdown import give_up_reason
from toolkit.backends.argo.submit import submitted_record
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.backends.scheduler import Outcome
from toolkit.build.delivery.deliver import deliver
from toolkit.build.image.builder import build
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.report.view import states_of
from toolkit.run.records import write_end
from toolkit.run.request import Note
from toolkit.runtime.shared.layout import object_path
from toolkit.runtime.shared.protocol import END_RECORD, RUN_RECORD
from toolkit.runtime.shared.records import parse_plan
from toolkit.runtime.shared.records import write as write_record
from toolkit.spec.container import steps_user
from toolkit.store import writer
from toolkit.store.reader import NoRun, Run, RunLog, newest_number, newest_part, part_folder
from toolkit.store.verdict import LOST_RUN_ON_CLUSTER

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunRecord


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
        self.log = RunLog(self.mirror.run_log, self._is_driven)

    def _is_driven(self, record: RunRecord) -> bool:
        return self._active.get(record["run_id"], False)

    def is_mirrored(self, run_id: str) -> bool:
        """Whether the mirror has the run's record at least."""
        return (self.mirror.run_folder(run_id) / RUN_RECORD).exists()

    def run(self, run_id: str, logs: bool = False) -> Run:
        """A run as it is now.

        Args:
            logs: whether the output of its steps must be in the mirror as well.

        Raises:
            NoRun: neither cluster nor volume has it. Infrastructure: they can't be asked.
        """
        if self.mirror.is_complete(run_id) and not self._was_resumed(run_id):
            return self.log.run(run_id)
        workflow = self.cluster.find(WORKFLOWS, "workflows", run_id)
        has_begun = True
        if workflow is not None:
            self._keep_record(run_id, workflow)
            has_begun = workflow_status(workflow) not in ("", "Pending")
            if self._was_given_up(run_id, workflow):
                has_begun = False
                self._keep_workflow(run_id, workflow)
        if has_begun:
            try:
                self._update_mirror(run_id, workflow, logs)
            except Infrastructure as error:
                if (
                    logs
                    or workflow is None
                    or not self.is_mirrored(run_id)
                    or workflow_status(workflow) not in FINISHED
                ):
                    raise
                # What keeps this pod from the volume most likely kept the steps from it as well.
                self._note(f"the volume can't be read, so this is only what the cluster knows of the run: {error}")
                self._keep_workflow(run_id, workflow)
        return self.log.run(run_id)

    def _was_resumed(self, run_id: str) -> bool:
        """Whether another client has resumed a run that is complete in the mirror. A run that has succeeded stays as it is."""
        run = self.log.run(run_id)
        if run.end is None or run.end["status"] == "succeeded":
            return run.end is None
        try:
            workflow = self.cluster.find(WORKFLOWS, "workflows", run_id)
        except Infrastructure:
            return False
        return workflow is not None and _part(workflow) > newest_number(run.folder)

    def _update_mirror(self, run_id: str, workflow: KubernetesObject | None, logs: bool) -> None:
        """Fetches what the mirror lacks of a run, and publishes what the volume lacks of its end."""
        record = self.log.run(run_id).record if self.is_mirrored(run_id) else None
        with self.reader(record) as pod:
            # First what the volume has: another client may have seen more of the run's end than can be seen now.
            try:
                self.mirror.sync(pod, run_id, logs=logs)
            except NoRun:
                # None of its steps has written to the volume.
                if not self.is_mirrored(run_id):
                    raise
            self._settle(pod, run_id, workflow)

    def _was_given_up(self, run_id: str, workflow: KubernetesObject) -> bool:
        """Whether a client gave the run up before its first container ran. Then the volume has nothing of it."""
        if not give_up_reason(workflow) or workflow_status(workflow) not in FINISHED or not self.is_mirrored(run_id):
            return False
        if _part(workflow):
            return False
        tasks = _tasks(self.log.run(run_id).record)
        return all(
            attempt.number == 1 and (attempt.exit_code is None or attempt.shut_down)
            for attempt in node_attempts(workflow, tasks)
        )

    def _settle(self, pod: ReaderPod, run_id: str, workflow: KubernetesObject | None) -> None:
        """Records the end of a run whose records are in the mirror, and publishes what the volume lacks of it."""
        # The Workflow may have been created since it was looked for.
        workflow = workflow or self.cluster.find(WORKFLOWS, "workflows", run_id)
        if workflow is not None:
            # The plan, which says what the nodes are, may be in the mirror only now.
            self._keep_workflow(run_id, workflow)
        elif self.log.run(run_id).end is None:
            write_end(newest_part(self.mirror.run_folder(run_id)), self._outcome_of_records(run_id))
        self.mirror.publish(pod, run_id)

    def _outcome_of_records(self, run_id: str) -> Outcome:
        """The outcome of a run whose Workflow is gone, from what its steps recorded. Without an end it is lost."""
        run = self.log.run(run_id)
        states = states_of(self.log, run)
        status, reason = states.root.status, states.root.reason
        if status == "succeeded":
            return Outcome("succeeded")
        last_attempts = [row.attempts[-1] for row in states.rows if row.attempts]
        if status == "cancelled":
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
        """All runs on the volume and on the cluster.

        Raises:
            Infrastructure: they can't be asked.
        """
        self._keep_workflows()
        runs = {run.id: run for run in self.log.runs()}
        with self.reader(None) as pod:
            for document in self.mirror.runs(pod):
                record, end = document["run"], document["end"]
                run_id = str(record["run_id"])
                if end is None and not self._active.get(run_id, False):
                    # Its end is not published yet. As long as the Workflow is there, the outcome can be known.
                    self.mirror.sync(pod, run_id, logs=False)
                    self._settle(pod, run_id, None)
                    runs[run_id] = self.log.run(run_id)
                elif run_id not in runs or end is not None:
                    # What is on the volume counts, also where this machine has seen less of the end.
                    runs[run_id] = Run(self.mirror.run_folder(run_id), record, end, active=end is None)
        return list(runs.values())

    def _keep_workflows(self) -> None:
        workflows = self.cluster.list(WORKFLOWS, "workflows", labels=f"{MANAGED[0]}={MANAGED[1]}")["items"]
        for workflow in workflows:
            name = workflow["metadata"]["name"]
            if not self.mirror.is_complete(name):
                self._keep_workflow(name, workflow)

    def catalog(self, run: Run, digests: Iterable[str]) -> Path | None:
        """The mirror's catalog, which then holds these objects; None where nothing is stored.

        Raises:
            Infrastructure: the volume can't be read, or an object is missing or damaged.
        """
        folder = self.mirror.catalog
        if folder is None:
            return None
        missing = [digest for digest in digests if not Path(object_path(str(folder), digest)).exists()]
        if missing:
            with self.reader(run.record) as pod:
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

    def _keep_record(self, run_id: str, workflow: KubernetesObject) -> None:
        """Writes the run's record into the mirror if it is not there, and remembers whether the run is active."""
        self._active[run_id] = workflow_status(workflow) not in FINISHED
        part = _part(workflow)
        folder = part_folder(self.mirror.run_folder(run_id), part)
        if (folder / RUN_RECORD).exists() or (part and not self.is_mirrored(run_id)):
            # It is in the mirror already, or is fetched from the volume with the parts before it.
            return
        record = submitted_record(self.cluster, run_id)
        if record is not None and record.get("part", 0) == part:
            folder.mkdir(parents=True, exist_ok=True)
            write_record(str(folder / RUN_RECORD), record)
            self.mirror.forget(run_id)

    def _keep_end(self, folder: Path, workflow: KubernetesObject) -> None:
        """Writes the engine's verdicts and the end of a run that no client followed to its end."""
        record = self.log.run(folder.name).record
        tasks = _tasks(record)
        try:
            pods = self.cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={folder.name}")["items"]
        except (ApiError, Unreachable):
            pods = []
        by_node = {pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""): pod for pod in pods}
        limit = (workflow.get("spec") or {}).get("activeDeadlineSeconds")
        verdicts = {
            (attempt.path, attempt.number): engine_record(attempt, by_node.get(attempt.node), workflow, limit)
            for attempt in node_attempts(workflow, tasks, record.get("attempts", {}))
        }
        for (path, number), verdict in verdicts.items():
            writer.write_engine(folder, path, number, verdict)
        write_end(newest_part(folder), outcome_of(workflow, tasks, verdicts, limit), ended_at(workflow))

    # --- the pod ----------------------------------------------------------------------------------------------------

    def reader(self, record: RunRecord | None) -> ReaderPod:
        """A pod that reads the volume, placed as the steps' pods are.

        Args:
            record: of a run whose image the nodes most likely have. None takes the project's image, and delivers it.
        """
        config = self._project.config
        executor = config.executor.config
        image, policy = _image_of(record) or self._own_image()
        return ReaderPod(
            self.cluster,
            image=image,
            pull_policy=policy,
            claims=self.mirror.claims,
            user=steps_user(executor),
            service_account=executor.service_account_name or DEFAULT_ACCOUNT,
            node_selector=executor.node_selector,
            tolerations=[toleration(settings) for settings in executor.tolerations],
            image_pull_secrets=executor.image_pull_secrets,
            labels=executor.labels,
        )

    def _own_image(self) -> tuple[str, str]:
        """The project's image as it is now, and how to pull it. Any image with the runtime can read a volume."""

        def drop(sentence: str) -> None:
            """Takes what is reported about an image that the user has not asked for."""

        built = build(self._project, report=self._note)
        delivered = deliver(self._project, built, drop, context=self.cluster.context)
        return delivered.reference, "Never" if delivered.pull_policy_never else "IfNotPresent"


def _part(workflow: KubernetesObject) -> int:
    """The number of the continuation that a Workflow is; 0 is the run as it began."""
    return int((workflow["metadata"].get("annotations") or {}).get(PART_ANNOTATION, "0"))


def _tasks(record: RunRecord) -> list[str]:
    """The paths of a run's tasks, in plan order."""
    return [step["path"] for step in parse_plan(record["plan"])["steps"] if step["type"] == "task"]


def _image_of(record: RunRecord | None) -> tuple[str, str] | None:
    """The image of a run, and how to pull it. An image that is on no registry has no digest in its reference."""
    image = record.get("image") if record is not None else None
    if not image:
        return None
    return image["reference"], "IfNotPresent" if "@" in image["reference"] else "Never"
