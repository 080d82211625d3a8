"""The base image by its digest, in an engine and in its registry, and ``toolkit build --lock-base``."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.builds import write_project
from tests.support.registry import StandIn
from toolkit.build.environment.base_lock import lock_base
from toolkit.cli.main import run as command_line
from toolkit.config.load import load
from toolkit.engine import EngineApi
from toolkit.errors import BadInput

pytestmark = pytest.mark.docker

_PULLS = "it pulls from a registry: a few seconds for what a core test shows of one pull"


@dataclass
class Bases:
    """A registry with a repository of base images, and a project on one of them.

    Attributes:
        name: HOST/REPOSITORY of the bases.
    """

    root: Path
    store: StandIn
    name: str
    engine: EngineApi
    capsys: pytest.CaptureFixture[str]

    def offer(self, tag: str, content: str) -> str:
        """Another image under a tag of the repository; returns its digest."""
        return self.store.offer(self.name.partition("/")[2], tag, {"which": content.encode()})

    def configure(self, text: str) -> Path:
        return write_project(self.root, {"toolkit.yaml": text}) / "toolkit.yaml"

    def build(self, *options: str) -> tuple[int, str, str]:
        code = command_line(["build", "--config", str(self.root / "toolkit.yaml"), *options])
        said = self.capsys.readouterr()
        return code, said.out.strip(), said.err

    def which(self, reference: str) -> str:
        """The file of the base, in an image."""
        made = subprocess.run(["docker", "create", reference, "x"], check=True, capture_output=True, text=True)
        container = made.stdout.strip()
        try:
            copy = ["docker", "cp", f"{container}:/which", "-"]
            archive = subprocess.run(copy, check=True, capture_output=True).stdout
        finally:
            subprocess.run(["docker", "rm", container], check=True, capture_output=True)
        return archive[512:515].decode()


@pytest.fixture
def bases(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bases]:
    name = f"toolkit-test-{uuid.uuid4().hex[:12]}"
    store, engine = StandIn(), EngineApi()
    root = write_project(tmp_path / name, {"app.py": "VALUE = 1\n", "this": name})
    monkeypatch.chdir(root)
    yield Bases(root, store, f"{store.host}/{name}-base", engine, capsys)
    store.server.shutdown()
    for image in engine.json("/images/json") or []:
        for one in [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]:
            if name in one:
                engine.call("DELETE", f"/images/{one}?force=true")


def pull(reference: str) -> None:
    subprocess.run(["docker", "pull", "--quiet", reference], check=True, capture_output=True)


def test_a_base_by_digest_is_that_image_whatever_has_its_tag(bases: Bases) -> None:
    # Given an engine whose tag means another image than the digest does,
    one = bases.offer("1", "one")
    bases.offer("1", "two")
    pull(f"{bases.name}:1")
    bases.configure(f"build: {{lock: none, base_image: '{bases.name}:1@{one}'}}\n")
    # when the image is built, then the digest counts, and is pulled;
    code, reference, said = bases.build()
    assert code == 0, said
    assert bases.which(reference) == "one" and f"pulling {bases.name}:1@{one}" in said
    # and the tag means in the engine what it did before. What is there is not pulled again.
    assert bases.which(f"{bases.name}:1") == "two"
    (bases.root / "app.py").write_text("VALUE = 2\n")
    code, reference, said = bases.build()
    assert code == 0 and bases.which(reference) == "one" and "pulling" not in said


@pytest.mark.full(_PULLS)
@pytest.mark.parametrize(
    ("text", "line", "setting"),
    [
        ("build:\n  lock: none\n  base_image: {}\n", 3, "build.base_image"),
        ("build:\n  lock: none\n  base: {}\n", 3, "build.base_image"),
        ("build: {{lock: none}}\nexecutor:\n  config:\n    docker_image: {}\n", 4, "image"),
    ],
)
def test_a_digest_that_the_registry_does_not_have_is_named_with_its_line(
    bases: Bases, text: str, line: int, setting: str
) -> None:
    bases.offer("1", "one")
    pull(f"{bases.name}:1")
    wrong = f"{bases.name}:1@sha256:{'0' * 64}"
    bases.configure(text.format(wrong))
    code, reference, said = bases.build()
    assert (code, reference) == (2, "")
    assert re.search(rf"toolkit.yaml:{line}: {setting}: the image {wrong} .*fix the digest or the name", said), said


@pytest.mark.full(_PULLS)
def test_an_existing_image_is_that_of_its_digest(bases: Bases) -> None:
    one = bases.offer("1", "one")
    bases.offer("1", "two")
    bases.configure(f"executor: {{config: {{image: '{bases.name}:1@{one}'}}}}\nbuild: {{lock: none}}\n")
    code, reference, said = bases.build()
    assert code == 0, said
    assert bases.which(reference) == "one"


@pytest.mark.full(_PULLS)
def test_a_base_is_locked_in_the_file_and_moves_with_its_tag(bases: Bases) -> None:
    # Given a project on a tag, and an engine that has an older image of it than the registry,
    one = bases.offer("1", "one")
    pull(f"{bases.name}:1")
    two = bases.offer("1", "two")
    file = bases.configure(f"# mine\nbuild:\n  base_image: '{bases.name}:1'  # the base\n  lock: none\n")
    # when the base is locked, then it is the one that builds use, and only its line has changed;
    code, reference, said = bases.build("--lock-base")
    assert code == 0, said
    assert f"toolkit.yaml: build.base_image is {bases.name}:1@{one} now (before: {bases.name}:1)" in said
    assert (
        file.read_text() == f"# mine\nbuild:\n  base_image: '{bases.name}:1@{one}'  # the base\n  lock: none\n"
        and bases.which(reference) == "one"
    )
    # when it is locked again, it moves to what the tag means in the registry.
    code, reference, said = bases.build("--lock-base")
    assert code == 0 and f"{bases.name}:1@{two} now (before: {bases.name}:1@{one})" in said
    assert bases.which(reference) == "two"
    code, _, said = bases.build("--lock-base")
    assert code == 0 and f"is {bases.name}:1@{two} already" in said


@pytest.mark.full(_PULLS)
def test_a_base_that_the_engine_does_not_have_is_locked_to_its_registrys(bases: Bases) -> None:
    one = bases.offer("latest", "one")
    bases.configure(f"build: {{base: {bases.name}, lock: none}}\n")
    code, reference, said = bases.build("--lock-base")
    assert code == 0, said
    assert f"{bases.name}:latest@{one}" in (bases.root / "toolkit.yaml").read_text()
    assert bases.which(reference) == "one"


@pytest.mark.full("it starts engines' requests that fail, which take a second each")
def test_a_base_that_no_registry_has_is_not_locked_until_the_remedy_is_followed(bases: Bases) -> None:
    # Given a base that was made on this engine,
    bases.offer("1", "one")
    pull(f"{bases.name}:1")
    local = f"{bases.root.name}-local:1"
    subprocess.run(["docker", "tag", f"{bases.name}:1", local], check=True)
    text = f"build:\n  lock: none\n  base_image: {local}\n"
    file = bases.configure(text)
    # when it is locked, then nothing is written, and the sentence says what to do.
    code, reference, said = bases.build("--lock-base")
    assert (code, reference, file.read_text()) == (2, "", text)
    assert f"toolkit.yaml:3: the base image {local} was made or loaded on this engine" in said
    # It works: each command of it, and then the lock.
    commands = re.findall(r"`(docker [^`]*HOST[^`]*)`", said)
    assert len(commands) == 2
    for command in commands:
        subprocess.run(command.replace("HOST", bases.store.host).split(), check=True, capture_output=True)
    file.write_text(text.replace(local, f"{bases.store.host}/{local}"))
    code, reference, said = bases.build("--lock-base")
    assert code == 0, said
    assert f"{bases.store.host}/{local}@sha256:" in file.read_text()
    # An image that is named by its id has no name to lock, and one that is used as it is has no base.
    image = (bases.engine.image(local) or {})["Id"]
    for setting, expected in ((f"build: {{lock: none, base: '{image}'}}", "by the id"),
                              (f"executor: {{config: {{image: '{local}'}}}}", "exists already")):  # fmt: skip
        file.write_text(setting)
        code, reference, said = bases.build("--lock-base")
        assert (
            (code, reference, file.read_text()) == (2, "", setting) and "toolkit.yaml:1: " in said and expected in said
        )
    # A tag that the registry does not have, and a registry that does not answer, leave the file as it is, too.
    for name, code_expected in ((f"{bases.name}:2@sha256:{'0' * 64}", 2), (f"localhost:1/x:2@sha256:{'0' * 64}", 3)):
        file.write_text(f"build: {{lock: none, base_image: '{name}'}}\n")
        code, reference, said = bases.build("--lock-base")
        assert (code, reference) == (code_expected, ""), said
        assert name in file.read_text()


@pytest.mark.full(_PULLS)
def test_without_a_file_the_sentence_has_the_line_to_write(bases: Bases) -> None:
    one = bases.offer("1", "one")
    project = load(bases.configure(f"build: {{lock: none, base_image: '{bases.name}:1'}}\n"), bases.root)
    without = replace(project, config=project.config._replace(source=None))
    with pytest.raises(BadInput, match="with the line") as refused:
        lock_base(without, print)
    line = refused.value.message.split("`")[1]
    assert load(bases.configure(line), bases.root).config.build.base_image == f"{bases.name}:1@{one}"
