"""Loads into nodes that are containers, as kind, k3d and minikube make them.

The clusters are stand-ins: containers of the base image with the labels of each tool, and without a Kubernetes. Their containerd
and their Docker engine are real, of this machine's programs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.engine_builds import Bench
from tests.support.scratch import LIMIT, Scratch

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full("starts a containerd or a Docker engine in containers: 10 to 75 s each"),
]

BASE = "toolkit-base:bookworm"
_CONTAINERD = """\
version = 2
[grpc]
address = "{address}"
"""

Nodes = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Nodes]:
    """Starts a container with these labels and programs of this machine; it runs `command` beside a shell."""
    names: list[str] = []

    def start(name: str, labels: dict[str, str], command: str, programs: list[str], files: dict[str, str]) -> str:
        mounts = []
        for program in programs:
            path = program if "/" in program else shutil.which(program)
            if path is None:
                pytest.skip(f"this machine has no {program}")
            mounts += ["--volume", f"{path}:{path}:ro"]
        for number, (path, text) in enumerate(files.items()):
            file = tmp_path / f"{name}-{number}"
            file.write_text(text)
            mounts += ["--volume", f"{file}:{path}:ro"]
        marks = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        run = [
            "docker",
            "run",
            "--detach",
            "--rm",
            "--cap-add",
            "SYS_ADMIN",
            "--network",
            "none",
            "--name",
            name,
            *marks,
            *mounts,
        ]
        # A file system of its own, which the engine's is not for another engine.
        run += ["--volume", "/var/lib/containerd", "--volume", "/run", "--volume", "/var/lib/docker"]
        names.append(name)
        subprocess.run([*run, "--entrypoint", "sh", BASE, "-c", command], check=True, stdout=subprocess.DEVNULL)
        return name

    yield start
    for name in names:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], stdout=subprocess.DEVNULL)


def wait_for(name: str, *question: str) -> None:
    until = time.monotonic() + LIMIT
    while subprocess.run(["docker", "exec", name, *question], capture_output=True).returncode:
        if time.monotonic() > until or subprocess.run(["docker", "inspect", name], capture_output=True).returncode:
            log = subprocess.run(["docker", "logs", name], capture_output=True, text=True)
            raise AssertionError(log.stdout[-2000:] + log.stderr[-2000:])
        time.sleep(0.2)


def containerd(start: Nodes, name: str, labels: dict[str, str], address: str, files: dict[str, str]) -> str:
    files = {"/etc/node.toml": _CONTAINERD.format(address=address), **files}
    start(name, labels, "exec containerd --config /etc/node.toml", ["containerd", "ctr"], files)
    wait_for(name, "ctr", "--address", address, "--connect-timeout", "1s", "namespaces", "ls")
    return name


def docker_engine(start: Nodes, name: str, labels: dict[str, str], files: dict[str, str]) -> str:
    programs = ["docker", "dockerd", "containerd", "runc", "containerd-shim-runc-v2"]
    libraries = [word for word in _libraries("dockerd") if "devmapper" in word]
    start(
        name, labels, "exec dockerd --iptables=false --bridge=none --storage-driver=vfs", [*programs, *libraries], files
    )
    wait_for(name, "docker", "version")
    return name


def _libraries(program: str) -> list[str]:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"this machine has no {program}")
    listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return [word for word in listed.split() if word.startswith("/")]


def scratch_for(bench: Bench, tmp_path: Path, context: str, provider: str = "") -> Scratch:
    extension = {"name": "cluster_info", "extension": {"provider": provider}}
    cluster = {"server": "https://127.0.0.1:1", **({"extensions": [extension]} if provider else {})}
    config = {
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": context, "user": "me"}}],
        "clusters": [{"name": context, "cluster": cluster}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    environ: dict[str, str | None] = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    scratch = Scratch(bench.root, {**environ, "TOOLKIT_REGISTRY": None, "CONTAINERD_ADDRESS": None})
    scratch.write({"toolkit.yaml": f"executor: {{config: {{image: {bench.repository}}}}}\n"})
    return scratch


def load(scratch: Scratch, nodes: list[str]) -> tuple[str, list[str]]:
    """The reference, and what each node got, as `1 of 3`, or `nothing`."""
    result = scratch.toolkit("build", "--load")
    assert result.code == 0, result.err
    said = {
        name: line for line in result.err.splitlines() for name in nodes if line.startswith("loaded ") and name in line
    }
    assert set(said) == set(nodes), result.err
    sent = [said[name].partition("(sent ")[2].partition(" layers")[0] or "nothing" for name in nodes]
    return result.out.strip(), sent


KIND, K3D, MINIKUBE = "io.x-k8s.kind.cluster", "k3d.cluster", "name.minikube.sigs.k8s.io"


@pytest.mark.parametrize("tool", ["kind", "k3d", "minikube"])
def test_all_nodes_with_a_containerd_get_what_they_lack(tool: str, start: Nodes, bench: Bench, tmp_path: Path) -> None:
    cluster = f"test{uuid.uuid4().hex[:8]}"
    address = "/run/k3s/containerd/containerd.sock" if tool == "k3d" else "/run/containerd/containerd.sock"
    endpoint = {
        "/var/lib/kubelet/kubeadm-flags.env": f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix://{address}"\n'
    }
    labels = {
        "kind": [{KIND: cluster, "io.x-k8s.kind.role": role} for role in ("control-plane", "worker")],
        "k3d": [{K3D: cluster, "app": "k3d", "k3d.role": role} for role in ("server", "agent")],
        "minikube": [
            {MINIKUBE: cluster, "created_by.minikube.sigs.k8s.io": "true", "mode.minikube.sigs.k8s.io": name}
            for name in (cluster, f"{cluster}-m02")
        ],
    }[tool]
    files = endpoint if tool == "minikube" else {}
    nodes = [containerd(start, f"{cluster}-{number}", each, address, files) for number, each in enumerate(labels)]
    # What each tool starts beside its nodes is none: a load balancer, a sidecar.
    helper = {
        "kind": {KIND: cluster, "io.x-k8s.kind.role": "external-load-balancer"},
        "k3d": {K3D: cluster, "app": "k3d", "k3d.role": "loadbalancer"},
        "minikube": {MINIKUBE: cluster, "created_by.minikube.sigs.k8s.io": "true"},
    }[tool]
    start(f"{cluster}-helper", helper, "exec sleep 1000", [], {})

    context = cluster if tool == "minikube" else f"{tool}-{cluster}"
    scratch = scratch_for(bench, tmp_path, context, "minikube.sigs.k8s.io" if tool == "minikube" else "")
    assert load(scratch, nodes)[1] == ["3 of 3", "3 of 3"]
    scratch.write({"app.py": "VALUE = 2\n"})
    reference, sent = load(scratch, nodes)
    assert sent == ["1 of 3", "1 of 3"]
    assert load(scratch, nodes) == (reference, ["nothing", "nothing"])
    for node in nodes:
        name = f"docker.io/library/{reference}"
        ctr = ["ctr", "--address", address, "--namespace", "k8s.io", "images", "check", f'name=="{name}"']
        row = subprocess.run(["docker", "exec", node, *ctr], check=True, capture_output=True, text=True).stdout
        assert row.splitlines()[1].split()[3] == "complete"


def test_a_minikube_node_with_docker_gets_what_its_engine_lacks(start: Nodes, bench: Bench, tmp_path: Path) -> None:
    cluster = f"test{uuid.uuid4().hex[:8]}"
    labels = {MINIKUBE: cluster, "created_by.minikube.sigs.k8s.io": "true", "mode.minikube.sigs.k8s.io": cluster}
    kubelet = {
        "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///var/run/cri-dockerd.sock\n"
    }
    node = docker_engine(start, cluster, labels, kubelet)
    scratch = scratch_for(bench, tmp_path, cluster, "minikube.sigs.k8s.io")
    first, sent = load(scratch, [node])
    assert sent == ["3 of 3"]
    scratch.write({"app.py": "VALUE = 2\n"})
    second, sent = load(scratch, [node])
    assert sent == ["1 of 3"]
    assert load(scratch, [node]) == (second, ["nothing"])
    # Its engine has both, whole, by both names; then it is emptied, and gets all of it again.
    for reference in (first, second):
        built = bench.raw.image(reference)
        assert built is not None
        for name in (reference, f"{bench.repository}:{built['Id'].partition(':')[2]}"):
            inspect = ["docker", "exec", node, "docker", "image", "inspect", "--format", "{{.Id}}", name]
            assert subprocess.run(inspect, capture_output=True, text=True).stdout.strip() == built["Id"]
        subprocess.run(["docker", "exec", node, "docker", "image", "rm", "--force", built["Id"]], check=True, stdout=-3)
    assert load(scratch, [node]) == (second, ["3 of 3"])


def test_a_minikube_node_with_cri_o_is_refused_and_so_is_a_cluster_that_does_not_run(
    start: Nodes, bench: Bench, tmp_path: Path
) -> None:
    cluster = f"test{uuid.uuid4().hex[:8]}"
    scratch = scratch_for(bench, tmp_path, cluster, "minikube.sigs.k8s.io")
    result = scratch.toolkit("build", "--load")
    assert result.code == 2 and f"the minikube cluster '{cluster}' has no running node" in result.err
    kubelet = {
        "/var/lib/kubelet/kubeadm-flags.env": 'A="--container-runtime-endpoint=unix:///var/run/crio/crio.sock"\n'
    }
    labels = {MINIKUBE: cluster, "mode.minikube.sigs.k8s.io": cluster}
    start(cluster, labels, "exec sleep 1000", [], kubelet)
    result = scratch.toolkit("build", "--load")
    assert result.code == 2 and f"minikube node {cluster} runs CRI-O, into which" in result.err
    assert os.linesep not in result.err.strip().splitlines()[-1]
