"""Records: immutable JSON files, written under a temporary name and renamed, times in UTC with milliseconds."""

from __future__ import annotations

import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


def now() -> str:
    """The time as ISO 8601 in UTC with milliseconds, e.g. ``2026-01-02T03:04:05.678Z``."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


def publish(path: str, data: bytes) -> None:
    """Writes ``data`` so that ``path`` either does not exist or is whole; an existing file is never replaced by less.

    Raises:
        OSError: the disk is full, the folder is missing or not writable.
    """
    # Process ids are the same in many containers.
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def write(path: str, record: dict[str, Any]) -> None:
    """Publishes a record. JSON is compact and sorted, so equal records are equal bytes."""
    publish(path, encode(record))


def encode(record: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII (a lone surrogate survives as its escape).

    Raises:
        ValueError: a number is not finite. TypeError: a value is not JSON.
    """
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def read(path: str) -> Optional[dict[str, Any]]:
    """A record, or None when it does not exist (yet).

    Raises:
        ValueError: the file is not a JSON object.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    record = json.loads(data)
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not a record")
    return record
