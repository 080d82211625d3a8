"""Records: canonical, whole or not there at all, and a run id that exactly one takes."""

from __future__ import annotations

import errno
import json
import math
import os
import re
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
    def full(*_: object) -> None:
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
