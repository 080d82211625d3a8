"""Records: immutable JSON files that are written whole. Times in them are in UTC, with milliseconds.

A record that is read may come from another version of this program, or from a step, which can write on the volume too. The
functions ``read_…`` and ``checked_…`` give records their types. They refuse a document that is no JSON object, and a value of a
type that its readers don't expect. They don't refuse a record that lacks a key.
"""

from __future__ import annotations

import json
import time

from .whole_files import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    from .documents import (
        BeginRecord,
        EndRecord,
        EngineRecord,
        JsonValue,
        ListedRun,
        MovedRecord,
        PlanDocument,
        RunEnd,
        RunRecord,
        SubmittedRecord,
    )

    Shape = dict[str, tuple[type, ...]]
    """The types that the values of a record's keys may have, of the keys that are checked."""

_NONE = type(None)
_RUN: Shape = {
    "run_id": (str,),
    "pipeline": (str,),
    "environment": (str,),
    "started": (str,),
    "plan": (str,),
    "plan_hash": (str,),
    "source": (dict, _NONE),
    "context": (dict, _NONE),
    "image": (dict, _NONE),
    "parameters": (dict,),
    "controls": (dict, _NONE),
    "described": (dict,),
    "driver": (dict, _NONE),
    "part": (int,),
    "attempts": (dict,),
    "again": (list,),
}
_RUN_END: Shape = {"ended": (str,), "status": (str,), "reason": (str, _NONE)}
_MOVED: Shape = {"to": (dict,)}
_BEGIN: Shape = {"started": (str,), "image": (dict, _NONE), "mounts": (list,), "group": (str,)}
_END: Shape = {
    "started": (str,),
    "ended": (str,),
    "status": (str,),
    "exit_code": (int,),
    "inputs": (dict,),
    "returns": (dict,),
    "catalog": (dict,),
    "controls": (dict, _NONE),
    "reason": (str, _NONE),
    "exception": (dict, _NONE),
}
_ENGINE: Shape = {"exit_code": (int, _NONE), "message": (str,), "image": (str,)}
_LISTED: Shape = {"run": (dict,), "end": (dict, _NONE), "mark": (str, _NONE)}
_PLAN: Shape = {"stores": (dict,), "import_roots": (list,), "settings": (list,), "scopes": (dict,), "steps": (list,)}


def now() -> str:
    """The time as ISO 8601 in UTC with milliseconds, e.g. ``2026-01-02T03:04:05.678Z``."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


# --- writing --------------------------------------------------------------------------------------------------------


def write(path: str, record: Mapping[str, object]) -> None:
    """Writes a record whole. JSON is compact and sorted, so equal records are equal bytes.

    Raises:
        OSError: the disk is full, the folder is missing or not writable.
    """
    write_whole(path, encode(record))


def encode(record: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII (a lone surrogate survives as its escape).

    Raises:
        ValueError: a number is not finite. TypeError: a value is not JSON.
    """
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


# --- reading --------------------------------------------------------------------------------------------------------


def parse(data: bytes | str) -> dict[str, JsonValue]:
    """A JSON object.

    Raises:
        ValueError: it is something else, or nested too deep.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("a record is nested too deep") from None
    record: dict[str, JsonValue] = _checked(document, "a record", {})
    return record


def read(path: str) -> Optional[dict[str, JsonValue]]:
    """A JSON object in a file, whatever its keys; None when the file does not exist (yet).

    Raises:
        ValueError: the file is not a JSON object. OSError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse(data)


def read_run(path: str) -> Optional[RunRecord]:
    """A run.json; None when it does not exist (yet). Raises as :func:`read`, as the functions below do."""
    record = read(path)
    return None if record is None else checked_run(record)


def read_run_end(path: str) -> Optional[RunEnd]:
    """A run's end.json."""
    record = read(path)
    return None if record is None else checked_run_end(record)


def read_moved(path: str) -> Optional[MovedRecord]:
    """A moved.json."""
    record = read(path)
    return None if record is None else checked_moved(record)


def read_begin(path: str) -> Optional[BeginRecord]:
    """An attempt's begin.json."""
    record = read(path)
    return None if record is None else checked_begin(record)


def read_end(path: str) -> Optional[EndRecord]:
    """An attempt's end.json."""
    record = read(path)
    return None if record is None else checked_end(record)


def read_engine(path: str) -> Optional[EngineRecord]:
    """An attempt's engine.json."""
    record = read(path)
    return None if record is None else checked_engine(record)


# --- checking -------------------------------------------------------------------------------------------------------


def checked_run(document: object) -> RunRecord:
    """A run.json that was read.

    Raises:
        ValueError: it is none, as in the functions below.
    """
    record: RunRecord = _checked(document, "a run's record", _RUN)
    return record


def checked_submitted(document: object) -> SubmittedRecord:
    """A run.json as it was submitted to a cluster: perhaps without its id and its time."""
    record: SubmittedRecord = _checked(document, "a run's record", _RUN)
    return record


def checked_run_end(document: object) -> RunEnd:
    """A run's end.json that was read."""
    record: RunEnd = _checked(document, "a run's end", _RUN_END)
    return record


def checked_moved(document: object) -> MovedRecord:
    """A moved.json that was read."""
    record: MovedRecord = _checked(document, "the mark of a run that was moved", _MOVED)
    return record


def checked_begin(document: object) -> BeginRecord:
    """An attempt's begin.json that was read."""
    record: BeginRecord = _checked(document, "an attempt's beginning", _BEGIN)
    return record


def checked_end(document: object) -> EndRecord:
    """An attempt's end.json that was read."""
    record: EndRecord = _checked(document, "an attempt's end", _END)
    return record


def checked_engine(document: object) -> EngineRecord:
    """An attempt's engine.json that was read."""
    record: EngineRecord = _checked(document, "the engine's record of an attempt", _ENGINE)
    return record


def checked_listing(document: object) -> ListedRun:
    """A run in a volume's listing, which has all of its keys."""
    listed: ListedRun = _checked(document, "a run in a listing", _LISTED)
    if not _LISTED.keys() <= listed.keys():
        raise ValueError("a run in a listing has no run, no end or no mark")
    checked_run(listed["run"])
    if listed["end"] is not None:
        checked_run_end(listed["end"])
    return listed


def checked_plan(document: object) -> PlanDocument:
    """A plan that was read."""
    plan: PlanDocument = _checked(document, "a plan", _PLAN)
    return plan


def parse_plan(text: bytes | str) -> PlanDocument:
    """A plan as JSON text, as a run's record holds it.

    Raises:
        ValueError: it is none.
    """
    return checked_plan(parse(text))


def _checked(document: Any, name: str, shape: Shape) -> Any:
    if not isinstance(document, dict):
        raise ValueError(f"{name} is a JSON object, and this is none")
    for key, types in shape.items():
        if key in document and not isinstance(document[key], types):
            raise ValueError(f"the {key} of {name} has the wrong type")
    return document
