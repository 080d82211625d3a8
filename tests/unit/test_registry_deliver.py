"""Where an image goes when nothing says so, and what a manifest then names it by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Builds, write_project
from tests.support.registry import StandIn, digest_of
from toolkit.build.delivery import node as node_module
from toolkit.build.delivery.annotations import REVISION, VERSION, manifest_annotations
from toolkit.build.delivery.deliver import DeliveredImage, deliver, foresee_delivery
from toolkit.build.delivery.node import LoadResult, Node
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import ImageContents
from toolkit.config.load import load as load_config
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure

Deliver = Callable[..., DeliveredImage]
DIGEST = Builds(Path()).build("one", kept=False)[0].image.digest
"""Of the image that is delivered here, whatever its name."""
NAME_ONLY = {"push": False, "load": False}


class Engine(EngineApi):
    """A Docker engine with the images of a test."""

    def __init__(self, images: dict[str, dict[str, Any]]) -> None:
        self.images = images

    def json(self, path: str) -> Any:
        return self.images.get(path.removeprefix("/images/").removesuffix("/json"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def deliver_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Deliver:
    """Delivers `image` of a project with this `build` section; what was loaded is in the sentences."""
    for name in ("TOOLKIT_REGISTRY", "TOOLKIT_CONFIG", "CONTAINERD_ADDRESS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(node_module, "_SOCKETS", ())

    def load(node: Node, contents: ImageContents, report: Callable[[str], None]) -> LoadResult:
        return LoadResult({"sha256:1": 2100}, 4)

    monkeypatch.setattr(node_module, "load_into_node", load)
    monkeypatch.setattr(node_module, "_is_socket", lambda path: True)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")

    def work(
        reference: str, build: str = "", engine: dict[str, dict[str, Any]] | None = None, existing: bool = False, **options: Any
    ) -> DeliveredImage:  # fmt: skip
        (tmp_path / "toolkit.yaml").write_text(f"build: {{{build}}}\n")
        project = load_config(tmp_path / "toolkit.yaml", tmp_path, {})
        (tmp_path / ".toolkit" / "build").mkdir(parents=True, exist_ok=True)
        contents, _ = Builds(tmp_path / ".toolkit" / "build").build("one")
        image = contents.image
        built = BuiltImage(reference, image.digest, image.code, "", "", True, existing, reference)
        saves = _Saves(engine or {}, Builds(tmp_path / ".toolkit" / "build").build("one")[1])
        return deliver(project, built, said.append, engine=saves, **options)

    return work


class _Saves(Engine):
    def __init__(self, images: dict[str, dict[str, Any]], saved: Any) -> None:
        super().__init__(images)
        self.save = saved.save  # type: ignore[method-assign]


def test_a_name_with_a_registry_is_pushed_and_named_by_its_digest(
    deliver_to: Deliver, stand_in: StandIn, said: list[str]
) -> None:
    found = deliver_to(f"{stand_in.host}/team/name:tag")
    digest = digest_of(stand_in.manifests["team/name", "tag"])
    assert found.reference == f"{stand_in.host}/team/name@{digest}" and not found.pull_policy_never
    assert said[-1].startswith(f"pushed {stand_in.host}/team/name:tag (sent 3 of 3 layers, ")
    said.clear()
    assert deliver_to(f"{stand_in.host}/team/name:tag").reference == found.reference
    assert said == [f"pushed {stand_in.host}/team/name:tag (it was there already, nothing was sent)"]


def test_a_bill_of_materials_is_attached_at_the_push(deliver_to: Deliver, stand_in: StandIn, said: list[str]) -> None:
    name = f"{stand_in.host}/team/name:tag"
    found = deliver_to(name, push=True, materials=b"{}\n")
    assert said[-1].endswith(", its bill of materials attached")
    assert deliver_to(name, push=True, materials=b"{}\n").reference == found.reference
    assert said[-1].endswith("(it was there already, nothing was sent)")
    # The image is there, and the sentence says so. Where none is wanted, nothing is asked for it.
    stand_in.faults["PUT manifest"] = [400]
    with pytest.raises(
        Infrastructure, match=r"the image was pushed, but its bill of materials can't be attached: .*a fault"
    ):
        deliver_to(name, push=True, materials=b"{ }\n")
    stand_in.seen.clear()
    deliver_to(name, push=True)
    assert not stand_in.count("GET /v2/team/name/referrers")


@pytest.mark.parametrize("variable", [True, False])
def test_the_setting_says_which_registry_a_plain_name_is_pushed_to(
    deliver_to: Deliver, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    if variable:
        monkeypatch.setenv("TOOLKIT_REGISTRY", f"{stand_in.host}/prefix")
    found = deliver_to("team/name:tag", f"registry: '{'registry.example' if variable else stand_in.host + '/prefix'}'")
    assert found.reference.startswith(f"{stand_in.host}/prefix/team/name@sha256:")


def test_where_an_image_would_be_sent_is_said_without_sending_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOOLKIT_REGISTRY", "CONTAINERD_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(node_module, "_is_socket", lambda path: True)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    (tmp_path / "toolkit.yaml").write_text("build: {registry: host.invalid/team}\n")
    project = load_config(tmp_path / "toolkit.yaml", tmp_path, {})
    said = foresee_delivery(project, "name", True, True, node="/x.sock", engine=Engine({}))
    assert said[0] == "the layers that host.invalid lacks would be pushed to host.invalid/team/name"
    assert "would be loaded into" in said[1] and "/x.sock" in said[1]
    (tmp_path / "toolkit.yaml").write_text("{}\n")
    project = load_config(tmp_path / "toolkit.yaml", tmp_path, {})
    assert "found on this machine" in foresee_delivery(project, "name", False, True, engine=Engine({}))[0]
    with pytest.raises(BadInput, match="--push needs a registry"):
        foresee_delivery(project, "name", True, False, engine=Engine({}))
    assert not (tmp_path / ".toolkit").exists()


def test_without_a_registry_a_node_that_something_names_is_loaded_into(
    deliver_to: Deliver, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/x.sock")
    found = deliver_to("name:tag")
    assert (found.reference, found.pull_policy_never) == ("name:tag", True)
    # Its pods name it by what no other image is called.
    assert found.name_in_pods == f"name:{DIGEST.removeprefix('sha256:')}"
    assert said == [found.how] == ["loaded name:tag into containerd at /x.sock (sent 1 of 4 layers, 2.1 kB)"]


def test_with_neither_nothing_is_sent_and_never_pulled(deliver_to: Deliver, said: list[str]) -> None:
    found = deliver_to("name:tag")
    assert (found.name_in_pods, found.pull_policy_never) == ("name:tag", True)
    assert said == [found.how] and "neither pushed nor loaded" in found.how


def test_a_run_sends_nothing_to_a_minikube_whose_nodes_are_no_containers(
    deliver_to: Deliver, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension = {"name": "cluster_info", "extension": {"provider": "minikube.sigs.k8s.io"}}
    config = {
        "current-context": "minikube",
        "contexts": [{"name": "minikube", "context": {"cluster": "minikube"}}],
        "clusters": [{"name": "minikube", "cluster": {"extensions": [extension]}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    found = deliver_to("name:tag")
    assert (found.name_in_pods, found.pull_policy_never) == ("name:tag", True) and "neither pushed" in found.how
    assert deliver_to("name:tag", **NAME_ONLY).name_in_pods == "name:tag"
    with pytest.raises(BadInput, match=r"no running node.*minikube image load"):
        deliver_to("name:tag", load=True)


def test_what_is_asked_for_is_done_or_refused(deliver_to: Deliver, stand_in: StandIn, said: list[str]) -> None:
    with pytest.raises(BadInput, match="--push needs a registry, and the name name has none"):
        deliver_to("name:tag", push=True)
    with pytest.raises(BadInput, match="no containerd node is found"):
        deliver_to("name:tag", load=True)
    # Loading alone does not push; both do both.
    setting = f"registry: '{stand_in.host}'"
    assert deliver_to("name:tag", setting, node="/x.sock").reference == "name:tag"
    assert not stand_in.seen
    found = deliver_to("name:tag", setting, push=True, node="/x.sock")
    assert found.reference.startswith(f"{stand_in.host}/name@sha256:") and not found.pull_policy_never
    assert [sentence.split()[0] for sentence in said][-2:] == ["pushed", "loaded"]
    assert deliver_to("name:tag", setting, push=False).pull_policy_never


@pytest.mark.parametrize("value", ["registry", "http://", "a.b/UPPER", "user:password@host.example", "a.b/../c"])
def test_a_registry_that_is_none_is_refused(deliver_to: Deliver, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(BadInput, match=r"build\.registry must"):
        deliver_to("name:tag", f"registry: '{value}'")
    monkeypatch.setenv("TOOLKIT_REGISTRY", value)
    with pytest.raises(BadInput, match="TOOLKIT_REGISTRY must"):
        deliver_to("name:tag")


def test_an_existing_image_is_never_pushed(
    deliver_to: Deliver, stand_in: StandIn, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = f"sha256:{'a' * 64}"
    graph = {"GraphDriver": {"Data": {"x": "y"}}}
    pulled = {"name:1": {**graph, "RepoDigests": [f"other@{digest}", f"name@{digest}"]}}
    local = {"name:1": {**graph, "RepoDigests": []}}
    host = stand_in.host

    assert deliver_to("name:1", "", pulled, True) == DeliveredImage(f"name@{digest}", False, said[-1])
    assert deliver_to(f"name@{digest}", "", {}, True).reference == f"name@{digest}"
    # One that was made here and never on a registry is loaded, or not sent.
    assert deliver_to("name:1", f"registry: '{host}'", local, True).pull_policy_never
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/x.sock")
    assert deliver_to("name:1", "", local, True).how.startswith("loaded")
    assert not stand_in.seen
    with pytest.raises(BadInput, match="name it by a tag"):
        deliver_to(f"name@{digest}", "", {}, True, load=True)


def test_where_nothing_is_sent_an_image_is_still_named_by_what_can_mean_no_other(
    deliver_to: Deliver, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `toolkit compile` does: what is made of its text may run for months."""
    pushed = deliver_to(f"{stand_in.host}/name:tag").reference
    stand_in.seen.clear()
    assert deliver_to(f"{stand_in.host}/name:tag", **NAME_ONLY).name_in_pods == pushed
    assert [request.split("sha256:")[0] for request in stand_in.seen] == ["HEAD /v2/name/manifests/"]
    # What was pushed from elsewhere is asked for by its tag.
    setting = f"registry: '{stand_in.host}/two'"
    stand_in.manifests["two/name", "tag"] = _manifest(DIGEST)
    found = deliver_to("name:tag", setting, **NAME_ONLY)
    assert found.name_in_pods == f"{stand_in.host}/two/name@{digest_of(_manifest(DIGEST))}"
    # What is not there, or is another image there, is refused; a check that makes no pods takes it as it will be.
    for manifest in (b"", _manifest("sha256:" + "0" * 64)):
        stand_in.manifests["two/name", "tag"] = manifest
        with pytest.raises(BadInput, match=r"as it was built here.*`toolkit build --push`"):
            deliver_to("name:tag", setting, **NAME_ONLY)
    assert deliver_to("name:tag", setting, **NAME_ONLY, final=False).reference == f"{stand_in.host}/two/name:tag"
    with pytest.raises(Infrastructure, match="cannot be reached"):
        deliver_to("name:tag", "registry: '127.0.0.1:1'", **NAME_ONLY)
    # A node that would be loaded into has it by its digest.
    assert deliver_to("name:tag", **NAME_ONLY).name_in_pods == "name:tag"
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/x.sock")
    for existing in (False, True):
        found = deliver_to("name:tag", "", {}, existing, **NAME_ONLY)
        assert found.name_in_pods == f"name:{DIGEST.removeprefix('sha256:')}" and found.pull_policy_never
        assert deliver_to("name:tag", "", {}, existing, **NAME_ONLY, final=False).name_in_pods == "name:tag"


def test_the_tag_of_an_existing_image_is_resolved_by_its_registry(deliver_to: Deliver, stand_in: StandIn) -> None:
    reference, manifest = f"{stand_in.host}/name:1", _manifest(DIGEST)
    stand_in.manifests["name", "1"] = manifest
    for options in ({}, NAME_ONLY):
        found = deliver_to(reference, "", {}, True, **options)
        assert found.name_in_pods == f"{stand_in.host}/name@{digest_of(manifest)}" and not found.pull_policy_never
    assert stand_in.seen == ["GET /v2/name/manifests/1"] * 2
    # One for several platforms has no config of its own: the runtime compares.
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    stand_in.manifests["name", "1"] = index
    assert deliver_to(reference, "", {}, True).name_in_pods == f"{stand_in.host}/name@{digest_of(index)}"


def test_an_existing_image_that_its_registry_does_not_have_is_refused_before_the_submit(
    deliver_to: Deliver, stand_in: StandIn
) -> None:
    reference = f"{stand_in.host}/name:1"
    with pytest.raises(BadInput, match=rf"{stand_in.host} does not have {reference}.*push it there"):
        deliver_to(reference, "", {}, True)
    stand_in.manifests["name", "1"] = _manifest("sha256:" + "0" * 64)
    with pytest.raises(BadInput, match="another image in its registry than on this machine"):
        deliver_to(reference, "", {}, True)
    with pytest.raises(Infrastructure, match=r"127\.0\.0\.1:1 cannot be reached"):
        deliver_to("127.0.0.1:1/name:1", "", {}, True)
    # Where nodes never pull, no registry need have it.
    stand_in.seen.clear()
    never = "}\nexecutor: {config: {image_pull_policy: Never}"
    assert deliver_to(reference, never, {}, True).name_in_pods == reference
    assert not stand_in.seen


def _manifest(config: str) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": {"digest": config}, "layers": []}).encode()


@pytest.mark.parametrize(
    ("files", "setting", "version"),
    [
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1.2"\n'}, "", "1.2"),
        ({"pyproject.toml": '[tool.poetry]\nversion = "1.3"\n'}, "", "1.3"),
        ({"pyproject.toml": '[project]\ndynamic = ["version"]\n'}, "build: {version: '1.4'}", "1.4"),
        ({"pyproject.toml": "project = 1\ntool = 2\n"}, "", None),
        ({}, "", None),
    ],
)
def test_a_manifest_has_the_projects_own_version(
    tmp_path: Path, files: dict[str, str], setting: str, version: str | None
) -> None:
    root = write_project(tmp_path / "project", {**files, "toolkit.yaml": setting})
    image = BuiltImage("name:tag", DIGEST, "sha256:1", "", "", True)
    annotations = manifest_annotations(load_config(root / "toolkit.yaml", root), image, Engine({}))
    assert annotations.get(VERSION) == version and REVISION not in annotations
