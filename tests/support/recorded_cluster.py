"""A cluster that answers with objects that a test gives it, and a project whose commands ask it.

It is for what a client makes of a cluster's answers. What a cluster answers is tested on a real one (tests/argo).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import Configuration

from tests.support.argo_cases import IMAGE
from tests.support.local_project import LocalProject
from tests.support.reader import LocalReader
from toolkit.backends.argo.cluster import ApiError, Cluster, Forbidden, KubernetesObject, NotFound
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.workflow import Image, Submission, compile_run, compile_schedule
from toolkit.config.load import load
from toolkit.model.pipeline import Pipeline, Step
from toolkit.plan.planner import plan
from toolkit.run.preparation import initial_controls
from toolkit.runs.cluster_runs import ClusterRuns
from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import RUN_RECORD_FILE
from toolkit.runtime.step.run_record import publish_run

STARTED = "2026-01-02T03:04:05.678Z"
NO_RIGHT = 'pods is forbidden: User "ann" cannot create resource "pods" in API group "" in the namespace "lab"'


class RecordedCluster(Cluster):
    """A namespace with the objects that are given.

    Attributes:
        objects: by the API's path. logs: of containers, by the name of their pod.
        refusal: what the API says to a client that creates a pod. asked: method and path of each request.
    """

    def __init__(self) -> None:
        configuration = Configuration()
        configuration.host = "https://recorded:6443"
        super().__init__(configuration, "lab", "lab")
        self.objects: dict[str, KubernetesObject] = {}
        self.logs: dict[str, bytes] = {}
        self.refusal: ApiError = Forbidden(NO_RIGHT, 403, "Forbidden")
        self.asked: list[tuple[str, str]] = []

    def put(self, group: str, kind: str, document: KubernetesObject) -> None:
        """Makes or replaces an object."""
        self.objects[self.path(group, kind, document["metadata"]["name"])] = document

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> KubernetesObject:
        """Answers as the API would."""
        self.asked.append((method, path))
        if method == "POST" and path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": "cannot create resource" not in self.refusal.message}}
        if method == "POST" and path.endswith("/pods"):
            raise self.refusal
        if method == "GET" and path in self.objects:
            return json.loads(json.dumps(self.objects[path]))  # type: ignore[no-any-return]
        if method == "GET" and path.endswith(("/workflows", "/pods", "/events")):
            name, _, value = (query or {}).get("labelSelector", "").partition("=")
            below = [each for at, each in self.objects.items() if at.startswith(path + "/")]
            items = [each for each in below if not name or each["metadata"].get("labels", {}).get(name) == value]
            return {"metadata": {}, "items": items}
        raise NotFound(f"there is no {path}", 404)

    def log(self, pod: str, container: str, follow: bool, seconds: float = 3600.0) -> Iterator[bytes]:
        """A container's output."""
        if pod not in self.logs:
            raise NotFound(f"there is no pod {pod}", 404)
        yield from self.logs[pod].splitlines(keepends=True)


class RecordedRuns:
    """A project whose runs are on a recorded cluster; commands are called in this process.

    Attributes:
        volume: the folder behind the claim. readable: whether a pod can read it.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.local = LocalProject(root / "project")
        self.local.root.mkdir()
        self.volume = root / "volume"
        self.log = self.volume / "log"
        self.local.write(
            "toolkit.yaml",
            json.dumps(
                {
                    "executor": {
                        "type": "argo",
                        "config": {"persistent_volumes": [{"name": "toolkit", "mount_path": str(self.volume)}]},
                    },
                    "run_log_store": {"type": "file-system", "config": {"log_folder": str(self.log)}},
                    "catalog": {"type": "file-system", "config": {"catalog_location": str(self.volume / "catalog")}},
                }
            ),
        )
        self.cluster = RecordedCluster()
        self.readable = False
        self.pod = LocalReader()
        reader = ClusterRuns.reader

        @contextmanager
        def read(runs: ClusterRuns, record: Any) -> Iterator[Any]:
            if self.readable:
                yield self.pod
                return
            with reader(runs, record) as pod:
                yield pod

        monkeypatch.setattr(ClusterRuns, "reader", read)
        monkeypatch.setattr("toolkit.backends.argo.cluster.open_cluster", lambda *_: self.cluster)

    # --- commands -----------------------------------------------------------------------------------------------------

    def toolkit(self, command: str, *arguments: str) -> int:
        """A command about runs of the cluster."""
        return self.local.toolkit(command, *arguments, "--env", "argo")

    @property
    def out(self) -> str:
        return self.local.out

    @property
    def err(self) -> str:
        return self.local.err

    def show(self, run_id: str = "run") -> dict[str, Any]:
        """A run as JSON."""
        assert self.toolkit("show", run_id, "--json") == 0, self.err
        shown: dict[str, Any] = json.loads(self.out)
        return shown

    def statuses(self, run_id: str = "run") -> dict[str, str]:
        """The status of each row, by path."""
        return {step["path"]: step["status"] for step in self.show(run_id)["steps"]}

    # --- what is on the volume ------------------------------------------------------------------------------------------

    def record(self, run_id: str, ends: Mapping[str, Mapping[str, Any]], ended: bool = False) -> Path:
        """Writes what the runtime records: run.json as the first pod of the run does, and the ends of these steps."""
        folder = self.log / run_id
        workflow = self.cluster.objects[self.cluster.path("apis/argoproj.io/v1alpha1", "workflows", run_id)]
        name = workflow["spec"]["volumes"][0]["configMap"]["name"]
        packed = self.cluster.objects[self.cluster.path("api/v1", "configmaps", name)]["binaryData"][RUN_RECORD_FILE]
        submitted = records.checked_submitted(json.loads(gzip.decompress(base64.b64decode(packed))))
        publish_run(str(folder), run_id, submitted)
        for path, end in ends.items():
            attempt = Path(layout.attempt_folder(str(folder), path, 1))
            attempt.mkdir(parents=True, exist_ok=True)
            records.write(str(attempt / "begin.json"), {"version": 1, "started": STARTED})
            (attempt / "output.log").write_text(f"output of {path}\n")
            records.write(str(attempt / "end.json"), {"status": "succeeded", "exit_code": 0, "ended": STARTED, **end})
        if ended:
            end = {"version": 1, "status": "succeeded", "ended": STARTED, "reason": ""}
            records.write(str(folder / "end.json"), end)
        return folder

    # --- what is on the cluster -----------------------------------------------------------------------------------------

    def submit(
        self,
        steps: Sequence[Step],
        nodes: Sequence[KubernetesObject],
        phase: str = "Succeeded",
        run_id: str = "run",
        schedule: str = "",
        parameters: dict[str, Any] | None = None,
        executor: dict[str, Any] | None = None,
        **record: Any,
    ) -> KubernetesObject:
        """A run of these steps, with its Workflow in this state; returns the Workflow.

        Args:
            schedule: the name of the CronWorkflow that it is of. record: keys of run.json that are others than usual.
        """
        settings = json.loads((self.local.root / "toolkit.yaml").read_text())
        settings["executor"]["config"].update(executor or {}, **({"schedules": ["@daily"]} if schedule else {}))
        folder = self.local.root / "submitted"
        folder.mkdir(exist_ok=True)
        (folder / "toolkit.yaml").write_text(json.dumps(settings))
        config = load(None, folder).config
        made = plan(Pipeline(tuple(steps), name="pipe"), config, (".",))
        given, controls = initial_controls(made, parameters or {})
        submitted = {
            "version": 1,
            "run_id": run_id,
            "pipeline": "pipe",
            "source": None,
            "environment": "argo",
            "context": {"context": "lab", "namespace": "lab"},
            "without_effect": [],
            "tag": "",
            "started": STARTED,
            "image": {"reference": IMAGE, "digest": "sha256:1", "identity": "1"},
            "parameters": parameters or {},
            "controls": given,
            "plan_hash": made.hash(),
            "plan": made.to_json().decode(),
            "driver": {"workflow": run_id},
            "submission": "1",
            **record,
        }
        if schedule:
            submitted = {k: v for k, v in submitted.items() if k not in ("run_id", "started", "driver", "submission")}
        images: dict[str | None, Image] = {None: Image(IMAGE, False)}
        submission = Submission(
            schedule or run_id,
            "pipe",
            "",
            images,
            parameters or {},
            submitted,
            1000,
            request="asked",
            controls=controls,
        )
        if schedule:
            objects = compile_schedule(made, config, submission)
            cron = objects.workflow["spec"]
            workflow = {"metadata": {"name": run_id, **cron["workflowMetadata"]}, "spec": cron["workflowSpec"]}
        else:
            objects = compile_run(made, config, submission)
            workflow = objects.workflow
        workflow["metadata"]["creationTimestamp"] = "2026-01-02T03:04:04Z"
        ended = {"finishedAt": "2026-01-02T03:05:00Z"} if phase in ("Succeeded", "Failed", "Error") else {}
        numbered = {f"{run_id}-{number}": {"id": f"{run_id}-{number}", **node} for number, node in enumerate(nodes)}
        workflow["status"] = {"phase": phase, "startedAt": "2026-01-02T03:04:04Z", "nodes": numbered, **ended}
        self.cluster.put("api/v1", "configmaps", objects.config_map)
        self.cluster.put("apis/argoproj.io/v1alpha1", "workflows", workflow)
        for node in numbered.values():
            if node["type"] == "Pod":
                self._put_pod(run_id, node)
        return workflow

    def _put_pod(self, run_id: str, node: KubernetesObject) -> None:
        metadata = {
            "name": f"pod-of-{node['id']}",
            "labels": {"workflows.argoproj.io/workflow": run_id},
            "annotations": {"workflows.argoproj.io/node-id": node["id"]},
        }
        self.cluster.put("api/v1", "pods", {"metadata": metadata, "status": {"phase": node["phase"]}})


def pod_node(
    template: str,
    path: str = "",
    phase: str = "Succeeded",
    number: int = 1,
    code: int | None = 0,
    message: str = "",
    **controls: str,
) -> KubernetesObject:
    """The node of an attempt.

    Args:
        template, path: of the task; without a path it is the template. controls: the control values that the task computed.
    """
    outputs: KubernetesObject = {"parameters": [{"name": name, "value": value} for name, value in controls.items()]}
    if code is not None and phase in ("Succeeded", "Failed"):
        outputs["exitCode"] = str(code)
    return {
        "displayName": task_name(template) + (f"({number - 1})" if number > 1 else ""),
        "type": "Pod",
        "phase": phase,
        "message": message,
        "hostNodeName": "node",
        "startedAt": "2026-01-02T03:04:10Z",
        "finishedAt": "2026-01-02T03:04:20Z",
        "inputs": {"parameters": [{"name": "path", "value": path or template}]},
        "outputs": outputs,
    }


def dag_node(template: str, phase: str = "Succeeded", **positions: str) -> KubernetesObject:
    """The node of a composite."""
    inputs = [{"name": name, "value": value} for name, value in positions.items()]
    return {"displayName": task_name(template), "type": "DAG", "phase": phase, "inputs": {"parameters": inputs}}
