"""Which files are the user's code, and what is never among them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from toolkit.build.code import links
from toolkit.build.code.files import FETCHED, CodeFile, is_left_out, project_files
from toolkit.errors import BadInput


def paths(root: Path, **options: object) -> list[str]:
    return [file.path for file in project_files(root, **options)]  # type: ignore[arg-type]


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_everything_is_code_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    write(tmp_path, "b.py", "a/z.py", "a-b.py", "Ü.py", "a/.hidden")
    assert paths(tmp_path) == ["a", "a-b.py", "a/.hidden", "a/z.py", "b.py", "Ü.py"]


def test_secrets_history_and_this_machines_own_are_never_code_whatever_dockerignore_says(tmp_path: Path) -> None:
    never = [".env", ".env.local", ".envrc", ".git/config", ".toolkit/x", ".venv/pyvenv.cfg", "__pycache__/a.pyc"]
    write(tmp_path, "app.py", *never, *(f"sub/{name}" for name in never))
    (tmp_path / "worktree").mkdir()
    (tmp_path / "worktree" / ".git").write_text("gitdir: elsewhere")
    (tmp_path / ".dockerignore").write_text("!.env\n!.git\n!**/.env\n!.env.local\n!**/__pycache__\n")
    assert paths(tmp_path) == [".dockerignore", "app.py", "sub", "worktree"]


def test_a_folder_that_a_fetch_made_is_no_code(tmp_path: Path) -> None:
    write(
        tmp_path,
        "app.py",
        FETCHED,
        f"got/{FETCHED}",
        "got/a/b",
        f"sub/got/{FETCHED}",
        "sub/c",
        f"kept/{FETCHED}",
        "kept/d",
    )
    (tmp_path / "link").symlink_to("got")
    (tmp_path / ".dockerignore").write_text("kept\ndata\nhalf\n!**/d\n!half/x\n")
    assert paths(tmp_path) == [".dockerignore", FETCHED, "app.py", "link", "sub", "sub/c"]
    left_out = {
        name
        for name in ("", "got", "got/new", "sub", "sub/got", "link", "..", ".venv/x", "new")
        if is_left_out(tmp_path, tmp_path / name)
    }
    assert left_out == {"got", "got/new", "sub/got", "link", "..", ".venv/x"}
    # `!**/d` may keep something in any folder.
    assert not is_left_out(tmp_path, tmp_path / "data")
    (tmp_path / ".dockerignore").write_text("data\nhalf\n!half/x\n")
    assert is_left_out(tmp_path, tmp_path / "data/new") and not is_left_out(tmp_path, tmp_path / "half")


def test_a_secrets_file_of_another_name_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, "app.py", "conf/passwords.txt")
    assert paths(tmp_path, without=[tmp_path / "conf" / "passwords.txt"]) == ["app.py", "conf"]


def test_an_exception_brings_back_a_file_together_with_the_folders_above_it(tmp_path: Path) -> None:
    write(tmp_path, "data/a/keep.md", "data/b/x.bin", "app.py")
    (tmp_path / ".dockerignore").write_text("data\n.dockerignore\n!**/keep.md\n")
    assert paths(tmp_path) == ["app.py", "data", "data/a", "data/a/keep.md"]


def test_links_stay_links_and_those_that_lead_out_are_warned_about(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(root, "data.csv", "sub/x")
    (root / "inside").symlink_to("data.csv")
    (root / "outside").symlink_to("../other")
    (root / "absolute").symlink_to("/etc/hosts")
    # These two leave the project and come back to it.
    (root / "sub" / "by-its-path").symlink_to(root / "data.csv")
    (root / "sub" / "around").symlink_to("../../project")
    (root / "folder").symlink_to("sub")
    warnings: list[str] = []
    found = {file.path: file for file in project_files(root, warn=warnings.append)}
    assert found["inside"] == CodeFile("inside", "symlink", str(root / "inside"), target="data.csv")
    assert found["outside"].target == "../other"
    assert found["sub/by-its-path"].target == "../data.csv" and found["sub/around"].target == ".."
    assert "folder/x" not in found
    assert sorted(warning.split()[0] for warning in warnings) == ["absolute", "outside"]


def test_links_that_lead_to_nothing_in_a_container_are_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "app.py", "sub/x", ".venv/bin/tool", "node_modules/m/index.js", "ignored", f"got/{FETCHED}")
    (tmp_path / ".dockerignore").write_text("ignored\n")
    (tmp_path / ".venv/bin/python").symlink_to("/usr/bin/env")
    (tmp_path / ".venv/inside").symlink_to("../sub")
    for name, target in {
        # These are right.
        "self": ".", "sub/up": "..", "sub/root": "../self/sub/x", "through": "self/sub/up/app.py", "folder": "sub/",
        # These are not.
        "dangling": "nowhere", "deep": "sub/none/x", "under": "app.py/x", "a": "b", "b": "a", "own": "own", "to-a": "a/x",
        "latest": ".venv/bin/tool", "module": "node_modules/m", "hidden": "ignored", "back": ".venv/inside/x",
        "python": ".venv/bin/python", "fetched": "got", "opt": "/opt/model", "chain": "opt",
    }.items():  # fmt: skip
        (tmp_path / name).symlink_to(target)
    warnings: list[str] = []
    monkeypatch.setattr(links, "_MOST_NAMED", 100)
    project_files(tmp_path, warn=warnings.append)
    by_reason: dict[str, set[str]] = {}
    for sentence in warnings:
        path = sentence.split()[0]
        reason = next(
            words for words in ("circle", "left out", "outside of the project", "leads to nothing") if words in sentence
        )
        by_reason.setdefault(reason, set()).add(path)
    assert by_reason == {
        "circle": {"a", "b", "own", "to-a"},
        "left out": {"latest", "module", "hidden", "back", "python", "fetched"},
        "outside of the project": {"opt", "chain"},
        "leads to nothing": {"dangling", "deep", "under"},
    }


def test_of_many_wrong_links_a_few_are_named(tmp_path: Path) -> None:
    for number in range(17):
        (tmp_path / f"{number:02}").symlink_to("annex")
    warnings: list[str] = []
    project_files(tmp_path, warn=warnings.append)
    assert len(warnings) == 6 and "and 12 more" in warnings[-1]


def test_sockets_and_pipes_are_left_out_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("listener")
        warnings: list[str] = []
        assert project_files(tmp_path, warn=warnings.append) == []
    assert len(warnings) == 2


def test_a_warning_that_nobody_takes_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    project_files(tmp_path)
    assert "pipe is a socket, a pipe or a device" in capsys.readouterr().err


def test_a_name_that_is_not_utf_8_is_named_unless_it_is_ignored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(BadInput, match=r"caf\\xe9.txt"):
        project_files(tmp_path)
    (tmp_path / ".dockerignore").write_text("caf*\n")
    assert paths(tmp_path) == [".dockerignore"]


def test_weird_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["with space", "new\nline", "quote'\"", "-rf", "*", "back\\slash", "x" * 255]
    for name in names:
        (tmp_path / name).write_text("")
    assert sorted(paths(tmp_path)) == sorted(names)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gone"):
        project_files(tmp_path / "gone")


def test_the_executable_bit_is_the_owners(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", "group.sh")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "group.sh").chmod(0o654)
    assert {file.path: file.executable for file in project_files(tmp_path)} == {"run.sh": True, "group.sh": False}
