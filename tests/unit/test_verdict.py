"""What becomes of an attempt: the engine's verdict decides, the record explains, and what nobody saw is lost."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from toolkit.runtime.shared import records
from toolkit.runtime.step.left_files import left_message
from toolkit.store import writer as store
from toolkit.store.verdict import Attempt, end_by_engine, merge

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord


def end(status: str, code: int, reason: str = "") -> dict[str, Any]:
    return {"status": status, "exit_code": code, **({"reason": reason} if reason else {})}


def engine(code: int, out_of_memory: bool = False, message: str = "", **more: Any) -> EngineRecord:
    return records.checked_engine({"exit_code": code, "out_of_memory": out_of_memory, "message": message, **more})


def judged(folder: Path, end_record: Any, engine_record: Any, active: bool = False) -> Attempt:
    if engine_record is not None:
        store.write_engine(folder, "step", 1, engine_record)
    (folder / "steps" / "step" / "1").mkdir(parents=True, exist_ok=True)
    if end_record is not None:
        records.write(str(folder / "steps" / "step" / "1" / "end.json"), end_record)
    return merge(folder, "step", 1, active)


SUCCEEDED = end("succeeded", 0)
RAISED = end("failed", 1, "ValueError: x")
CANCELLED = end("cancelled", 143, "cancelled")
ASKED = end("cancelled", 143, "it was asked to stop")
STOPPED = end("failed", 143, "toolkit runtime: it was stopped")


@pytest.mark.parametrize(
    ("end_record", "engine_record", "active", "status", "code", "reason", "fault"),
    [
        # the record, and an engine that says the same
        (SUCCEEDED, engine(0), False, "succeeded", 0, "", False),
        (SUCCEEDED, engine(0), True, "succeeded", 0, "", False),
        (RAISED, engine(1), False, "failed", 1, "ValueError: x", False),
        (end("failed", 3, "ended with exit code 3"), engine(3), False, "failed", 3, "ended with exit code 3", False),
        (end("cancelled", 143, "cancelled"), engine(143), False, "cancelled", 143, "cancelled", False),
        (end("failed", 117, "ended with exit code 117"), engine(117), False, "failed", 117, "exit code 117", False),
        # an engine that contradicts the record
        (SUCCEEDED, engine(1), False, "failed", 1, "ended with 1 after its record", True),
        (SUCCEEDED, engine(137), False, "failed", 137, "ended with 137 after its record", True),
        (SUCCEEDED, engine(0, out_of_memory=True), False, "failed", 0, "out of memory", False),
        (SUCCEEDED, engine(137, out_of_memory=True), False, "failed", 137, "out of memory", False),
        (RAISED, engine(0), False, "failed", 1, "ValueError: x", False),
        (end("failed", 1), engine(1), False, "failed", 1, "exit code 1", False),
        # who asked it to stop: an engine's record says whether the client has
        (end("cancelled", 143, "cancelled"), engine(143, cancelled=True), False, "cancelled", 143, "cancelled", False),
        (ASKED, engine(143, cancelled=True), False, "cancelled", 143, "cancelled", False),
        (ASKED, engine(143, cancelled=False), False, "failed", 143, "sent a signal", False),
        (ASKED, engine(143, cancelled=False, message="the time was over"), False, "failed", 143, "the time", False),
        (CANCELLED, engine(143, cancelled=False), False, "failed", 143, "from outside", True),
        (STOPPED, engine(143, cancelled=False), False, "failed", 143, "it was stopped", True),
        (STOPPED, engine(143, cancelled=True), False, "cancelled", 143, "cancelled", False),
        (STOPPED, None, False, "failed", 143, "it was stopped", True),
        (RAISED, engine(1, cancelled=True), False, "failed", 1, "ValueError: x", False),
        (
            end("cancelled", 143, "cancelled"),
            engine(143, cancelled=False, fault=True, message="it was removed"),
            False,
            "failed",
            143,
            "it was removed",
            True,
        ),
        (None, engine(143, message="toolkit runtime: it was stopped\n"), False, "failed", 143, "it was stopped", True),
        (end("failed", 1, " toolkit runtime: x"), engine(1), False, "failed", 1, "toolkit runtime: x", False),
        # an engine alone
        (None, engine(0), False, "failed", 0, "ended with 0, without its record", False),
        (None, engine(0), True, "failed", 0, "ended with 0, without its record", False),
        (None, engine(1, message="Traceback\nboom"), False, "failed", 1, "without its record: boom", False),
        (None, engine(137), False, "failed", 137, "killed by signal 9, without its record", False),
        (None, engine(137, out_of_memory=True), False, "failed", 137, "out of memory", False),
        (None, engine(0, out_of_memory=True), False, "failed", 0, "out of memory", False),
        (
            None,
            engine(117, message="toolkit runtime: the disk is full"),
            False,
            "failed",
            117,
            "the disk is full",
            True,
        ),
        (None, engine(117), False, "failed", 117, "the runtime failed", True),
        (None, engine(143, cancelled=True), False, "cancelled", 143, "cancelled", False),
        # a record alone: the client that saw the engine is gone
        (SUCCEEDED, None, False, "succeeded", 0, "", False),
        (SUCCEEDED, None, True, "succeeded", 0, "", False),
        (RAISED, None, False, "failed", 1, "ValueError: x", False),
        (end("failed", 3), None, False, "failed", 3, "exit code 3", False),
        # nothing at all
        (None, None, True, "running", None, "", False),
        (None, None, False, "failed", None, "lost: nobody saw how it ended", True),
    ],
)
def test_the_verdict(
    tmp_path: Path,
    end_record: Any,
    engine_record: Any,
    active: bool,
    status: str,
    code: int | None,
    reason: str,
    fault: bool,
) -> None:
    found = judged(tmp_path, end_record, engine_record, active)
    assert (found.status, found.exit_code, found.fault) == (status, code, fault)
    assert reason in found.reason and bool(reason) == bool(found.reason)


ENDS = [None, SUCCEEDED, RAISED, end("failed", 1), end("cancelled", 143, "cancelled"), end("failed", 137, "memory")]
ENGINES = [
    None,
    *(engine(code, oom, text) for code in (0, 1, 117, 137, 143) for oom in (False, True) for text in ("", "x\n")),
]


@pytest.mark.parametrize("active", [False, True])
def test_whatever_meets_there_is_no_success_without_a_record_and_no_failure_without_a_reason(
    tmp_path: Path, active: bool
) -> None:
    for number, (end_record, engine_record) in enumerate(itertools.product(ENDS, ENGINES)):
        found = judged(tmp_path / str(number), end_record, engine_record, active)
        recorded = end_record is not None and end_record["status"] == "succeeded"
        agreed = engine_record is None or (engine_record["exit_code"] == 0 and not engine_record["out_of_memory"])
        assert (found.status == "succeeded") == (recorded and agreed)
        assert (found.status == "running") == (end_record is None and engine_record is None and active)
        assert bool(found.reason) == (found.status in ("failed", "cancelled"))


@pytest.mark.parametrize("content", ["", '{"status": "succeeded"', "[]"])
def test_a_damaged_record_is_no_success(tmp_path: Path, content: str) -> None:
    # Given an attempt that the engine saw end with 0, and an end record that a broken disk cut off,
    store.write_engine(tmp_path, "step", 1, engine(0))
    (tmp_path / "steps" / "step" / "1" / "end.json").write_text(content)
    # when it is judged, then it is as if there were none.
    found = merge(tmp_path, "step", 1, run_active=False)
    assert found.status == "failed" and found.reason


def test_of_a_success_the_container_may_say_what_it_left_and_nothing_else_is_taken_for_it() -> None:
    left: Any = {"files": [{"name": "shop.db", "size": 3}], "count": 1, "size": 3}
    said = end_by_engine(engine(0, message=left_message([left])))
    assert said is not None and said["left"] == {
        "files": [{"name": "shop.db", "size": 3, "items": 1}],
        "count": 1,
        "size": 3,
    }
    for message in ("", "words", "[1]", '{"left": 1}', '{"left": {"files": 1}}', '{"right": {}}'):
        assert end_by_engine(engine(0, message=message)) == {"status": "succeeded", "exit_code": 0}
