"""Pushing to a registry: what is sent, how often, with which credentials, and what is said when it does not work.

The registry is a stand-in; tests/argo has a real one.
"""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Builds
from tests.support.registry import PASSWORD, Request, StandIn, digest_of
from toolkit.build.delivery import registry as registry_module
from toolkit.build.delivery.registry import PushResult, RemoteRepository, push_image
from toolkit.build.image.archive import Blob, Slice
from toolkit.build.image.contents import ImageContents
from toolkit.build.state import unwritable
from toolkit.errors import Infrastructure


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry_module, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Builds:
    (tmp_path / "build").mkdir()
    return Builds(tmp_path / "build")


def login(folder: Path, host: str, password: str) -> None:
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"me:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def push_to(
    stand_in: StandIn, contents: ImageContents, remembered: str | None = None, mount: str | None = None
) -> PushResult:
    with RemoteRepository(stand_in.host, "team/name", mount_from=mount) as registry:
        return push_image(registry, "tag", contents, remembered, lambda sentence: None)


def test_all_is_sent_once_then_a_changed_line_is_one_layer_and_nothing_is_exported(
    stand_in: StandIn, project: Builds
) -> None:
    contents, engine = project.build("one")
    first = push_to(stand_in, contents)
    assert (first.layers, first.total, engine.saves) == (3, 3, 1)
    manifest = json.loads(stand_in.manifests["team/name", "tag"])
    # The config is the engine's own, byte for byte, and what the layers unpack to is what it names.
    assert stand_in.blobs["team/name", manifest["config"]["digest"]] == engine.config
    sent = [stand_in.blobs["team/name", layer["digest"]] for layer in manifest["layers"]]
    assert [gzip.decompress(blob) for blob in sent] == engine.layers
    assert [layer["size"] for layer in manifest["layers"]] == [len(blob) for blob in sent]
    assert first.digest == digest_of(stand_in.manifests["team/name", "tag"])

    contents, engine = project.build("two")
    second = push_to(stand_in, contents)
    assert (second.layers, second.total, engine.saves) == (1, 3, 0)
    assert second.digest != first.digest and second.size < 1000


def test_a_large_file_is_sent_and_compressed_once_from_the_project_or_else_from_the_engine(
    stand_in: StandIn, project: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to(stand_in, project.build("one", large=b"x" * 5000)[0])
    compressed: list[str] = []
    compress = ImageContents.compress

    def counting(self: ImageContents, layer: Blob, *arguments: Any) -> Any:
        compressed.append(layer.digest)
        return compress(self, layer, *arguments)

    monkeypatch.setattr(ImageContents, "compress", counting)
    contents, engine = project.build("two", large=b"x" * 5000)
    assert (push_to(stand_in, contents).layers, engine.saves, compressed) == (1, 0, [contents.image.code])

    contents, engine = project.build("three", large=b"y" * 5000)
    assert (push_to(stand_in, contents).layers, engine.saves) == (2, 0)

    contents, engine = project.build("four", large=b"z" * 5000)
    project.large_file.write_bytes(b"changed since the build")
    assert (push_to(stand_in, contents).layers, engine.saves) == (2, 1)
    manifest = json.loads(stand_in.manifests["team/name", "tag"])
    sent = [gzip.decompress(stand_in.blobs["team/name", layer["digest"]]) for layer in manifest["layers"]]
    assert sent == engine.layers


def test_an_unchanged_push_is_one_question(stand_in: StandIn, project: Builds) -> None:
    contents, _ = project.build("one")
    first = push_to(stand_in, contents)
    stand_in.seen.clear()
    again = push_to(stand_in, contents, remembered=first.digest)
    assert (again.digest, again.layers, stand_in.seen) == (first.digest, 0, ["HEAD /v2/team/name/manifests/tag"])


def test_another_machine_finds_the_image_without_an_export(stand_in: StandIn, project: Builds, tmp_path: Path) -> None:
    contents, _ = project.build("one")
    first = push_to(stand_in, contents)
    (tmp_path / "other").mkdir()
    contents, engine = Builds(tmp_path / "other").build("one", kept=False)
    assert push_to(stand_in, contents).digest == first.digest
    assert engine.saves == 0
    # Where the manifest is gone, it is made again to the same byte, and no layer is sent.
    stand_in.manifests.clear()
    again = push_to(stand_in, contents)
    assert (again.digest, again.layers, engine.saves) == (first.digest, 0, 1)


def test_a_tag_that_someone_else_holds_is_replaced(stand_in: StandIn, project: Builds) -> None:
    stand_in.manifests["team/name", "tag"] = b'{"config": {"digest": "sha256:other"}, "layers": []}'
    contents, _ = project.build("one")
    assert digest_of(stand_in.manifests["team/name", "tag"]) != push_to(stand_in, contents).digest
    assert len(json.loads(stand_in.manifests["team/name", "tag"])["layers"]) == 3


def test_layers_of_another_repository_are_mounted(stand_in: StandIn, project: Builds) -> None:
    contents, _ = project.build("one")
    push_to(stand_in, contents)
    stand_in.blobs = {("team/other", digest): blob for (_, digest), blob in stand_in.blobs.items()}
    stand_in.manifests.clear()
    stand_in.seen.clear()
    contents, _ = project.build("two")
    pushed = push_to(stand_in, contents, mount="team/other")
    assert pushed.layers == 1
    # the new code layer and the new config
    assert stand_in.count("PUT /v2/team/name/blobs") == 2


@pytest.mark.parametrize("fault", [500, 503, 429, "drop"])
def test_a_fault_that_passes_is_survived(stand_in: StandIn, project: Builds, fault: int | str) -> None:
    for kind in ("PUT blob", "POST blob", "PUT manifest", "HEAD blob"):
        stand_in.faults[kind] = [fault]
    contents, _ = project.build("one")
    assert push_to(stand_in, contents).layers == 3
    assert not any(stand_in.faults.values())


def test_a_push_that_was_broken_off_goes_on_where_it_was(stand_in: StandIn, project: Builds) -> None:
    # Given a registry that takes one layer and then none for a while,
    stand_in.faults["POST blob"] = [0, *[503] * 4]
    with pytest.raises(Infrastructure, match=r"failed several times.*what it already has is not sent again"):
        push_to(stand_in, project.build("one")[0])
    assert len(stand_in.blobs) == 1 and not stand_in.manifests  # nobody sees half an image
    # then what it has is not sent again.
    assert push_to(stand_in, project.build("one")[0]).layers == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_layers_of_a_repository_that_may_not_be_read_are_sent(stand_in: StandIn, project: Builds, status: int) -> None:
    original = stand_in.work

    def work(request: Request) -> None:
        return request.answer(status, b"{}") if "from=" in request.path else original(request)

    stand_in.work = work  # type: ignore[method-assign]
    assert push_to(stand_in, project.build("one")[0], mount="theirs/name").layers == 3


def test_a_token_that_ends_is_fetched_again_each_time(stand_in: StandIn, project: Builds, tmp_path: Path) -> None:
    login(tmp_path / "docker", stand_in.host, PASSWORD)
    original, tokens = stand_in.work, iter(range(100))
    valid = [""]

    def work(request: Request) -> None:
        """Each token is good for two requests, and begins to be bad at an upload's second request as well as at its first."""
        if request.path.startswith("/token"):
            valid[:] = [f"Bearer {next(tokens)}"] * 2
            return request.answer(200, json.dumps({"token": valid[0][7:]}).encode())
        if valid and request.headers.get("Authorization") == valid[-1]:
            valid.pop()
            return original(request)
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        return request.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="http://{stand_in.host}/token",service="s"')

    stand_in.work = work  # type: ignore[method-assign]
    assert push_to(stand_in, project.build("one")[0]).layers == 3
    assert next(tokens) >= 5


def test_a_registry_says_how_long_to_wait_by_a_number_or_a_time(
    stand_in: StandIn, project: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("toolkit.build.delivery.registry.time.sleep", waits.append)
    past, future = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2099 07:28:00 GMT"
    answers = iter(["7", past, future, "nonsense, 3"])
    original = stand_in.work

    def work(request: Request) -> None:
        answer = next(answers, None) if request.command == "HEAD" else None
        return request.answer(429, b"{}", Retry_After=answer) if answer is not None else original(request)

    stand_in.work = work  # type: ignore[method-assign]
    monkeypatch.setattr(registry_module, "_WAITS", (0.0,) * 4)
    push_to(stand_in, project.build("one")[0])
    assert waits == [7.0, 0.0, registry_module._LONGEST_WAIT, 0.0]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_the_credentials_of_docker_login_are_used(
    stand_in: StandIn, project: Builds, tmp_path: Path, auth: str
) -> None:
    stand_in.auth = auth
    login(tmp_path / "docker", stand_in.host, PASSWORD)
    contents, _ = project.build("one")
    assert push_to(stand_in, contents, mount="team/other").layers == 3
    if auth == "bearer":
        assert stand_in.scopes == [["repository:team/name:pull,push", "repository:team/other:pull"]]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("password", ["", "wrong-" + PASSWORD])
def test_wrong_or_no_credentials_say_how_to_log_in_and_nothing_secret(
    stand_in: StandIn, project: Builds, tmp_path: Path, auth: str, password: str
) -> None:
    stand_in.auth = auth
    if password:
        login(tmp_path / "docker", stand_in.host, password)
    contents, _ = project.build("one")
    with pytest.raises(Infrastructure) as failed:
        push_to(stand_in, contents)
    assert f"docker login {stand_in.host}" in str(failed.value)
    assert PASSWORD not in str(failed.value) and "\n" not in str(failed.value)
    # A wrong password is not tried until the account is locked.
    assert len(stand_in.seen) <= 4


def test_a_credential_helper_is_asked_and_its_identity_token_is_used(
    stand_in: StandIn, project: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin" / "docker-credential-testing"
    helper.parent.mkdir()
    answer = json.dumps({"Username": "me", "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ntest \"$(cat)\" = {stand_in.host} && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    (tmp_path / "docker").mkdir()
    config = {"credHelpers": {stand_in.host: "testing"}, "auths": {stand_in.host: {}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    stand_in.auth = "basic"
    assert push_to(stand_in, project.build("one")[0]).layers == 3


def test_credentials_are_not_sent_to_another_host(stand_in: StandIn, project: Builds, tmp_path: Path) -> None:
    # Given a store of blobs beside the registry, to which its uploads lead,
    store = StandIn()
    try:
        login(tmp_path / "docker", stand_in.host, PASSWORD)
        stand_in.auth = "basic"
        contents, _ = project.build("one")
        original = stand_in._serve

        def serve(request: Request, path: str, query: dict[str, list[str]], body: bytes) -> None:
            if request.command == "POST":
                return request.answer(202, Location=f"http://{store.host}{path}one?state=a%2Fb")
            return original(request, path, query, body)

        stand_in._serve = serve  # type: ignore[method-assign]
        assert push_to(stand_in, contents).layers == 3
        assert store.seen and not any("Authorization" in headers for headers in store.headers)
        assert any("Authorization" in headers for headers in stand_in.headers)
    finally:
        store.server.shutdown()
        store.server.server_close()


def test_a_redirect_keeps_the_method_and_takes_credentials_to_no_other_host(
    stand_in: StandIn, project: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a registry whose uploads are redirected to a store of blobs, and credentials for both in places that requests knows,
    store = StandIn()
    try:
        login(tmp_path / "docker", stand_in.host, PASSWORD)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        stand_in.auth = "basic"
        original = stand_in._serve

        def serve(request: Request, path: str, query: dict[str, list[str]], body: bytes) -> None:
            if request.command == "PUT" and "/blobs/" in path:
                return request.answer(302, Location=f"http://{store.host}{request.path}", Set_Cookie="secret=1")
            return original(request, path, query, body)

        stand_in._serve = serve  # type: ignore[method-assign]
        # when it is pushed,
        assert push_to(stand_in, project.build("one")[0]).layers == 3
        # then the store has the blobs, and was sent neither a password nor a cookie.
        assert len(store.blobs) == 4
        assert not any(name in headers for headers in store.headers for name in ("Authorization", "Cookie"))
        sent = {headers["Authorization"] for headers in stand_in.headers if "Authorization" in headers}
        assert sent == {stand_in._basic()}
    finally:
        store.server.shutdown()
        store.server.server_close()


def test_a_redirect_in_a_circle_is_one_sentence(stand_in: StandIn, project: Builds) -> None:
    def serve(request: Request, path: str, query: dict[str, list[str]], body: bytes) -> None:
        request.answer(307, Location=request.path)

    stand_in._serve = serve  # type: ignore[method-assign]
    with pytest.raises(Infrastructure, match=f"the registry {stand_in.host} cannot be used: it redirects in a circle"):
        push_to(stand_in, project.build("one")[0])


def test_a_registry_that_is_not_there_is_one_sentence_at_once(project: Builds, stand_in: StandIn) -> None:
    stand_in.server.shutdown()
    stand_in.server.server_close()
    contents, _ = project.build("one")
    with pytest.raises(Infrastructure, match=f"the registry {stand_in.host} cannot be reached .Connection refused"):
        push_to(stand_in, contents)


def test_a_registry_without_tls_is_said_to_be_one(
    stand_in: StandIn, project: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, _ = project.build("one")
    monkeypatch.setattr(registry_module, "is_local", lambda host: False)
    with (
        pytest.raises(Infrastructure, match=f"set build.registry to http://{stand_in.host}"),
        RemoteRepository(stand_in.host, "team/name") as registry,
    ):
        push_image(registry, "tag", contents, None, lambda sentence: None)
    with RemoteRepository(stand_in.host, "team/name", plain_http=True) as registry:
        assert push_image(registry, "tag", contents, None, lambda sentence: None).layers == 3


def test_a_ca_that_is_none_is_told(project: Builds, tmp_path: Path) -> None:
    contents, _ = project.build("one")
    (tmp_path / "ca.pem").write_text("no certificate")
    with (
        pytest.raises(Infrastructure, match=r"the CA in .*ca\.pem cannot be read"),
        RemoteRepository("registry.example", "team/name", ca_file=tmp_path / "ca.pem") as registry,
    ):
        push_image(registry, "tag", contents, None, lambda sentence: None)


@pytest.mark.parametrize("location", ["http://[bad/", "ftp://127.0.0.1/", "http://127.0.0.1:port/"])
def test_an_address_that_is_none_is_one_sentence(stand_in: StandIn, project: Builds, location: str) -> None:
    contents, _ = project.build("one")

    def serve(request: Request, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if request.command == "POST":
            return request.answer(202, Location=location)
        return request.answer(404)

    stand_in._serve = serve  # type: ignore[method-assign]
    with pytest.raises(Infrastructure) as failed:
        push_to(stand_in, contents)
    assert failed.value.message.startswith(f"the registry {stand_in.host}")


def test_a_proxy_is_used_where_no_proxy_does_not_name_the_host(
    stand_in: StandIn, project: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, _ = project.build("one")
    # A stand-in takes whole addresses for paths, as a proxy that serves them itself.
    monkeypatch.setenv("http_proxy", f"http://me:{PASSWORD}@{stand_in.host}")
    with RemoteRepository("registry.example:5000", "team/name", plain_http=True) as registry:
        assert push_image(registry, "tag", contents, None, lambda sentence: None).layers == 3
    assert all("Proxy-Authorization" in headers for headers in stand_in.headers)
    monkeypatch.setenv("no_proxy", "example")
    with (
        pytest.raises(Infrastructure, match="cannot be reached") as failed,
        RemoteRepository("registry.example:5000", "team/name", plain_http=True) as registry,
    ):
        push_image(registry, "tag", contents, None, lambda sentence: None)
    assert PASSWORD not in str(failed.value)


def test_an_engine_with_another_image_under_the_name_pushes_nothing(stand_in: StandIn, project: Builds) -> None:
    contents, _ = project.build("one", kept=False)
    contents._engine = project.build("two", kept=False)[1]  # type: ignore[assignment]
    with pytest.raises(Infrastructure, match="another image"):
        push_to(stand_in, contents)
    assert not stand_in.manifests


def test_a_disk_on_which_a_layer_finds_no_space_is_one_sentence(stand_in: StandIn, project: Builds) -> None:
    # A real limit, which stands for a full disk: no file of this process gets larger.
    contents, _ = project.build("one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = "where the build puts what it made, cannot be written: File too large"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Infrastructure, match=said):
            push_to(stand_in, contents)
        # What the engine exports may be there when what is made of it finds no space.
        large = Blob("sha256:1", 500_000, content=Slice(project.folder / "large", 0, 500_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        project.large_file.write_bytes(os.urandom(500_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(Infrastructure, match=said), contents.compress(large, "", print):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = [path.name for path in project.folder.rglob("*") if path.name.startswith(("save-", "packed-"))]
    assert left == [] and "no space left" in str(unwritable(project.folder, OSError(errno.ENOSPC, "full")))
    assert not stand_in.manifests
