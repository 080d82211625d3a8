"""The environment image is the same on two machines, which two folders, umasks, caches and users stand in for."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from toolkit.build.code.layer import MTIME
from toolkit.build.environment import builder, definition
from toolkit.build.environment.base_image import find_base_image
from toolkit.build.environment.definition import EnvironmentDefinition, network_files
from toolkit.build.environment.dependencies.found import Dependencies
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.image.archive import Slice
from toolkit.build.image.engine_images import saved_image
from toolkit.build.image.environment_image import ensure_environment
from toolkit.config.settings import Build, BuildNetwork
from toolkit.engine import EngineApi, EngineObject

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
FULL = pytest.mark.full("the same script writes the layer of each way of installing; the core tier has uv's")

PROJECT = (
    '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six==1.17.0", "idna==3.10"]\n'
)
SOURCE = "docopt==0.6.2"
"""A distribution that the index has no wheel of."""


@dataclass
class Machine:
    """A folder, a cache and a user of its own, on one engine; what it builds is removed."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    engine: EngineApi = field(default_factory=EngineApi)
    said: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def build(self, files: dict[str, str], settings: Build, *, anew: bool = False, umask: int = 0o022) -> EngineObject:
        """The environment image.

        Args:
            anew: whether with an empty cache of uv's, and none of BuildKit's.
        """
        self.said.clear()
        mark, template = uuid.uuid4().hex.encode(), definition.template

        def of_its_own(kind: str, foreign: bool = False) -> bytes:
            # The name of the image follows from the template. No other test has this one.
            text: bytes = template(kind, foreign) + (b"LABEL test=" if kind == "none" else b"# ") + mark
            return text.replace(b"id=toolkit-uv", b"id=toolkit-test-uv-" + mark) if anew else text

        before = os.umask(umask)
        try:
            with self.monkeypatch.context() as patch:
                for module in (definition, builder):
                    patch.setattr(module, "template", of_its_own)
                patch.setenv("HOME", str(self.root))
                for name, text in files.items():
                    self.root.mkdir(parents=True, exist_ok=True)
                    (self.root / name).write_text(text)
                state = self.root / ".toolkit"
                state.mkdir(exist_ok=True)
                base, image = find_base_image(self.engine, None)
                assert image is not None
                found = find_dependencies(self.root, settings, self.said.append)
                assert isinstance(found, Dependencies)
                made = EnvironmentDefinition(
                    base, str(image["Id"]), settings.system_packages, found, build_packages=settings.build_packages
                )
                network = network_files(BuildNetwork(), self.root)
                self.made.append(made.reference)
                image = ensure_environment(self.engine, made, network, state, self.said.append, anew)
                assert [one.name for one in state.iterdir()] == ["environment.log"]
                return image
        finally:
            os.umask(before)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Machine, Machine]]:
    made = Machine(tmp_path / "one", monkeypatch), Machine(tmp_path / "other" / "place", monkeypatch)
    yield made
    for machine in made:
        for reference in machine.made:
            machine.engine.call("DELETE", f"/images/{reference}")


def locked(root: Path) -> dict[str, str]:
    root.mkdir()
    (root / "pyproject.toml").write_text(PROJECT)
    environment = os.environ | {"UV_PYTHON": sys.executable}
    subprocess.run([sys.executable, "-m", "uv", "lock", "-q"], cwd=root, env=environment, check=True)
    return {name: (root / name).read_text() for name in ("pyproject.toml", "uv.lock")}


def test_two_machines_and_an_empty_cache_give_one_image(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    files = locked(tmp_path / "project")
    one, other = machines
    first = one.build(files, Build())
    second = other.build(files, Build(), anew=True, umask=0o077)
    assert one.made != other.made
    assert (second["Id"], second["RootFS"]) == (first["Id"], first["RootFS"])
    assert not [line for line in (*one.said, *other.said) if line.startswith("note:")]

    base = one.engine.image(find_base_image(one.engine, None)[0])
    assert base is not None and first["Created"] == base["Created"]
    assert first["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    assert {"VIRTUAL_ENV=/opt/venv"} < set(first["Config"]["Env"])
    with saved_image(one.engine, first["Id"], tmp_path) as (_, layers):
        content = layers[-1].content
        assert isinstance(content, Slice)
        with content.file.open("rb") as file:
            file.seek(content.offset)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = tar.getmembers()
                assert {member.mtime for member in members} == {MTIME}
                assert {member.name.split("/")[0] for member in members} == {"opt"}
                compiled = [member for member in members if member.name.endswith(".pyc")]
                assert any("/six." in member.name for member in compiled)
                heads = {(tar.extractfile(member) or file).read(8)[4:] for member in compiled}
                assert heads == {b"\x03\0\0\0"}


@pytest.mark.full("it installs a package of Debian's; the core tier has a test that does")
def test_a_base_image_with_system_packages_is_shared_and_has_no_logs(machines: tuple[Machine, Machine]) -> None:
    machine, _ = machines
    image = machine.build({"requirements.txt": "six==1.17.0\n"}, Build(system_packages=("tree",)))
    below = machine.build({}, Build(lock="none", system_packages=("tree",)))
    assert below["RepoTags"][0].startswith("toolkit-system:")
    assert image["RootFS"]["Layers"][:-1] == below["RootFS"]["Layers"]
    script = (
        "tree --version >/dev/null; find /var/log /var/lib/apt/lists /var/cache/ldconfig -type f -newer /etc/os-release"
    )
    done = subprocess.run(
        ["docker", "run", "--rm", image["Id"], "sh", "-ec", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "", done.stderr


@FULL
@pytest.mark.parametrize("line", ["six>=1", f"{SOURCE}\nsix==1.17.0"], ids=["pip", "source"])
def test_what_is_built_from_source_is_named_also_when_it_was_built_before(
    machines: tuple[Machine, Machine], line: str
) -> None:
    one, other = machines
    images = []
    for machine, anew in ((one, False), (one, False), (other, True)):
        images.append(
            machine.build({"requirements.txt": f"{line}\n{SOURCE.replace('==', '>=')}\n"}, Build(), anew=anew)
        )
        said = [text for text in machine.said if text.startswith("note: docopt")]
        assert said == ["note: docopt is built from source here, so the files may differ on another machine"]
    assert len({image["RootFS"]["Layers"][-1] for image in images}) == 1


@pytest.mark.full("it installs a compiler from Debian, which takes half a minute")
def test_packages_for_the_build_alone_are_not_in_the_image(machines: tuple[Machine, Machine]) -> None:
    machine, _ = machines
    settings = Build(build_packages=("gcc", "libc6-dev", "python3-dev"))
    image = machine.build({"requirements.txt": "netifaces==0.11.0\n"}, settings)
    script = "python3 -c 'import netifaces; print(bool(netifaces.interfaces()))'; command -v gcc || echo none"
    done = subprocess.run(
        ["docker", "run", "--rm", image["Id"], "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\nnone\n", done.stderr
