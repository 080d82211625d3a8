"""An image for a platform that this machine's programs are not of."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.engine_builds import Bench
from tests.support.foreign_images import load_runnable, load_unrunnable
from tests.support.registry import StandIn, digest_of
from toolkit.build.delivery.index import image_index
from toolkit.build.environment.foreign.base import kept_name
from toolkit.build.image.engine_images import exported_image
from toolkit.config.settings import Build
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, Infrastructure
from toolkit.platforms import Platform, of_engine, parse_platform

pytestmark = pytest.mark.docker
FULL = pytest.mark.full("the core tier has an image for another platform; this takes as long once more")
ARM64 = 183
"""The machine in the head of an ELF file."""


@pytest.fixture
def unrunnable(bench: Bench) -> Iterator[str]:
    """A base image for arm64 of which nothing runs here. Its name begins as the project's, and is removed with it."""
    name = f"{bench.repository}-base:arm64"
    load_unrunnable(bench.raw, name)
    yield name
    _remove_made_of(bench, name)


@pytest.fixture
def runnable(bench: Bench) -> Iterator[str]:
    """One that says it is for arm64 and runs here: with it, the engine stands in for one that has an emulator."""
    name = f"{bench.repository}-base:emulated"
    load_runnable(bench.raw, name)
    yield name
    _remove_made_of(bench, name)


def _remove_made_of(bench: Bench, name: str) -> None:
    """Removes the environments and the images of Dockerfiles that were made of a base, which have its label."""
    query = quote(json.dumps({"label": [f"test={name}"]}))
    for image in bench.raw.json(f"/images/json?filters={query}") or []:
        for tag in image.get("RepoTags") or []:
            if tag.startswith("toolkit-") and not tag.startswith(bench.repository):
                bench.raw.call("DELETE", f"/images/{tag}?force=true")


@pytest.fixture
def registry() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.server.shutdown()
    stand_in.server.server_close()


def stored(registry: StandIn, digest: str) -> bytes:
    """The blob, manifest or index of this digest."""
    return next(
        content for (_, name), content in [*registry.manifests.items(), *registry.blobs.items()] if name == digest
    )


def entries(engine: EngineApi, reference: str, folder: Path) -> dict[str, bytes]:
    """The files of an image, by their paths."""
    found: dict[str, bytes] = {}
    with exported_image(engine, reference, folder) as (_, layers):
        for layer in layers:
            assert layer.content is not None
            with tarfile.open(fileobj=io.BytesIO(b"".join(layer.content.read()))) as tar:
                for info in tar:
                    file = tar.extractfile(info) if info.isfile() else None
                    found[info.name] = file.read() if file is not None else info.linkname.encode()
    return found


def test_packages_are_installed_for_another_platform_without_running_anything_of_it(
    bench: Bench, unrunnable: str, tmp_path: Path
) -> None:
    bench.write(
        requirements_txt='markupsafe==2.1.5; platform_machine == "aarch64"\ncolorama; platform_machine == "x86_64"\n'
    )
    built = bench.build(Build(base_image=unrunnable, platform="arm64"))
    image = bench.raw.image(built.id) or {}
    assert (image["Os"], image["Architecture"]) == ("linux", "arm64")
    files = entries(bench.raw, built.reference, tmp_path)
    compiled = {name: content for name, content in files.items() if name.endswith(".so")}
    assert {int.from_bytes(content[18:20], "little") for content in compiled.values()} == {ARM64}
    site = "opt/venv/lib/python3.11/site-packages"
    assert f"{site}/markupsafe/__pycache__/__init__.cpython-311.pyc" in files
    assert not any(f"{site}/colorama/" in name for name in files)
    assert files["opt/venv/bin/python3"] == b"/usr/bin/python3"
    # The runtime has bytecode, too: of a Python of this machine's.
    assert any(name.startswith("opt/toolkit/") and name.endswith(".cpython-311.pyc") for name in files)

    assert bench.build(Build(base_image=unrunnable, platform="linux/arm64/v8")).reference == built.reference
    bench.build(Build(base_image=unrunnable, platform="arm64"))
    assert bench.said == ["nothing changed"]
    assert bench.dry_run(Build(base_image=unrunnable, platform="arm64")) == built.reference


@FULL
def test_the_same_wheels_are_the_same_layers_on_both_platforms(bench: Bench, runnable: str) -> None:
    bench.write(requirements_txt="six==1.16.0\n")
    foreign = bench.build(Build(base_image=runnable, platform="arm64"))
    own = bench.build(Build(base_image="toolkit-base:bookworm"))
    layers = [(bench.raw.image(one.id) or {})["RootFS"]["Layers"] for one in (foreign, own)]
    # All but the code layer, whose id file names the environment.
    assert layers[0][:-1] == layers[1][:-1]
    assert foreign.environment != own.environment and foreign.reference != own.reference
    # Neither build forgets the other.
    bench.build(Build(base_image=runnable, platform="arm64"))
    assert bench.said == ["nothing changed"]
    bench.build(Build(base_image="toolkit-base:bookworm"))
    assert bench.said == ["nothing changed"]


@FULL
@pytest.mark.parametrize("lock", ["pip", "uv"])
def test_what_must_be_built_there_is_named_or_emulated(bench: Bench, unrunnable: str, runnable: str, lock: str) -> None:
    if lock == "pip":
        bench.write(requirements_txt="six==1.16.0\ndocopt==0.6.2\n")
    else:
        project = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six", "docopt"]\n'
        bench.write(pyproject_toml=project)
    with pytest.raises(
        BadInput, match=r"docopt has no wheel for .* built on linux/arm64, which this engine can't do"
    ) as caught:
        bench.build(Build(base_image=unrunnable, platform="arm64"))
    if lock == "pip":
        assert caught.value.where == "requirements.txt:2"
    bench.build(Build(base_image=runnable, platform="arm64"))
    assert any("docopt has no wheel" in one and "by an emulator" in one for one in bench.said)


@FULL
def test_system_packages_need_an_emulator(bench: Bench, unrunnable: str) -> None:
    settings = Build(base_image=unrunnable, platform="arm64", system_packages=("libgomp1",))
    with pytest.raises(BadInput, match=r"build\.system_packages: apt has to run for libgomp1 on linux/arm64"):
        bench.build(settings)


@FULL
def test_the_commands_of_a_build_need_an_emulator(bench: Bench, unrunnable: str, runnable: str) -> None:
    commands = ("touch /made",)
    with pytest.raises(
        BadInput, match=r"build\.run: 'touch /made' has to run on linux/arm64, which this engine can't do"
    ):
        bench.build(Build(base_image=unrunnable, platform="arm64", run=commands))
    built = bench.build(Build(base_image=runnable, platform="arm64", run=commands))
    assert (bench.raw.image(built.id) or {})["Architecture"] == "arm64" and built.platform == "linux/arm64"


@FULL
def test_the_users_dockerfile_is_built_for_the_platform(
    bench: Bench, unrunnable: str, runnable: str, tmp_path: Path
) -> None:
    settings = Build(dockerfile="Dockerfile", platform="arm64")
    bench.write(
        Dockerfile=f'FROM {unrunnable}\nENV A=b\nRUN ["/usr/bin/python3"]\n', requirements_txt="markupsafe==2.1.5\n"
    )
    with pytest.raises(
        BadInput, match=r"RUN .*python3.* has to run on linux/arm64, which this engine can't do"
    ) as caught:
        bench.build(settings)
    assert caught.value.where == "Dockerfile:3"

    bench.write(
        Dockerfile=f"FROM --platform=$BUILDPLATFORM toolkit-base:bookworm AS made\nRUN echo made >/made\n"
        f"FROM {unrunnable}\nENV A=b\nCOPY --from=made /made /made\n"
    )
    assert bench.dry_run(settings) is None
    built = bench.build(settings)
    image = bench.raw.image(built.id) or {}
    assert image["Architecture"] == "arm64" and "A=b" in image["Config"]["Env"]
    files = entries(bench.raw, built.reference, tmp_path)
    assert files["made"] == b"made\n"
    compiled = [content for name, content in files.items() if name.endswith(".so")]
    assert {int.from_bytes(content[18:20], "little") for content in compiled} == {ARM64}
    bench.build(settings)
    assert bench.said == ["nothing changed"]
    assert bench.dry_run(settings) == built.reference

    bench.write(Dockerfile=f"FROM {runnable}\nRUN true\n")
    assert bench.build(settings).platform == "linux/arm64"
    bench.write(Dockerfile="FROM --platform=$BUILDPLATFORM toolkit-base:bookworm AS one\nFROM one\n")
    with pytest.raises(BadInput, match=r"the image that it makes is linux/\w+, and it has to be linux/arm64"):
        bench.build(settings)


@FULL
def test_an_image_of_another_platform_is_not_taken_for_the_right_one(bench: Bench, unrunnable: str) -> None:
    bench.write(requirements_txt="six==1.16.0\n")
    with pytest.raises(
        BadInput, match=rf"build\.base_image: {unrunnable} is linux/arm64 here, and the engine runs linux/"
    ):
        bench.build(Build(base_image=unrunnable))
    with pytest.raises(Infrastructure, match="is not on this engine for linux/s390x"):
        bench.build(Build(base_image=unrunnable, platform="s390x"))
    # A failed pull leaves the name as it was.
    assert (bench.raw.image(unrunnable) or {})["Architecture"] == "arm64"


@FULL
def test_two_platforms_are_pushed_under_one_name(
    bench: Bench, unrunnable: str, registry: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_REGISTRY", registry.host)

    def build(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "toolkit", "build", *options]
        return subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False)

    # One name has both: the engine's own platform is under the tag, the other was kept when it was pulled.
    bench.write(
        toolkit_yaml=f"executor: {{config: {{image: {bench.repository}}}}}\nbuild: {{base_image: '{bench.repository}-b:1'}}\n"
    )
    kept = kept_name(f"{bench.repository}-b:1", parse_platform("arm64", "x"))
    for source, name in (("toolkit-base:bookworm", f"{bench.repository}-b:1"), (unrunnable, kept)):
        subprocess.run(["docker", "tag", source, name], check=True)
    try:
        refused = build("--platform", "linux/amd64,arm64")
        assert refused.returncode == 2 and "--push" in refused.stderr and refused.stdout == ""
        done = build("--platform", "linux/amd64,arm64", "--push")
        assert done.returncode == 0, done.stderr
        first = done.stdout
        digest = first.strip().partition("@")[2]
        index = json.loads(stored(registry, digest))
        assert digest_of(stored(registry, digest)) == digest
        assert {one["platform"]["architecture"] for one in index["manifests"]} == {"amd64", "arm64"}
        for one in index["manifests"]:
            manifest = stored(registry, one["digest"])
            assert len(manifest) == one["size"]
            config = json.loads(stored(registry, json.loads(manifest)["config"]["digest"]))
            assert config["architecture"] == one["platform"]["architecture"]
        assert build("--platform", "arm64,linux/amd64", "--push").stdout == first
    finally:
        bench.raw.call("DELETE", f"/images/{kept}")


def offer_both(store: StandIn, repository: str) -> None:
    """An image for amd64 and arm64 under the tag ``1``, as a registry has one. Which it is, its file ``which`` says."""
    described = []
    for architecture in ("amd64", "arm64"):
        digest = store.offer(repository, "one", {"which": architecture.encode()})
        manifest = json.loads(store.manifests[repository, digest])
        config = json.loads(store.blobs[repository, manifest["config"]["digest"]])
        changed = json.dumps({**config, "architecture": architecture}).encode()
        store.blobs[repository, digest_of(changed)] = changed
        manifest["config"].update(digest=digest_of(changed), size=len(changed))
        content = json.dumps(manifest).encode()
        store.manifests[repository, digest_of(content)] = content
        described.append((Platform("linux", architecture), digest_of(content), content))
    index = image_index(described)
    store.manifests[repository, "1"] = store.manifests[repository, digest_of(index)] = index


@FULL
def test_a_pulled_base_keeps_a_name_and_gives_the_tag_back(bench: Bench, registry: StandIn) -> None:
    offer_both(registry, f"{bench.repository}-base")
    name = f"{registry.host}/{bench.repository}-base:1"
    bench.write(requirements_txt="")
    other = next(one for one in ("arm64", "amd64") if one != of_engine(bench.raw).architecture)
    try:
        subprocess.run(["docker", "pull", "--quiet", name], check=True, capture_output=True)
        before = (bench.raw.image(name) or {})["Id"]
        built = bench.build(Build(base_image=name, platform=other, lock="none"))
        assert (bench.raw.image(built.id) or {})["Architecture"] == other == built.platform.partition("/")[2]
        assert (bench.raw.image(name) or {})["Id"] == before
        with pytest.raises(BadInput, match=r"the registry has no .* for linux/s390x"):
            bench.build(Build(base_image=name, platform="s390x", lock="none"))
        assert (bench.raw.image(name) or {})["Id"] == before
        # It is pulled once, also where the registry is gone.
        registry.server.shutdown()
        bench.write(app_py="VALUE = 2\n")
        bench.build(Build(base_image=name, platform=f"linux/{other}", lock="none"))
        assert not any(one.startswith("pulling") for one in bench.said)
    finally:
        bench.raw.call("DELETE", f"/images/{kept_name(name, parse_platform(other, 'x'))}?force=true")
        for image in bench.raw.json("/images/json") or []:
            for one in [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]:
                if bench.repository in one:
                    bench.raw.call("DELETE", f"/images/{one}?force=true")
