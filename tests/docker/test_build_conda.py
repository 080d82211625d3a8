"""Environments of conda: solved or locked, from a channel that the test makes. Its Python is a stand-in (tests/support)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.conda_channel import Channel
from tests.support.engine import without_images
from tests.support.examples import EXAMPLES
from tests.support.scratch import Scratch
from toolkit.build.environment.base_image import find_base_image
from toolkit.build.interpreter import interpreter_of
from toolkit.engine import EngineApi

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
FULL = pytest.mark.full("a solved environment, which the core tier has, is installed as a lock of the same form")

SIX = {
    "url": "https://files.pythonhosted.org/packages/b7/ce/149a00dd41f10bc29e5921b496af8b574d8413afcd5e30dfa0ed46c2cc5e/"
    "six-1.17.0-py2.py3-none-any.whl",
    "sha256": "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
}
VERSIONS = """\
import os, subprocess, sys

import greeting
import six

print(greeting.TEXT, six.__version__, sys.prefix, subprocess.run(["hello"], capture_output=True, text=True).stdout.strip())
"""


class Project:
    """The example, with a channel of the test's own in it.

    Attributes:
        packages: the channel's entries, by ``name version``.
    """

    def __init__(self, root: Path) -> None:
        shutil.copytree(EXAMPLES / "build" / "conda", root)
        self.scratch = Scratch(root, {"TOOLKIT_ENV": "local"})
        self.root = root
        engine = EngineApi()
        base, image = find_base_image(engine, None)
        assert image is not None
        python = interpreter_of(engine, str(image["Id"]), base)
        channel = Channel(root / "channel")
        site = "site-packages/greeting.py"
        self.packages = {
            "python": channel.python(python.version, python.executable),
            "greeting 1.0": channel.add("greeting", "1.0", {site: "TEXT = 'old'\n"}, ("python >=3.8",), "python"),
            "greeting 1.1": channel.add("greeting", "1.1", {site: "TEXT = 'hi'\n"}, ("python >=3.8",), "python"),
            "hello 1": channel.add("hello", "1", {"bin/hello": "#!/bin/sh\necho hello\n"}, ("__glibc >=2.17",)),
            "sqlite 3": channel.add("sqlite", "3.1", {"share/sqlite": ""}),
        }
        self.python = python.version
        self.scratch.write({"versions.py": VERSIONS})

    def environment(self, *dependencies: Any, **more: Any) -> None:
        document: dict[str, Any] = {"channels": ["./channel"], "dependencies": list(dependencies), **more}
        self.scratch.write({"environment.yml": yaml.safe_dump(document)})

    def runs(self) -> str:
        result = self.scratch.toolkit("run", "pipeline.py")
        assert result.code == 0, result.err
        return self.scratch.toolkit("logs").out

    def refused(self) -> str:
        result = self.scratch.toolkit("build")
        assert result.code == 2, result.err
        return result.err


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    root = tmp_path / f"build-conda-{os.urandom(4).hex()}"
    made = Project(root)
    with without_images(root):
        yield made


def test_the_example_is_solved_and_said_not_to_be_locked(project: Project) -> None:
    example = EXAMPLES / "build" / "conda"
    shutil.copy(example / "versions.py", project.root)
    text = (example / "environment.yml").read_text()
    minor = ".".join(project.python.split(".")[:2])
    text = text.replace("- conda-forge", "- ./channel").replace("python=3.11", f"python={minor}")
    project.scratch.write({"environment.yml": text})
    result = project.scratch.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    assert "warning: nothing is locked: environment.yml" in result.err
    assert "six 1.17.0 below /opt/venv from conda" in project.scratch.toolkit("logs").out
    again = project.scratch.toolkit("build")
    assert again.code == 0 and "building" not in again.err and "asking" not in again.err, again.err
    # A comment asks nothing, because the file means the same; another bound asks, and builds nothing.
    project.scratch.write({"environment.yml": f"# changed\n{text}"})
    again = project.scratch.toolkit("build")
    assert again.code == 0 and "asking" not in again.err and "building" not in again.err, again.err
    project.scratch.write({"environment.yml": text.replace("sqlite>=3", "sqlite>=3.0")})
    again = project.scratch.toolkit("build")
    assert again.code == 0 and "asking" in again.err and "building" not in again.err, again.err


@FULL
def test_a_build_without_the_cache_gives_the_same_image(project: Project) -> None:
    project.environment(f"python=={project.python}", "greeting", "hello", {"pip": ["six==1.17.0"]})
    first = project.scratch.toolkit("build")
    again = project.scratch.toolkit("build", "--no-cache")
    assert (again.code, again.out) == (0, first.out), again.err
    assert "building" in again.err


@FULL
def test_a_lock_of_pixi_is_installed_exactly(project: Project) -> None:
    project.environment(f"python=={project.python}", "greeting=1.0", "hello")
    assert project.scratch.toolkit("build").code == 0
    (kept,) = (project.root / ".toolkit" / "build" / "exports").glob("*.solved.lock")
    # The kept answer is of the newest form of pixi's lock. Its users have the one before.
    lock = "version: 6\n" + kept.read_text().partition("\nenvironments:")[2].join(("environments:", ""))
    (project.root / "environment.yml").unlink()
    entry = f"- pypi: {SIX['url']}\n  name: six\n  version: 1.17.0\n  sha256: {SIX['sha256']}\n"
    lock = lock.replace("\npackages:\n", f"\npackages:\n{entry}")
    lock = lock.replace("      linux-64:\n", f"      linux-64:\n      - pypi: {SIX['url']}\n      - pypi: ./\n")
    lock = lock.replace("\npackages:\n", "\npackages:\n- pypi: ./\n  name: demo\n  version: '1.0'\n")
    pixi = (
        '[workspace]\nchannels = ["./channel"]\nplatforms = ["linux-64"]\n[dependencies]\ngreeting = "*"\nhello = "*"\n'
    )
    project.scratch.write({"pixi.lock": lock, "pixi.toml": pixi})
    assert "old 1.17.0 /opt/venv hello" in project.runs()

    digest = project.packages["greeting 1.0"]["sha256"]
    project.scratch.write({"pixi.lock": lock.replace(digest, "0" * 64)})
    assert "does not match its hash" in project.refused()
    project.scratch.write({"pixi.lock": lock.replace("      linux-64:\n", "      osx-arm64:\n")})
    assert "no packages for linux-64 (it has: osx-arm64)" in project.refused()
    project.scratch.write({"pixi.lock": lock, "pixi.toml": pixi + 'numpy = "*"\n'})
    assert "names numpy, which the lock does not have: run `pixi lock`" in project.refused()


@FULL
def test_a_lock_of_conda_lock_is_installed_exactly(project: Project) -> None:
    (project.root / "environment.yml").unlink()

    def entry(name: str, version: str, category: str = "main", platform: str = "linux-64") -> dict[str, Any]:
        record = project.packages.get(f"{name} {version}") or project.packages[name]
        return {
            "name": name,
            "version": record["version"],
            "manager": "conda",
            "platform": platform,
            "dependencies": {"python": ">=3.8"} if name == "greeting" else {},
            "url": f"file://{project.root}/channel/{record['url']}",
            "hash": {"md5": record["md5"], "sha256": record["sha256"]},
            "category": category,
            "optional": category != "main",
        }

    packages = [
        entry("python", ""),
        entry("greeting", "1.0"),
        entry("greeting", "1.1", platform="osx-arm64"),
        entry("hello", "1", "dev"),
        {
            **{"name": "six", "version": "1.17.0", "manager": "pip", "platform": "linux-64", "dependencies": {}},
            **{"url": SIX["url"], "hash": {"sha256": SIX["sha256"]}, "category": "main", "optional": False},
        },
    ]
    lock = {"version": 1, "metadata": {"platforms": ["linux-64"]}, "package": packages}
    project.scratch.write({"conda-lock.yml": yaml.safe_dump(lock, sort_keys=False)})
    project.scratch.write({"toolkit.yaml": "executor:\n  type: local-container\nbuild:\n  groups: [dev]\n"})
    assert "old 1.17.0 /opt/venv hello" in project.runs()

    packages[1]["hash"] = {"md5": "0" * 32, "sha256": "0" * 64}
    project.scratch.write({"conda-lock.yml": yaml.safe_dump(lock, sort_keys=False)})
    assert "does not match its hash" in project.refused()


@FULL
def test_what_does_not_fit_is_said(project: Project) -> None:
    project.environment("python", "greeting>=7")
    assert "no packages of its channels fit together" in project.refused()
    project.environment("python", channels=["./empty"])
    (project.root / "empty").mkdir()
    (project.root / "empty" / "file").touch()
    assert "one of its channels can't be read" in project.refused()
    project.environment("python", "greeting>=")
    assert "the dependency 'greeting>=' can't be read" in project.refused()


@FULL
def test_a_pylock_holds_no_packages_of_conda(project: Project) -> None:
    project.environment("python")
    result = project.scratch.toolkit("lock")
    assert result.code == 2 and "a pylock.toml can't hold what environment.yml names" in result.err, result.err


@FULL
def test_without_pythons_own_package_the_base_images_python_is_used(project: Project) -> None:
    project.environment("hello", {"pip": ["six==1.17.0", "-r more.txt"]})
    project.scratch.write(
        {
            "more.txt": "iniconfig==2.1.0\n",
            "versions.py": "import iniconfig, six, subprocess, sys\n\n"
            "print(six.__version__, sys.prefix, subprocess.run(['hello'], capture_output=True, text=True).stdout)\n",
        }
    )
    assert "1.17.0 /opt/venv hello" in project.runs()
