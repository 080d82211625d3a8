"""BuildKit itself is asked which files a .dockerignore leaves out: the same ones as toolkit does."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from toolkit.build.code.files import project_files
from toolkit.build.environment.buildkit import find_build_client
from toolkit.engine import resolve_endpoint

pytestmark = pytest.mark.docker

FILES = (
    "app.py", "data.csv", "DATA.CSV", "README.md", "OTHER.md", "a/data.csv", "a/b/data.csv", "a/b/keep.txt", "a/z",
    "a/b/c/z", "src/app.py", "src/private/key.txt", "src/private/keep.txt", "file1.py", "file12.py", "filex.py",
    "with space/x y", "a*b",
    "docs/index.md", "docs/deep/index.md", "Dockerfile",
)  # fmt: skip


def sent_by_buildkit(root: Path, dockerfile: Path) -> set[str]:
    client = find_build_client(resolve_endpoint())
    command = [part for part in client.command if part != "--load"]
    done = subprocess.run(
        [*command, "--quiet", "--file", str(dockerfile), "--output", "type=tar,dest=-", str(root)],
        env=os.environ | client.settings, capture_output=True, check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {member.name.rstrip("/") for member in tar} - {"."}


def project(folder: Path, dockerignore: str) -> tuple[Path, Path]:
    root = folder / "project"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".dockerignore").write_text(dockerignore)
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    return root, dockerfile


@pytest.mark.parametrize(
    "content",
    [
        "data.csv", "*.csv", "**/*.csv", "*/data.csv", "src", "src/", "/src", "./src", "src/../docs", "src/**", "**/b",
        "**/b/**",
        "a/**/z", "file?.py", "file[0-9].py", "file[^0-9].py", "# data.csv\n\n  src  \n", "*.md\n!README.md",
        "!README.md\n*.md",
        "src\n!src/private/keep.txt", "*\n!src\nsrc/private", "*\n!/src\n!docs/*.md", ".", "!docs",
        r"a\*b", "with space", "**\n!app.py", "a/b\n!a/b/c", "docs/deep\n!docs",
    ],
)  # fmt: skip
def test_buildkit_and_toolkit_leave_out_the_same_files(tmp_path: Path, content: str) -> None:
    root, dockerfile = project(tmp_path, content)
    assert {file.path for file in project_files(root)} == sent_by_buildkit(root, dockerfile)


@pytest.mark.parametrize("content", ["a\n!**/keep.txt", "*\n!**/*.md", "*\n!*/*.md"])
def test_an_exception_with_a_wildcard_reaches_below_an_ignored_folder(tmp_path: Path, content: str) -> None:
    """BuildKit before 0.10, as in engines before 23, does not look there and sends less; later ones do as we do."""
    root, dockerfile = project(tmp_path, content)
    assert sent_by_buildkit(root, dockerfile) <= {file.path for file in project_files(root)}
