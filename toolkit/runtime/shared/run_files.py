"""The files that a run has on the volume: which names they may have, their order, and the run's identity."""

from __future__ import annotations

import hashlib
import re

from . import records
from .protocol import (
    BEGIN_RECORD,
    CONTINUED_FOLDER,
    END_RECORD,
    ENGINE_RECORD,
    MOVED_RECORD,
    OUTPUT_FILE,
    RUN_RECORD,
    STEPS_FOLDER,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


RUN_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
DIGEST = re.compile(r"[0-9a-f]{64}")
FOLDER = re.compile(r"[A-Za-z0-9_%~-]{1,255}")
"""A folder below a run's steps."""
DEEPEST = 200
STEP_FILES = (BEGIN_RECORD, OUTPUT_FILE, END_RECORD, ENGINE_RECORD)
"""The files of an attempt in the order in which a reader may come to see them: a verdict never before what it is about."""
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""Of an attempt, and of a time that a run went on."""


# --- a run's files --------------------------------------------------------------------------------------------------


def is_file_of_run(path: str) -> bool:
    """Whether a path, relative to a run's folder, is one that a run's records and outputs have."""
    parts = path.split("/")
    if len(parts) == 1:
        return path in (RUN_RECORD, END_RECORD, MOVED_RECORD)
    if parts[0] == CONTINUED_FOLDER:
        return len(parts) == 3 and NUMBER.fullmatch(parts[1]) is not None and parts[2] in (RUN_RECORD, END_RECORD)
    return (
        4 <= len(parts) <= DEEPEST
        and parts[0] == STEPS_FOLDER
        and all(FOLDER.fullmatch(part) for part in parts[1:-2])
        and NUMBER.fullmatch(parts[-2]) is not None
        and parts[-1] in STEP_FILES
    )


def part_record_path(number: int, name: str) -> str:
    """The path of a run's run.json or end.json: of its beginning (0), or of a time that it went on."""
    return f"{CONTINUED_FOLDER}/{number}/{name}" if number else name


def publication_order(path: str) -> tuple[int, int, str, int]:
    """Sorts a run's files so that whoever sees one finds what it is about: its records first, then the steps, its ends last."""
    *parents, name = path.split("/")
    if parents[:1] == [STEPS_FOLDER]:
        return 2, 0, "/".join(parents), STEP_FILES.index(name)
    number = int(parents[1]) if parents else 0
    return {RUN_RECORD: 0, MOVED_RECORD: 1, END_RECORD: 3}[name], number, "", 0


def run_identity(record: dict[str, Any]) -> str:
    """What tells a run from another that had its id before; of its first record, which may be written in two ways."""
    known = [record.get(key) for key in ("run_id", "started", "plan_hash", "submission")]
    return hashlib.sha256(records.encode(known)).hexdigest()
