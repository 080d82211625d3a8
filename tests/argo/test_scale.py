"""Maps of any size end within their budget of pods: by Argo's own controller, on a node that only pretends to run them."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import argo_cases as cases
from tests.support.cluster import SCRIPTS, Cluster, namespace
from tests.support.workplace import BASES, VOLUME
from toolkit.backends.argo.compile.workflow import Manifests
from toolkit.backends.argo.pods import WORKFLOW_LABEL
from toolkit.backends.argo.workflow_status import FINISHED, workflow_nodes
from toolkit.model.pipeline import Map, Pipeline, Step

# The timeout is for a machine that builds kwok first.
pytestmark = [pytest.mark.argo, pytest.mark.alone, pytest.mark.timeout(1800)]

PRETENDS = "dev.toolkit.test/pretends"
BREAKS = "breaks/group-3/first"
"""The step whose pods end badly, and no others."""
LARGEST = 1 << 20
"""Bytes of a Workflow that Argo still stores, its nodes included; one that grows beyond them stays Running for ever."""
LIMIT = 300.0
"""Seconds; a backstop, not a measure."""


@dataclass(frozen=True)
class Place:
    """A namespace whose runs go to the node that pretends."""

    cluster: Cluster
    namespace: str
    node: str

    def map_of(self, items: int, name: str = "items", **executor: Any) -> Manifests:
        """A map over as many items, of two steps each, and a step that collects."""
        placed = {
            "node_selector": {PRETENDS: self.node},
            "tolerations": [{"key": PRETENDS, "operator": "Exists"}],
            "retry_strategy": {"limit": 2},
        }
        branch = Pipeline((cases.task("first"), cases.task("second")))
        steps: list[Step] = [Map(name, branch, "numbers", "number"), cases.task("collect")]
        numbers = {"numbers": list(range(items))}
        return cases.run(steps, {**placed, **executor}, parameters=numbers, name=f"{name}-{items}")

    def ended(self, objects: Manifests) -> Ended:
        """Submits a run and waits for its end."""
        for one in (objects.config_map, objects.workflow):
            self.cluster.must("create", "-n", self.namespace, "-f", "-", text=json.dumps(one))
        name = objects.workflow["metadata"]["name"]
        stored = f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/workflows/{name}"
        started = time.monotonic()
        while True:
            text = self.cluster.must("get", "--raw", stored)
            workflow = json.loads(text)
            status = workflow.get("status") or {}
            seconds = time.monotonic() - started
            if status.get("phase") in FINISHED:
                break
            assert seconds < LIMIT, f"it is still {status.get('phase')}: {status.get('progress')}"
            time.sleep(1)
        pods = self.cluster.must("get", "pods", "-n", self.namespace, "-l", f"{WORKFLOW_LABEL}={name}", "-o", "name")
        nodes = [one for one in workflow_nodes(workflow).values() if one["type"] == "Pod"]
        assert len(nodes) == len(pods.split())
        return Ended(status["phase"], len(nodes), len(text), seconds)


@dataclass(frozen=True)
class Ended:
    """Of a run: how it ended, how many pods were made, and of its Workflow the bytes in store, the API server's included."""

    phase: str
    pods: int
    stored: int
    seconds: float


def stages(built: str) -> str:
    """What kwok does to pods, as it was built, and that some end badly."""
    known = list(yaml.safe_load_all(built))
    [ends] = [one for one in known if one["metadata"]["name"] == "pod-complete"]
    breaks = copy.deepcopy(ends)
    breaks["metadata"]["name"] = "pod-breaks"
    spec = breaks["spec"]
    # The other one has none, and so does not count where this one fits.
    spec["weight"] = 1
    argument = '.spec.containers.[] | select( .name == "main" ) | .args.[]'
    spec["selector"]["matchExpressions"].append({"key": argument, "operator": "In", "values": [BREAKS]})
    text = spec["next"]["statusTemplate"]
    text = text.replace("exitCode: 0", 'exitCode: {{ if eq $item.name "main" }} 1 {{ else }} 0 {{ end }}')
    spec["next"]["statusTemplate"] = text.replace("phase: Succeeded", "phase: Failed")
    return str(yaml.safe_dump_all([*known, breaks]))


@pytest.fixture(scope="module")
def pretended(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node whose pods end at once; kwok, which pretends it, is built where it is not yet."""
    build = [sys.executable, os.path.join(SCRIPTS, "cluster.py"), "build", "kwok"]
    built = Path(subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    folder = tmp_path_factory.mktemp("kwok")
    (folder / "stages.yaml").write_text(stages((built / "stages.yaml").read_text()))
    name = f"pretends-{os.urandom(3).hex()}"
    room = {"cpu": "10000", "memory": "10Ti", "pods": "100000"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {PRETENDS: name}},
        # Of no use to anybody else.
        "spec": {"taints": [{"key": PRETENDS, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }
    # Without a port it serves nobody: two of them can be there at once.
    command = [
        str(built / "kwok"),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--config={folder / 'stages.yaml'}",
        "--manage-all-nodes=false",
        f"--manage-single-node={name}",
        "--node-port=0",
    ]
    log = folder / "log"
    with open(log, "wb") as file:
        kwok = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        cluster.apply(node)
        ready = cluster.run("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s", limit=70)
        assert ready.returncode == 0, f"{ready.stderr}{log.read_text()[-2000:]}"
        yield name
    finally:
        kwok.terminate()
        kwok.wait(30)
        cluster.must("delete", "node", name, "--ignore-not-found")
        cluster.must("delete", "lease", "-n", "kube-node-lease", name, "--ignore-not-found")


@pytest.fixture(scope="module")
def place(cluster: Cluster, pretended: str) -> Iterator[Place]:
    """A namespace that is ready, with a claim that keeps no pod from the node: its volume is on none, and nothing mounts it."""
    with namespace(cluster, f"scale-{os.urandom(3).hex()}", restricted=True) as name:
        volume = f"{name}.{VOLUME}"
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": name, "name": VOLUME}
        claim = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume}
        behind = {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "claimRef": reference,
            "persistentVolumeReclaimPolicy": "Retain",
        }
        metadata = {"name": VOLUME, "namespace": name}
        try:
            cluster.must("apply", "-n", name, "-k", str(BASES / "accounts"))
            cluster.apply(
                {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": behind},
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
            )
            bound = "--for=jsonpath={.status.phase}=Bound"
            cluster.must("-n", name, "wait", bound, f"persistentvolumeclaim/{VOLUME}", "--timeout=60s", limit=70)
            yield Place(cluster, name, pretended)
        finally:
            cluster.must("delete", "persistentvolume", volume, "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize(("items", "groups"), [(50, 50), (10_000, 100)])
def test_a_map_ends_within_its_budget_of_pods(
    place: Place, items: int, groups: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest has 201 pretended pods: about 45 s."""
    # The budget is 500 by itself, which takes five times as long and is no other way.
    ended = place.ended(place.map_of(items, pods_per_map=100))
    with capsys.disabled():
        print(f"\n{items:,} items: {ended.pods} pods, {ended.stored:,} bytes stored, {ended.seconds:.0f} s")
    assert ended.phase == "Succeeded"
    # One for each item, or for each group of them, of each of the branch's two steps; and the one that collects.
    assert ended.pods == 2 * groups + 1
    assert ended.stored < LARGEST / 2


def test_a_map_of_which_a_group_fails_ends_too(place: Place) -> None:
    ended = place.ended(place.map_of(1000, BREAKS.partition("/")[0], pods_per_map=10))
    assert ended.phase == "Failed"
    # Each group comes to its end; one step is tried three times; nothing collects.
    assert ended.pods == 2 * 10 + 2
