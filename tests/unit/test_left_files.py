"""The look at what a step left in its folder and nobody put."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from toolkit.runtime.shared.records import checked_left, parse
from toolkit.runtime.shared.termination import LONGEST_MESSAGE
from toolkit.runtime.step import left_files as module
from toolkit.runtime.step.left_files import is_ignored, left_files, left_message, make_mark, names_below


class Step:
    """A step's folder with files of the project, one got file, and the mark that is made before the step begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        (self.folder / "data").mkdir(parents=True)
        for name in ("run.sh", "data/in.csv", "data/out.txt"):
            (self.folder / name).write_text("the project's")
        self.own = names_below(str(self.folder))
        (self.folder / "got.bin").write_text("got")
        mark = make_mark(str(self.folder), after_own_files=True)
        assert mark is not None
        self.mark = mark

    def write(self, name: str, size: int = 3) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        return path

    def left(self, **further: Any) -> list[str]:
        record = self.record(**further)
        return [file["name"] for file in record["files"]] if record is not None else []

    def record(self, put: tuple[Path, ...] = (), **further: Any) -> Any:
        inodes = {(os.stat(path).st_dev, os.stat(path).st_ino) for path in put}
        return left_files(str(self.folder), self.mark, self.own, {"got.bin"}, inodes, **further)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def test_nothing_is_said_of_a_step_that_left_nothing(step: Step) -> None:
    assert step.record() is None
    assert sorted(os.listdir(step.folder)) == ["data", "got.bin", "run.sh"]


def test_files_are_named_with_those_of_the_project_first_and_then_the_largest(step: Step) -> None:
    step.write("small.txt", 1)
    step.write("shop.db", 5000)
    step.write("deep/er/model.pkl", 70)
    step.write("data/out.txt", 2)
    step.write("got.bin", 4)
    assert step.record() == {
        "files": [
            {"name": "data/out.txt", "size": 2, "project": True},
            {"name": "shop.db", "size": 5000},
            {"name": "deep/er/model.pkl", "size": 70},
            {"name": "got.bin", "size": 4},
            {"name": "small.txt", "size": 1},
        ],
        "count": 5,
        "size": 5077,
    }


def test_of_many_files_twenty_are_named_and_all_are_counted(step: Step) -> None:
    for number in range(1500):
        step.write(f"many/{number:04}", number % 7 + 1)
    step.write("run.sh", 1)
    record = step.record()
    assert record["count"] == 1501 and len(record["files"]) == 20
    assert record["files"][0] == {"name": "run.sh", "size": 1, "project": True}
    assert [file["name"] for file in record["files"][1:4]] == ["many/0006", "many/0013", "many/0020"]


def test_a_file_that_was_put_is_not_left_under_whatever_name_it_was_put(step: Step) -> None:
    written = step.write("deep/a.csv")
    (step.folder / "link").symlink_to("deep")
    assert step.left(put=(step.folder / "link" / "a.csv",)) == []
    assert written.exists()


def test_a_file_whose_mode_alone_was_changed_is_not_left(step: Step) -> None:
    (step.folder / "run.sh").chmod(0o755)
    (step.folder / "got.bin").chmod(0o600)
    assert step.left() == []


def test_a_file_of_an_old_time_that_the_step_made_is_left(step: Step) -> None:
    os.utime(step.write("unpacked.csv"), (1, 1))
    os.rename(step.folder / "got.bin", step.folder / "renamed.bin")
    assert sorted(step.left()) == ["renamed.bin", "unpacked.csv"]


def test_what_is_no_file_is_not_named_and_no_link_is_followed(step: Step, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (step.folder / "link").symlink_to(tmp_path / "outside")
    (step.folder / "to-file").symlink_to(tmp_path / "outside" / "secret")
    os.mkfifo(step.folder / "fifo")
    (step.folder / "empty").mkdir()
    assert step.left() == []


def test_caches_of_tools_are_left_out_at_any_depth(step: Step) -> None:
    for name in module.CACHES:
        step.write(f"{name}/file")
        step.write(f"deep/{name}/file")
    step.write("module.cpython-310.pyc")
    step.write("home/.anything")
    step.write("tmp/scratch")
    step.write("cache/kept")
    assert step.left(without=[str(step.folder / "home"), f"{step.folder}/tmp/", "/nowhere"]) == ["cache/kept"]


def test_a_home_that_is_the_folder_itself_is_looked_into(step: Step) -> None:
    step.write("made.txt")
    assert step.left(without=[str(step.folder)]) == ["made.txt"]


@pytest.mark.parametrize(
    ("pattern", "ignored", "others"),
    [
        ("*.log", ["a.log", "deep/er/a.log"], ["a.logs", "log"]),
        ("logs", ["logs", "deep/logs"], ["logs2"]),
        ("./logs", ["logs"], ["logs2"]),
        ("data/*.csv", ["data/a.csv"], ["a.csv", "data/deep/a.csv", "deep/data/a.csv"]),
        ("data/**", ["data/a.csv", "data/deep/a"], ["other/a"]),
        ("**/tmp-?", ["tmp-1", "a/b/tmp-2"], ["tmp-12"]),
    ],
)
def test_a_pattern_is_like_a_key_and_without_a_slash_it_holds_at_any_depth(
    pattern: str, ignored: list[str], others: list[str]
) -> None:
    assert [name for name in ignored + others if is_ignored(pattern, name)] == ignored


def test_a_pattern_of_a_folder_means_all_that_is_in_it(step: Step) -> None:
    for name in ("runs/1/a.txt", "deep/runs/b.txt", "wandb/c", "out/d/e", "plain"):
        step.write(name)
    assert step.left(ignore=["runs/", "wandb", "out/d", "plain/"]) == ["plain"]


def test_a_folder_that_can_not_be_opened_is_named_itself(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.write("closed/inner/file")
    step.write("made.txt")
    # Root may open every folder.
    (step.folder / "closed").chmod(0)
    opened = os.open

    def refuse(path: str, *rest: Any, **named: Any) -> int:
        if "closed" in path:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    try:
        assert step.record() == {
            "files": [{"name": "made.txt", "size": 3}, {"name": "closed/", "size": 0}],
            "count": 2,
            "size": 3,
        }
    finally:
        (step.folder / "closed").chmod(0o755)


def test_a_look_that_takes_too_long_ends_and_says_so(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2001):
        step.write(f"many/{number}")
    assert step.record(seconds=-1)["incomplete"] is True
    monkeypatch.setattr(module, "MOST_ENTRIES", 2000)
    record = step.record()
    assert record["incomplete"] is True and record["count"] < 2001


def test_on_layers_the_files_of_a_folder_that_has_not_changed_are_not_asked_for(step: Step) -> None:
    # On no layers: here a file changes without its folder, which tells whether it was asked for.
    step.write("data/out.txt", 1)
    step.write("got.bin", 2)
    assert step.left(layered=True) == ["got.bin"]
    step.write("data/new.txt", 3)
    assert step.left(layered=True) == ["data/out.txt", "data/new.txt", "got.bin"]
    step.write("deep/er/made.txt", 4)
    step.write("run.sh", 5)
    assert step.left(layered=True) == step.left()


def test_a_folder_that_is_gone_is_no_fault(step: Step) -> None:
    os.rename(step.folder, step.folder.parent / "elsewhere")
    assert step.record() is None
    assert make_mark(str(step.folder), after_own_files=False) is None


def test_the_mark_is_later_than_all_that_was_written_before_it(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_text("before")
        mark = make_mark(str(tmp_path), after_own_files=True)
        (tmp_path / f"{number}-after").write_text("after")
        assert mark is not None
        assert (tmp_path / str(number)).stat().st_ctime_ns < mark <= (tmp_path / f"{number}-after").stat().st_ctime_ns


def test_a_file_system_with_coarse_times_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Coarse:
        st_ctime_ns = 7_000_000_000

    clock = iter([0.0, 0.01, 1.0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda file: Coarse)
        patched.setattr(time, "monotonic", lambda: next(clock))
        mark = make_mark(str(tmp_path), after_own_files=True)
    assert mark == 7_000_000_001


def test_what_a_container_says_holds_the_items_that_shared_it_and_is_short() -> None:
    def left(size: int) -> Any:
        return {"files": [{"name": "model.pkl", "size": size}], "count": 3, "size": size + 2}

    said = parse(left_message([left(10), left(20)]))["left"]
    assert said == {"files": [{"name": "model.pkl", "size": 30, "items": 2}], "count": 6, "size": 34}
    assert checked_left(said) == said
    long = {"files": [{"name": letter * 700, "size": 1} for letter in "abcdef"], "count": 6, "size": 6}
    message = left_message([long])  # type: ignore[list-item]
    assert len(message) <= LONGEST_MESSAGE and len(json.loads(message)["left"]["files"]) == 2


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"files": [], "count": 1},
        {"files": [1], "count": 1, "size": 1},
        {"files": [{"name": 1, "size": 1}], "count": 1, "size": 1},
        {"files": [{"name": "a"}], "count": 1, "size": 1},
    ],
)
def test_a_record_of_left_files_that_is_none_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        checked_left(document)
