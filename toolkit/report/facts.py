"""What runs are compared by: data out of their records, and whether their objects in the catalog are undamaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.report.view import View
from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.protocol import ENGINE_RECORD
from toolkit.runtime.shared.stored_values import without_place
from toolkit.runtime.shared.volume_files import open_file
from toolkit.store.reader import Run, RunLog
from toolkit.store.states import Row

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import (
        BeginRecord,
        CatalogEntry,
        EndRecord,
        EngineRecord,
        FunctionRow,
        JsonValue,
        PlanDocument,
        RunRecord,
        SettingsRow,
        StepRow,
    )

Catalog = Callable[[list[str]], Path | None]
"""Gets the objects of these SHA-256, as far as they are there; returns the catalog's folder on this machine, or None."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PlannedRow:
    """A row of the plan.

    Attributes:
        row: as the plan has it. settings: its settings; None for a step without a container.
        values: the row as it is compared: with its settings in it, lists of named things as mappings by name, and a function as
            one text. So a difference between two rows is one value that has a name.
    """

    row: StepRow
    settings: SettingsRow | None
    values: Mapping[str, object]


@dataclass(frozen=True)
class StepFacts:
    """A row of the plan as it ran, and its last attempt.

    Attributes:
        path: the instance path. planned: the plan's row, the same object for all steps that one row of the plan stands for.
        course: of a composite the branch that it took, or how many items or iterations it had.
        attempts: their number. exit_code and the three records are the last attempt's; a record is empty where there is none.
    """

    path: str
    planned: PlannedRow
    status: str
    attempts: int
    exit_code: int | None
    begin: BeginRecord
    end: EndRecord
    engine: EngineRecord
    course: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """A run.

    Attributes:
        record: run.json. plan: the plan's document without steps, settings and scopes. scopes: the plan's scopes by path.
        steps: by instance path, in plan order. parameters: the run's own parameters at its end.
        objects: for each object that was read again, by its SHA-256, whether its bytes still have that hash.
        rows: the plan's rows by their own paths.
    """

    record: RunRecord
    status: str
    plan: Mapping[str, object]
    scopes: Mapping[str, object]
    steps: Mapping[str, StepFacts]
    parameters: Mapping[str, JsonValue]
    objects: Mapping[str, bool]
    rows: Mapping[str, PlannedRow]

    @property
    def run_id(self) -> str:
        return str(self.record["run_id"])

    @property
    def environment(self) -> str:
        return str(self.record["environment"])


def facts_of(log: RunLog, run: Run, catalog: Catalog | None) -> RunFacts:
    """A run's facts.

    Args:
        catalog: gets the objects whose bytes are hashed again; None reads none.
    """
    view = View(log, run)
    document = view.plan.document
    planned = planned_steps(document)
    steps = {row.path: _step(row, planned[row.row["path"]], run.folder) for row in view.rows}
    objects = _check_objects(catalog, sorted(set(_object_hashes(steps.values())))) if catalog is not None else {}
    plan = {key: value for key, value in document.items() if key not in ("steps", "settings", "scopes")}
    record: RunRecord = {**run.record, "plan_hash": view.plan_hash}
    return RunFacts(record, view.status, plan, document["scopes"], steps, view.parameters(), objects, planned)


def planned_steps(document: PlanDocument) -> dict[str, PlannedRow]:
    """The plan's rows by path."""
    return {row["path"]: _planned_row(row, document) for row in document["steps"]}


def _planned_row(row: StepRow, document: PlanDocument) -> PlannedRow:
    values: dict[str, object] = dict(row)
    if "function" in row:
        del values["function"]
        values["command"] = command_text(row["function"])
    if "reducer" in row:
        values["reducer"] = command_text(row["reducer"])
    if "returns" in row:
        values["returns"] = {declared["name"]: declared["kind"] for declared in row["returns"]}
    if row.get("settings") is None:
        return PlannedRow(row, None, values)
    # The index of the settings differs with any step before this one, so the settings take its place.
    settings = document["settings"][row["settings"]]
    secrets: dict[str, object] = {secret["environment_variable"]: secret for secret in settings["secrets"]}
    secrets.update({name: "the step's own" for name in row["secrets"]})
    del values["secrets"]
    values["settings"] = {
        **{key: value for key, value in settings.items() if key != "secrets"},
        "volumes": {
            volume["mount_path"]: volume["name"] + (", read-only" if volume.get("read_only") else "")
            for volume in settings["volumes"]
        },
    }
    values["secrets"] = secrets
    return PlannedRow(row, settings, values)


def command_text(command: str | FunctionRow | None) -> str | None:
    """A command as it is, and a function as ``module:name``."""
    if command is None or isinstance(command, str):
        return command
    file = f" of {command['file']}" if command.get("file") else ""
    return f"{command['module']}:{command['qualname']}{file}"


def _step(row: Row, planned: PlannedRow, run_folder: Path) -> StepFacts:
    course: dict[str, str | int] = {}
    if row.branch is not None:
        course["branch"] = row.branch
    if row.items is not None:
        course["items"] = row.items.total()
    if row.iterations is not None:
        course["iterations"] = row.iterations
    if not row.attempts:
        return StepFacts(row.path, planned, row.status, 0, None, {}, {}, {}, course)
    last = row.attempts[-1]
    engine = _engine_record(last.folder)
    if "group" in last.begin:
        # Several items shared the container. What the engine said of its image holds for each of them, what it said of its end
        # does not.
        group = _engine_record(layout.attempt_folder(str(run_folder), last.begin["group"], last.number))
        if "image" in group:
            engine.setdefault("image", group["image"])
        if "image_config" in group:
            engine.setdefault("image_config", group["image_config"])
    end = _without_places(last.end)
    return StepFacts(row.path, planned, row.status, len(row.attempts), last.exit_code, last.begin, end, engine, course)


def _without_places(end: EndRecord) -> EndRecord:
    """An end record without what says where large values are written, which is no part of them."""
    bare: EndRecord = {**end}
    if "returns" in end:
        bare["returns"] = {name: without_place(stored) for name, stored in end["returns"].items()}
    if "inputs" in end:
        # What a reducer made of values is in the records of some versions alone.
        bare["inputs"] = {
            name: {**taken, "reduced": without_place(taken["reduced"])} if "reduced" in taken else taken
            for name, taken in end["inputs"].items()
        }
    return bare


def _engine_record(folder: str) -> EngineRecord:
    """The engine's record of an attempt; an empty one where there is none, or one that can't be read."""
    try:
        return records.read_engine(os.path.join(folder, ENGINE_RECORD)) or {}
    except ValueError:
        return {}


def put_files(step: StepFacts) -> dict[str, CatalogEntry]:
    """The files that the last attempt put into the catalog, by name."""
    catalog = step.end.get("catalog")
    return {entry["name"]: entry for entry in catalog.get("put", ())} if catalog is not None else {}


def _object_hashes(steps: Iterable[StepFacts]) -> Iterator[str]:
    """The SHA-256 of each object that the steps stored; one may come several times."""
    for step in steps:
        if "catalog" not in step.planned.row or step.planned.row["catalog"].get("store_copy", True):
            yield from (entry["sha256"] for entry in put_files(step).values())
        yield from (stored["sha256"] for stored in step.end.get("returns", {}).values() if stored["kind"] == "object")


def _check_objects(catalog: Catalog, hashes: list[str]) -> dict[str, bool]:
    """Whether the bytes of each object still have its hash, for those objects that are there."""
    folder = catalog(hashes)
    if folder is None:
        return {}
    whole = {}
    for sha256 in hashes:
        try:
            file = open_file(layout.object_path(str(folder), sha256))
        except ValueError:
            whole[sha256] = False
            continue
        if file is not None:
            whole[sha256] = _hash_file(file) == sha256
    return whole


def _hash_file(descriptor: int) -> str:
    hasher = hashlib.sha256()
    with open(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()
