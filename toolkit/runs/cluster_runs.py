"""Runs on a cluster as this machine sees them: a mirror of their records, brought up to date through a short-lived pod."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from toolkit.backends.argo.cluster import CORE, WORKFLOWS, ApiError, Cluster, Unreachable
from toolkit.backends.argo.cluster import KubernetesObject as Object
from toolkit.backends.argo.compile.pod import toleration
from toolkit.backends.argo.compile.workflow import DEFAULT_ACCOUNT, MANAGED, PART_ANNOTATION
from toolkit.backends.argo.follow.nodes import FINISHED, node_attempts
from toolkit.backends.argo.follow.outcome import ended_at, engine_record, outcome_of, workflow_status
from toolkit.backends.argo.pods import NODE_ANNOTATION, WORKFLOW_LABEL
from toolkit.backends.argo.shutdown import give_up_reason
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.backends.scheduler import Outcome
from toolkit.build.delivery.deliver import deliver
from toolkit.build.image.builder import build
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.report.view import LOST_ON_CLUSTER as LOST
from toolkit.report.view import states_of
from toolkit.run.records import write_end
from toolkit.run.request import Note
from toolkit.runtime.shared.layout import object_path
from toolkit.runtime.shared.protocol import ATTEMPTS, END_RECORD, PART, RUN_RECORD, RUN_RECORD_FILE
from toolkit.runtime.shared.records import write as write_record
from toolkit.spec.container import steps_user
from toolkit.store import writer
from toolkit.store.reader import NoRun, Run, RunLog, newest_number, newest_part, part_folder


class ClusterRuns:
    """The runs of one project's volume on a cluster.

    Args:
        note: is told what takes time.
    """

    def __init__(self, project: Project, cluster: Cluster, note: Note) -> None:
        self._project = project
        self.cluster = cluster
        self._note = note
        self.mirror = Mirror(project, cluster)
        self._active: dict[str, bool] = {}
        self.log = RunLog(self.mirror.run_log, self._is_driven)

    def _is_driven(self, record: Object) -> bool:
        return self._active.get(record["run_id"], False)

    def known(self, run_id: str) -> bool:
        """Whether the mirror has the run, however much of it."""
        return (self.mirror.run_folder(run_id) / RUN_RECORD).exists()

    def run(self, run_id: str, logs: bool = False) -> Run:
        """A run as it is now.

        Raises:
            NoRun: neither cluster nor volume has it. Infrastructure: they can't be asked.
        """
        if self.mirror.is_complete(run_id) and not self._may_have_gone_on(run_id):
            return self.log.run(run_id)
        workflow = self.cluster.find(WORKFLOWS, "workflows", run_id)
        reads = True
        if workflow is not None:
            self._take_record(run_id, workflow)
            reads = workflow_status(workflow) not in ("", "Pending")
            if self._never_began(run_id, workflow):
                reads = False
                self._take_workflow(run_id, workflow)
        if reads:
            try:
                self._read(run_id, workflow, logs)
            except Infrastructure as error:
                if logs or workflow is None or not self.known(run_id) or workflow_status(workflow) not in FINISHED:
                    raise
                # Most likely what keeps a pod from the volume kept the steps from it too.
                self._note(f"the volume can't be read, so that this is what the cluster says alone: {error}")
                self._take_workflow(run_id, workflow)
        return self.log.run(run_id)

    def _may_have_gone_on(self, run_id: str) -> bool:
        """Whether another client has gone on with a run that is here whole. What has succeeded needs the cluster no more."""
        run = self.log.run(run_id)
        if run.end is None or run.end["status"] == "succeeded":
            return run.end is None
        try:
            workflow = self.cluster.find(WORKFLOWS, "workflows", run_id)
        except Infrastructure:
            return False
        return workflow is not None and _part(workflow) > newest_number(run.folder)

    def _read(self, run_id: str, workflow: Object | None, logs: bool) -> None:
        record = self.log.run(run_id).record if self.known(run_id) else None
        with self.reader(record) as pod:
            # What is published comes first: another client may have seen more of the end than can be seen now.
            try:
                self.mirror.sync(pod, run_id, logs=logs)
            except NoRun:
                # None of its steps has come as far as the volume.
                if not self.known(run_id):
                    raise
            self._settle(pod, run_id, workflow)

    def _never_began(self, run_id: str, workflow: Object) -> bool:
        """Whether a client gave the run up before its first container ran: then no volume has anything of it."""
        if not give_up_reason(workflow) or workflow_status(workflow) not in FINISHED or not self.known(run_id):
            return False
        if _part(workflow):
            return False
        tasks = _tasks(self.log.run(run_id).record)
        return all(
            one.number == 1 and (one.exit_code is None or one.shut_down) for one in node_attempts(workflow, tasks)
        )

    def _settle(self, pod: ReaderPod, run_id: str, workflow: Object | None) -> None:
        """Keeps the end of a run whose records are here, and publishes what of it is not on the volume."""
        # It may have been submitted since it was looked for.
        workflow = workflow or self.cluster.find(WORKFLOWS, "workflows", run_id)
        if workflow is not None:
            # The plan, which says what the nodes are, may have come only now.
            self._take_workflow(run_id, workflow)
        elif self.log.run(run_id).end is None:
            write_end(newest_part(self.mirror.run_folder(run_id)), self._by_records(run_id))
        self.mirror.publish(pod, run_id)

    def _by_records(self, run_id: str) -> Outcome:
        """How a run ended whose Workflow is gone: what its steps recorded; what neither says is lost."""
        run = self.log.run(run_id)
        found = states_of(self.log, run)
        status, reason = found.root.status, found.root.reason
        if status == "succeeded":
            return Outcome("succeeded")
        last = [row.attempts[-1] for row in found.rows if row.attempts]
        if status == "cancelled":
            return Outcome("failed", "its Workflow was deleted while a step ran", fault=True)
        if status != "failed" or reason == LOST or any(not one.end for one in last):
            return Outcome("failed", LOST, fault=True)
        return Outcome("failed", reason, any(one.fault for one in last if one.status == "failed"))

    def known_runs(self) -> list[Run]:
        """The runs that the cluster has a Workflow of, and those that this machine knows of; takes no pod.

        Raises:
            Infrastructure: the cluster can't be asked.
        """
        self._take_workflows()
        return self.log.runs()

    def runs(self) -> list[Run]:
        """All runs on the volume and on the cluster.

        Raises:
            Infrastructure: they can't be asked.
        """
        self._take_workflows()
        found = {run.id: run for run in self.log.runs()}
        with self.reader(None) as pod:
            for document in self.mirror.runs(pod):
                record, end = document["run"], document["end"]
                run_id = str(record["run_id"])
                if end is None and not self._active.get(run_id, False):
                    # Nobody has published its end yet, and while its Workflow is there it can be known.
                    self.mirror.sync(pod, run_id, logs=False)
                    self._settle(pod, run_id, None)
                    found[run_id] = self.log.run(run_id)
                elif run_id not in found or end is not None:
                    # What is published counts, also where less of the end could be seen from here.
                    found[run_id] = Run(self.mirror.run_folder(run_id), record, end, active=end is None)
        return list(found.values())

    def _take_workflows(self) -> None:
        workflows = self.cluster.list(WORKFLOWS, "workflows", labels=f"{MANAGED[0]}={MANAGED[1]}")["items"]
        for workflow in workflows:
            name = workflow["metadata"]["name"]
            if not self.mirror.is_complete(name):
                self._take_workflow(name, workflow)

    def catalog(self, run: Run, digests: Iterable[str]) -> Path | None:
        """The mirror's catalog with these objects in it, each fetched once; None where nothing is stored.

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

    def _take_workflow(self, run_id: str, workflow: Object) -> None:
        """Keeps what the Workflow says of the run, as far as the run's plan is known."""
        self._take_record(run_id, workflow)
        folder = self.mirror.run_folder(run_id)
        # Of a run that went on since then its Workflow says nothing.
        counts = self.known(run_id) and _part(workflow) == newest_number(folder)
        if counts and workflow_status(workflow) in FINISHED and not (newest_part(folder) / END_RECORD).exists():
            self._take_end(folder, workflow)

    def _take_record(self, run_id: str, workflow: Object) -> None:
        """Keeps that there is such a run, and whether it goes on."""
        self._active[run_id] = workflow_status(workflow) not in FINISHED
        part = _part(workflow)
        folder = part_folder(self.mirror.run_folder(run_id), part)
        if (folder / RUN_RECORD).exists() or (part and not self.known(run_id)):
            # It is here, or comes from the volume with what was before it.
            return
        record = self._submitted_record(run_id)
        if record is not None and record.get(PART, 0) == part:
            folder.mkdir(parents=True, exist_ok=True)
            write_record(str(folder / RUN_RECORD), record)
            self.mirror.forget(run_id)

    def _submitted_record(self, run_id: str) -> Object | None:
        """run.json as it was submitted: until the first step runs it is only there."""
        found = self.cluster.find(CORE, "configmaps", run_id)
        packed = (found or {}).get("binaryData", {}).get(RUN_RECORD_FILE)
        if packed is None:
            return None
        record: Object = json.loads(gzip.decompress(base64.b64decode(packed)))
        return {**record, "run_id": run_id} if record.get("started") else None

    def _take_end(self, folder: Path, workflow: Object) -> None:
        """The engine's verdicts of a run that no client followed to its end."""
        record = self.log.run(folder.name).record
        tasks = _tasks(record)
        try:
            pods = self.cluster.list(CORE, "pods", labels=f"{WORKFLOW_LABEL}={folder.name}")["items"]
        except (ApiError, Unreachable):
            pods = []
        by_node = {pod["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""): pod for pod in pods}
        limit = (workflow.get("spec") or {}).get("activeDeadlineSeconds")
        verdicts: dict[tuple[str, int], Object] = {}
        for one in node_attempts(workflow, tasks, record.get(ATTEMPTS, {})):
            verdicts[one.path, one.number] = engine_record(one, by_node.get(one.node), workflow, limit)
        for (path, number), verdict in verdicts.items():
            writer.write_engine(folder, path, number, verdict)
        write_end(newest_part(folder), outcome_of(workflow, tasks, verdicts, limit), ended_at(workflow))

    # --- the pod ----------------------------------------------------------------------------------------------------

    def reader(self, record: Object | None) -> ReaderPod:
        """A pod that reads the volume, placed as the steps' pods are.

        Args:
            record: of a run whose image the nodes have, most likely; else the project's own image is brought there.
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
            tolerations=[toleration(one) for one in executor.tolerations],
            image_pull_secrets=executor.image_pull_secrets,
            labels=executor.labels,
        )

    def _own_image(self) -> tuple[str, str]:
        """The project's image as it is now: any image with the runtime can read a volume."""

        def quiet(sentence: str) -> None:
            """Nobody asked for an image."""

        built = build(self._project, report=self._note)
        delivered = deliver(self._project, built, quiet, context=self.cluster.context)
        return delivered.reference, "Never" if delivered.pull_policy_never else "IfNotPresent"


def _part(workflow: Object) -> int:
    """Which part of its run a Workflow is: 0 is the run as it began."""
    return int((workflow["metadata"].get("annotations") or {}).get(PART_ANNOTATION, "0"))


def _tasks(record: Object) -> list[str]:
    """The paths of a run's tasks, in plan order."""
    return [step["path"] for step in json.loads(record["plan"])["steps"] if step["type"] == "task"]


def _image_of(record: Object | None) -> tuple[str, str] | None:
    """The image of a run and how to pull it: one that is on no registry has no digest in its reference."""
    image = (record or {}).get("image")
    if not image:
        return None
    return image["reference"], "IfNotPresent" if "@" in image["reference"] else "Never"
