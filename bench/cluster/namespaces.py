"""The cluster that benches run on (of k8s/cluster, or the one that TOOLKIT_TEST_KUBECONFIG names), and temporary namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.turns import Broken, environment, run

ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = str(ROOT / "k8s" / "cluster")
if _SCRIPTS not in sys.path:
    sys.path.insert(0, _SCRIPTS)

from testcluster import kube, lifecycle  # noqa: E402 (it lies beside the command, not on the path)
from testcluster.kube import KubernetesObject  # noqa: E402
from testcluster.places import Failed  # noqa: E402

__all__ = [
    "ROOT",
    "Absent",
    "Cluster",
    "Failed",
    "KubernetesObject",
    "Namespace",
    "find",
    "fresh",
    "temporary_namespace",
]

_WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
_PATIENCE = 600.0
_GONE_WITHIN = 120.0


class Absent(Exception):
    """There is no cluster. The message says why, and how to get one."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers.

    Attributes:
        registry: the registry that its nodes pull from. Images are pushed to it when the cluster is foreign.
        containerd: the socket of the node's containerd; None when the cluster is foreign.
        foreign: whether TOOLKIT_TEST_KUBECONFIG names it.
    """

    kubectl: kube.Kubectl
    registry: str | None
    containerd: str | None
    foreign: bool

    def variables(self) -> dict[str, str]:
        """The environment variables by which a command finds it."""
        variables = environment(KUBECONFIG=str(self.kubectl.kubeconfig))
        if self.foreign and self.registry:
            variables["TOOLKIT_REGISTRY"] = self.registry
        return variables

    def forget_images(self, repository: str) -> None:
        """Removes a repository's images from the node, unless the cluster is foreign. Failures are ignored."""
        if self.containerd is None:
            return
        ctr = ["ctr", "--address", self.containerd, "--namespace", "k8s.io", "images"]
        try:
            listed = subprocess.run([*ctr, "list", "--quiet"], capture_output=True, text=True, timeout=60)
            images = [name for name in listed.stdout.split() if f"{repository}:" in name]
            if images:
                subprocess.run([*ctr, "remove", *images], capture_output=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            pass


def find() -> Cluster:
    """The cluster to run on.

    Raises:
        Absent: no cluster is up.
    """
    try:
        status = lifecycle.status()
    except Failed as failed:
        raise Absent(str(failed)) from failed
    if not status["up"]:
        if status["foreign"]:
            raise Absent("the cluster that TOOLKIT_TEST_KUBECONFIG names does not answer")
        raise Absent("no cluster runs here: `task cluster:up` starts one")
    assert status["kubectl"] is not None and status["kubeconfig"] is not None
    kubectl = kube.Kubectl(status["kubectl"], Path(status["kubeconfig"]), status["context"] or "")
    return Cluster(kubectl, status["registry"], status["containerd"], status["foreign"])


@dataclass(frozen=True)
class Namespace:
    """A namespace with the accounts of k8s/accounts."""

    cluster: Cluster
    name: str

    def command(self, *arguments: str) -> list[str]:
        """A kubectl command in it."""
        return self.cluster.kubectl.command("-n", self.name, *arguments)

    def must(self, *arguments: str, text: str | None = None, limit: float = 60.0) -> str:
        """kubectl in it; its output."""
        return self.cluster.kubectl.must("-n", self.name, *arguments, text=text, limit=limit)

    def options(self) -> list[str]:
        """The options of `toolkit run` that name it."""
        context = self.cluster.kubectl.context
        return ["--namespace", self.name, *(["--context", context] if context else [])]

    def claim(self, name: str) -> None:
        """Makes a claim that any number of pods can write to."""
        if not self.cluster.foreign:
            kube.make_volume(self.cluster.kubectl, self.name, name)
            return
        spec: KubernetesObject = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        if storage_class := os.environ.get("TOOLKIT_TEST_STORAGE_CLASS"):
            spec["storageClassName"] = storage_class
        metadata = {"name": name, "namespace": self.name}
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})

    def secret(self, name: str, **values: str) -> None:
        """Makes a Secret."""
        metadata = {"name": name, "namespace": self.name}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})

    def apply(self, *objects: KubernetesObject) -> None:
        """Creates or changes objects."""
        self.cluster.kubectl.apply(*objects)

    def create_and_wait(self, manifest: Path) -> tuple[str, float]:
        """Creates a Workflow with kubectl and waits for its end with a watch; returns its name, and the seconds of both together.

        Raises:
            Broken: kubectl failed, or the Workflow did.
        """
        began = time.monotonic()
        name = run(self.command("create", "-f", str(manifest), "-o", "name"), manifest.parent).strip()
        limit = f"--timeout={_PATIENCE:.0f}s"
        run(self.command("wait", "--for=condition=Completed", name, limit), manifest.parent)
        took = time.monotonic() - began
        phase = self.must("get", name, "-o", "jsonpath={.status.phase}")
        if phase != "Succeeded":
            message = self.must("get", name, "-o", "jsonpath={.status.message}")
            raise Broken(f"the Workflow {name} ended as {phase}: {message}")
        return name.rpartition("/")[2], took

    def pods(self, workflow: str) -> list[KubernetesObject]:
        """The pods of a Workflow."""
        listed = self.must("get", "pods", "-l", f"{_WORKFLOW_LABEL}={workflow}", "-o", "json")
        pods: list[KubernetesObject] = json.loads(listed)["items"]
        return pods

    def forget(self, workflow: str) -> None:
        """Deletes a Workflow and waits until its pods are gone, so that they do not slow down the next measurement.

        Raises:
            Broken: the pods are not removed in time.
        """
        self.must("delete", "workflow", workflow, "--wait", f"--timeout={_GONE_WITHIN:.0f}s", limit=_GONE_WITHIN + 10)
        until = time.monotonic() + _GONE_WITHIN
        empty = 0
        while empty < 2:
            # Twice, because the controller may have been creating a pod.
            names = [pod["metadata"]["name"] for pod in self.pods(workflow)]
            empty = 0 if names else empty + 1
            if names:
                self.must("delete", "pod", *names, "--ignore-not-found", "--grace-period=1", "--timeout=60s", limit=70)
            if time.monotonic() > until:
                raise Broken(f"the pods of the Workflow {workflow} are not removed: {', '.join(names)}")
            time.sleep(0.5)


@contextmanager
def temporary_namespace(cluster: Cluster, restricted: bool, claims: Sequence[str]) -> Iterator[Namespace]:
    """A namespace with accounts and claims; it is removed at the end, with the folders of its claims.

    Args:
        restricted: whether it enforces the restricted Pod Security Standard.
    """
    name = fresh("bench")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    try:
        cluster.kubectl.must("create", "-f", "-", text=json.dumps(manifest))
        namespace = Namespace(cluster, name)
        namespace.must("apply", "-k", str(ROOT / "k8s" / "accounts"))
        for claim in claims:
            namespace.claim(claim)
        yield namespace
    finally:
        _remove(cluster, name)


def _remove(cluster: Cluster, name: str) -> None:
    for kind in ("workflows.argoproj.io", "pods"):
        # Without a grace period: nothing needs what the pods would still do.
        cluster.kubectl.run("-n", name, "delete", kind, "--all", "--grace-period=0", "--force", "--wait=false")
    limit = f"--timeout={_GONE_WITHIN:.0f}s"
    done = cluster.kubectl.run("delete", "namespace", name, "--ignore-not-found", limit, limit=_GONE_WITHIN + 10)
    if done.returncode != 0:
        print(f"the namespace {name} is still there: {done.stderr.strip()}", file=sys.stderr, flush=True)
        return
    if not cluster.foreign:
        kube.remove_volumes(cluster.kubectl, name)


def fresh(base: str) -> str:
    """A name with a random suffix, which nothing else has."""
    return f"{base}-{uuid.uuid4().hex[:8]}"
