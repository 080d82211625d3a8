"""Which engine is meant, and how one with containerd's image store is loaded (a stand-in answers as it does)."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit.build.code.layer import LayerEntry, Tar, write_code_layer
from toolkit.build.environment.base_image import image_in_engine
from toolkit.build.image.archive import Blob, compose_image, digest_of
from toolkit.build.image.build_record import IDENTITY_LABEL
from toolkit.build.image.engine_images import layers_in_engine, load_image, read_environment_image
from toolkit.engine import Endpoint, EngineApi, connect, resolve_endpoint
from toolkit.errors import Infrastructure

Answer = Callable[[str, str, bytes], tuple[int, bytes]]


@pytest.fixture(autouse=True)
def no_docker_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def write_context(folder: Path, name: str, host: str, tls: bool = False) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}))
    if tls:
        (folder / "contexts" / "tls" / digest / "docker").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))


def test_without_settings_it_is_the_default_socket() -> None:
    assert resolve_endpoint().address == "unix:///var/run/docker.sock"


def test_the_current_context_is_honoured_with_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_context(tmp_path / "docker", "far", "tcp://far.example:2376", tls=True)
    found = resolve_endpoint()
    assert (found.address, found.source, found.verify) == ("tcp://far.example:2376", "docker context far", True)
    assert found.certificates is not None and found.certificates.is_dir()
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert resolve_endpoint().address == "unix:///var/run/docker.sock"


def test_docker_host_wins_over_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_context(tmp_path / "docker", "far", "tcp://far.example:2376")
    monkeypatch.setenv("DOCKER_HOST", "tcp://near.example:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    assert resolve_endpoint() == Endpoint("tcp://near.example:2376", "DOCKER_HOST", tmp_path, True)


def test_a_context_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(Infrastructure, match="the docker context 'gone' cannot be read"):
        resolve_endpoint()


def test_no_engine_is_one_sentence_with_the_address(tmp_path: Path) -> None:
    endpoint = Endpoint(f"unix://{tmp_path}/none.sock", "DOCKER_HOST")
    for ask in (lambda: EngineApi(endpoint).image("a"), lambda: connect(endpoint)):
        with pytest.raises(
            Infrastructure, match=r"no Docker engine answers at unix://.*none\.sock .*task setup"
        ) as error:
            ask()
        assert error.value.exit_code == 3
        assert "\n" not in str(error.value)


class StandIn:
    """An HTTP server on a Unix socket."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.endpoint = Endpoint(f"unix://{path}", "a test")
        self.asked: list[str] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                method, path, _ = stream.readline().decode().split()
                while stream.readline().strip():
                    pass
                received = b""
                while method == "POST" and (size := int(stream.readline() or b"0", 16)):
                    received += stream.read(size)
                    stream.readline()
                self.asked.append(f"{method} {path}")
                status, body = self._answer(method, path, received)
                head = f"HTTP/1.1 {status} Some\r\n"
                if method == "POST":
                    body = b"%x;extension=1\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                    head += "Transfer-Encoding: chunked\r\n"
                connection.sendall(head.encode() + b"\r\n" + body)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], StandIn]]:
    started: list[StandIn] = []

    def start(answer: Answer) -> StandIn:
        monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes only
        started.append(StandIn(Path("e.sock"), answer))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("reply", [(500, b'{"message":"out of order"}'), (500, b"out of order")])
def test_an_engines_fault_is_told_in_its_own_words(
    stand_in: Callable[[Answer], StandIn], reply: tuple[int, bytes]
) -> None:
    engine = stand_in(lambda method, path, body: reply)
    with pytest.raises(Infrastructure, match="out of order"):
        EngineApi(engine.endpoint).image("a")


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_an_engine_that_dies_during_a_load_is_said_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("e.sock")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while not connection.recv(1 << 16).endswith(b"0\r\n\r\n"):
                    pass
                connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        engine = EngineApi(Endpoint("unix://e.sock", "a test"))
        with pytest.raises(Infrastructure) as caught, engine.upload("/images/load") as upload:
            upload.send([b"x" * 100])
        thread.join(60)
    assert "ended the connection before it had answered (Connection reset by peer)" in caught.value.message


class ContainerdStore:
    """Answers as an engine with containerd's image store whose base lies there compressed, and is missing a blob."""

    def __init__(self, takes_whole: bool) -> None:
        self.takes_whole = takes_whole
        self.tagged: dict[str, dict[str, Any]] = {}
        self.loads: list[dict[str, bytes]] = []
        self.layer = b"\x1f\x8b compressed"
        self.config = b'{"os":"linux"}'

    def base(self) -> dict[str, Any]:
        return {
            "Id": "sha256:" + "e" * 64, "Os": "linux", "Architecture": "amd64", "Config": {},
            "Created": "2020-01-01T00:00:00Z", "RootFS": {"Layers": ["sha256:" + "d" * 64]},
            "GraphDriver": {"Name": "overlayfs", "Data": None},
        }  # fmt: skip

    def archive(self) -> bytes:
        config, layer = (hashlib.sha256(content).hexdigest() for content in (self.config, self.layer))
        manifest = [{"Config": f"blobs/sha256/{config}", "Layers": [f"blobs/sha256/{layer}"]}]
        files = {f"blobs/sha256/{config}": self.config, f"blobs/sha256/{layer}": self.layer}
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, content in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/info":
            return 200, json.dumps({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}).encode()
        if path.startswith("/images/load"):
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
            self.loads.append(files)
            manifest = json.loads(files["manifest.json"])[0]
            config = json.loads(files[manifest["Config"]])
            whole = all(layer in files for layer in manifest["Layers"])
            labels = config["config"]["Labels"] if whole and self.takes_whole else {}
            image = {"Id": "x", "Config": {"Labels": labels}, "RootFS": {"Layers": config["rootfs"]["diff_ids"]}}
            self.tagged[manifest["RepoTags"][0]] = image
            text = "Loaded image" if whole else "Error unpacking image: content digest not found"
            return 200, json.dumps({"stream": text}).encode() + b"\r\n"
        name = path.removeprefix("/images/").removesuffix("/json").removesuffix("/get")
        if method == "DELETE":
            self.tagged.pop(name, None)
            return 200, b"[]"
        if path.endswith("/get"):
            return 200, self.archive()
        return (200, json.dumps(self.tagged[name]).encode()) if name in self.tagged else (404, b"{}")


def test_the_containerd_store_gets_real_descriptors_and_a_full_load_after_its_silent_failure(
    stand_in: Callable[[Answer], StandIn], tmp_path: Path
) -> None:
    store = ContainerdStore(takes_whole=True)
    raw = EngineApi(stand_in(store).endpoint)
    environment = read_environment_image(raw, "base:1", store.base(), tmp_path)
    assert environment.config_digest == "sha256:" + hashlib.sha256(store.config).hexdigest()
    (layer,) = environment.layers
    assert (layer.digest, layer.size) == ("sha256:" + hashlib.sha256(store.layer).hexdigest(), len(store.layer))
    assert layer.media_type.endswith("tar+gzip")

    code = write_code_layer([LayerEntry("/workspace", "dir", 0o777)], environment.config_digest, tmp_path / "code.tar")
    image = compose_image(environment, code)
    load_image(raw, image, environment, "base:1", "demo:1", tmp_path, lambda sentence: None)
    partial, whole = store.loads
    assert store.tagged["demo:1"]["Config"]["Labels"][IDENTITY_LABEL] == image.identity
    for files in (partial, whole):
        index = json.loads(files["index.json"])["manifests"][0]
        assert index["annotations"]["io.containerd.image.name"] == "docker.io/library/demo:1"
        manifest = files["blobs/" + index["digest"].replace(":", "/")]
        assert len(manifest) == index["size"]
        assert [layer["size"] for layer in json.loads(manifest)["layers"]] == [len(store.layer), code.size]
    assert len(whole) == len(partial) + 1

    # What was learnt is remembered: the environment is not saved again.
    before = read_environment_image(raw, "base:1", store.base(), tmp_path)
    assert before.layers == environment.layers


def test_the_containerd_store_is_sent_no_blob_that_another_image_has_and_else_all_of_ours(
    stand_in: Callable[[Answer], StandIn], tmp_path: Path
) -> None:
    store = ContainerdStore(takes_whole=True)
    raw = EngineApi(stand_in(store).endpoint)
    environment = read_environment_image(raw, "base:1", store.base(), tmp_path)
    code = write_code_layer([LayerEntry("/workspace", "dir", 0o777)], environment.config_digest, tmp_path / "code.tar")
    large = []
    for name in ("a", "b"):
        tar = Tar((LayerEntry(f"/workspace/{name}", "file", 0o666, content=name.encode()),))
        large.append(Blob(digest_of(b"".join(tar.read())), tar.size, content=tar))
    image = compose_image(environment, code, large)
    below = store.base()["RootFS"]["Layers"]
    store.tagged["demo:0"] = {"Id": "y", "Config": {}, "RootFS": {"Layers": [*below, "sha256:other", large[1].digest]}}
    present = layers_in_engine(raw, image, environment, "demo:0")
    assert present == {large[1].digest}
    load_image(raw, image, environment, "base:1", "demo:1", tmp_path, lambda sentence: None, present=present)
    sent = [{f"sha256:{path.rpartition('/')[2]}" for path in files} for files in store.loads]
    assert [[one.digest in load for one in large] for load in sent] == [[True, False], [True, True], [True, True]]
    assert image.identity != compose_image(environment, code, large[:1]).identity


def test_an_engine_that_takes_nothing_is_left_without_the_tag(
    stand_in: Callable[[Answer], StandIn], tmp_path: Path
) -> None:
    store = ContainerdStore(takes_whole=False)
    raw = EngineApi(stand_in(store).endpoint)
    environment = read_environment_image(raw, "base:1", store.base(), tmp_path)
    code = write_code_layer([LayerEntry("/workspace", "dir", 0o777)], environment.config_digest, tmp_path / "code.tar")
    with pytest.raises(Infrastructure, match="does not accept the image demo:1"):
        load_image(
            raw, compose_image(environment, code), environment, "base:1", "demo:1", tmp_path, lambda sentence: None
        )
    assert store.tagged == {}


class _Images(EngineApi):
    """An engine, of whatever kind, that answers for names with these images."""

    def __init__(self, images: dict[str, dict[str, Any]]) -> None:
        self.images = images

    def json(self, path: str) -> Any:
        return self.images.get(path.removeprefix("/images/").removesuffix("/json"))


def test_an_image_by_digest_is_asked_for_without_its_tag_and_is_no_other_one() -> None:
    digest = "sha256:" + "1" * 64
    tagged: dict[str, Any] = {"Id": "other", "RepoDigests": ["host:5000/python@sha256:" + "2" * 64]}
    # With a graph driver or with containerd's store, what has the digest says so.
    found = {"Id": "one", "RepoDigests": ["host:5000/mirror@sha256:" + "3" * 64, f"host:5000/python@{digest}"]}
    engine = _Images({"host:5000/python:3.12": tagged, f"host:5000/python@{digest}": found})
    for reference in (f"host:5000/python:3.12@{digest}", f"host:5000/python@{digest}"):
        assert image_in_engine(engine, reference) == found
    assert image_in_engine(engine, "host:5000/python:3.12") == tagged
    # An engine that takes the name alone for the answer is not believed.
    engine.images[f"host:5000/python@{digest}"] = tagged
    assert image_in_engine(engine, f"host:5000/python:3.12@{digest}") is None
