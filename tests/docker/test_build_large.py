"""Large files and the runtime lie in layers of their own, and files that change meanwhile never end up in half an image."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.engine_builds import Bench
from tests.support.registry import StandIn
from toolkit.build.code import layer
from toolkit.build.code.layer import CodeLayer, LayerEntry
from toolkit.build.delivery.registry import RemoteRepository, push_image
from toolkit.build.image import assembly
from toolkit.build.image.builder import BuiltImage
from toolkit.build.image.contents import ImageContents
from toolkit.engine import EngineApi, Reply, Upload
from toolkit.errors import BadInput

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


SIZES = {"data/one.bin": 6_000_000, "data/two.bin": 3_000_000, "models/three.bin": 2_000_000, "data/small.bin": 1000}
LARGE = sum(size for size in SIZES.values() if size > 1000)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def project(bench: Bench) -> Bench:
    source = Random(1)
    for path, size in SIZES.items():
        file = bench.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(source.randbytes(size))
    return bench


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each load into the engine."""
    sizes: list[int] = []
    send = Upload.send

    def counting(self: Upload, body: Iterable[bytes]) -> Reply:
        sizes.append(0)

        def counted() -> Iterator[bytes]:
            for chunk in body:
                sizes[-1] += len(chunk)
                yield chunk

        return send(self, counted())

    monkeypatch.setattr(Upload, "send", counting)
    return sizes


def sums(bench: Bench, image: BuiltImage) -> dict[str, str]:
    lines = bench.run(image.id, "sh", "-c", "find . -type f | xargs sha256sum").splitlines()
    return {line.split()[1].removeprefix("./"): line.split()[0] for line in lines}


def project_sums(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file() and ".toolkit" not in path.parts]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def layers(bench: Bench, image: BuiltImage) -> list[str]:
    return list((bench.raw.image(image.id) or {})["RootFS"]["Layers"])


def test_a_changed_line_sends_no_large_file_and_a_changed_large_file_few_others(
    project: Bench, sent: list[int], tmp_path: Path
) -> None:
    first = project.build()
    assert sum(sent) > LARGE and sums(project, first) == project_sums(project.root)

    sent.clear()
    project.write(app_py="VALUE = 2\n")
    second = project.build()
    assert len(sent) == 1 and sent[0] < 100_000
    assert sums(project, second) == project_sums(project.root)
    assert layers(project, second)[:-1] == layers(project, first)[:-1]
    assert second.identity != first.identity and second.environment == first.environment

    sent.clear()
    (project.root / "models" / "three.bin").write_bytes(Random(2).randbytes(2_000_000))
    third = project.build()
    assert len(sent) == 1 and sent[0] < LARGE / 2
    assert sums(project, third) == project_sums(project.root)

    # Another checkout sends nothing large either, and makes the same image.
    sent.clear()
    other = tmp_path / "elsewhere"
    shutil.copytree(project.root, other, ignore=shutil.ignore_patterns(".toolkit"))
    assert project.build(root=other).digest == third.digest and sent == []
    (other / "app.py").write_text("VALUE = 3\n")
    project.build(root=other)
    assert len(sent) == 1 and sent[0] < 100_000

    # And so does a project of another name.
    sent.clear()
    shutil.rmtree(other / ".toolkit")
    (other / "app.py").write_text("VALUE = 4\n")
    replace(project, repository=f"{project.repository}-other").build(root=other)
    assert len(sent) == 1 and sent[0] < 100_000


@pytest.mark.full("6,000 files in four builds; tests/unit/test_build_large.py has which files share a layer")
def test_a_changed_file_among_many_small_ones_sends_few_of_them(bench: Bench, sent: list[int]) -> None:
    # Given 6,000 files, 100 of them programs,
    for number in range(6_000):
        name = f"package/module_{number}.py" if number < 100 else f"data/day_{number % 60}/sample_{number}.json"
        file = bench.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"VALUE = {number}\n")
    (bench.root / "empty").mkdir()
    first = bench.build()
    whole = sum(sent)
    assert whole > 6_000 * 1024 and sums(bench, first) == project_sums(bench.root)
    # when a program changes, then the programs are sent and no data;
    sent.clear()
    (bench.root / "package" / "module_1.py").write_text("VALUE = 'changed'\n")
    second = bench.build()
    assert len(sent) == 1 and sent[0] < 300_000
    assert sums(bench, second) == project_sums(bench.root)
    assert layers(bench, second)[:-1] == layers(bench, first)[:-1]
    assert bench.run(second.id, "sh", "-c", "stat -c '%a %n' . empty data data/day_1").split() == [
        *("777", "."), *("777", "empty"), *("777", "data"), *("777", "data/day_1"),
    ]  # fmt: skip
    # when a file of data changes, then one layer differs beside the code's, and those below it are not sent.
    sent.clear()
    (bench.root / "data" / "day_1" / "sample_121.json").write_text("VALUE = 'changed'\n")
    third = bench.build()
    assert len(sent) == 1 and sent[0] < whole
    assert sums(bench, third) == project_sums(bench.root)
    differing = [one for one, other in zip(layers(bench, third), layers(bench, second), strict=True) if one != other]
    assert len(differing) == 2 and differing[-1] == third.code
    # What is delivered is what was built.
    contents = ImageContents(bench.raw, bench.root / ".toolkit" / "build", third).own_layers()
    assert list(contents) == layers(bench, third)[-len(contents) :] and len(contents) == 4
    for digest, blob in contents.items():
        assert blob.content is not None
        content = b"".join(blob.content.read())
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}" and len(content) == blob.size
    # Another state of the code that was built before is there already, and a layer that is known is not read.
    (bench.root / "data" / "day_1" / "sample_121.json").write_text("VALUE = 121\n")
    sent.clear()
    assert bench.build().digest == second.digest and sent == []


@pytest.mark.full("an engine that lost layers, in three loads")
def test_an_engine_that_lost_the_layers_gets_them_again(project: Bench, sent: list[int]) -> None:
    first = project.build()
    project.raw.call("DELETE", f"/images/{first.id}?force=true")
    sent.clear()
    assert project.build().digest == first.digest
    assert sum(sent) > LARGE and sums(project, first) == project_sums(project.root)


@pytest.mark.full("four builds and pushes; tests/unit/test_registry.py has what is sent and asked")
def test_a_registry_gets_large_layers_once(project: Bench, stand_in: StandIn, tmp_path: Path) -> None:
    # Given a base image that is compressed in no time,
    with tarfile.open(tmp_path / "bare.tar", "w") as tar:
        tar.add(project.root / "app.py", "app.py")
    base = f"{project.repository}-bare:1"
    subprocess.run(["docker", "import", str(tmp_path / "bare.tar"), base], check=True, capture_output=True)

    def push(image: BuiltImage) -> tuple[int, int]:
        contents = ImageContents(project.raw, project.root / ".toolkit" / "build", image)
        with RemoteRepository(stand_in.host, "team/name") as repository:
            pushed = push_image(repository, "tag", contents, None, project.said.append)
        return pushed.layers, pushed.size

    first = project.build(image=base)
    assert push(first)[0] == len(layers(project, first))
    project.write(app_py="VALUE = 2\n")
    number, size = push(project.build(image=base))
    assert number == 1 and size < 100_000 and "exported" not in "".join(project.said)

    # A changed large file is read from the project; one that changed again since the build comes from the engine.
    (project.root / "data" / "one.bin").write_bytes(Random(3).randbytes(6_000_000))
    image = project.build(image=base)
    number, size = push(image)
    assert number == 2 and 6_000_000 < size < 6_100_000 and "exported" not in "".join(project.said)
    stand_in.blobs.clear()
    stand_in.manifests.clear()
    (project.root / "data" / "one.bin").write_bytes(b"")
    assert push(image)[0] == len(layers(project, image)) and "exported" in "".join(project.said)


def meanwhile(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> list[int]:
    """Calls ``change`` with the number of the attempt whenever the files were looked at, and before they are read."""
    attempts: list[int] = []
    write = layer.write_code_layer

    def writing(entries: list[LayerEntry], *arguments: Any) -> CodeLayer:
        attempts.append(len(attempts) + 1)
        change(attempts[-1])
        return write(entries, *arguments)

    monkeypatch.setattr(assembly, "write_code_layer", writing)
    return attempts


@pytest.mark.full("the core tier has a file that changes all the time")
def test_a_file_that_changes_once_during_the_build_is_in_the_image_as_it_is_then(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(attempt: int) -> None:
        if attempt == 1:
            bench.write(app_py="VALUE = 'changed'\n")
            (bench.root / "renamed.txt").write_text("x")

    attempts = meanwhile(monkeypatch, change)
    image = bench.build()
    assert len(attempts) == 2 and sums(bench, image) == project_sums(bench.root)
    assert not bench.build().changed


@pytest.mark.full("the core tier has a file that changes all the time")
def test_files_that_vanish_each_time_are_left_out_together(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a.tmp", "b.tmp", "c.tmp"):
        (bench.root / name).write_text(name)

    def change(attempt: int) -> None:
        for name in {1: ["a.tmp"], 2: ["b.tmp", "c.tmp"]}.get(attempt, []):
            (bench.root / name).unlink()

    attempts = meanwhile(monkeypatch, change)
    image = bench.build()
    assert len(attempts) == 3 and sums(bench, image) == project_sums(bench.root)
    assert not bench.build().changed


@pytest.mark.parametrize("size", [10, pytest.param(11_000_000, marks=pytest.mark.full("the same with a large file"))])
def test_a_file_that_grows_all_the_time_is_named_and_no_image_is_left(bench: Bench, size: int) -> None:
    log = bench.root / "train.log"
    log.write_bytes(b"x" * size)
    ended = threading.Event()

    def grow() -> None:
        with log.open("ab", buffering=0) as file:
            while not ended.wait(0.001):
                file.write(b"line\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(BadInput, match=r"^train\.log was changed .* 3 times .*\.dockerignore") as failed:
            bench.build()
    finally:
        ended.set()
        thread.join()
    assert failed.value.exit_code == 2
    assert not [
        tag for image in EngineApi().json("/images/json") for tag in image["RepoTags"] or [] if bench.repository in tag
    ]
    # The remedy that is named works.
    bench.write(_dockerignore="train.log\n")
    assert "train.log" not in sums(bench, bench.build())
