"""A built image in a real registry and in the containerd of a real node: all of it, under the right name, and no byte too many."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.scratch import Result, Scratch
from toolkit.engine import EngineApi

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

pytestmark = pytest.mark.argo

SENT = re.compile(r"(?:pushed|loaded) .*\((?:sent (\d+) of (\d+) layers|it was there)")


FIRST = ("2/3", "3/3")
"""The layers of a first load: the environment's, the runtime's, which the node may have because of other images, and the code's."""


class Delivery:
    """A project on an environment of its own, whose layers no other image shares."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.raw = EngineApi()
        self.scratch = self.project(folder / "project")

    def project(self, root: Path) -> Scratch:
        root.mkdir()
        scratch = Scratch(root, {"TOOLKIT_REGISTRY": None, "CONTAINERD_ADDRESS": None})
        scratch.write(
            {"toolkit.yaml": f"executor: {{config: {{image: '{self.name}:base'}}}}\n", "app.py": "VALUE = 0\n"}
        )
        return scratch

    def make_base(self, folder: Path, size: int) -> str:
        """Makes the environment, an image of one layer; its diff id."""
        (folder / "unique").write_bytes(os.urandom(size))
        with tarfile.open(folder / "base.tar", "w") as tar:
            tar.add(folder / "unique", "unique")
        subprocess.run(["docker", "import", str(folder / "base.tar"), f"{self.name}:base"], check=True, stdout=-3)
        image = self.raw.image(f"{self.name}:base")
        assert image is not None
        return str(image["RootFS"]["Layers"][0])

    def change(self, scratch: Scratch | None = None) -> None:
        (scratch or self.scratch).write({"app.py": f"VALUE = {uuid.uuid4().hex!r}\n"})

    def build(self, *options: str, scratch: Scratch | None = None) -> tuple[str, str]:
        """The reference that is printed, and how many layers were sent, as in `1/2`, or `none`."""
        result = (scratch or self.scratch).toolkit("build", *options)
        assert result.code == 0, result.err
        found = SENT.findall(result.err)
        sent = [f"{layers}/{total}" if total else "none" for layers, total in found]
        return result.out.strip(), " ".join(sent)

    def push(self) -> tuple[str, str]:
        self.scratch.environ["TOOLKIT_REGISTRY"] = self.cluster.need_registry()
        return self.build("--push")

    def load(self, scratch: Scratch | None = None) -> tuple[str, str]:
        return self.build("--load", "--node", self.socket, scratch=scratch)

    @property
    def socket(self) -> str:
        if not self.cluster.containerd:
            pytest.skip("the cluster that is named has no node on this machine")
        return self.cluster.containerd

    def ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def image_id(self, reference: str) -> str:
        image = self.raw.image(reference)
        assert image is not None
        return str(image["Id"])

    def on_node(self, name: str) -> str:
        """The config digest of the image of that name on the node, all of whose content is there."""
        row = self.ctr("images", "check", f'name=="{name}"').splitlines()[1].split()
        assert row[3] == "complete", row
        manifest = json.loads(self.ctr("content", "get", row[2]))
        return str(manifest["config"]["digest"])


@pytest.fixture
def delivery(cluster: Cluster, tmp_path: Path) -> Iterator[Delivery]:
    delivery = Delivery(cluster, tmp_path)
    yield delivery
    for image in delivery.raw.json("/images/json") or []:
        for tag in [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]:
            if delivery.name in tag:
                delivery.raw.call("DELETE", f"/images/{tag}?force=true&noprune=true")
    if cluster.containerd:
        names = [name for name in delivery.ctr("images", "ls", "-q").split() if delivery.name in name]
        if names:
            delivery.ctr("images", "rm", *names)


def full(reference: str) -> str:
    return f"docker.io/library/{reference}"


@pytest.mark.core("an image could arrive as another in a registry; no pod")
def test_a_pushed_image_is_pulled_by_its_digest_as_the_same_and_a_change_sends_one_layer(
    delivery: Delivery, tmp_path: Path
) -> None:
    delivery.make_base(tmp_path, 300_000)
    first, sent = delivery.push()
    assert sent == "3/3"
    local, _ = delivery.build()
    for _ in range(2):
        assert delivery.push() == (first, "none")
    # The engine and the node pull it by the digest that was printed, and find the image that was built.
    assert first.startswith(f"{delivery.cluster.need_registry()}/{delivery.name}-toolkit@sha256:")
    subprocess.run(["docker", "pull", "--quiet", first], check=True, stdout=-3)
    assert delivery.image_id(first) == delivery.image_id(local)
    if delivery.cluster.containerd:
        delivery.ctr("images", "pull", "--plain-http", first)
        assert delivery.on_node(first) == delivery.image_id(local)

    delivery.change()
    second, sent = delivery.push()
    assert sent == "1/3" and second != first
    # From another checkout without any memory, the same image is found and not sent.
    other = delivery.project(tmp_path / "other")
    other.environ["TOOLKIT_REGISTRY"] = delivery.cluster.need_registry()
    assert delivery.build("--push", scratch=other) == (first, "none")


@pytest.mark.core("half an image could be left; no pod")
def test_a_killed_push_leaves_nothing_to_be_seen_and_is_taken_up_again(delivery: Delivery, tmp_path: Path) -> None:
    delivery.make_base(tmp_path, 40_000_000)
    delivery.scratch.environ["TOOLKIT_REGISTRY"] = delivery.cluster.need_registry()
    process = delivery.scratch.start("build", "--push")
    delivery.scratch.wait_for(lambda: list(delivery.scratch.root.glob(".toolkit/build/packed-*")))
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reference, sent = delivery.push()
    assert sent in ("1/3", "2/3", "3/3")
    subprocess.run(["docker", "pull", "--quiet", reference], check=True, stdout=-3)


def test_a_registry_that_is_gone_is_one_sentence(delivery: Delivery, tmp_path: Path) -> None:
    delivery.make_base(tmp_path, 1000)
    delivery.scratch.environ["TOOLKIT_REGISTRY"] = "127.0.0.1:1/team"
    result = delivery.scratch.toolkit("build", "--push")
    assert (result.code, result.out) == (3, "")
    assert result.err.splitlines()[-1].startswith("toolkit: the registry 127.0.0.1:1 cannot be reached")


@pytest.mark.core("a node could run other code; no pod")
def test_a_node_gets_the_code_alone_and_the_image_stays_whole(delivery: Delivery, tmp_path: Path) -> None:
    base = delivery.make_base(tmp_path, 300_000)
    first, sent = delivery.load()
    assert sent in FIRST and delivery.on_node(full(first)) == delivery.image_id(first)
    assert delivery.load() == (first, "none")
    delivery.change()
    second, sent = delivery.load()
    assert sent == "1/3" and delivery.on_node(full(second)) == delivery.image_id(second)
    # The kubelet knows it: it was told by containerd.
    assert "io.cri-containerd.image=managed" in delivery.ctr("images", "ls", f'name=="{full(second)}"')

    # The older one is removed, and the garbage with it: the newer one keeps what both had.
    delivery.ctr("images", "rm", "--sync", full(first), delivery.image_id(first))
    assert delivery.on_node(full(second)) == delivery.image_id(second)

    # A node that has lost a layer gets it again, though the image's name is there.
    delivery.ctr("content", "rm", base)
    assert delivery.load() == (second, "1/3")
    assert delivery.on_node(full(second)) == delivery.image_id(second)
    delivery.ctr("content", "rm", base)
    delivery.change()
    third, sent = delivery.load()
    assert sent == "2/3"
    assert delivery.on_node(full(third)) == delivery.image_id(third)


def test_another_image_under_the_name_is_replaced(delivery: Delivery, tmp_path: Path) -> None:
    delivery.make_base(tmp_path, 1000)
    first, _ = delivery.load()
    delivery.change()
    second, _ = delivery.load()
    delivery.ctr("images", "tag", "--force", full(first), full(second))
    assert delivery.on_node(full(second)) == delivery.image_id(first)
    delivery.load()
    assert delivery.on_node(full(second)) == delivery.image_id(second)


def test_loads_at_once_do_not_disturb_each_other(delivery: Delivery, tmp_path: Path) -> None:
    delivery.make_base(tmp_path, 20_000_000)
    projects = [delivery.scratch, *(delivery.project(tmp_path / f"project-{number}") for number in range(3))]
    for scratch in projects[1:3]:
        delivery.change(scratch)
    # The first and the last are the same image.
    with ThreadPoolExecutor(4) as pool:
        references = [reference for reference, _ in pool.map(delivery.load, projects)]
    assert len(set(references)) == 3
    for reference in references:
        assert delivery.on_node(full(reference)) == delivery.image_id(reference)


@pytest.mark.core("a pod could run other code than what was built")
def test_pods_run_what_was_loaded_and_what_was_pushed(delivery: Delivery, namespace: str, tmp_path: Path) -> None:
    """Three images are built and delivered, and two pods run: about 25 s."""
    # Given a project in an environment with a Python,
    scratch = delivery.project(tmp_path / delivery.name)
    (scratch.root / "toolkit.yaml").unlink()
    images = {}
    if delivery.cluster.containerd:
        # The second load brings the code alone, which no one has unpacked yet.
        delivery.load(scratch)
        delivery.change(scratch)
        loaded, sent = delivery.load(scratch)
        layers, total = sent.split("/")
        assert layers == "1" and int(total) > 1
        images["loaded"] = (loaded, "Never")
    scratch.environ["TOOLKIT_REGISTRY"] = delivery.cluster.need_registry()
    pushed, _ = delivery.build("--push", scratch=scratch)
    images["pushed"] = (pushed, "IfNotPresent")
    # when pods run both,
    value = (scratch.root / "app.py").read_text().split("'")[1]
    for name, (image, policy) in images.items():
        pod = _pod(name, image, policy)
        delivery.cluster.must("-n", namespace, "create", "-f", "-", text=json.dumps(pod))
    # then each finds the code as it is now.
    for name in images:
        done = ("--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=120s")
        waited = delivery.cluster.run("-n", namespace, "wait", *done, limit=130)
        assert waited.returncode == 0, delivery.cluster.must("-n", namespace, "describe", "pod", name)
        assert delivery.cluster.must("-n", namespace, "logs", name).strip() == value


def _pod(name: str, image: str, policy: str) -> dict[str, object]:
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": policy,
        "command": ["python3", "-c", "import sys; sys.path.insert(0, '.'); import app; print(app.VALUE)"],
        "securityContext": security,
    }
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_both_at_once_print_the_digest(delivery: Delivery, tmp_path: Path) -> None:
    delivery.make_base(tmp_path, 1000)
    delivery.scratch.environ["TOOLKIT_REGISTRY"] = f"{delivery.cluster.need_registry()}/some/folder"
    reference, sent = delivery.build("--push", "--load", "--node", delivery.socket)
    assert f"/some/folder/{delivery.name}-toolkit@sha256:" in reference
    assert sent in {f"3/3 {loaded}" for loaded in FIRST}


@pytest.mark.parametrize("socket", ["/nowhere; touch hacked", "--help", "https://127.0.0.1:1"])
def test_a_node_that_is_none_is_refused(delivery: Delivery, tmp_path: Path, socket: str) -> None:
    delivery.make_base(tmp_path, 1000)
    result: Result = delivery.scratch.toolkit("build", f"--node={socket}")
    assert (result.code, result.out) == (2, "") and "no containerd listens" in result.err
    assert not (delivery.scratch.root / "hacked").exists()


def test_a_bill_of_materials_is_attached_to_a_pushed_image_once(delivery: Delivery, tmp_path: Path) -> None:
    import urllib.request

    # In an environment with a Python, which says what is installed.
    scratch = delivery.project(tmp_path / delivery.name)
    (scratch.root / "toolkit.yaml").unlink()
    scratch.environ["TOOLKIT_REGISTRY"] = delivery.cluster.need_registry()
    results = [scratch.toolkit("build", "--push", "--sbom", "sbom.json") for _ in range(2)]
    assert [("attached" in result.err, result.code) for result in results] == [(True, 0), (False, 0)]
    name, _, digest = results[0].out.strip().partition("@")
    assert results[1].out == results[0].out
    host, _, path = name.partition("/")
    # This registry has no API for referrers, so that an index lists them.
    address = f"http://{host}/v2/{path}/manifests/{digest.replace(':', '-')}"
    request = urllib.request.Request(address, headers={"Accept": "application/vnd.oci.image.index.v1+json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        (row,) = json.load(answer)["manifests"]
    assert row["artifactType"] == "application/vnd.cyclonedx+json"
