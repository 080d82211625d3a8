"""Maps of any size: objects that do not grow, and Argo's own controller that takes them to their end on a pretended node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.argo.cluster_fixture import SCRIPTS, Cluster, namespace
from tests.golden.argo import cases
from toolkit.backends.argo.nodes import FINISHED, workflow_nodes
from toolkit.backends.argo.workflow import DEFAULT_ACCOUNT, Objects
from toolkit.model.pipeline import Map, Pipeline, Step
from toolkit.run.prepare import given_controls

pytestmark = pytest.mark.argo

FAKE = "toolkit.test/pretends"
ARGO_LIMIT = 1 << 20
LIMIT = 900.0
"""Seconds within which the largest map must have ended; a backstop, not a measure."""


def map_of(items: int, **executor: Any) -> Objects:
    """A map over as many items, and a step that collects; its pods go to the pretended node."""
    steps: list[Step] = [
        Map("items", Pipeline((cases.task("first"), cases.task("second"))), "numbers", "number"),
        cases.task("collect"),
    ]
    placed = {
        "node_selector": {FAKE: "true"},
        "tolerations": [{"key": FAKE, "operator": "Exists", "effect": "NoSchedule"}],
        "retry_strategy": {"limit": 2},
    }
    given = {**placed, **executor}
    parameters = {"numbers": list(range(items))}
    controls = given_controls(cases.planned(steps, cases.configured(given)), parameters)[1]
    return cases.run(steps, given, parameters=parameters, name=f"map-of-{items}", controls=controls)


def size(document: dict[str, Any]) -> int:
    return len(json.dumps(document, separators=(",", ":")))


def test_a_workflow_is_the_same_size_whatever_its_maps_iterate_on() -> None:
    sizes = {items: size(map_of(items).workflow) for items in (10, 10_000, 100_000)}
    # But for the digits of two numbers and of the name.
    assert max(sizes.values()) - min(sizes.values()) < 40
    assert max(sizes.values()) < 200_000
    assert size(map_of(100_000).config_map) < 900_000


@pytest.fixture(scope="module")
def pretended(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A node whose pods start and end well at once, by kwok, which is built when it is not there."""
    building = [sys.executable, os.path.join(SCRIPTS, "cluster.py"), "build", "kwok"]
    folder = Path(subprocess.run(building, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])
    log = tmp_path_factory.mktemp("kwok") / "log"
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "pretends", "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {FAKE: "true"}},
        "spec": {"taints": [{"key": FAKE, "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "10000", "memory": "10Ti", "pods": "100000"},
                   "capacity": {"cpu": "10000", "memory": "10Ti", "pods": "100000"}},
    }  # fmt: skip
    command = [
        str(folder / "kwok"),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--config={folder / 'stages.yaml'}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    ]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        cluster.apply(node)
        cluster.must("wait", "--for=condition=Ready", "node/pretends", "--timeout=60s")
        yield
    finally:
        cluster.run("delete", "node", "pretends", "--ignore-not-found")
        process.terminate()
        process.wait(30)


@pytest.fixture
def place(cluster: Cluster, pretended: None) -> Iterator[str]:
    with namespace(cluster, f"scale-{os.urandom(3).hex()}") as name:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT_ACCOUNT, "namespace": name},
        }
        cluster.apply(account)
        yield name


def follow(cluster: Cluster, place: str, objects: Objects) -> dict[str, Any]:
    """The Workflow at its end."""
    for one in (objects.config_map, objects.workflow):
        cluster.must("create", "-n", place, "-f", "-", text=json.dumps(one))
    name = objects.workflow["metadata"]["name"]
    until = time.monotonic() + LIMIT
    while True:
        known = cluster.get("workflow", name, "-n", place)
        if (known.get("status") or {}).get("phase") in FINISHED:
            return known
        assert time.monotonic() < until, f"it is still {known.get('status', {}).get('phase')}"
        time.sleep(2)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize(("items", "pods"), [(50, 50), (10_000, 100)])
def test_argo_takes_a_map_to_its_end_within_its_budget(cluster: Cluster, place: str, items: int, pods: int) -> None:
    # Fewer than the setting has by itself: the same way, in less time.
    ended = follow(cluster, place, map_of(items, pods_per_map=100))
    assert ended["status"]["phase"] == "Succeeded", ended["status"].get("message")
    # A pod for each item, or for each group of them, of each of the branch's two steps; and one that collects.
    made = [one for one in workflow_nodes(ended).values() if one["type"] == "Pod"]
    assert len(made) == 2 * pods + 1
    assert size(ended) < ARGO_LIMIT / 2
