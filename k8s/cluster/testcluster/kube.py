"""What is in the cluster, by way of kubectl: the same for the cluster of this machine and for a foreign one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import build
from .places import ARGO_SETTINGS, CONTEXT, NODE, Failed, kubeconfig, logs, state, volumes

KubernetesObject = dict[str, Any]
"""An object of Kubernetes, as its API has it in JSON."""

STORAGE_CLASS = "toolkit-local"
ARGO_NAMESPACE = "argo"
GROUP = 1000  # of the folders behind volumes, which the pods' fsGroup matches
VOLUME_LABEL = "dev.toolkit.cluster/volume-of"


@dataclasses.dataclass(frozen=True)
class Kubectl:
    """A cluster as kubectl reaches it."""

    program: str
    kubeconfig: Path
    context: str = ""

    def command(self, *arguments: str) -> list[str]:
        context = ["--context", self.context] if self.context else []
        return [self.program, "--kubeconfig", str(self.kubeconfig), *context, *arguments]

    def run(self, *arguments: str, text: str | None = None, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self.command(*arguments),
                input=text or "",
                capture_output=True,
                text=True,
                timeout=limit,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(error.cmd, 124, "", f"no answer within {limit:.0f} s")

    def must(self, *arguments: str, text: str | None = None, limit: float = 60.0) -> str:
        done = self.run(*arguments, text=text, limit=limit)
        if done.returncode:
            raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return done.stdout

    def apply(self, *objects: KubernetesObject) -> None:
        """Apply objects server-side. Otherwise kubectl keeps each whole object in an annotation, whose size is limited."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.must("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(document))


def own() -> Kubectl:
    return Kubectl(str(build.kubernetes().folder() / "kubectl"), kubeconfig(), CONTEXT)


def foreign() -> Kubectl | None:
    """The cluster that TOOLKIT_TEST_KUBECONFIG names; None when it names none. Nothing is started then."""
    named = os.environ.get("TOOLKIT_TEST_KUBECONFIG")
    if not named:
        return None
    built = build.kubernetes().folder() / "kubectl"
    program = shutil.which("kubectl") or (str(built) if built.exists() else None)
    if not program:
        raise Failed("TOOLKIT_TEST_KUBECONFIG is set, but there is no kubectl here: install it")
    return Kubectl(program, Path(named))


def is_ready(kubectl: Kubectl) -> bool:
    """Whether the node is Ready."""
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    return kubectl.run("get", "node", NODE, "-o", f"jsonpath={path}", limit=10).stdout == "True"


def argo_is_available(kubectl: Kubectl) -> bool:
    """Whether a workflow controller runs."""
    where = ("-n", ARGO_NAMESPACE, "deployment", "workflow-controller")
    return kubectl.run("get", *where, "-o", "jsonpath={.status.availableReplicas}", limit=10).stdout not in ("", "0")


def argo_version(kubectl: Kubectl) -> str | None:
    """The version in the tag of the controller's image; None when there is no controller."""
    where = ("-n", ARGO_NAMESPACE, "deployment", "workflow-controller")
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    image = kubectl.run("get", *where, "-o", path, limit=10).stdout.strip()
    return image.rpartition(":")[2].removeprefix("v") if image else None


def install(kubectl: Kubectl, registry: str) -> None:
    """Install Argo and the storage class, and publish the registry's address."""
    rendered = kubectl.must("kustomize", str(write_argo()))
    (logs() / "argo.yaml").write_text(rendered)
    kubectl.must("create", "namespace", ARGO_NAMESPACE)
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
            "data": {"localRegistryHosting.v1": json.dumps({"host": registry})},
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
            # A claim is bound when it is made, not when its first pod is scheduled: there is only one node.
            "volumeBindingMode": "Immediate",
        },
    )
    kubectl.must("apply", "--server-side", "-f", "-", text=rendered)


def write_argo() -> Path:
    """Write a kustomization of Argo's own cluster-wide installation, without its server, with the settings of k8s/argo."""
    folder = state() / "argo"
    folder.mkdir(exist_ok=True)
    manifests = build.argo().folder() / "manifests"

    def relative(path: Path) -> str:  # kustomize accepts no absolute paths
        return os.path.relpath(path.resolve(), folder.resolve())

    arguments = ["--executor-image", build.argoexec_image(), "--executor-image-pull-policy", "IfNotPresent"]
    container = {"name": "workflow-controller", "imagePullPolicy": "IfNotPresent", "args": arguments}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "workflow-controller"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    image, _, tag = build.controller_image().rpartition(":")
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": ARGO_NAMESPACE,
        "resources": [
            relative(manifests / "base/crds/minimal"),
            relative(manifests / "base/workflow-controller"),
            relative(manifests / "cluster-install-no-crds/workflow-controller-rbac"),
        ],
        "components": [relative(ARGO_SETTINGS)],
        "images": [{"name": "quay.io/argoproj/workflow-controller", "newName": image, "newTag": tag}],
        "patches": [{"patch": json.dumps(patch)}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(document, indent=2) + "\n")
    return folder


# --- volumes ------------------------------------------------------------------------------------------------------------


def volume_objects(namespace: str, claim: str, folder: Path, size: str = "10Gi") -> list[KubernetesObject]:
    """A claim, and a volume that only this claim can bind."""
    name = volume_name(namespace, claim)
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": STORAGE_CLASS}
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {VOLUME_LABEL: namespace}},
            "spec": {
                **common,
                "capacity": {"storage": size},
                "local": {"path": str(folder)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": namespace,
                    "name": claim,
                },
                "persistentVolumeReclaimPolicy": "Retain",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {**common, "resources": {"requests": {"storage": size}}, "volumeName": name},
        },
    ]


def volume_name(namespace: str, claim: str) -> str:
    # A namespace has no dot, so the first dot ends it.
    return f"{namespace}.{claim}"


def make_volume(kubectl: Kubectl, namespace: str, claim: str) -> Path:
    """Make a claim that any number of pods can write to; returns the folder behind it."""
    folder = volumes() / volume_name(namespace, claim)
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, -1, GROUP)
    os.chmod(folder, 0o2775)  # files of every user belong to the one group
    kubectl.apply(*volume_objects(namespace, claim, folder))
    bound = "--for=jsonpath={.status.phase}=Bound"
    kubectl.must("-n", namespace, "wait", bound, f"persistentvolumeclaim/{claim}", "--timeout=60s", limit=70.0)
    return folder


def remove_volumes(kubectl: Kubectl, namespace: str) -> None:
    """Remove a namespace's volumes and folders, after the namespace itself with its claims."""
    kubectl.run("delete", "persistentvolumes", "-l", f"{VOLUME_LABEL}={namespace}", "--wait=false")
    for folder in volumes().glob(f"{namespace}.*"):
        shutil.rmtree(folder)
