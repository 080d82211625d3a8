"""What this machine keeps of a run for itself, on no volume: what the run was asked for, and where it was moved.

Steps can write a run's records. So which file, environment, parameters or cluster a later command takes is read here, not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends.driver import client_folder, make_client_folder
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.records import checked_moved, checked_run, read, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toolkit.runtime.shared.documents import JsonValue, RunPlace, RunRecord

_REQUEST, _MOVED = "request.json", "moved.json"
_KEYS = ("version", "run_id", "started", "source", "environment", "context", "parameters", "tag", "image")
_OPTIONAL_KEYS = ("spellings", "described", "patches")
"""The keys of run.json that say what was asked for, and what became of it."""


def keep_request(state: Path, record: RunRecord) -> None:
    """Keeps what a run, or a continuation of it, is asked for.

    Args:
        state: the private state, or of a run on a cluster the folder of the cluster's mirror. record: run.json.

    Raises:
        Infrastructure: it can't be written.
    """
    kept: dict[str, object] = {key: record.get(key) for key in _KEYS}
    kept.update((key, value) for key, value in record.items() if key in _OPTIONAL_KEYS)
    _write(state, record["run_id"], _REQUEST, kept)


def kept_request(state: Path, record: RunRecord) -> RunRecord | None:
    """What a run was asked for, as far as this machine has kept it: the keys of run.json that say so.

    Args:
        record: the run's. It only tells an earlier run of the same id.

    Raises:
        Infrastructure: it can't be read.
    """
    document = _read(state, record["run_id"], _REQUEST)
    try:
        kept = checked_run(document)
    except ValueError:
        return None
    return kept if kept.get("started") == record["started"] else None


def keep_place(state: Path, run_id: str, place: RunPlace) -> None:
    """Keeps where a run of this machine is being moved.

    Raises:
        Infrastructure: it can't be written.
    """
    _write(state, run_id, _MOVED, {"version": 1, "to": place})


def kept_place(state: Path, run_id: str) -> RunPlace | None:
    """Where a run of this machine was moved, as far as this machine has kept it.

    Raises:
        Infrastructure: it can't be read.
    """
    try:
        return checked_moved(_read(state, run_id, _MOVED))["to"]
    except (ValueError, KeyError):
        return None


def _write(state: Path, run_id: str, name: str, document: Mapping[str, object]) -> None:
    path = client_folder(state, run_id) / name
    try:
        make_client_folder(state, run_id)
        write(str(path), document)
    except OSError as error:
        raise Infrastructure(f"{path} can't be written: {error.strerror}") from None


def _read(state: Path, run_id: str, name: str) -> Mapping[str, JsonValue] | None:
    path = client_folder(state, run_id) / name
    try:
        return read(str(path))
    except ValueError:
        return None
    except OSError as error:
        raise Infrastructure(f"{path} can't be read: {error.strerror}") from None
