"""The files that a run has on the volume: the names that they may have, the order in which they appear, and the run's identity."""

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
    REDUCED_RECORD,
    RUN_RECORD,
    STEPS_FOLDER,
    VALUES_FILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RUN_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
DIGEST = re.compile(r"[0-9a-f]{64}")
FOLDER = re.compile(r"[A-Za-z0-9_%~-]{1,255}")
"""A folder below a run's steps."""
DEEPEST = 200
STEP_FILES = (BEGIN_RECORD, OUTPUT_FILE, VALUES_FILE, END_RECORD, REDUCED_RECORD, ENGINE_RECORD)
"""The files of an attempt in the order in which they may appear to a reader: a verdict never before what it is about."""
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""The number of an attempt or of a continuation."""


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


def part_numbers(names: Iterable[str]) -> list[int]:
    """The numbers of the continuations among the names in the folder of continuations, in ascending order."""
    return sorted(int(name) for name in names if NUMBER.fullmatch(name))


def part_path(number: int) -> str:
    """The folder of a part of a run, relative to the run's: of its beginning (0), or of a continuation."""
    return f"{CONTINUED_FOLDER}/{number}" if number else ""


def part_record_path(number: int, name: str) -> str:
    """The path of the run.json or end.json of a part of a run."""
    return f"{part_path(number)}/{name}" if number else name


def publication_order(path: str) -> tuple[int, int, str, int]:
    """The sort key of the order in which a run's files may appear: its beginnings first, then the steps, its ends last.

    So a reader that sees a file finds what the file is about.
    """
    *parents, name = path.split("/")
    if parents[:1] == [STEPS_FOLDER]:
        return 2, 0, "/".join(parents), STEP_FILES.index(name)
    number = int(parents[1]) if parents else 0
    return {RUN_RECORD: 0, MOVED_RECORD: 1, END_RECORD: 3}[name], number, "", 0


def run_identity(record: Mapping[str, object]) -> str:
    """A hash that tells a run from an earlier one of the same id.

    Args:
        record: the run's first record. The client's copy and the volume's may differ in other keys than those hashed.
    """
    values = [record.get(key) for key in ("run_id", "started", "plan_hash", "submission")]
    return hashlib.sha256(records.encode(values)).hexdigest()
