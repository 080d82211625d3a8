"""The one place that judges an attempt: it merges the runtime's records with the engine's.

The engine's record decides and the runtime's explains. An attempt whose end neither of them saw is lost, and never a success.
Who ended a step is in the table of ``toolkit/runtime/shared/causes.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional, TypeVar

from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.causes import (
    ASKED,
    OUT_OF_MEMORY,
    RUNTIME_FAULT,
    RUNTIME_KILLED,
    blame,
    killed_by,
    last_blame,
    plain_reason,
    unasked,
)
from toolkit.runtime.shared.protocol import BEGIN_RECORD, END_RECORD, ENGINE_RECORD, FAULT, STEPS_FOLDER
from toolkit.store.completion import complete_end, complete_engine

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import BeginRecord, EndRecord, EngineRecord

T = TypeVar("T")

LOST = "lost: nobody saw how it ended"
"""The reason of an attempt whose end neither the runtime nor the engine has recorded."""
LOST_WITH_CLIENT = "lost: its client ended before it did"
"""The reason that a retry records of such an attempt of the run before."""
LOST_RUN = "lost: its client ended before the run did"
"""The reason of a run without an end on this machine, when its client is gone."""
LOST_RUN_ON_CLUSTER = "lost: its Workflow is gone, and nobody saw how it ended"
"""The reason of a run without an end on a cluster, when its Workflow is gone."""


def _no_begin() -> BeginRecord:
    return {}


def _no_end() -> EndRecord:
    return {}


@dataclass(frozen=True)
class Attempt:
    """An attempt with its verdict.

    Attributes:
        status: running, succeeded, failed or cancelled.
        exit_code: None while it runs, and where nobody saw one.
        reason: why it is not a success; never empty for a failure.
        fault: whether the runtime, the engine or the disk failed, and not the step.
        folder: where its records lie.
        begin, end: the runtime's records, empty where there are none.
        unread: whether the end is on a volume that can't be read. Then the verdict is the engine's alone, and of ``end`` there is
            at most what the engine has of it.
    """

    number: int
    status: str
    exit_code: Optional[int]
    reason: str
    fault: bool
    folder: str
    begin: BeginRecord = field(default_factory=_no_begin)
    end: EndRecord = field(default_factory=_no_end)
    unread: bool = False


def merge(run_folder: Path, path: str, number: int, run_active: bool) -> Attempt:
    """The attempt ``number`` of the step at ``path``.

    Args:
        run_active: whether something drives the run, so that the attempt may still end; else one without an end is lost.
    """
    return _merge_records(run_folder, layout.attempt_folder(str(run_folder), path, number), number, run_active)


def merge_all(run_folder: Path, path: str, run_active: bool, unread: bool = False) -> list[Attempt]:
    """All attempts of the step at ``path``, in order, as :func:`merge` gives them.

    Args:
        unread: whether the runtime's records are on a volume that can't be read.
    """
    folder = os.path.join(run_folder, STEPS_FOLDER, *(_folder_name(part) for part in path.split("/")))
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    numbers = sorted(int(name) for name in names if name.isdigit())
    return [_merge_records(run_folder, f"{folder}/{number}", number, run_active, unread) for number in numbers]


_folder_name = lru_cache(maxsize=4096)(layout.folder_name)


def _merge_records(run_folder: Path, folder: str, number: int, run_active: bool, unread: bool = False) -> Attempt:
    begin: BeginRecord = _unless_damaged(records.read_begin, f"{folder}/{BEGIN_RECORD}") or {}
    end = _unless_damaged(_read_end, f"{folder}/{END_RECORD}")
    engine = _unless_damaged(_read_engine, f"{folder}/{ENGINE_RECORD}")
    if engine is None and "group" in begin and (end is None or _was_stopped(end)):
        # Several items shared a container. How it ended decides for the item that was running, and for no other.
        group_folder = layout.attempt_folder(str(run_folder), begin["group"], number)
        engine = _unless_damaged(_read_engine, f"{group_folder}/{ENGINE_RECORD}")
        if engine is not None and end is not None:
            engine = {**engine, "exit_code": end["exit_code"]}
    unread = unread and end is None
    verdict = judge(end_by_engine(engine) if unread and engine is not None else end, engine, run_active)
    return Attempt(number, *verdict, folder, begin, end or {}, unread)


def _read_end(path: str) -> Optional[EndRecord]:
    record = records.read_end(path)
    return None if record is None else complete_end(record)


def _read_engine(path: str) -> Optional[EngineRecord]:
    record = records.read_engine(path)
    return None if record is None else complete_engine(record)


def _unless_damaged(read: Callable[[str], Optional[T]], path: str) -> Optional[T]:
    """A record; one that a broken disk has damaged counts as missing."""
    try:
        return read(path)
    except ValueError:
        return None


class Judgement(NamedTuple):
    """The part of an :class:`Attempt` that is judged."""

    status: str
    exit_code: Optional[int]
    reason: str
    fault: bool


def judge(end: Optional[EndRecord], engine: Optional[EngineRecord], run_active: bool) -> Judgement:
    """The verdict on an attempt.

    Args:
        end: the runtime's record of its end. engine: the engine's. run_active: as for :func:`merge`.
    """
    if engine is None:
        if end is not None:
            reason = "" if end["status"] == "succeeded" else _recorded_reason(end, end["exit_code"])
            return Judgement(end["status"], end["exit_code"], reason, _blames_others(end))
        if run_active:
            return Judgement("running", None, "", False)
        return Judgement("failed", None, LOST, True)
    code, message = engine["exit_code"], engine.get("message", "").strip()
    if engine.get("cancelled") and (end is None or _was_stopped(end)):
        # Somebody may have removed its container as well, because it did not stop.
        return Judgement(
            "cancelled", code if code is not None or end is None else end["exit_code"], ASKED.reason, False
        )
    if engine.get("fault"):
        # Something happened to the container, not in it. Then the runtime's record does not count, whatever it says.
        return Judgement("failed", code, blame(message) or message or "the engine lost the container", True)
    if end is None:
        # No number tells a fault: the runtime's words do. Without a record a step has no exit code of its own.
        ending = RUNTIME_FAULT if last_blame(message) or code == FAULT else RUNTIME_KILLED
        return Judgement("failed", code, _reason_without_record(engine), ending.fault)
    if code == 0 and end["status"] == "succeeded" and not engine["out_of_memory"]:
        return Judgement("succeeded", 0, "", False)
    if engine["out_of_memory"] and end["status"] == "succeeded":
        return Judgement("failed", code, "out of memory: the engine counted a memory kill", OUT_OF_MEMORY.fault)
    if end["status"] == "succeeded":
        reason = f"the engine says that it ended with {code} after its record was written"
        return Judgement("failed", code, reason, True)
    code = code or end["exit_code"]
    if end["status"] == "cancelled" and engine.get("cancelled") is False:
        ending = unasked(end.get("reason") or "")
        # A cluster knows of reasons of Argo's own.
        return Judgement("failed", code, message.rpartition("\n")[2] or ending.reason, ending.fault)
    return Judgement(end["status"], code, _recorded_reason(end, code), _blames_others(end))


def _was_stopped(end: EndRecord) -> bool:
    """Whether the step did not end by itself."""
    return end["status"] == "cancelled" or _blames_others(end)


def _blames_others(end: EndRecord) -> bool:
    """Whether the runtime has recorded that the infrastructure ended the step."""
    return bool(blame(end.get("reason") or ""))


def _recorded_reason(end: EndRecord, code: Optional[int]) -> str:
    return plain_reason(end.get("reason") or "") or f"ended with exit code {code}"


def end_by_engine(engine: EngineRecord) -> Optional[EndRecord]:
    """What stands for the runtime's record of an attempt's end, for a client that can't read it.

    The runtime exits with 0 only when its own record is written, and its last words are the reason in that record, or of a success
    the files that nobody put.
    """
    code = engine["exit_code"]
    if code == 0:
        succeeded: EndRecord = {"status": "succeeded", "exit_code": 0}
        try:
            succeeded["left"] = records.checked_left(records.parse(engine.get("message", ""))["left"])
        except (ValueError, KeyError):
            # It says nothing, or the step's code has written what the container says.
            pass
        return succeeded
    if code and engine["message"] and not engine.get("fault") and not engine.get("cancelled"):
        return {"status": "failed", "exit_code": code, "reason": engine["message"]}
    return None


def _reason_without_record(engine: EngineRecord) -> str:
    """Why an attempt failed that has no end.json, by what the engine says of it."""
    code, message = engine["exit_code"], engine.get("message", "").strip()
    if engine["out_of_memory"]:
        return "out of memory: the container was killed at its limit"
    if code == FAULT or last_blame(message):
        return last_blame(message) or RUNTIME_FAULT.reason
    ended = killed_by(code - 128) if code is not None and code > 128 else f"it ended with {code}"
    reason = f"{ended}, without its record"
    return f"{reason}: {message.splitlines()[-1]}" if message else reason
