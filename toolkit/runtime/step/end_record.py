"""end.json: how an attempt ended, what it took and what it left, and one hash over all that its outcome depends on."""

from __future__ import annotations

import hashlib

from ..shared import records
from ..shared.causes import CANCELLED, FAILED, INFRASTRUCTURE, blaming, not_blaming
from ..shared.protocol import RECORD_VERSION
from ..shared.tree import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union

    from ..shared.documents import (
        CatalogEntry,
        EndRecord,
        FunctionRow,
        GotEntry,
        InputRecord,
        JsonValue,
        LeftFile,
        LeftRecord,
    )
    from ..shared.redaction import Redactor
    from .outcome import AttemptOutcome

LONGEST_REASON = 10_000
"""Characters of a reason that are recorded."""


def end_record(
    started: str,
    outcome: AttemptOutcome,
    inputs_digest: str,
    got: list[GotEntry],
    put: list[CatalogEntry],
    left: Optional[LeftRecord],
    redactor: Redactor,
) -> EndRecord:
    """The record of an attempt that ends now.

    Args:
        started: when it began, as records write it. got, put: the files from and for the catalog.
        left: the files that nobody put. redactor: of the step's secrets, which a reason or a name may hold.
    """
    code = outcome.exit_code
    cause = (outcome.ending or FAILED).cause
    record: EndRecord = {
        "version": RECORD_VERSION,
        "started": started,
        "ended": records.now(),
        "status": "succeeded" if code == 0 else "cancelled" if cause == CANCELLED else "failed",
        "exit_code": code,
        "inputs": outcome.inputs or {},
        "inputs_digest": inputs_digest,
        "returns": (outcome.returns or {}) if code == 0 else {},
        "catalog": {"get": got, "put": put},
    }
    if left is not None:
        files: list[LeftFile] = [{**file, "name": redactor.text(file["name"])} for file in left["files"]]
        record["left"] = {**left, "files": files}
    if outcome.reason:
        reason = redactor.text(outcome.reason[:LONGEST_REASON])
        record["reason"] = blaming(reason) if cause == INFRASTRUCTURE else not_blaming(reason)
    if outcome.exception:
        record["exception"] = outcome.exception
    if outcome.out_of_memory:
        record["out_of_memory"] = True
    return record


def digested_file(file: GotEntry) -> tuple[str, ...]:
    """What of a file an outcome depends on."""
    return file["name"], file["sha256"], *(["executable"] if file.get("executable") else [])


def digest_inputs(
    image: Optional[dict[str, JsonValue]],
    command: Union[str, FunctionRow, None],
    environment: dict[str, str],
    inputs: dict[str, InputRecord],
    files: list[GotEntry],
) -> str:
    """One hash over all that an outcome depends on: code, command, environment, parameters and files.

    Args:
        image: the image's id file; None where there is no image. command: the step's command or function.
        environment: the step's own variables. inputs: as end.json holds them. files: those got from the catalog.
    """
    document = {
        "image": image,
        "command": command,
        "environment": environment,
        "inputs": {name: entry.get("sha256", entry.get("value")) for name, entry in inputs.items()},
        "files": sorted(digested_file(file) for file in files),
    }
    return hashlib.sha256(records.encode(document, (("inputs", ANY),))).hexdigest()
