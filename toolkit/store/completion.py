"""What a record lacks of the keys that its readers ask for.

A record may be of another version, of a schedule or of a Workflow that a person submitted, or a step may have written it. What
stands for itself when it is missing gets the value that says so. A record that lacks what nothing can stand for counts as damaged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from toolkit.runtime.shared.records import checked_left

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DriverRecord, EndRecord, EngineRecord, RunEnd, RunRecord

_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_ENDINGS = ("succeeded", "failed", "cancelled")
_ENVIRONMENTS = ("local", "argo", "process", "compose")


def complete_run(record: RunRecord, run_id: str, driver: DriverRecord) -> RunRecord:
    """A run.json with a value for each key that is asked for, except for the plan, which a listing leaves out.

    Args:
        run_id: the run's, as its folder is named. driver: what drives a run whose record does not say it.

    Raises:
        ValueError: it lacks what can't be replaced.
    """
    if "started" not in record:
        raise ValueError("it does not say when the run began")
    completed: dict[str, Any] = {
        "run_id": run_id,
        "pipeline": run_id,
        "tag": "",
        "plan_hash": "",
        "without_effect": [],
        "parameters": {},
        "driver": driver,
        **record,
    }
    if completed.get("environment") not in _ENVIRONMENTS:
        completed["environment"] = "argo" if "workflow" in (completed["driver"] or {}) else "local"
    context, image, source = (completed.get(key) or {} for key in ("context", "image", "source"))
    completed["context"] = {key: value for key, value in context.items() if isinstance(value, str)}
    completed["image"] = image if _has_texts(image, "reference", "digest") else None
    completed["source"] = source if {"file", "name", "nth", "arguments"} <= source.keys() else None
    revision = completed.pop("revision", {})
    if _has_texts(revision, "commit") and _COMMIT.fullmatch(revision["commit"]):
        kinds = {"commit": str, "committed": str, "uncommitted": bool, "repository": str}
        completed["revision"] = {
            key: revision[key] for key, kind in kinds.items() if isinstance(revision.get(key), kind)
        }
    completed["controls"] = completed.get("controls") or {}
    return cast("RunRecord", completed)


def complete_run_end(record: RunEnd) -> RunEnd:
    """A run's end.json. Raises as :func:`complete_run`, as the functions below do."""
    if record.get("status") not in _ENDINGS:
        raise ValueError("it does not say how the run ended")
    return record


def complete_end(record: EndRecord) -> EndRecord:
    """An attempt's end.json."""
    if record.get("status") not in _ENDINGS or "exit_code" not in record:
        raise ValueError("it does not say how the attempt ended")
    catalog: dict[str, Any] = {"get": [], "put": [], **record.get("catalog", {})}
    files = [*catalog["get"], *catalog["put"]]
    values: list[Any] = list(record.get("returns", {}).values())
    if not all(_has_texts(file, "name", "sha256") and isinstance(file.get("size"), int) for file in files):
        raise ValueError("a file in it has no name, no hash or no size")
    if not all(isinstance(value, dict) and _is_stored(value) for value in values):
        raise ValueError("a value in it is none")
    if "left" in record:
        checked_left(record["left"])
    return cast("EndRecord", {"inputs": {}, "returns": {}, **record, "catalog": catalog})


def complete_engine(record: EngineRecord) -> EngineRecord:
    """An attempt's engine.json."""
    if "exit_code" not in record:
        raise ValueError("it does not say how the container ended")
    return {"out_of_memory": False, "message": "", **record}


def _has_texts(document: Any, *keys: str) -> bool:
    return isinstance(document, dict) and all(isinstance(document.get(key), str) for key in keys)


def _is_stored(value: dict[str, Any]) -> bool:
    """Whether there is a value, or where its bytes lie."""
    is_object = value.get("kind") == "object"
    has_bytes = _has_texts(value, "sha256") and isinstance(value.get("size"), int)
    return _has_texts(value, "kind") and (has_bytes or ("value" in value and not is_object))
