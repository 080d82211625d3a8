"""A file that still holds exactly what commands wrote to it is no code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.code import own_outputs
from toolkit.build.code.files import COMPOSE_TOP, is_project_file, project_files
from toolkit.build.code.own_outputs import known_outputs, outputs_folder

COMMAND = """
import sys
from pathlib import Path
from toolkit.build.code.own_outputs import CommandOutputs
from toolkit.config.load import load
root, text, waits = Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
outputs = CommandOutputs()
outputs.announce(load(None, root, {}))
print(text, flush=True)
if waits:
    sys.stdin.read()
outputs.record(anew=True)
"""
"""What a command does with its outputs, without the command."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {"app.py": "", "sub/b.py": ""})


def command(root: Path, text: str, to: str, mode: str = "wb") -> None:
    with (root / to).open(mode) as file:
        subprocess.run([sys.executable, "-c", COMMAND, str(root), text], stdout=file, check=True, timeout=60)


def code(root: Path) -> set[str]:
    folder = outputs_folder(root / ".toolkit")
    found = {each.path for each in project_files(root, outputs=folder) if each.kind == "file"}
    files = {
        os.path.relpath(os.path.join(top, name), root)
        for top, _, names in os.walk(root)
        for name in names
        if "/.toolkit" not in top
    }
    assert {path for path in files if is_project_file(root, path, outputs=folder)} == found
    return found


def test_what_a_command_wrote_is_code_once_it_is_edited_and_no_code_once_that_is_undone(root: Path) -> None:
    command(root, "image:1", "sub/image.txt")
    assert code(root) == {"app.py", "sub/b.py"}
    (root / "sub/image.txt").write_text("image:2\n")
    assert "sub/image.txt" in code(root)
    (root / "sub/image.txt").write_text("image:1\n")
    assert "sub/image.txt" not in code(root)
    (root / "sub/image.txt").rename(root / "kept.txt")
    assert "kept.txt" in code(root)


def test_a_compose_file_of_ours_is_no_code_also_where_it_was_edited(root: Path) -> None:
    for name in ("compose.yml", "compose.txt"):
        (root / name).write_bytes(COMPOSE_TOP + b" Mine.\n")
    assert code(root) == {"app.py", "sub/b.py", "compose.txt"}


def test_what_is_appended_to_counts_if_commands_wrote_all_of_it(root: Path) -> None:
    command(root, "one", "log.txt")
    command(root, "two", "log.txt", "ab")
    assert (root / "log.txt").read_text() == "one\ntwo\n" and "log.txt" not in code(root)
    (root / "mine.txt").write_text("mine\n")
    command(root, "three", "mine.txt", "ab")
    with (root / "log.txt").open("a") as file:
        file.write("mine\n")
    command(root, "four", "log.txt", "ab")
    assert {"mine.txt", "log.txt"} <= code(root)


def test_a_line_of_dockerignore_with_its_path_keeps_it(root: Path) -> None:
    command(root, "{}", "s.json")
    (root / ".dockerignore").write_text("!*.json\n")
    assert "s.json" not in code(root)
    (root / ".dockerignore").write_text("!s.json\n")
    assert "s.json" in code(root)


def test_a_file_that_a_command_writes_to_right_now_is_no_code_until_the_command_is_killed(root: Path) -> None:
    (root / ".toolkit").mkdir()
    with (root / "log.txt").open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(root), "step 1", "waits"], stdin=subprocess.PIPE, stdout=file
        )
    try:
        while not (root / "log.txt").stat().st_size:
            assert running.poll() is None
        assert "log.txt" not in code(root)
    finally:
        running.kill()
        running.communicate()
    assert "log.txt" in code(root)
    command(root, "step 2", "other.txt")
    assert [path.suffix for path in outputs_folder(root / ".toolkit").iterdir()] == [".json"]


def test_commands_that_end_at_once_are_all_remembered(root: Path) -> None:
    with (root / "all.txt").open("ab") as file:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(root), "x", "waits"],
                stdin=subprocess.PIPE,
                stdout=file if number < 3 else (root / f"{number}.txt").open("wb"),
            )
            for number in range(6)
        ]
    for each in running:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait(60) for each in running] == [0] * 6
    assert code(root) == {"app.py", "sub/b.py"}


def test_a_record_that_is_damaged_or_cannot_be_written_is_none(root: Path) -> None:
    command(root, "x", "a.txt")
    (record,) = outputs_folder(root / ".toolkit").iterdir()
    for content in (b"", b"[1]", b'{"version": 1, "path": "a.txt"}', b'{"version": 2}', b"\xff"):
        record.write_bytes(content)
        assert "a.txt" in code(root)
    record.unlink()
    record.parent.rmdir()
    record.parent.write_text("a file is in the way")
    command(root, "x", "a.txt")
    assert "a.txt" in code(root)


def test_few_are_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_outputs, "_MOST", 2)
    for name in ("a", "b", "c"):
        command(root, name, name)
    folder = outputs_folder(root / ".toolkit")
    own_outputs._remove_old(folder)
    assert set(known_outputs(folder)) == {"b", "c"}


def test_a_file_outside_of_the_project_and_a_removed_one_are_not_remembered(root: Path, tmp_path: Path) -> None:
    command(root, "x", "../outside.txt")
    with (root / "gone.txt").open("wb") as file:
        (root / "gone.txt").unlink()
        (root / "gone.txt").write_text("x\n")
        subprocess.run([sys.executable, "-c", COMMAND, str(root), "x"], stdout=file, check=True, timeout=60)
    assert "gone.txt" in code(root) and not known_outputs(outputs_folder(root / ".toolkit"))


@pytest.mark.parametrize(
    "argv", [["run", "no-such.py"], ["build", "--no-such"], ["--help"], ["show", "--config", "none"]]
)
def test_what_a_command_says_before_it_comes_to_a_project_is_remembered_too(root: Path, argv: list[str]) -> None:
    (root / ".toolkit").mkdir()
    with (root / "said.txt").open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "toolkit", *argv], stdout=file, stderr=file, cwd=root, check=False, timeout=60
        )
    assert (root / "said.txt").stat().st_size and "said.txt" not in code(root)


@pytest.mark.parametrize("argv", [["init", "new"], ["catalog", "--get=x"], ["migrate", "app.py"]])
def test_what_may_be_the_users_own_stays_code(root: Path, argv: list[str]) -> None:
    (root / ".toolkit").mkdir()
    with (root / "data.csv").open("wb") as file:
        subprocess.run([sys.executable, "-m", "toolkit", *argv], stdout=file, cwd=root, check=False, timeout=60)
    assert "data.csv" in code(root)
