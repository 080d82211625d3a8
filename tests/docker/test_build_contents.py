"""`toolkit image`, and what a build says of what it has put into an image, against a real engine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from tests.support.builds import write_project
from toolkit import report
from toolkit.engine import EngineApi

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@dataclass
class Place:
    """A project whose images are removed afterwards."""

    root: Path
    repository: str

    def toolkit(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "toolkit", *arguments]
        cache = {"XDG_CACHE_HOME": str(self.root.parent / "cache")}
        done = subprocess.run(
            command, cwd=self.root, env=os.environ | cache, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done

    def wheel(self, name: str, version: str, size: int = 0, needs: str = "") -> str:
        """Writes a wheel with a file of zeros; returns its path in the project."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n"
        path = self.root / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}/__init__.py", "")
            archive.writestr(f"{name}/zeros", b"\0" * size)
            archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        return f"./{path.name}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    repository = f"toolkit-test-{uuid.uuid4().hex[:12]}"
    config = f"executor:\n  type: local-container\n  config:\n    image: {repository}\n"
    yield Place(write_project(tmp_path / "project", {"app.py": "VALUE = 1\n", "toolkit.yaml": config}), repository)
    engine = EngineApi()
    for image in engine.json("/images/json") or []:
        for tag in image.get("RepoTags") or []:
            if tag.startswith(repository):
                engine.call("DELETE", f"/images/{tag}?force=true")


def test_an_image_says_what_is_in_it_and_runs_as_nobody_in_particular(place: Place) -> None:
    reference = place.toolkit("build").stdout.strip()
    done = place.toolkit("image", "--json")
    assert done.stderr == f"the last image of this project is {reference}\n"
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((Path(report.__file__).parent / "schemas/image.schema.json").read_text()))
    assert document["reference"] == reference and document["built_by_toolkit"] and document["user"] == "1000:1000"
    assert document["base"]["name"] == document["labels"]["org.opencontainers.image.base.name"]
    assert {one["path"] for one in document["code"]["largest"]} == {"app.py", "toolkit.yaml"}
    assert document["layers"][0]["holds"] == "base"
    assert any(one["kind"] == "deb" and one["added"] is False for one in document["packages"])
    # Somebody who runs the image without any option has a home and a working folder that they can write.
    script = "import app, os; [open(os.path.expanduser(p), 'w').close() for p in ('~/x', 'x')]; print(os.getuid())"
    run = ["docker", "run", "--rm", "--network=none", reference, "python3", "-c", script]
    assert subprocess.run(run, capture_output=True, text=True, check=False).stdout == "1000\n"
    missing = place.toolkit("image", f"{place.repository}:nothing", code=2)
    assert "has no image" in missing.stderr and missing.stdout == ""


@pytest.mark.full("it installs packages; tests/unit/test_build_inventory.py has the rules without an engine")
def test_packages_for_a_gpu_are_named_once_for_an_environment(place: Place) -> None:
    wheels = [place.wheel("torch", "2.5.1", 9 << 20, "nvidia-x-cu12"), place.wheel("nvidia_x_cu12", "12.1", 30 << 20)]
    (place.root / "requirements.txt").write_text("\n".join(wheels))
    first = place.toolkit("build")
    assert "warning: nvidia-x-cu12 and torch" in first.stderr.replace("nvidia_x_cu12", "nvidia-x-cu12")
    assert "take 41 MB" in first.stderr
    (place.root / "app.py").write_text("VALUE = 2\n")
    assert "GPU" not in place.toolkit("build").stderr
    shown = place.toolkit("image").stdout
    assert "built for GPUs" in shown and "dependencies" in shown


@pytest.mark.full("an image of somebody else's is a rare wish; the core tier has one of toolkit's own")
def test_an_image_without_python_is_shown_as_far_as_it_can_be(place: Place) -> None:
    import tarfile

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, text in (
            ("etc/os-release", 'NAME="Own"\n'),
            ("var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    name = f"{place.repository}-own:1"
    subprocess.run(["docker", "import", "-", name], input=content.getvalue(), check=True, capture_output=True)
    document = json.loads(place.toolkit("image", name, "--json").stdout)
    assert (document["python"], document["code"], document["system"]) == (None, None, "Own")
    assert [one["name"] for one in document["packages"]] == ["a"] and not document["built_by_toolkit"]


@pytest.mark.full("it installs packages; tests/unit/test_build_sbom.py has the rules without an engine")
def test_the_bill_of_materials_has_what_is_installed_and_is_always_the_same(place: Place) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    metadata = '[project]\nname = "shop"\nversion = "0.3"\nrequires-python = ">=3.9"\ndependencies = ["six==1.17.0"]\n'
    backend = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    write_project(place.root, {"pyproject.toml": metadata + backend, "shop/__init__.py": ""})
    environment = os.environ | {"UV_PYTHON": sys.executable}
    subprocess.run([sys.executable, "-m", "uv", "lock", "-q"], cwd=place.root, env=environment, check=True)
    first = place.toolkit("build", "--sbom", "sbom.json").stdout
    file = place.root / "sbom.json"
    content = file.read_bytes()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    document = json.loads(content)
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/shop@0.3"
    by_name = {one["name"]: one for one in document["components"]}
    digest = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
    assert by_name["six"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert by_name["six"]["licenses"] and by_name["dpkg"]["purl"].startswith("pkg:deb/debian/dpkg@")
    assert {one["type"] for one in document["components"]} == {"library", "container", "operating-system"}
    # Nothing is remembered, and the file lies in the project: it is the same image, and the same bill.
    for kept in (place.root.parent / "cache/toolkit/inventories").iterdir():
        kept.unlink()
    assert place.toolkit("build", "--sbom", "again.cdx.json").stdout == first
    assert (place.root / "again.cdx.json").read_bytes() == content
    assert place.toolkit("build", "--sbom", "-", code=2).stdout == ""
