"""The documents that commands print for ``--json``, as types.

Each has the keys of its schema in ``schemas/``, which say what the values mean; a test holds that the keys are the same. A value
of the user's is any JSON data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ExceptionRecord, ImageRecord, JsonValue, RevisionRecord

# --- toolkit runs and toolkit show --------------------------------------------------------------------------------------


class RunSummary(TypedDict):
    """A run in ``toolkit runs``."""

    run_id: str
    pipeline: str
    environment: str
    tag: str
    status: str
    reason: str
    started: str
    ended: str | None


class RunRow(RunSummary, total=False):
    """A run in ``toolkit runs``; with ``--table`` also the values that it has of the columns."""

    values: dict[str, JsonValue]


class ExecutableDocument(TypedDict, total=False):
    """The key that only a file with its executable bit has."""

    executable: bool


class FileDocument(ExecutableDocument):
    """A file in the catalog, or an empty folder, whose name ends in ``/``; the size is in bytes."""

    name: str
    sha256: str
    size: int


class FilesDocument(TypedDict):
    """The files that an attempt got and put."""

    get: list[FileDocument]
    put: list[FileDocument]


class _LeftFileKeys(TypedDict):
    name: str
    size: int


class LeftFileDocument(_LeftFileKeys, total=False):
    """A file that a step left and nobody put; the key that only one has whose name is that of a file of the project's."""

    project: bool


class _LeftKeys(TypedDict):
    files: list[LeftFileDocument]
    count: int
    size: int


class LeftDocument(_LeftKeys, total=False):
    """What a step left in its folder and nobody put; the key that it has where there was too much to look at."""

    incomplete: bool


class _AttemptKeys(TypedDict):
    number: int
    status: str
    started: str | None
    ended: str | None
    exit_code: int | None
    reason: str
    input_parameters: dict[str, JsonValue]
    output_parameters: dict[str, JsonValue]
    catalog: FilesDocument
    log: str


class AttemptDocument(_AttemptKeys, total=False):
    left: LeftDocument
    exception: ExceptionRecord
    unknown: list[str]


class _StepKeys(TypedDict):
    path: str
    type: str
    kind: str | None
    status: str
    attempts: list[AttemptDocument]


class StepDocument(_StepKeys, total=False):
    """A row of a run. A composite has the keys that are known of it so far."""

    item: dict[str, JsonValue]
    reason: str
    branch: str
    items: int
    item_status: dict[str, int]
    iterations: int
    on_failure: str
    patched: bool
    keep_failure: bool


class _RunKeys(RunSummary):
    plan_hash: str
    image: ImageRecord | None
    context: dict[str, str]
    without_effect: list[str]
    parameters: dict[str, JsonValue]
    steps: list[StepDocument]


class RunDocument(_RunKeys, total=False):
    """All of ``toolkit show``."""

    revision: RevisionRecord
    on_exit: str
    unread: str
    unknown: list[str]


class ObjectDocument(TypedDict):
    """How a value is shown that is an object in the catalog: ``object`` is its type, ``size`` its bytes."""

    object: str
    sha256: str
    size: int


class ReducedDocument(TypedDict):
    """How a value is shown that a function of the user's makes of so many items of a map."""

    reducer: str
    items: int


class LargeDocument(TypedDict):
    """How a value is shown that is larger than 1 MiB as JSON: its kind, its bytes as JSON and their hash."""

    kind: str
    size: int
    sha256: str


ReferenceDocument = TypedDict("ReferenceDocument", {"from": str, "name": str, "size": int})
"""How a large value is shown that many items take: the step that returned it, its name, and its characters as JSON."""

# --- toolkit logs and toolkit catalog -----------------------------------------------------------------------------------


class OutputDocument(TypedDict):
    """What one attempt wrote, in ``toolkit logs``."""

    step: str
    attempt: int
    output: str


class ReturnedDocument(TypedDict, total=False):
    """The key that only a returned object has: its type."""

    object: str


class CatalogFile(FileDocument, ReturnedDocument):
    """A file that a run put, or an object that it returned, in ``toolkit catalog``."""

    key: str | None
    step: str
    attempt: int


# --- toolkit diff -------------------------------------------------------------------------------------------------------


class ComparedRun(TypedDict):
    run_id: str
    environment: str
    status: str


class _DifferenceKeys(TypedDict):
    field: str
    where: str
    steps: list[str]


class DifferenceDocument(_DifferenceKeys, total=False):
    """A difference; the key ``a`` or ``b`` is missing where that run has no such value."""

    a: JsonValue
    b: JsonValue


class ComparedCounts(TypedDict):
    """What was compared: fields and steps, and how many steps began in both runs and how many objects were read."""

    fields: list[str]
    steps: list[str]
    attempted: int
    objects: int


class NotComparedDocument(TypedDict):
    name: str
    why: str


class DiffDocument(TypedDict):
    """All of ``toolkit diff``."""

    a: ComparedRun
    b: ComparedRun
    same: bool
    differences: list[DifferenceDocument]
    compared: ComparedCounts
    waived: list[str]
    not_compared: list[NotComparedDocument]


# --- toolkit image ------------------------------------------------------------------------------------------------------


class LayerDocument(TypedDict):
    holds: str | None
    digest: str | None
    size: int
    made_by: str


class BaseDocument(TypedDict):
    name: str
    digest: str | None


class PythonDocument(TypedDict):
    version: str
    executable: str


class PackageDocument(TypedDict):
    name: str
    version: str
    size: int
    kind: str
    added: bool | None


class LargestFileDocument(TypedDict):
    path: str
    size: int


class CodeDocument(TypedDict):
    files: int
    size: int
    largest: list[LargestFileDocument]


class ImageDocument(TypedDict):
    """All of ``toolkit image``."""

    reference: str
    id: str
    built_by_toolkit: bool
    created: str | None
    platform: str
    size: int
    user: str
    labels: dict[str, str]
    base: BaseDocument | None
    system: str | None
    python: PythonDocument | None
    layers: list[LayerDocument]
    packages: list[PackageDocument]
    code: CodeDocument | None
    warnings: list[str]
