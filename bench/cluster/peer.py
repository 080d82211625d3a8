"""The workflow that the peer generates for the chain, changed as far as it needs to run, and measured like the hand-written one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from bench.cluster.namespaces import Cluster, Failed, KubernetesObject, Namespace, fresh, temporary_namespace
from bench.peer import CHAIN, VERSION, install
from bench.peer import Absent as NotInstalled
from bench.projects import console, remove_images
from bench.turns import Broken, Side, environment, run

CONDITIONS = (
    "the peer's manifest as generated, with a run_id put in and memoize taken out, without which it does not run; in a "
    "namespace without a Pod Security Standard, which would refuse its pods"
)

_SETTINGS = """\
pipeline-executor:
  type: argo
  config:
    pvcForRunnable: {claim}
    outputFile: argo.yaml
    defaults:
      image: {image}
      imagePullPolicy: {policy}{resources}
    argoWorkflow:
      metadata: {{generateName: peer-, namespace: {namespace}}}
      spec: {{}}
run-log-store:
  type: chunked-fs
catalog:
  type: file-system
"""
_UNLIMITED = """
      resources:
        limits: {cpu: "8", memory: 1Gi}
        requests: {cpu: 250m, memory: 1Gi}"""
"""The peer's own defaults, except for a cpu limit above what the node has. The limit can't be left out."""
_CLAIM = "runnable"


@contextmanager
def sides(cluster: Cluster, folder: Path, steps: int, pods: list[int]) -> Iterator[list[Side] | str]:
    """The peer's workflow by default and without its cpu limit, both warmed up; or the reason why there is none.

    Args:
        folder: the folder to make for its project.
        pods: takes the number of pods of its last workflow.
    """
    repository = fresh("toolkit-bench-peer")
    try:
        with temporary_namespace(cluster, restricted=False, claims=[_CLAIM]) as namespace:
            try:
                default, unlimited = _generated(namespace, folder, repository, steps)
                sides = [
                    Side(
                        f"runnable {VERSION}'s workflow, by default 0.25 cpu",
                        lambda: _run_once(namespace, default, folder, pods),
                    ),
                    Side(
                        f"runnable {VERSION}'s workflow, cpu not limited",
                        lambda: _run_once(namespace, unlimited, folder, pods),
                    ),
                ]
                for side in sides:
                    side.measure()
            except (Broken, Failed, NotInstalled, OSError) as error:
                yield f"runnable {VERSION} can't be had or run here: {error}"
            else:
                yield sides
    finally:
        remove_images(repository)
        cluster.forget_images(repository)


def _generated(namespace: Namespace, folder: Path, repository: str, steps: int) -> list[KubernetesObject]:
    """The manifests that the peer writes, after its image was delivered to the node."""
    python = install()
    # Its pods report under their default account.
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace.name}
    namespace.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "default-reports", "namespace": namespace.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "toolkit-runner"},
            "subjects": [subject],
        }
    )
    folder.mkdir(mode=0o755)
    (folder / "functions.py").write_text("def nothing():\n    pass\n")
    (folder / "chain.py").write_text(CHAIN.format(steps=steps))
    (folder / "requirements.txt").write_text(f"runnable=={VERSION}\n")
    (folder / "toolkit.yaml").write_text(f"executor:\n  type: local\n  config:\n    image: {repository}\n")
    settings = folder / "runnable.yaml"

    def configure(image: str, resources: str = "") -> None:
        policy = "IfNotPresent" if namespace.cluster.foreign else "Never"
        values = {
            "claim": _CLAIM,
            "image": image,
            "policy": policy,
            "namespace": namespace.name,
            "resources": resources,
        }
        settings.write_text(_SETTINGS.format(**values))

    # The image holds this file, and its pods read it, but not the image's name, which is known only after the build.
    configure("this-one")
    delivery = ["--push"] if namespace.cluster.foreign else ["--load", "--node", str(namespace.cluster.containerd)]
    image = run([console("toolkit"), "build", *delivery], folder, namespace.cluster.variables()).strip()
    workflows: list[KubernetesObject] = []
    for resources in ("", _UNLIMITED):
        configure(image, resources)
        run([python, "chain.py"], folder, environment(RUNNABLE_CONFIGURATION_FILE=settings.name))
        workflow = yaml.safe_load((folder / "argo.yaml").read_text())
        for template in workflow["spec"]["templates"]:
            template.pop("memoize", None)
        workflows.append(workflow)
    return workflows


def _run_once(namespace: Namespace, workflow: KubernetesObject, folder: Path, pods: list[int]) -> float:
    for parameter in workflow["spec"]["arguments"]["parameters"]:
        if parameter["name"] == "run_id":
            parameter["value"] = fresh("bench")
    manifest = folder / "argo.json"
    manifest.write_text(json.dumps(workflow))
    name, taken = namespace.create_and_wait(manifest)
    pods[:] = [len(namespace.pods(name))]
    namespace.forget(name)
    return taken
