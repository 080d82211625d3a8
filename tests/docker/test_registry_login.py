"""Pushes to a real registry that asks for a login: by name and password, and by tokens that a token server signs.

The token server is a stand-in (tests/support/real_registry.py); what its tokens allow, the real registry decides.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builds import Builds
from tests.support.engine_builds import Bench
from tests.support.real_registry import TokenServer, basic_auth, registry, registry_program
from tests.support.registry import PASSWORD
from tests.support.scratch import Scratch
from toolkit.build.delivery import registry as registry_module
from toolkit.build.delivery.registry import PushResult, RemoteRepository, push_image
from toolkit.errors import Infrastructure

pytestmark = [pytest.mark.docker, pytest.mark.full("needs the registry of the test cluster, where that was built")]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if registry_program() is None:
        pytest.skip("the test cluster's registry was not built on this machine: task cluster:up builds it")
    monkeypatch.setattr(registry_module, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    (tmp_path / "build").mkdir()
    return Builds(tmp_path / "build")


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with TokenServer(tmp_path).running() as tokens:
        yield tokens


@pytest.fixture(params=["basic", "token"])
def host(request: pytest.FixtureRequest, tmp_path: Path, tokens: TokenServer) -> Iterator[str]:
    with registry(tmp_path, basic_auth(tmp_path) if request.param == "basic" else tokens.auth()) as host:
        yield host


@pytest.fixture
def token_host(tmp_path: Path, tokens: TokenServer) -> Iterator[str]:
    with registry(tmp_path, tokens.auth()) as host:
        yield host


def login(folder: Path, host: str, user: str = "me", password: str = PASSWORD, **entry: str) -> None:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "docker/config.json").write_text(json.dumps({"auths": {host: entry or {"auth": auth}}}))


def push(host: str, builds: Builds, line: str = "one", name: str = "team/name", mount: str | None = None) -> PushResult:
    with RemoteRepository(host, name, mount_from=mount) as remote:
        return push_image(remote, "tag", builds.build(line)[0], None, lambda _: None)


def test_an_image_is_pushed_and_pulled_with_a_login_and_refused_without(
    host: str, bench: Bench, tmp_path: Path
) -> None:
    environ: dict[str, str | None] = {"TOOLKIT_REGISTRY": host, "DOCKER_CONFIG": str(tmp_path / "docker")}
    scratch = Scratch(bench.root, environ)
    scratch.write({"toolkit.yaml": f"executor: {{config: {{image: {bench.repository}}}}}\n"})
    for password in ("", "wrong"):
        if password:
            login(tmp_path, host, password=password)
        refused = scratch.toolkit("build", "--push")
        assert (refused.code, refused.out) == (3, "")
        last = refused.err.splitlines()[-1]
        assert f"refuses access to {bench.repository}" in last and f"run `docker login {host}`" in last
    login(tmp_path, host)
    pushed = scratch.toolkit("build", "--push")
    assert pushed.code == 0 and "3 of 3 layers" in pushed.err, pushed.err
    reference = pushed.out.strip()
    scratch.write({"app.py": "VALUE = 2\n"})
    second = scratch.toolkit("build", "--push")
    assert second.code == 0 and "1 of 3 layers" in second.err
    # What Docker pushed itself, by its own kind of manifest, is found.
    subprocess.run(["docker", "pull", "--quiet", reference], check=True, stdout=subprocess.DEVNULL)
    tag = f"{host}/{bench.repository}-docker:tag"
    subprocess.run(["docker", "tag", reference, tag], check=True)
    subprocess.run(["docker", "push", "--quiet", tag], check=True, stdout=subprocess.DEVNULL)
    with RemoteRepository(host, f"{bench.repository}-docker") as remote:
        found = remote.manifest_and_config_digest("tag")
    built = bench.raw.image(reference)
    assert found is not None and built is not None and found[1] == built["Id"]
    # The base image of another project comes from there, by its digest, and by what --lock-base finds.
    for name in (tag, reference):
        bench.raw.call("DELETE", f"/images/{name}?force=true")
    scratch.write(
        {"toolkit.yaml": f"build: {{base_image: '{tag}'}}\nexecutor: {{config: {{image: {bench.repository}}}}}\n"}
    )
    config = tmp_path / "docker/config.json"
    config.write_text(json.dumps({**json.loads(config.read_bytes()), "credsStore": "that-is-not-installed"}))
    locked = scratch.toolkit("build", "--lock-base")
    assert locked.code == 0, locked.err
    assert f"{tag}@sha256:" in (bench.root / "toolkit.yaml").read_text()
    for name in (tag, f"{host}/{bench.repository}", f"{host}/{bench.repository}-docker"):
        for image in bench.raw.json("/images/json") or []:
            for one in [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]:
                if one.startswith(name):
                    bench.raw.call("DELETE", f"/images/{one}?force=true&noprune=true")


def test_pull_rights_alone_do_not_push_but_find_the_image(
    token_host: str, tokens: TokenServer, builds: Builds, tmp_path: Path
) -> None:
    login(tmp_path, token_host)
    pushed = push(token_host, builds)
    login(tmp_path, token_host, "reader")
    assert push(token_host, builds).digest == pushed.digest  # it is there, so nothing needs a right to write
    with pytest.raises(Infrastructure, match="refuses access to team/name with the credentials of `docker login`"):
        push(token_host, builds, "two")
    # Only what the registry asked for was asked of the token server.
    tokens.asked.clear()
    with RemoteRepository(token_host, "team/name") as remote:
        assert remote.manifest_digest("tag") == pushed.digest
    assert tokens.asked == ["repository:team/name:pull"]


def test_layers_of_a_repository_that_may_be_read_are_mounted_and_others_are_sent(
    token_host: str, tokens: TokenServer, builds: Builds, tmp_path: Path
) -> None:
    login(tmp_path, token_host)
    push(token_host, builds, name="mine/one")
    mounted = push(token_host, builds, name="mine/two", mount="mine/one")
    assert mounted.layers == 0 and mounted.total == 3
    push(token_host, builds, name="theirs/one")
    tokens.rights["me"] = {"mine/": {"pull", "push"}}
    sent = push(token_host, builds, name="mine/three", mount="theirs/one")
    assert sent.layers == 3


def test_a_token_that_ends_during_a_push_is_fetched_again(
    token_host: str, tokens: TokenServer, builds: Builds, tmp_path: Path
) -> None:
    login(tmp_path, token_host)
    tokens.lifetime = 1.0
    builds.below = [os.urandom(30_000_000), os.urandom(30_000_000)]
    assert push(token_host, builds).layers == 3
    assert len(tokens.asked) > 2


def test_an_identity_token_is_exchanged_and_a_busy_token_server_waited_for(
    token_host: str, tokens: TokenServer, builds: Builds, tmp_path: Path
) -> None:
    login(tmp_path, token_host, identitytoken=tokens.identity_token)
    tokens.refused = [(429, {"Retry-After": "0"}), (503, {})]
    assert push(token_host, builds).layers == 3
    login(tmp_path, token_host, identitytoken="an older one")
    with pytest.raises(Infrastructure, match=f"docker login {token_host}"):
        push(token_host, builds, "two")
