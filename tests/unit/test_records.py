"""Records: canonical, whole or not there at all, and a run id that exactly one takes."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.runtime.shared import records
from toolkit.store import writer as store
from toolkit.store.reader import NoRun, RunLog, follow_file


def keep(folder: Path) -> None:
    """A folder's owner and mode are the environment's business."""


def test_equal_records_are_equal_bytes() -> None:
    assert records.encode({"b": 1, "a": {"d": None, "c": [1.5, "é\ud800"]}}) == (
        b'{"a":{"c":[1.5,"\\u00e9\\ud800"],"d":null},"b":1}'
    )
    assert records.encode({"a": 1, "b": 2}) == records.encode({"b": 2, "a": 1})


# A busy machine may take its time over examples.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_a_record_says_again_what_it_was_made_of(value: object) -> None:
    data = records.encode(value)
    assert json.loads(data) == value
    assert data.isascii() and b"\n" not in data


def test_a_number_that_is_none_is_no_record() -> None:
    with pytest.raises(ValueError):
        records.encode({"x": math.nan})


def test_times_are_utc_with_milliseconds_and_sort_as_text() -> None:
    times = [records.now() for _ in range(3)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
    assert times == sorted(times)


def test_a_record_that_can_not_be_finished_leaves_the_one_before_it_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a record, and a disk on which a second one can't be written,
    records.write(str(tmp_path / "end.json"), {"first": True})

    # (the disk is fake: its rename fails)
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    # when it is written,
    with pytest.raises(OSError):
        records.write(str(tmp_path / "end.json"), {"second": True})
    # then the first one is whole, and nothing else is there.
    assert records.read(str(tmp_path / "end.json")) == {"first": True}
    assert os.listdir(tmp_path) == ["end.json"]
    with pytest.raises(OSError):
        records.write(str(tmp_path / "missing" / "end.json"), {})


def test_a_missing_record_is_none_and_a_damaged_one_is_no_record(tmp_path: Path) -> None:
    assert records.read(str(tmp_path / "end.json")) is None
    (tmp_path / "file").write_text("")
    assert records.read(str(tmp_path / "file" / "end.json")) is None
    for content in ("", "{", "[]", "null", '{"a": 1} x'):
        (tmp_path / "end.json").write_text(content)
        with pytest.raises(ValueError):
            records.read(str(tmp_path / "end.json"))


def test_of_many_that_take_a_run_id_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    # Given threads that all stand at the line,
    took: list[int] = []
    refused: list[int] = []
    line = threading.Barrier(16)

    def take(number: int) -> None:
        line.wait()
        try:
            store.create_run(tmp_path, "mine", {"run_id": "mine", "tag": str(number), "started": ""}, keep)
            took.append(number)
        except store.RunExists:
            refused.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(16)]
    # when they take the same run id,
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # then the record is the one winner's.
    assert len(took) == 1 and len(refused) == 15
    assert RunLog(tmp_path, lambda _: True).run("mine").record["tag"] == str(took[0])


def test_a_runs_end_is_the_first_that_anyone_wrote(tmp_path: Path) -> None:
    store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, keep)
    store.write_end(tmp_path / "r", {"status": "failed"})
    store.write_end(tmp_path / "r", {"status": "succeeded"})
    assert RunLog(tmp_path, lambda _: True).run("r").end == {"status": "failed"}


def test_runs_are_listed_by_their_time_and_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    for run_id, started in (("b", "2026-01-01"), ("a", "2026-01-02"), ("c", "2026-01-01")):
        store.create_run(tmp_path, run_id, {"run_id": run_id, "started": started}, keep)
    (tmp_path / "taken-but-not-written").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text('{"run_id": "dam')
    (tmp_path / "a file").write_text("")
    log = RunLog(tmp_path, lambda record: record["run_id"] == "a")
    assert [(run.id, run.active) for run in log.runs()] == [("b", False), ("c", False), ("a", True)]
    for run_id in ("taken-but-not-written", "damaged", "a file", "missing", ""):
        with pytest.raises(NoRun):
            log.run(run_id)
    assert RunLog(tmp_path / "missing", lambda _: True).runs() == []


def test_a_growing_file_is_followed_to_what_was_written_last(tmp_path: Path) -> None:
    # Given a log that is not there yet, grows while it is read, and is complete once its writer has ended,
    log = tmp_path / "output.log"
    writes = [b"", b"one\n", b"", b"two", b" three"]
    written = iter(writes)
    left = len(writes)

    def ended() -> bool:
        return left == 0

    def pause() -> None:
        nonlocal left
        left -= 1
        data = next(written)
        if data:
            with open(log, "ab") as file:
                file.write(data)

    # when it is followed, then nothing is lost and nothing comes twice.
    assert b"".join(follow_file(log, ended, pause)) == b"one\ntwo three"


# --- what the client writes below a run's folder can be written by the steps ---------------------------------------------

IS_ROOT = os.geteuid() == 0


def shared(folder: Path) -> None:
    """Makes a folder one that steps share; where root can give it away, to their user."""
    if IS_ROOT:
        os.chown(folder, 1234, 4321)
    folder.chmod(0o2775)


def owners_and_modes(folder: Path) -> set[tuple[int, int, int]]:
    """Owner, group and mode of all folders and files below a folder; of a file the mode with the bits of a folder."""
    found = [path.stat() for path in folder.rglob("*")]
    return {(s.st_uid, s.st_gid, s.st_mode & 0o7777 | (0o2111 if stat.S_ISREG(s.st_mode) else 0)) for s in found}


def test_what_a_client_writes_of_a_run_is_the_steps_to_write_in(tmp_path: Path) -> None:
    # Given a client whose own files nobody else may read,
    before = os.umask(0o077)
    try:
        # when it writes of a run: its beginning, the end of an attempt that never began, a continuation, what was moved,
        folder = store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, shared)
        store.write_engine(folder, "m/0/step", 1, {"exit_code": 137, "cancelled": True})
        store.write_end(folder, {"status": "cancelled"})
        assert store.create_continuation(folder, {"run_id": "r", "started": ""}) == 1
        store.write_end(folder, {"status": "failed"}, 1)
        store.copy_file(folder / "run.json", folder, "steps/m/1/step/1/begin.json")
        assert store.mark_moved(folder, {"to": {}}) and not store.mark_moved(folder, {"to": {}})
    finally:
        os.umask(before)
    # then all of it is as the run's folder is.
    status = folder.stat()
    assert status.st_mode & 0o7777 == 0o2775 and (not IS_ROOT or status.st_uid == 1234)
    assert owners_and_modes(folder) == {(status.st_uid, status.st_gid, 0o2775)}
    assert os.listdir(tmp_path) == ["r"]


@pytest.mark.skipif(not IS_ROOT, reason="only root leaves folders in which the steps' user can't write")
def test_a_folder_that_a_client_left_as_roots_own_is_shared_when_the_run_continues(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, shared)
    store.write_engine(folder, "m/0/step", 1, {"exit_code": 137})
    for inner in (folder / "steps/m", folder / "steps/m/0", folder / "steps/m/0/step"):
        os.chown(inner, 0, 0)
        inner.chmod(0o755)
    (folder / "steps/link").symlink_to(tmp_path)
    store.create_continuation(folder, {"run_id": "r", "started": ""})
    (folder / "steps/link").unlink()
    assert owners_and_modes(folder) == {(1234, 4321, 0o2775)} and tmp_path.stat().st_uid == 0


def test_a_client_that_was_killed_while_it_began_a_run_or_a_continuation_takes_neither(tmp_path: Path) -> None:
    # What it leaves is a folder without a record.
    (tmp_path / "r").mkdir()
    folder = store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, keep)
    (folder / "continued" / "1").mkdir(parents=True)
    assert store.create_continuation(folder, {"run_id": "r", "started": ""}) == 1
    assert store.create_continuation(folder, {"run_id": "r", "started": ""}) == 2
    with pytest.raises(store.RunExists):
        store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, keep)


@pytest.mark.parametrize(
    "link", ["steps", "steps/a", "steps/a/1", "steps/a/1/engine.json", "continued", "end.json", ""]
)
def test_no_link_below_a_run_is_followed_to_write(tmp_path: Path, link: str) -> None:
    # Given a step that leaves a link where the client will write,
    folder = store.create_run(tmp_path, "r", {"run_id": "r", "started": ""}, keep)
    (tmp_path / "file").write_text("{}")
    outside = tmp_path / "outside"
    outside.mkdir()
    place = folder / link
    if place.is_dir():
        place.rename(tmp_path / "aside")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside / "engine.json" if link.endswith(".json") else outside)
    # when the client writes, then it writes in its place or not at all.
    for write in (
        lambda: store.write_engine(folder, "a", 1, {"exit_code": 0}),
        lambda: store.write_end(folder, {"status": "failed"}, replace=True),
        lambda: store.create_continuation(folder, {"run_id": "r", "started": ""}),
        lambda: store.mark_moved(folder, {"to": {}}),
        lambda: store.copy_file(tmp_path / "file", tmp_path, f"{folder.name}/steps/a/1/begin.json"),
    ):
        try:
            write()
        except OSError:
            pass
    assert list(outside.iterdir()) == []
