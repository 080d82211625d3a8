"""The wheel holds all that a user needs, also what is not Python."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as a release would build it, with the locked backend."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


@pytest.mark.parametrize("folder", ["dockerfiles", "k8s"])
def test_every_committed_file_of_the_folder_is_in_the_wheel(wheel: zipfile.ZipFile, folder: str) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    # What builds a cluster to test on is of the checkout alone.
    files = {name for name in files if not name.startswith("k8s/cluster/")}
    held = {name.removeprefix("toolkit/_data/") for name in wheel.namelist()}

    assert files, f"{folder} is empty"
    assert files <= held


def test_the_modules_and_the_command_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    [entry_points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]

    assert "toolkit/errors.py" in wheel.namelist()
    assert "toolkit/py.typed" in wheel.namelist()
    assert "toolkit = toolkit.__main__:main" in wheel.read(entry_points).decode()


def test_nothing_of_the_checkout_slips_in(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    names = {part for name in wheel.namelist() for part in name.split("/")}

    assert top == {"toolkit", "samerun-0.1.0.dist-info"}
    assert not names & {".env", ".git", ".toolkit", ".venv", "__pycache__", "tests"}


def test_the_metadata_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    said = metadata(wheel)

    assert (said["Name"], said["Requires-Python"]) == ("samerun", ">=3.10")
    assert said["Summary"] and said["Description-Content-Type"] == "text/markdown"
    assert (said["License-Expression"], said.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    required = {line.split(">")[0].strip() for line in said.get_all("Requires-Dist", [])}
    assert required == {
        "cyclonedx-python-lib",
        "docker",
        "kubernetes",
        "packaging",
        "pyyaml",
        "requests",
        "rich",
        "tomli",
    }


def test_the_licence_is_in_the_wheel_and_in_the_source_distribution(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    text = (ROOT / "LICENSE").read_bytes()
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = tmp_path.glob("*.tar.gz")

    assert wheel.read("samerun-0.1.0.dist-info/licenses/LICENSE") == text
    with tarfile.open(path) as sources:
        kept = sources.extractfile("samerun-0.1.0/LICENSE")
        assert kept is not None and kept.read() == text


def test_an_installed_wheel_finds_its_data(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    script = "from toolkit.data import data_path; print(data_path('dockerfiles')); print(data_path('k8s'))"

    # -S: the editable install of this checkout must not answer for it
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout.split()

    assert found == [str(tmp_path / "toolkit/_data/dockerfiles"), str(tmp_path / "toolkit/_data/k8s")]


def test_a_checkout_finds_its_data_beside_the_package() -> None:
    from toolkit.data import data_path

    assert data_path("dockerfiles") == ROOT / "dockerfiles"
    assert data_path("k8s").is_dir()
