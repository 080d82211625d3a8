"""Merges what the runtime recorded of an attempt with what the engine said of it, in this one place.

The engine's verdict decides, the record explains; what neither of them saw is lost, and never a success.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import BEGIN_RECORD, END_RECORD, ENGINE_RECORD, FAULT, STEPS_FOLDER


@dataclass(frozen=True)
class Attempt:
    """One attempt as it is known.

    Attributes:
        status: running, succeeded, failed or cancelled.
        reason: why it is not a success; never empty for a failure.
        fault: whether the runtime, the engine or the disk failed, and not the step.
        begin, end: the runtime's records, empty where there are none.
    """

    number: int
    status: str
    exit_code: Optional[int]
    reason: str
    fault: bool
    folder: str
    begin: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)


def merge(run_folder: Path, path: str, number: int, run_active: bool) -> Attempt:
    """The attempt ``number`` of the step at ``path``.

    Args:
        run_active: whether something is still there that could end it; else an attempt without an end is lost.
    """
    return _merge_records(run_folder, layout.attempt_folder(str(run_folder), path, number), number, run_active)


def merge_all(run_folder: Path, path: str, run_active: bool) -> list[Attempt]:
    """All attempts of the step at ``path``, in order; as :func:`merge`, and cheap, since a run may have many steps."""
    folder = os.path.join(run_folder, STEPS_FOLDER, *(_folder_name(part) for part in path.split("/")))
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    numbers = sorted(int(name) for name in names if name.isdigit())
    return [_merge_records(run_folder, f"{folder}/{number}", number, run_active) for number in numbers]


_folder_name = lru_cache(maxsize=4096)(layout.folder_name)


def _merge_records(run_folder: Path, folder: str, number: int, run_active: bool) -> Attempt:
    begin = _read(folder, BEGIN_RECORD) or {}
    end = _read(folder, END_RECORD)
    engine = _read(folder, ENGINE_RECORD)
    if engine is None and "group" in begin and end is None:
        # Several items shared a container: its end says nothing of an item that had ended, and all of one that had not.
        engine = _read(layout.attempt_folder(str(run_folder), begin["group"], number), ENGINE_RECORD)
    status, code, reason, fault = judge(end, engine, run_active)
    return Attempt(number, status, code, reason, fault, folder, begin, end or {})


def _read(folder: str, name: str) -> Optional[dict[str, Any]]:
    """A record; one that a broken disk has damaged says no more than one that is not there."""
    try:
        return records.read(f"{folder}/{name}")
    except ValueError:
        return None


def judge(
    end: Optional[dict[str, Any]], engine: Optional[dict[str, Any]], run_active: bool
) -> tuple[str, Optional[int], str, bool]:
    """Status, exit code, reason and fault of an attempt.

    Args:
        end: the runtime's record of its end. engine: the engine's. run_active: as for :func:`merge`.
    """
    if engine is None:
        if end is not None:
            reason = (
                "" if end["status"] == "succeeded" else end.get("reason") or f"ended with exit code {end['exit_code']}"
            )
            return end["status"], end["exit_code"], reason, False
        if run_active:
            return "running", None, "", False
        return "failed", None, "lost: nobody saw how it ended", True
    code = engine["exit_code"]
    if engine.get("cancelled") and (end is None or end["status"] == "cancelled"):
        return "cancelled", code if code is not None or end is None else end["exit_code"], "cancelled", False
    if engine.get("fault") and code != FAULT:
        # Something happened to the container, not in it: whatever the record says, the engine does not stand by it.
        return "failed", code, engine.get("message") or "the engine lost the container", True
    if end is None:
        return "failed", code, _without_record(engine), code == FAULT
    if code == 0 and end["status"] == "succeeded" and not engine["out_of_memory"]:
        return "succeeded", 0, "", False
    if engine["out_of_memory"] and end["status"] == "succeeded":
        return "failed", code, "out of memory: the engine counted a memory kill", False
    if end["status"] == "succeeded":
        return "failed", code, f"the engine says that it ended with {code} after its record was written", True
    return end["status"], code or end["exit_code"], end.get("reason") or f"ended with exit code {code}", False


def _without_record(engine: dict[str, Any]) -> str:
    code, said = engine["exit_code"], engine.get("message", "").strip()
    if engine["out_of_memory"]:
        return "out of memory: the container was killed at its limit"
    if code == FAULT:
        return said.rpartition("toolkit runtime: ")[2] or "the runtime failed"
    ended = f"killed by signal {code - 128}" if code > 128 else f"it ended with {code}"
    reason = f"{ended}, without its record"
    return f"{reason}: {said.splitlines()[-1]}" if said else reason
