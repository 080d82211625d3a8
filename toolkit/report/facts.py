"""What a run is compared by: plain data out of its records, and whether its objects in the catalog are still whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.report.view import View
from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import ENGINE_RECORD
from toolkit.store.reader import Run, RunLog
from toolkit.store.states import Row

Catalog = Callable[[list[str]], Path | None]
"""The catalog's folder on this machine with the objects of these SHA-256 in it, as far as they can be had; None is none."""
Record = Mapping[str, Any]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class StepFacts:
    """A row of the plan as it ran, and its last attempt.

    Attributes:
        path: the instance path. planned: the plan's row with its settings in place of their number (see
            :func:`planned_steps`); the same object for all that run by one row.
        course: of a composite, how it went on: its branch, or how many items or iterations it had.
        attempts: how many there were; of the last one exit_code and its three records, empty where there are none.
    """

    path: str
    planned: Record
    status: str
    attempts: int = 0
    exit_code: int | None = None
    begin: Record = field(default_factory=dict)
    end: Record = field(default_factory=dict)
    engine: Record = field(default_factory=dict)
    course: Record = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """A run.

    Attributes:
        record: run.json. plan: the plan's document without steps, settings and scopes, and ``scopes`` those.
        steps: by instance path, in plan order. parameters: the root scope's values at the end.
        objects: of each object that was read again whether its bytes are what its name says.
        rows: the plan's rows by their own paths.
    """

    record: Record
    status: str
    plan: Record
    scopes: Any
    steps: Mapping[str, StepFacts]
    parameters: Record
    objects: Mapping[str, bool]
    rows: Mapping[str, Record]

    @property
    def run_id(self) -> str:
        return str(self.record["run_id"])

    @property
    def environment(self) -> str:
        return str(self.record["environment"])


def facts_of(log: RunLog, run: Run, catalog: Catalog | None) -> RunFacts:
    """A run's facts.

    Args:
        catalog: gives the objects whose bytes are hashed again; None reads none.
    """
    shown = View(log, run)
    document = shown.plan.document
    planned = planned_steps(document)
    steps = {row.path: _step(row, planned[row.row["path"]], run.folder) for row in shown.rows}
    objects = _objects(catalog, sorted(set(_digests(steps.values())))) if catalog is not None else {}
    rest = {key: value for key, value in document.items() if key not in ("steps", "settings", "scopes")}
    return RunFacts(run.record, shown.status, rest, document["scopes"], steps, shown.parameters(), objects, planned)


def planned_steps(document: Record) -> dict[str, Record]:
    """The plan's rows by path, such that a difference between two of them is one value under a name of its own.

    Settings stand in the row, because a number would differ with any step before it; what is a list of named things is by
    their names; a function is one text.
    """
    return {step["path"]: _planned_row(step, document) for step in document["steps"]}


def _planned_row(step: Record, document: Record) -> Record:
    row = dict(step)
    if "function" in row:
        row["command"] = command_text(row.pop("function"))
    if "reducer" in row:
        row["reducer"] = command_text(row["reducer"])
    if "returns" in row:
        row["returns"] = {one["name"]: one["kind"] for one in row["returns"]}
    if row.get("settings") is not None:
        settings = dict(document["settings"][row["settings"]])
        settings["volumes"] = {one["mount_path"]: one["name"] for one in settings["volumes"]}
        given = {one["environment_variable"]: one for one in settings.pop("secrets")}
        given.update({name: "the step's own" for name in row.pop("secrets")})
        row.update(settings=settings, secrets=given)
    return row


def command_text(command: Any) -> Any:
    """A command as it is, and a function as ``module:name``."""
    if not isinstance(command, Mapping) or "qualname" not in command:
        return command
    file = f" of {command['file']}" if command.get("file") else ""
    return f"{command['module']}:{command['qualname']}{file}"


def _step(row: Row, planned: Record, run_folder: Path) -> StepFacts:
    course: dict[str, Any] = {}
    if row.branch is not None:
        course["branch"] = row.branch
    if row.items is not None:
        course["items"] = row.items.total()
    if row.iterations is not None:
        course["iterations"] = row.iterations
    if not row.attempts:
        return StepFacts(row.path, planned, row.status, course=course)
    last = row.attempts[-1]
    engine = _engine(last.folder)
    if "group" in last.begin:
        # Of a container that ran several items, what the engine says of its end is none of one item's.
        group = _engine(layout.attempt_folder(str(run_folder), last.begin["group"], last.number))
        engine = {**{key: value for key, value in group.items() if key in _OF_THE_IMAGE}, **engine}
    return StepFacts(
        row.path, planned, row.status, len(row.attempts), last.exit_code, last.begin, last.end, engine, course
    )


_OF_THE_IMAGE = ("image", "image_config")


def _engine(folder: str) -> Record:
    try:
        return records.read(os.path.join(folder, ENGINE_RECORD)) or {}
    except ValueError:
        return {}


def put_files(step: StepFacts) -> dict[str, Record]:
    """What the last attempt put into the catalog, by name."""
    return {one["name"]: one for one in step.end.get("catalog", {}).get("put", [])}


def _digests(steps: Any) -> Iterator[str]:
    for step in steps:
        if step.planned.get("catalog", {}).get("store_copy", True):
            yield from (one["sha256"] for one in put_files(step).values())
        yield from (one["sha256"] for one in step.end.get("returns", {}).values() if one["kind"] == "object")


def _objects(catalog: Catalog, digests: list[str]) -> dict[str, bool]:
    """Whether the bytes of each object still have its hash, of those that are there."""
    folder = catalog(digests)
    if folder is None:
        return {}
    found = {}
    for digest in digests:
        try:
            found[digest] = _hash(Path(layout.object_path(str(folder), digest))) == digest
        except FileNotFoundError:
            continue
    return found


def _hash(path: Path) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
