"""The session's cluster: the one that is named, else the one that is up, else one that is started for the session.

With TOOLKIT_TEST_KUBECONFIG nothing is started. Tests that need an image then fail without TOOLKIT_TEST_REGISTRY.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testcluster import kube, lifecycle

SCRIPTS = str(Path(__file__).resolve().parents[2] / "k8s" / "cluster")
"""Where ``testcluster`` lies; pytest has it on its path (pyproject.toml)."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster, and how to reach what a test needs of it."""

    kubeconfig: Path
    context: str | None
    registry: str | None  # HOST:PORT, or HOST/PREFIX of a named cluster
    containerd: str | None  # the socket of the node's containerd; None for a foreign cluster
    kubectl: str
    foreign: bool

    def need_registry(self) -> str:
        """The registry. Without one the test fails; nobody would notice a skipped test."""
        if not self.registry:
            pytest.fail("TOOLKIT_TEST_KUBECONFIG is set: TOOLKIT_TEST_REGISTRY must name a registry it can pull from")
        return self.registry

    def run(self, *arguments: str, text: str | None = None, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs kubectl; returns its result, also when it fails."""
        return self.raw().run(*arguments, text=text, limit=limit)

    def must(self, *arguments: str, text: str | None = None, limit: float = 60.0) -> str:
        """Runs kubectl; returns its standard output, and fails the test when it fails."""
        return self.raw().must(*arguments, text=text, limit=limit)

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get` as an object."""
        read: dict[str, Any] = json.loads(self.must("get", *arguments, "-o", "json"))
        return read

    def apply(self, *objects: kube.KubernetesObject) -> None:
        """Make or change objects."""
        self.raw().apply(*objects)

    def raw(self) -> kube.Kubectl:
        return kube.Kubectl(self.kubectl, self.kubeconfig, self.context or "")


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that is up. It is taken down at the end only if it was started here."""
    before = lifecycle.status()
    if not before["up"]:
        lifecycle.up()  # fails with a sentence when a named cluster does not answer
    try:
        status = lifecycle.status()
        assert status["kubeconfig"] is not None and status["kubectl"] is not None
        yield Cluster(
            kubeconfig=Path(status["kubeconfig"]),
            context=status["context"],
            registry=status["registry"],
            containerd=status["containerd"],
            kubectl=status["kubectl"],
            foreign=status["foreign"],
        )
    finally:
        if not before["up"] and not before["foreign"]:
            lifecycle.down()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's cluster."""
    with running() as session_cluster:
        yield session_cluster
        wait_until_deleted(session_cluster)


@contextmanager
def namespace(cluster: Cluster, name: str, restricted: bool = False) -> Iterator[str]:
    """A temporary namespace, which is removed with its content and the folders of its claims.

    A restricted one enforces the restricted Pod Security Standard.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.must("create", "-f", "-", text=json.dumps(manifest))
    try:
        yield name
    finally:
        # Without a grace period: nothing needs what the pods would still do.
        for kind in ("workflows.argoproj.io", "pods"):
            cluster.run("-n", name, "delete", kind, "--all", "--grace-period=0", "--force", "--wait=false")
        # It takes the cluster some 20 s, which nothing waits for until the session ends.
        cluster.must("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        DELETED.append(name)


DELETED: list[str] = []
"""Namespaces that this process has asked the cluster to delete."""


def wait_until_deleted(cluster: Cluster) -> None:
    """Waits for the namespaces that were to be deleted, and removes the folders of their claims."""
    while DELETED:
        name = DELETED.pop()
        until = time.monotonic() + 120
        while cluster.must("get", "namespace", name, "--ignore-not-found", "-o", "name"):
            assert time.monotonic() < until, f"the namespace {name} is not gone after 120 s"
            time.sleep(0.5)
        if not cluster.foreign:
            kube.remove_volumes(cluster.raw(), name)


def claim(cluster: Cluster, namespace: str, name: str) -> Path | None:
    """Make a claim that any number of pods can write to; returns the folder behind it, or None on a foreign cluster.

    On a foreign cluster, the claim has the storage class TOOLKIT_TEST_STORAGE_CLASS, or the cluster's default.
    """
    if not cluster.foreign:
        return kube.make_volume(cluster.raw(), namespace, name)
    spec: kube.KubernetesObject = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    if storage_class := os.environ.get("TOOLKIT_TEST_STORAGE_CLASS"):
        spec["storageClassName"] = storage_class
    metadata = {"name": name, "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    return None
