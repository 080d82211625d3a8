"""What changes with a commit is in the annotations of what is pushed, and nowhere in the image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builds import write_project
from tests.support.registry import StandIn, digest_of
from toolkit.cli.main import run as command_line
from toolkit.engine import EngineApi

pytestmark = [pytest.mark.docker, pytest.mark.full("it builds and pushes an image several times")]

_OCI = "org.opencontainers.image"
_AT = {0: "2026-01-02T03:04:05Z", 1: "2026-05-06T07:08:09Z"}


def commit(root: Path, number: int) -> str:
    """Commits all files of the project; returns the commit."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in
           (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", _AT[number]))}  # fmt: skip
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", f"number {number}"]):
        subprocess.run(["git", "-C", str(root), *arguments], env=os.environ | who, check=True, capture_output=True)
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def name() -> Iterator[str]:
    name = f"toolkit-test-{uuid.uuid4().hex[:12]}"
    yield name
    engine = EngineApi()
    for image in engine.json("/images/json") or []:
        for tag in image.get("RepoTags") or []:
            if name in tag:
                engine.call("DELETE", f"/images/{tag}?force=true")


@pytest.fixture
def base(name: str) -> tuple[str, str]:
    """A base image of one small file, which was pulled: its name and its digest."""
    store = StandIn()
    base = f"{store.host}/{name}-base:1"
    digest = store.offer(f"{name}-base", "1", {"base": name.encode()})
    subprocess.run(["docker", "pull", "--quiet", base], check=True, capture_output=True)
    return base, digest


@pytest.fixture
def project(tmp_path: Path, name: str, base: tuple[str, str]) -> Path:
    files = {
        "app.py": "VALUE = 1\n",
        "this": name,
        "toolkit.yaml": f"executor: {{config: {{image: {name}}}}}\n"
        f"build: {{lock: none, base: '{base[0]}', version: '1.2'}}\n",
    }
    return write_project(tmp_path / "project", files)


Push = Callable[[Path, StandIn], tuple[str, dict[str, str], dict[str, object]]]


@pytest.fixture
def push(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    """Builds and pushes; returns the manifest's digest, its annotations and the image's config with its digest."""

    def built_and_pushed(root: Path, store: StandIn) -> tuple[str, dict[str, str], dict[str, object]]:
        monkeypatch.chdir(root)
        monkeypatch.setenv("TOOLKIT_REGISTRY", store.host)
        code = command_line(["build", "--push"])
        said = capsys.readouterr()
        assert code == 0, said.err
        digest = said.out.strip().partition("@")[2]
        manifest = store.manifests[name, digest]
        document = json.loads(manifest)
        assert digest_of(manifest) == digest
        config = json.loads(store.blobs[name, document["config"]["digest"]])
        return digest, document["annotations"], {**config, "digest": document["config"]["digest"]}

    return built_and_pushed


def test_a_manifest_says_what_it_was_built_from_and_the_image_does_not(
    project: Path, base: tuple[str, str], push: Push, tmp_path: Path
) -> None:
    # Given a project that was pushed with files that are not committed,
    first = commit(project, 0)
    remote = ["remote", "add", "origin", "https://me:secret@example.org/team/it.git"]
    subprocess.run(["git", "-C", str(project), *remote], check=True)
    (project / "new.py").write_text("")
    one, two = StandIn(), StandIn()
    digest, annotations, config = push(project, one)
    always = {
        f"{_OCI}.source": "https://example.org/team/it.git",
        f"{_OCI}.version": "1.2",
        f"{_OCI}.base.name": base[0],
        f"{_OCI}.base.digest": base[1],
    }
    assert annotations == {
        **always,
        f"{_OCI}.revision": first,
        "dev.toolkit.uncommitted": "true",
    }
    # when they are committed, then the image is the same one: the registry's is used as it is, with its annotations.
    second = commit(project, 1)
    assert push(project, one) == (digest, annotations, config)
    # Another registry gets those of this commit, with its time, on whatever machine and at whatever time it is pushed:
    other_digest, other_annotations, other_config = push(project, two)
    assert other_config == config and other_digest != digest
    assert other_annotations == {
        **always,
        f"{_OCI}.revision": second,
        f"{_OCI}.created": _AT[1],
    }
    # one commit of one content has one manifest.
    checkout = tmp_path / "elsewhere" / "project"
    shutil.copytree(project, checkout, ignore=shutil.ignore_patterns(".toolkit"))
    assert push(checkout, StandIn()) == (other_digest, other_annotations, config)
    # And nothing of it is in the image.
    assert not any(word in json.dumps(config) for word in (first, second, "example.org", _AT[1][:10]))


def test_without_a_repository_a_manifest_says_nothing_of_one(project: Path, push: Push) -> None:
    _, annotations, _ = push(project, StandIn())
    assert set(annotations) == {f"{_OCI}.version", f"{_OCI}.base.name", f"{_OCI}.base.digest"}
