"""Records: immutable JSON files that are written whole. Times in them are in UTC, with milliseconds.

A record that is read may come from another version of this program, or from a step, which can write on the volume too. The
functions ``read_…`` and ``checked_…`` give records their types. They refuse a document that is no JSON object, and a value of a
type that its readers don't expect. They don't refuse a record that lacks a key.
"""

from __future__ import annotations

import json
import operator
import os
import re
import time

from .protocol import PARAMETERS_FILE, REWRITTEN_FILE, SPELLINGS_FILE, VALUES_FILE
from .tree import ANY
from .volume_files import open_file
from .whole_files import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Optional

    from .documents import (
        BeginRecord,
        EndRecord,
        EngineRecord,
        JsonValue,
        LeftRecord,
        ListedRun,
        MovedRecord,
        Parameters,
        PlanDocument,
        ReducedRecord,
        RunEnd,
        RunRecord,
        StoredValue,
        SubmittedRecord,
    )

    Shape = dict[str, tuple[type, ...]]
    """The types that the values of a record's keys may have, of the keys that are checked."""
    KeyPath = tuple[str, ...]
    """Keys from outside to inside; ``*`` stands for any key or position."""

_NONE = type(None)
_RUN: Shape = {
    "run_id": (str,),
    "pipeline": (str,),
    "environment": (str,),
    "tag": (str,),
    "started": (str,),
    "plan": (str,),
    "plan_hash": (str,),
    "source": (dict, _NONE),
    "revision": (dict,),
    "context": (dict, _NONE),
    "image": (dict, _NONE),
    "images": (dict,),
    "parameters": (dict,),
    "spellings": (dict,),
    "controls": (dict, _NONE),
    "described": (dict,),
    "patches": (dict,),
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
    "left": (dict,),
    "controls": (dict, _NONE),
    "reason": (str, _NONE),
    "exception": (dict, _NONE),
}
_LEFT: Shape = {"files": (list,), "count": (int,), "size": (int,)}
_LEFT_FILE: Shape = {"name": (str,), "size": (int,), "items": (int,)}
_REDUCED: Shape = {"reduced": (dict,)}
_ENGINE: Shape = {"exit_code": (int, _NONE), "message": (str,), "image": (str,)}
_LISTED: Shape = {"run": (dict,), "end": (dict, _NONE), "mark": (str, _NONE)}
_PLAN: Shape = {"stores": (dict,), "import_roots": (list,), "settings": (list,), "scopes": (dict,), "steps": (list,)}


def now() -> str:
    """The time as ISO 8601 in UTC with milliseconds, e.g. ``2026-01-02T03:04:05.678Z``."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


# --- writing --------------------------------------------------------------------------------------------------------


VALUES: tuple[KeyPath, ...] = (
    ("parameters", ANY),
    ("inputs", ANY, "value"),
    ("inputs", ANY, "reduced", "value"),
    ("reduced", ANY, "value"),
    ("returns", ANY, "value"),
    ("steps", ANY, "bind", ANY, "value"),
    ("steps", ANY, "patched", "returns", ANY),
    ("patches", ANY, "returns", ANY),
)
"""Where records and plans hold values of the user's."""


def write(path: str, record: Mapping[str, object]) -> None:
    """Writes a record whole, as :func:`encode` makes it.

    Raises:
        OSError: the disk is full, the folder is missing or not writable.
    """
    write_whole(path, encode(record))


def encode(record: object, values: Sequence[KeyPath] = VALUES) -> bytes:
    """Canonical JSON: our own keys sorted, no spaces, ASCII (a lone surrogate survives as its escape).

    So equal records are equal bytes. The keys of the user's values stay in their order, which is part of a value.

    Args:
        values: where these values are.

    Raises:
        ValueError: a number is not finite. TypeError: a value is not JSON.
    """
    # All of it is sorted at once, with marks in place of those values: sorting here would take five times as long.
    mark, texts = os.urandom(12).hex(), []

    def marked(value: Any) -> Any:
        if not isinstance(value, (dict, list, tuple)):
            return value
        texts.append(json.dumps(value, separators=(",", ":"), allow_nan=False))
        return f"{mark}{len(texts) - 1}"

    for path in values:
        record = _replaced(record, path, marked)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if texts:
        text = re.sub(f'"{mark}([0-9]+)"', lambda match: texts[int(match[1])], text)
    return text.encode("ascii")


def _replaced(document: Any, path: KeyPath, replace: Callable[[Any], Any]) -> Any:
    """A document with what is at a path replaced; the document itself where nothing is."""
    if not path:
        return replace(document)
    key, inner = path[0], path[1:]
    if isinstance(document, dict):
        keys = list(document) if key == ANY else [key] if key in document else []
        replaced = {name: _replaced(document[name], inner, replace) for name in keys}
        changed = {name: value for name, value in replaced.items() if value is not document[name]}
        return {**document, **changed} if changed else document
    if isinstance(document, (list, tuple)) and key == ANY:
        items = [_replaced(item, inner, replace) for item in document]
        return items if any(map(operator.is_not, items, document)) else document
    return document


def parameter_files(
    parameters: Parameters, spellings: Mapping[str, str], rewritten: Optional[Mapping[str, str]] = None
) -> dict[str, bytes]:
    """The files, by name, that give the run's parameters to its steps.

    Args:
        rewritten: the text of each file that they find written anew, by its path.
    """
    files = {PARAMETERS_FILE: encode(dict(parameters), ((ANY,),))}
    if spellings:
        files[SPELLINGS_FILE] = encode(dict(spellings))
    if rewritten:
        files[REWRITTEN_FILE] = encode(dict(rewritten))
    return files


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
    """A JSON object in a file, whatever its keys; None when the file does not exist (yet). A link is no record.

    Raises:
        ValueError: the file is not a JSON object. OSError: it can't be read.
    """
    descriptor = open_file(path)
    if descriptor is None:
        return None
    with open(descriptor, "rb") as file:
        data = file.read()
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
    """An attempt's end.json, with the places of the values that lie beside it."""
    record = read(path)
    return None if record is None else with_places(checked_end(record), os.path.dirname(path))


def read_reduced(path: str) -> Optional[ReducedRecord]:
    """An attempt's reduced.json, with the places of the values that lie beside it."""
    record = read(path)
    if record is None:
        return None
    reduced: ReducedRecord = _checked(record, "a record of what a reducer made", _REDUCED)
    folder = os.path.dirname(path)
    return {**reduced, "reduced": {name: _with_place(stored, folder) for name, stored in reduced["reduced"].items()}}


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
    if not all(isinstance(number, int) for number in record.get("attempts", {}).values()):
        raise ValueError("an attempt of a run's record has no number")
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


def checked_left(document: object) -> LeftRecord:
    """What a step left, as its end.json or the engine says it. All of its keys are there."""
    record: LeftRecord = _checked(document, "what a step left", _LEFT)
    if not _LEFT.keys() <= record.keys():
        raise ValueError("what a step left has no files, no count or no size")
    for file in record["files"]:
        _checked(file, "a file that a step left", _LEFT_FILE)
        if "name" not in file or "size" not in file:
            raise ValueError("a file that a step left has no name or no size")
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


def with_places(record: EndRecord, folder: str) -> EndRecord:
    """An end.json whose values that lie beside it say in which file.

    Args:
        folder: the attempt's, as this process sees it. No record says it: a step can write on the volume.
    """
    located: EndRecord = {**record}
    if "returns" in record:
        located["returns"] = {name: _with_place(stored, folder) for name, stored in record["returns"].items()}
    if any("reduced" in taken for taken in record.get("inputs", {}).values()):
        located["inputs"] = {
            name: {**taken, "reduced": _with_place(taken["reduced"], folder)} if "reduced" in taken else taken
            for name, taken in record["inputs"].items()
        }
    return located


def _with_place(stored: StoredValue, folder: str) -> StoredValue:
    if "offset" not in stored and "file" not in stored:
        return stored
    return {**stored, "file": os.path.join(folder, VALUES_FILE)}


def _checked(document: Any, name: str, shape: Shape) -> Any:
    if not isinstance(document, dict):
        raise ValueError(f"{name} is a JSON object, and this is none")
    for key, types in shape.items():
        if key in document and not isinstance(document[key], types):
            raise ValueError(f"the {key} of {name} has the wrong type")
    return document
