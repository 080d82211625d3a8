"""Starts and ends the cluster, and tells its status. When `down` returns, nothing is left, whatever state it was in before."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TypedDict

from . import build, cgroups, kube, node, packages, processes
from .places import CONTEXT, NODE, Failed, alone, containerd_socket, kubeconfig, logs, say, state, state_lock

API_PORTS = range(16443, 16453)
REGISTRY_PORTS = range(15000, 15010)
PATH_LIMIT = 107  # of a socket's address


class Addresses(TypedDict, total=False):
    """What `up` records when the cluster is ready; empty before that."""

    registry: str
    api: str


class Status(TypedDict):
    """What there is of the cluster, for people and for programs.

    Keys:
        foreign: whether TOOLKIT_TEST_KUBECONFIG names it.
        registry: HOST:PORT, with a prefix for a foreign one.
        containerd: the socket of the node's containerd.
        ended: for each daemon that has ended, its exit code.
    """

    up: bool
    foreign: bool
    kubeconfig: str | None
    context: str | None
    registry: str | None
    containerd: str | None
    node: str | None
    kubectl: str | None
    argo_version: str | None
    ended: dict[str, str]


def addresses() -> Addresses:
    """What `up` recorded when the cluster was ready; empty before that."""
    try:
        read: Addresses = json.loads((state() / "cluster.json").read_text())
        return read
    except (OSError, ValueError):
        return {}


def status() -> Status:
    """What there is of the cluster."""
    if other := kube.foreign():
        answers = other.run("version", "-o", "json", limit=20).returncode == 0
        return {
            "up": answers,
            "foreign": True,
            "kubeconfig": str(other.kubeconfig),
            "context": other.run("config", "current-context").stdout.strip() or None,
            "registry": os.environ.get("TOOLKIT_TEST_REGISTRY"),
            "containerd": None,
            "node": None,
            "kubectl": other.program,
            "argo_version": kube.argo_version(other) if answers else None,
            "ended": {},
        }
    recorded = addresses()
    ended = processes.ended_daemons()
    is_up = bool(processes.alive()) and bool(recorded) and not ended
    return {
        "up": is_up,
        "foreign": False,
        "kubeconfig": str(kubeconfig()) if is_up else None,
        "context": CONTEXT if is_up else None,
        "registry": recorded.get("registry") if is_up else None,
        "containerd": str(containerd_socket()) if is_up else None,
        "node": NODE if is_up else None,
        "kubectl": str(build.kubernetes().folder() / "kubectl") if is_up else None,
        "argo_version": build.argo_version().removeprefix("v") if is_up else None,
        "ended": ended,
    }


def up() -> None:
    """Start the cluster unless it is up."""
    if kube.foreign():
        foreign = status()
        if not foreign["up"]:
            raise Failed(f"the cluster that TOOLKIT_TEST_KUBECONFIG names does not answer: {foreign['kubeconfig']}")
        version = foreign["argo_version"] or "not found"
        say(f"TOOLKIT_TEST_KUBECONFIG names a cluster, which is used as it is (Argo {version})")
        return
    if os.geteuid() != 0:
        raise Failed("only root can start a cluster here, because it needs namespaces, mounts and cgroups")
    if len(str(containerd_socket())) > PATH_LIMIT:
        raise Failed(f"{containerd_socket()} is too long for a socket: set XDG_STATE_HOME to a shorter folder")
    with alone(state_lock(), "waiting for another start or end of the cluster"):
        if processes.alive():
            if ended := processes.ended_daemons():
                name, code = next(iter(ended.items()))
                log = logs() / f"{name}.log"
                raise Failed(f"the cluster is broken ({name} ended with {code}, see {log}): take it down first")
            if addresses():
                say("it is already up")
                return
        packages.ensure()
        build.ensure(build.needed())
        begun = time.monotonic()
        take_down()
        try:
            start()
        except BaseException:
            take_down(keep_logs=True)
            raise
        say(f"up after {time.monotonic() - begun:.0f} s")


def down() -> bool:
    """Remove the cluster, and what a failed or killed start left of it; False when there was nothing."""
    with alone(state_lock(), "waiting for another start or end of the cluster"):
        present = state().exists()
        take_down()
    return present


def take_down(keep_logs: bool = False) -> None:
    processes.end_node()
    if os.geteuid() == 0:
        cgroups.remove()
    if not state().exists():
        return
    for entry in sorted(state().iterdir()):
        if keep_logs and entry == logs():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if not keep_logs:
        state().rmdir()


def start() -> None:
    state().mkdir(mode=0o700, parents=True, exist_ok=True)
    logs().mkdir()
    tools = find_tools()
    say("making certificates and configuration")
    with listen(API_PORTS) as api, listen(REGISTRY_PORTS) as registry:
        api_port, registry_port = api.getsockname()[1], registry.getsockname()[1]
        make_certificates(tools)
        node.write_configuration(tools, build.pause_image(), snapshotter(), registry_port)
        node.write_user_kubeconfig(api_port)
        say("making the node's namespaces and cgroups")
        descriptors = [api.fileno(), registry.fileno()]
        machine = processes.Node(node.settings(cgroups.make()), descriptors)
        machine.start(
            "forward", node.forward_command(tools, descriptors[0], descriptors[1], registry_port), descriptors
        )
    for name, command in node.first_daemons(tools, registry_port).items():
        machine.start(name, command)

    waiting("containerd", 30)
    processes.wait_until("containerd answered", 30, "containerd", containerd_answers)
    importing = [import_images(part.folder() / "images.tar") for part in (build.node(), build.argo())]
    waiting("the API server", 60)
    processes.wait_until("the API server was ready", 60, "kube-apiserver", lambda: api_answers(api_port))
    for name, command in node.later_daemons(tools).items():
        machine.start(name, command)
    kubectl = kube.own()
    processes.wait_until(
        "the first namespaces were there",
        30,
        "kube-apiserver",
        lambda: kubectl.run("get", "namespace", "kube-public", limit=10).returncode == 0,
    )
    say("installing Argo")
    kube.install(kubectl, f"127.0.0.1:{registry_port}")
    waiting("the images", 60)
    for process, log in importing:
        finish_import(process, log)
    waiting("the node", 60)
    processes.wait_until("the node was ready", 60, "kubelet", lambda: kube.is_ready(kubectl))
    waiting("the workflow controller", 90)
    processes.wait_until("the workflow controller ran", 90, "kubelet", lambda: kube.argo_is_available(kubectl))
    waiting("the registry", 10)
    processes.wait_until("the registry answered", 10, "registry", lambda: registry_answers(registry_port))
    recorded: Addresses = {"registry": f"127.0.0.1:{registry_port}", "api": f"https://127.0.0.1:{api_port}"}
    processes.write_whole(state() / "cluster.json", json.dumps(recorded))
    machine.keep()


def waiting(subject: str, limit: int) -> None:
    say(f"waiting for {subject} ({limit} s at most)")


def find_tools() -> node.Tools:
    containerd, runc = shutil.which("containerd"), shutil.which("runc")
    cni, mode = packages.cni_folder(), packages.proxy_mode()
    if not (containerd and runc and cni and mode):
        raise Failed(
            "a program that was installed a moment ago is missing: containerd, runc, the CNI plug-ins, or nft and iptables"
        )
    return node.Tools(
        kubernetes=build.kubernetes().folder(),
        registry=build.registry().folder(),
        node=build.node().folder(),
        containerd=containerd,
        runc=runc,
        cni=cni,
        proxy_mode=mode,
    )


def listen(ports: range) -> socket.socket:
    """A listening socket on 127.0.0.1, on the first of these ports that is free, else on any port."""
    for port in [*ports, 0]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(512)
        except OSError:
            listener.close()
            continue
        return listener
    raise Failed("no port of 127.0.0.1 is free")


def make_certificates(tools: node.Tools) -> None:
    node.pki().mkdir(mode=0o700)
    log = logs() / "pki.log"
    with open(log, "wb") as output:
        done = subprocess.run(
            [str(tools.node / "pki"), str(node.pki())],
            input=json.dumps(node.certificates()).encode(),
            stdout=output,
            stderr=output,
        )
    if done.returncode:
        raise Failed(f"the certificates could not be made; see {log}")


def snapshotter() -> str:
    """overlayfs where this file system supports it. One that is itself an overlay, as in a container, does not."""
    with tempfile.TemporaryDirectory(dir=state()) as folder:
        for name in ("lower", "upper", "work", "all"):
            os.mkdir(f"{folder}/{name}")
        options = ",".join(f"{option}dir={folder}/{option}" for option in ("lower", "upper", "work"))
        mount = ["mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/all"]
        tried = subprocess.run(["unshare", "--mount", "--", *mount], capture_output=True)
    return "overlayfs" if tried.returncode == 0 else "native"


def ctr(*arguments: str) -> list[str]:
    return ["ctr", "--address", str(containerd_socket()), "--namespace", "k8s.io", *arguments]


def containerd_answers() -> bool:
    return subprocess.run(ctr("version"), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def import_images(archive: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start importing images into containerd; returns the process and the name of its log."""
    name = f"import-{archive.parent.name.partition('-')[0]}"
    with open(logs() / f"{name}.log", "wb") as log:
        command = ctr("images", "import", str(archive))
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log), name


def finish_import(process: subprocess.Popen[bytes], log: str) -> None:
    processes.wait_until("the images were in containerd", 60, log, lambda: process.poll() is not None)
    if process.returncode:
        raise Failed(f"containerd could not import the images; see {logs() / log}.log")


def api_answers(port: int) -> bool:
    """Whether the API server is ready, which it reports without authentication."""
    context = ssl.create_default_context(cafile=str(node.pki() / "ca.crt"))
    return answers(f"https://127.0.0.1:{port}/readyz", context)


def registry_answers(port: int) -> bool:
    return answers(f"http://127.0.0.1:{port}/v2/")


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    # Without a proxy, because the address is on this machine.
    handlers = [urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
