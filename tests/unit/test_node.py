"""Which node an image is loaded into, and what is done with the answers of its `ctr` (a stand-in; tests/argo has a real one)."""

from __future__ import annotations

import json
import os
import socket
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Builds
from toolkit.build.delivery import node as node_module
from toolkit.build.delivery.node import Node, find_nodes, load_into_node
from toolkit.build.image.archive import digest_of, oci_manifest
from toolkit.errors import BadInput, Infrastructure

CTR = """\
#!{python}
# A containerd in a folder: what it lacks it does not miss, as the real one.
import json, os, sys, tarfile
home = {home!r}
arguments = sys.argv[1:]
open(home + "/seen", "a").write(json.dumps(arguments) + "\\n")
blobs, images = home + "/blobs", home + "/images"
os.makedirs(blobs, exist_ok=True), os.makedirs(images, exist_ok=True)
words = [one for one in arguments if not one.startswith("--") or one == "--no-unpack"][1:]
if os.path.exists(home + "/broken"):
    print("time=x level=info msg=y\\nctr: " + open(home + "/broken").read(), file=sys.stderr)
    sys.exit(1)
words = [one for one in words if one != "--no-unpack"]
if words[:2] == ["images", "import"]:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member).read()
            if member.name.startswith("blobs/sha256/"):
                if os.path.exists(home + "/forgets"):
                    continue
                open(blobs + "/" + os.path.basename(member.name), "wb").write(content)
            if member.name == "index.json":
                index = json.loads(content)
    for entry in index["manifests"]:
        name = entry["annotations"]["io.containerd.image.name"]
        open(images + "/" + name.replace("/", "%"), "w").write(entry["digest"])
elif words[:2] == ["images", "check"]:
    print("REF TYPE DIGEST STATUS SIZE UNPACKED")
    for file in os.listdir(images):
        digest = open(images + "/" + file).read()
        try:
            manifest = json.load(open(blobs + "/" + digest[7:]))
            parts = [manifest["config"], *manifest["layers"]]
            lacks = [part for part in parts if not os.path.exists(blobs + "/" + part["digest"][7:])]
        except OSError:
            lacks = [1]
        status = "incomplete (1/3)" if lacks else "complete (3/3)"
        if 'name=="%s"' % file.replace("%", "/") in words:
            print(file.replace("%", "/"), "type", digest, status, "1.0 KiB/1.0 KiB", "false")
elif words[:2] == ["images", "rm"]:
    os.unlink(images + "/" + words[2].replace("/", "%"))
elif words[:2] == ["content", "ls"]:
    print("\\n".join("sha256:" + one for one in os.listdir(blobs)))
"""


class StandIn:
    """A node whose `ctr` is a program of the test's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        folder.mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "ctr").write_text(CTR.format(python=sys.executable, home=str(folder)))
        (folder / "bin" / "ctr").chmod(0o755)
        self.node = Node("the node", (str(folder / "bin" / "ctr"), "--namespace", "k8s.io"))

    def seen(self) -> list[list[str]]:
        lines = (self.home / "seen").read_text().splitlines()
        (self.home / "seen").unlink()
        return [[one for one in json.loads(line) if not one.startswith("name==")][2:] for line in lines]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "node")


@pytest.fixture
def project(tmp_path: Path) -> Builds:
    (tmp_path / "build").mkdir()
    return Builds(tmp_path / "build")


def ignore(sentence: str) -> None:
    pass


def test_all_is_sent_once_then_the_code_alone_and_then_nothing(stand_in: StandIn, project: Builds) -> None:
    contents, engine = project.build("one")
    loaded = load_into_node(stand_in.node, contents, ignore)
    assert (len(loaded.sent), loaded.total, engine.saves) == (3, 3, 1)
    stand_in.seen()

    contents, engine = project.build("two")
    loaded = load_into_node(stand_in.node, contents, ignore)
    assert (list(loaded.sent.values()), loaded.total, engine.saves) == ([300], 3, 0)
    assert stand_in.seen() == [["images", "import", "--no-unpack", "-"], ["images", "check"]]

    unchanged, engine = project.build("two", changed=False)
    assert load_into_node(stand_in.node, unchanged, ignore).sent == {}
    assert stand_in.seen() == [["images", "check"]]


def test_a_node_that_lost_layers_gets_those(stand_in: StandIn, project: Builds) -> None:
    load_into_node(stand_in.node, project.build("one")[0], ignore)
    (stand_in.home / "blobs" / digest_of(project.below[1])[7:]).unlink()
    # The image is there by name, but not whole; and a change of the code finds the same.
    for (contents, engine), layers in ((project.build("one", changed=False), 1), (project.build("two"), 2)):
        said: list[str] = []
        loaded = load_into_node(stand_in.node, contents, said.append)
        assert (len(loaded.sent), engine.saves) == (layers, 1) and "exported" in said[0]
        (stand_in.home / "blobs" / digest_of(project.below[1])[7:]).unlink()


def test_a_large_file_is_sent_once_from_the_project_or_else_from_the_engine(stand_in: StandIn, project: Builds) -> None:
    load_into_node(stand_in.node, project.build("one", large=b"x" * 5000)[0], ignore)
    contents, engine = project.build("two", large=b"x" * 5000)
    assert list(load_into_node(stand_in.node, contents, ignore).sent.values()) == [300]

    contents, engine = project.build("three", large=b"y" * 5000)
    sent = load_into_node(stand_in.node, contents, ignore).sent
    assert sorted(sent.values()) == [500, 7168] and engine.saves == 0

    contents, engine = project.build("four", large=b"z" * 5000)
    project.large_file.write_bytes(b"changed since the build")
    sent = load_into_node(stand_in.node, contents, ignore).sent
    assert sorted(sent.values()) == [400, 7168] and engine.saves == 1


def test_the_name_is_the_one_that_a_kubelet_asks_for_and_another_image_of_it_is_replaced(
    stand_in: StandIn, project: Builds
) -> None:
    contents, _ = project.build("one")
    load_into_node(stand_in.node, contents, ignore)
    file = stand_in.home / "images" / "docker.io%library%name:tag"
    known, config = contents.stored_layers(), contents.config
    assert known is not None and config is not None and file.read_text() == digest_of(oci_manifest(config, known))
    load_into_node(stand_in.node, project.build("two")[0], ignore)
    other = file.read_text()
    contents, _ = project.build("one", changed=False)
    load_into_node(stand_in.node, contents, ignore)
    assert file.read_text() != other


def test_a_node_that_keeps_nothing_is_an_error_and_no_half_image_stays(stand_in: StandIn, project: Builds) -> None:
    (stand_in.home / "forgets").touch()
    with pytest.raises(Infrastructure, match="the node does not accept the image name:tag"):
        load_into_node(stand_in.node, project.build("one")[0], ignore)
    assert not list((stand_in.home / "images").iterdir())


@pytest.mark.parametrize(
    "said", ["failed to dial: permission denied", "failed to dial: connection refused", "\x1b[31mx"]
)
def test_a_node_that_is_gone_is_one_sentence(stand_in: StandIn, project: Builds, said: str) -> None:
    (stand_in.home / "broken").write_text(said)
    with pytest.raises(Infrastructure) as failed:
        load_into_node(stand_in.node, project.build("one")[0], ignore)
    message = str(failed.value)
    assert message.startswith("the node") and message.isprintable()
    assert ("root" in message) == ("permission" in said)


def test_a_node_that_hangs_is_given_up(project: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "IMPORT_TIMEOUT", 0.5)
    monkeypatch.setattr(node_module, "QUERY_TIMEOUT", 0.5)
    program = tmp_path / "ctr"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(Infrastructure, match="did not answer within"):
        load_into_node(Node("the node", (str(program),)), project.build("one", changed=False)[0], ignore)


class Places:
    """A kubeconfig, sockets that something listens on, and a Docker engine with containers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: list[socket.socket] = []
        self.containers: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def socket(self, name: str) -> str:
        listening = socket.socket(socket.AF_UNIX)
        os.chdir(self.folder)  # a socket's path is short
        listening.bind(name)
        self.open.append(listening)
        return str(self.folder / name)

    def kubeconfig(self, name: str, current: str, **contexts: str | None) -> str:
        """Contexts and the socket that their cluster's extension names."""
        clusters = []
        for context, address in contexts.items():
            cluster: dict[str, Any] = {"server": "https://127.0.0.1:6443"}
            if address:
                extension = {"name": "dev.toolkit.containerd", "extension": {"address": address}}
                cluster["extensions"] = [{"name": "other", "extension": 1}, extension]
            clusters.append({"name": f"the-{context}", "cluster": cluster})
        document = {
            "current-context": current,
            "clusters": clusters,
            "contexts": [
                {"name": context.replace("_", "-"), "context": {"cluster": f"the-{context}"}} for context in contexts
            ],
        }
        file = self.folder / name
        file.write_text(json.dumps(document))
        return str(file)

    def json(self, path: str) -> Any:
        self.asked.append(path)
        return self.containers


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> Iterator[Places]:
    monkeypatch.delenv("CONTAINERD_ADDRESS", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(node_module, "_SOCKETS", ())
    (stand_in.home / "bin" / "docker").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{stand_in.home / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    places = Places(tmp_path)
    yield places
    for one in places.open:
        one.close()


def names(places: Places, **options: Any) -> list[str]:
    return [node.name for node in find_nodes(places, **options)]  # type: ignore[arg-type]


def test_what_is_said_most_plainly_chooses_the_node(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    option, variable, extension = places.socket("o"), places.socket("v"), places.socket("e")
    first = places.kubeconfig("first", "", plain=None)
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{places.kubeconfig('second', 'near', near=extension)}")
    assert names(places) == [f"containerd at {extension}"]
    assert names(places, context="plain", well_known=False) == []
    monkeypatch.setenv("CONTAINERD_ADDRESS", f"unix://{variable}")
    assert names(places) == [f"containerd at {variable}"]
    assert names(places, address=option) == [f"containerd at {option}"]


def test_all_nodes_of_a_kind_cluster_are_loaded_into(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", places.kubeconfig("config", "kind-two", kind_two=None))
    roles = ("control-plane", "worker", "external-load-balancer")
    places.containers = [
        {"Names": [f"/two-{role}"], "Labels": {"io.x-k8s.kind.cluster": "two", "io.x-k8s.kind.role": role}}
        for role in roles
    ]
    found = find_nodes(places)  # type: ignore[arg-type]
    assert [node.name for node in found] == ["kind node two-control-plane", "kind node two-worker"]
    assert found[1].within[1:] == ("exec", "--interactive", "two-worker")
    assert "io.x-k8s.kind.cluster%3Dtwo" in places.asked[0]
    places.containers = []
    with pytest.raises(BadInput, match="kind cluster 'two' has no running node"):
        names(places)


def test_the_nodes_of_a_k3d_cluster_have_the_containerd_of_k3s(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", places.kubeconfig("config", "k3d-two", k3d_two=None))
    places.containers = [
        {"Names": [f"/k3d-two-{role}"], "Labels": {"k3d.cluster": "two", "k3d.role": role}}
        for role in ("server", "agent", "loadbalancer", "registry")
    ]
    found = find_nodes(places)  # type: ignore[arg-type]
    assert [node.name for node in found] == ["k3d node k3d-two-agent", "k3d node k3d-two-server"]
    assert found[0].ctr[1:3] == ("--address", "/run/k3s/containerd/containerd.sock")
    assert "k3d.cluster%3Dtwo" in places.asked[0] and node_module.names_node(places, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kubelet", "expected"),
    [
        ('A="--x --container-runtime-endpoint=unix:///run/containerd/containerd.sock --y"', "containerd"),
        ("containerRuntimeEndpoint: unix:///var/run/cri-dockerd.sock", "docker"),
        ('containerRuntimeEndpoint: "unix:///var/run/crio/crio.sock"', "runs CRI-O, into which an image can't be"),
        ("", "runs a container runtime that its kubelet does not tell"),
    ],
)
def test_what_a_node_of_minikube_is_loaded_into_its_kubelet_says(
    places: Places, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn, kubelet: str, expected: str
) -> None:
    docker = stand_in.home / "bin" / "docker"
    docker.unlink()
    docker.write_text(f"#!/bin/sh\ncat <<'END'\n{kubelet}\nEND\n")
    docker.chmod(0o755)
    extension = {"name": "cluster_info", "extension": {"provider": "minikube.sigs.k8s.io"}}
    config = {
        "current-context": "mine",
        "contexts": [{"name": "mine", "context": {"cluster": "profile"}}],
        "clusters": [{"name": "profile", "cluster": {"extensions": [extension]}}],
    }
    (places.folder / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(places.folder / "config"))
    label, node = "name.minikube.sigs.k8s.io", "mode.minikube.sigs.k8s.io"
    places.containers = [
        {"Names": ["/profile"], "Labels": {label: "profile", node: "profile"}},
        {"Names": ["/profile-preload-sidecar"], "Labels": {label: "profile"}},
    ]
    if expected in ("containerd", "docker"):
        (found,) = find_nodes(places)  # type: ignore[arg-type]
        assert found.name == "minikube node profile" and found.has_docker == (expected == "docker")
        assert found.has_docker or found.ctr[1:3] == ("--address", "/run/containerd/containerd.sock")
    else:
        with pytest.raises(BadInput, match=expected):
            names(places)
    assert "name.minikube.sigs.k8s.io%3Dprofile" in places.asked[0]
    # A run that asks for no load names the image as it is named otherwise.
    assert node_module.names_node(places, None) == (expected in ("containerd", "docker"))  # type: ignore[arg-type]
    places.containers = []
    with pytest.raises(BadInput, match=r"minikube cluster 'profile' has no running node.*minikube image load"):
        names(places)
    assert not node_module.names_node(places, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["option", "variable", "extension"])
def test_a_socket_that_is_none_is_told_by_who_named_it(
    places: Places, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    missing = str(places.folder / "missing.sock")
    if source == "variable":
        monkeypatch.setenv("CONTAINERD_ADDRESS", missing)
    monkeypatch.setenv("KUBECONFIG", places.kubeconfig("config", "near", near=missing))
    expected = {"option": "--node", "variable": "CONTAINERD_ADDRESS", "extension": "context near"}[source]
    with pytest.raises(BadInput, match=f"{expected} names '{missing}', where no containerd listens"):
        names(places, address=missing if source == "option" else None)


def test_with_no_node_at_all_the_ways_are_named(places: Places) -> None:
    with pytest.raises(BadInput, match=r"--node or CONTAINERD_ADDRESS.*kind.*dev.toolkit.containerd.*--push"):
        names(places)
    assert names(places, well_known=False) == []


@pytest.mark.parametrize(
    "content", ["a: [", "[]", "contexts: 1\nclusters: [1, {name: x}]\ncurrent-context: {a: 1}", "\x00"]
)
def test_a_broken_kubeconfig_is_no_traceback(places: Places, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (places.folder / "config").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(places.folder / "config"))
    with pytest.raises(BadInput) as failed:
        names(places)
    assert "\n" not in str(failed.value)


def test_a_context_that_does_not_exist_is_refused(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", places.kubeconfig("config", "", near=None))
    with pytest.raises(BadInput, match=r"no context 'far' \(it has near\)"):
        names(places, context="far")


def test_the_archive_holds_no_name_that_leads_elsewhere(project: Builds, tmp_path: Path) -> None:
    from toolkit.build.image.archive import oci_members, stream

    contents, _ = project.build("one")
    with contents.exported() as layers:
        assert contents.config is not None
        data = b"".join(stream(oci_members(contents.config, ("name:tag",), layers)))
    (tmp_path / "a.tar").write_bytes(data)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert all(name.startswith(("blobs/sha256/", "index.json", "oci-layout")) for name in tar.getnames())
