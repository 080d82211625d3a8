"""What a Git checkout lacks, and what the image takes though Git ignores it, is named."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.code import checkout
from toolkit.build.code.checkout import ignored_by_git, missing_size, warn_of_missing
from toolkit.build.code.files import project_files
from toolkit.build.code.hashes import FileHashes

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{:064}\nsize {}\n"


def warnings(root: Path, pointers: dict[str, int] | None = None) -> list[str]:
    found: list[str] = []
    warn_of_missing(root, project_files(root), pointers or {}, found.append)
    return found


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (POINTER.format(0, 1234567890), 1234567890),
        (POINTER.format(0, 0), 0),
        (POINTER.format(0, 5).replace("oid", "ext-0-foo sha256:0\noid"), 5),
        (POINTER.format(0, 5).replace("spec/v1", "spec/v2"), None),
        (POINTER.format(0, "five"), None),
        ("size 5\n", None),
        ("", None),
    ],
)
def test_a_pointer_is_known_by_its_content(content: str, size: int | None) -> None:
    assert missing_size(content.encode()) == size


def test_pointers_are_remembered_with_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_project(tmp_path / "root", {"a.bin": POINTER.format(1, 7), "b.py": "x", "c": POINTER + "x" * 1000})
    for path in root.iterdir():
        os.utime(path, (1, 1))
    monkeypatch.setattr("toolkit.build.code.hashes.RACY_NS", -(10**18))
    for reads in (True, False):
        if not reads:
            monkeypatch.setattr(
                "toolkit.build.code.hashes.read_hash", lambda file: pytest.fail(f"{file.path} was read")
            )
        hashes = FileHashes(tmp_path / "hashes.json")
        for file in project_files(root):
            hashes.of(file)
        hashes.save()
        assert hashes.pointers == {"a.bin": 7}


def test_pointers_are_named_with_the_size_that_is_missing(tmp_path: Path) -> None:
    assert warnings(tmp_path) == []
    assert warnings(tmp_path, {"m.bin": 1234567890}) == [
        "m.bin is a Git LFS pointer in place of 1.2 GB: `git lfs pull` gets it"
    ]
    (many,) = warnings(tmp_path, {f"{number}.bin": number * 1000 for number in range(17)})
    assert "16.bin (16 kB)" in many and "136 kB" in many and many.count(".bin") == 5 and "and 12 more" in many


def test_a_submodule_whose_folder_is_empty_is_named(tmp_path: Path) -> None:
    modules = '[submodule "a"]\n\tpath = project/libs/a ; why\n\n[submodule "b"]\npath="project/with space"\n'
    modules += '[submodule "c"]\n\tpath = project/full\n[submodule "d"]\npath = elsewhere\n[submodule "e"]\n\tpath = project/out\n'
    write_project(tmp_path, {".gitmodules": modules, ".git/HEAD": "", "project/full/x": "", "elsewhere/x": ""})
    root = tmp_path / "project"
    write_project(root, {".dockerignore": "out\n"})
    for name in ("libs/a", "with space", "out"):
        (root / name).mkdir(parents=True)
    assert warnings(root) == ["the submodules libs/a, with space are empty: `git submodule update --init` gets them"]
    (root / "libs/a/x").write_text("")
    assert warnings(root) == ["the submodule with space is empty: `git submodule update --init` gets it"]
    # Another repository's submodules are none of the project's.
    (root / ".git").mkdir()
    assert warnings(root) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "repo/project", {".gitignore": "*.bin\n", "data/small.bin": "x", "app.py": ""})
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    for name, size in {
        "data/a.bin": 30_000_000,
        ":(x)c\n.bin": 2_000_000,
        "kept.csv": 40_000_000,
        "forced.bin": 50_000_000,
    }.items():
        (root / name).touch()
        os.truncate(root / name, size)
    subprocess.run(["git", "add", "-f", "forced.bin"], cwd=root, check=True)
    return root


def test_large_files_that_git_ignores_and_the_image_takes_are_named(repository: Path) -> None:
    write_project(repository, {"nested/.git/HEAD": ""})
    (repository / "nested/large.bin").touch()
    os.truncate(repository / "nested/large.bin", 20_000_000)
    assert ignored_by_git(repository, project_files(repository)) == (
        "note: the image takes 32 MB that Git ignores: data/a.bin (30 MB), :(x)c\n.bin (2.0 MB): name them in .dockerignore if no "
        "step needs them"
    )
    (repository / ".dockerignore").write_text("data\n")
    assert ignored_by_git(repository, project_files(repository)) == ""


def test_without_a_repository_or_an_answer_of_git_nothing_is_said(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = project_files(repository)
    (tmp_path / "bin").mkdir()
    git, mark = tmp_path / "bin/git", tmp_path / "pid"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(checkout, "_TIME_LIMIT", 1.0)
    for script in ("exit 128", f"sleep 600 & echo $! > {mark}; wait", "exec 0<&-; exit 0"):
        git.write_text(f"#!/bin/sh\n{script}\n")
        git.chmod(0o755)
        assert ignored_by_git(repository, files) == ""
    # What a git that hung had started has ended with it.
    until = time.monotonic() + 30
    while Path(f"/proc/{mark.read_text().strip()}/cmdline").exists() and time.monotonic() < until:
        if not Path(f"/proc/{mark.read_text().strip()}/cmdline").read_bytes():
            break  # nobody has asked how it ended
        time.sleep(0.01)
    else:
        assert time.monotonic() < until
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert ignored_by_git(repository, files) == ""
    monkeypatch.undo()
    assert ignored_by_git(repository, files)
    (tmp_path / "repo/.git").rename(tmp_path / "repo/git")
    assert ignored_by_git(repository, files) == ""
