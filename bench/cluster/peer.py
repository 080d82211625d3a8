"""The workflow that the peer generates for the chain, made to run and run as the hand-written one is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.cluster.place import Cluster, Failed, Namespace, fresh, namespace
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
"""Its own defaults, but a cpu limit that limits nothing; it can't be left out."""
_CLAIM = "runnable"


@contextmanager
def sides(cluster: Cluster, folder: Path, steps: int, pods: list[int]) -> Iterator[list[Side] | str]:
    """The peer's workflow as it is by default and without its cpu limit, both warmed up; or why there is none.

    Args:
        folder: to be made for its project. pods: is told how many a workflow of its took.
    """
    repository = fresh("toolkit-bench-peer")
    try:
        with namespace(cluster, restricted=False, claims=[_CLAIM]) as place:
            try:
                default, unlimited = _generated(place, folder, repository, steps)
                made = [
                    Side(
                        f"runnable {VERSION}'s workflow, by default 0.25 cpu",
                        lambda: _run_once(place, default, folder, pods),
                    ),
                    Side(
                        f"runnable {VERSION}'s workflow, cpu not limited",
                        lambda: _run_once(place, unlimited, folder, pods),
                    ),
                ]
                for side in made:
                    side.measure()
            except (Broken, Failed, NotInstalled, OSError) as error:
                yield f"runnable {VERSION} can't be had or run here: {error}"
            else:
                yield made
    finally:
        remove_images(repository)
        cluster.forget_images(repository)


def _generated(place: Namespace, folder: Path, repository: str, steps: int) -> list[dict[str, Any]]:
    """The manifests that the peer writes, with its image on the node."""
    python = install()
    # Its pods report with the account that they have by default.
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": place.name}
    place.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "default-reports", "namespace": place.name},
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
        policy = "IfNotPresent" if place.cluster.foreign else "Never"
        known = {"claim": _CLAIM, "image": image, "policy": policy, "namespace": place.name, "resources": resources}
        settings.write_text(_SETTINGS.format(**known))

    # Its pods read this file too, but not the image's name in it, which is only known when the image is built.
    configure("this-one")
    how = ["--push"] if place.cluster.foreign else ["--load", "--node", str(place.cluster.containerd)]
    image = run([console("toolkit"), "build", *how], folder, place.cluster.variables()).strip()
    found: list[dict[str, Any]] = []
    for resources in ("", _UNLIMITED):
        configure(image, resources)
        run([python, "chain.py"], folder, environment(RUNNABLE_CONFIGURATION_FILE=settings.name))
        workflow = yaml.safe_load((folder / "argo.yaml").read_text())
        for template in workflow["spec"]["templates"]:
            template.pop("memoize", None)
        found.append(workflow)
    return found


def _run_once(place: Namespace, workflow: dict[str, Any], folder: Path, pods: list[int]) -> float:
    for parameter in workflow["spec"]["arguments"]["parameters"]:
        if parameter["name"] == "run_id":
            parameter["value"] = fresh("bench")
    manifest = folder / "argo.json"
    manifest.write_text(json.dumps(workflow))
    name, taken = place.create_and_wait(manifest)
    pods[:] = [len(place.pods(name))]
    place.forget(name)
    return taken
