"""Clusters whose nodes are containers of this machine's Docker engine: those of kind, k3d and minikube."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from toolkit.build.delivery.kubeconfig import Context
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure

_TIMEOUT = 60.0
"""Seconds for a question to a node."""
_K3S_SOCKET = "/run/k3s/containerd/containerd.sock"
_READ_ENDPOINT = (
    "cd /var/lib/kubelet; "
    "cat kubeadm-flags.env config.yaml /etc/systemd/system/kubelet.service.d/*.conf 2>/dev/null; true"
)
_ENDPOINT = re.compile(r"(?:container-runtime-endpoint=|containerRuntimeEndpoint:\s*)[\"']?([^\s\"']+)")


_BY_MINIKUBE = "`toolkit build --output image.tar` and `minikube image load image.tar`"


class NotLoadable(BadInput):
    """A cluster into which nothing can be loaded from here, however it is started: another way brings images there."""


@dataclass(frozen=True)
class ContainerNode:
    """A node that is a container.

    Attributes:
        name: as messages show it.
        within: the command that runs another one inside of it.
        address: of its containerd; "" is where `ctr` looks for it.
        has_docker: its kubelet runs containers with Docker and not with containerd.
    """

    name: str
    within: tuple[str, ...]
    address: str = ""
    has_docker: bool = False


@dataclass(frozen=True)
class _Tool:
    """How a tool marks the containers of a cluster.

    Attributes:
        label: whose value is the cluster's name. is_node: whether a container with these labels is a node, and no helper.
    """

    name: str
    label: str
    is_node: Callable[[Mapping[str, str]], bool]


_KIND = _Tool(
    "kind", "io.x-k8s.kind.cluster", lambda labels: labels.get("io.x-k8s.kind.role") != "external-load-balancer"
)
_K3D = _Tool("k3d", "k3d.cluster", lambda labels: labels.get("k3d.role") in ("server", "agent"))
_MINIKUBE = _Tool("minikube", "name.minikube.sigs.k8s.io", lambda labels: "mode.minikube.sigs.k8s.io" in labels)


def tool_of(context: Context) -> tuple[_Tool, str] | None:
    """The tool that made a context's cluster, and the cluster's name for it; None where it is another cluster."""
    if context.provider == "minikube.sigs.k8s.io":
        return _MINIKUBE, context.cluster
    for tool in (_KIND, _K3D):
        if context.name.startswith(f"{tool.name}-"):
            return tool, context.name.removeprefix(f"{tool.name}-")
    return None


def container_nodes(engine: EngineApi, tool: _Tool, cluster: str) -> list[ContainerNode]:
    """All running nodes of a cluster.

    Raises:
        NotLoadable: they are virtual machines, as far as can be told, or what they run images with is not supported.
        BadInput: none runs.
        Infrastructure: a node gives no answer.
    """
    filters = quote(json.dumps({"label": [f"{tool.label}={cluster}"]}))
    containers = engine.json(f"/containers/json?filters={filters}") or []
    names = sorted(
        str(container["Names"][0]).lstrip("/")
        for container in containers
        if tool.is_node(container.get("Labels") or {})
    )
    if not names:
        remedy = "start it"
        if tool is _MINIKUBE:
            remedy += f"; where its nodes are virtual machines, {_BY_MINIKUBE}"
        error = NotLoadable if tool is _MINIKUBE else BadInput
        raise error(f"the {tool.name} cluster {cluster!r} has no running node on this Docker engine: {remedy}")
    docker = shutil.which("docker")
    if docker is None:
        raise BadInput(f"loading into a {tool.name} node needs the `docker` program: install it, or use --push")
    return [_node(tool, name, (docker, "exec", "--interactive", name)) for name in names]


def _node(tool: _Tool, name: str, within: tuple[str, ...]) -> ContainerNode:
    shown = f"{tool.name} node {name}"
    if tool is _K3D:
        return ContainerNode(shown, within, _K3S_SOCKET)
    if tool is not _MINIKUBE:
        return ContainerNode(shown, within)
    # Docker has a containerd as well, whose images the kubelet does not see. Only the kubelet knows which of them it asks.
    try:
        command = [*within, "sh", "-c", _READ_ENDPOINT]
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Infrastructure(f"{shown} did not answer: check that it is running") from error
    endpoint = next(iter(_ENDPOINT.findall(answer.stdout)), "")
    if "docker" in endpoint:
        return ContainerNode(shown, within, has_docker=True)
    if "containerd" in endpoint:
        return ContainerNode(shown, within, endpoint.removeprefix("unix://"))
    runtime = "CRI-O" if "crio" in endpoint else endpoint or "a container runtime that its kubelet does not tell"
    raise NotLoadable(f"{shown} runs {runtime}, into which an image can't be loaded: use --push, or {_BY_MINIKUBE}")
