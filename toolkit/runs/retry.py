"""What is asked for when a run that has ended without success is resumed.

It is what this machine has kept of the run, or what the cluster's ConfigMap says. The run's record is not asked, because steps can
write it: a pipeline that it names would run by a step's word. Where neither is there, the user names it all.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends import volumes
from toolkit.config.environment import ENVIRONMENTS
from toolkit.config.located import shown
from toolkit.config.settings import EnvironmentName
from toolkit.errors import BadInput
from toolkit.model.argument_types import SCALARS, read_given
from toolkit.project import Project
from toolkit.run.kept import keep_request, kept_request
from toolkit.run.parameters import GivenParameters
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.runs.find import RunHandle, RunSource
from toolkit.runtime.shared.casts import CannotConvert
from toolkit.runtime.shared.records import encode
from toolkit.store.reader import moved_to

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue, RunRecord, SubmittedRecord

_LONGEST_COMMAND = 2000
"""Characters of a command that a message names."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Named:
    """What the user names of a run to resume; None is the run's own.

    Attributes:
        reference, pipeline: the pipeline, and the same as typed. environment: what ``--env`` says.
        source: the cluster. others: further options as typed, for a command that the user is shown.
        given: the parameters.
    """

    reference: PipelineReference | None = None
    pipeline: str | None = None
    environment: EnvironmentName | None = None
    given: GivenParameters = field(default_factory=lambda: GivenParameters({}, {}))
    tag: str | None = None
    source: RunSource = field(default_factory=RunSource)
    others: Sequence[str] = ()


def retry_request(project: Project, handle: RunHandle, named: Named, note: Note = lambda _: None) -> Request:
    """The request that resumes a run.

    Args:
        note: is given a line about names of a file that the run does not have.

    Raises:
        BadInput: the run is active, has succeeded, or is one of compose; its pipeline no longer exists, or it is not known what
            the run was asked for and the user does not name all of it. Infrastructure: the cluster can't be asked.
    """
    run = handle.run
    if handle.is_copy:
        raise BadInput(
            f"the run {run.id} is on a cluster that can't be found, so it can't be resumed: only a copy is here"
        )
    asked = _asked(project, handle)
    if asked is None and run.is_open:
        raise BadInput(f"the run {run.id} is one of compose: run its steps with docker-compose")
    environment = named.environment or (_environment_of(asked) if asked is not None else None)
    check_resumable(handle, environment)
    if asked is None or environment is None:
        asked, environment = _asked_by_name(project, handle, named)
    _check_unchanged(run.id, asked, named, note)
    reference = named.reference
    if reference is None:
        source = asked["source"]
        assert source is not None
        reference = PipelineReference.of_record(project, source)
    context = {} if named.source.is_cluster else asked.get("context") or {}
    if handle.remote is not None:
        # Where it was found. A ConfigMap may have another machine's name of the context.
        cluster = handle.remote.cluster
        context = {"context": cluster.context, "namespace": cluster.namespace}
    return Request(
        project,
        environment,
        reference,
        asked.get("parameters", {}),
        run.id,
        asked.get("tag", ""),
        named.source.context or context.get("context") or None,
        named.source.namespace or context.get("namespace"),
        spellings=asked.get("spellings") or {},
        described=asked.get("described") or {},
        patches=asked.get("patches") or {},
    )


def check_resumable(handle: RunHandle, environment: str | None) -> None:
    """Checks that a run has ended without success, in the place where it is to be resumed.

    Raises:
        BadInput: it has not.
    """
    run = handle.run
    if run.active:
        raise BadInput(
            f"the run {run.id} is running: `toolkit logs -f {run.id}` follows it, `toolkit cancel {run.id}` ends it"
        )
    if run.end is not None and run.end["status"] == "succeeded":
        raise BadInput(f"the run {run.id} has succeeded: there is nothing left to run")
    if environment != "argo" and handle.remote is None and moved_to(run.folder) is not None:
        raise BadInput(
            f"the run {run.id} is being moved to a cluster and has not arrived: "
            f"`toolkit retry {run.id} --env argo` resumes it there"
        )


def keep_moved_request(handle: RunHandle, request: Request) -> None:
    """Keeps what a run is asked for where it was just moved, so that a client that is killed before it resumes can be followed.

    Raises:
        Infrastructure: it can't be written.
    """
    state = handle.project.state if handle.remote is None else handle.remote.mirror.home
    context = {"context": request.context, "namespace": request.namespace}
    record: RunRecord = {
        "version": 1,
        "run_id": handle.run.id,
        "started": handle.run.record["started"],
        "source": request.reference.recorded(request.project),
        "environment": request.environment,
        "context": {key: value for key, value in context.items() if value is not None},
        "parameters": dict(request.parameters),
        "spellings": dict(request.spellings),
        "described": dict(request.described),
        "tag": request.tag,
        "image": None,
    }
    if request.patches:
        record["patches"] = dict(request.patches)
    keep_request(state, record)


def _asked(project: Project, handle: RunHandle) -> SubmittedRecord | None:
    """What the run was asked for, as far as that is known by another word than its record's."""
    asked: SubmittedRecord | None = handle.remote.request_of(handle.run.id) if handle.remote is not None else None
    if asked is None:
        asked = kept_request(project.state, handle.run.record)
        if asked is not None and handle.remote is not None:
            # This machine has moved it there, and was killed before it resumed the run.
            asked = {**asked, "environment": "argo"}
    return asked if asked is not None and asked.get("source") is not None and _environment_of(asked) else None


def _environment_of(asked: SubmittedRecord) -> EnvironmentName | None:
    return next((environment for environment in ENVIRONMENTS if environment == asked.get("environment")), None)


def _check_unchanged(run_id: str, asked: SubmittedRecord, named: Named, note: Note) -> None:
    """Refuses other parameters, or another tag, than the run's.

    Raises:
        BadInput: the user names one.
    """
    own = asked.get("parameters", {})
    # What was given at the run's beginning lay over its pipeline's own as it lies over the run's now.
    given = named.given.complete(lambda _: None, own)
    for name, value in given.values.items():
        if name not in own and name not in given.typed:
            # A pipeline that declares its parameters takes nothing else of a file.
            note(f"{name} is given by a file, and the run {run_id} does not have it: it keeps its parameters")
        elif name not in own or not _is_same(own[name], value, given.spellings.get(name)):
            has = f"is {json.dumps(own[name])}" if name in own else "is not given"
            raise BadInput(
                f"the run {run_id} keeps its parameters, and {name} {has} there: begin a new run with another"
            )
    if named.tag is not None and named.tag != asked.get("tag", ""):
        raise BadInput(f"the run {run_id} keeps its tag, which is {asked.get('tag', '')!r}")


def _is_same(own: JsonValue, given: JsonValue, spelling: str | None) -> bool:
    """Whether a run's value is what it would have become of the given one: that of a declared parameter is of its type."""
    if encode(own) == encode(given):
        return True
    kind = type(own).__name__
    try:
        return kind in SCALARS and encode(read_given(kind, given, spelling)) == encode(own)
    except (CannotConvert, ValueError):
        return False


# --- a run of which nothing is known but its record -----------------------------------------------------------------


def _asked_by_name(project: Project, handle: RunHandle, named: Named) -> tuple[SubmittedRecord, EnvironmentName]:
    """What the user names, in place of what was asked for, and the environment.

    Raises:
        BadInput: something is missing; with the command that names all of it.
    """
    record = handle.run.record
    if record.get("patches"):
        raise BadInput(
            f"the run {handle.run.id} was begun with patches, which are not kept on this machine, and its record lies where steps "
            "can write: begin a new run with --patch"
        )
    given = named.given.complete(lambda _: None)
    missing = [name for name in record.get("parameters", {}) if name not in given.values]
    if named.reference is None or named.environment is None or missing:
        raise BadInput(_unknown_request(project, handle, named))
    asked: SubmittedRecord = {
        "source": named.reference.recorded(project),
        "context": {},
        "parameters": given.values,
        "spellings": given.spellings,
        "tag": named.tag or "",
    }
    return asked, named.environment


def _unknown_request(project: Project, handle: RunHandle, named: Named) -> str:
    run = handle.run
    source: Mapping[str, object] = run.record.get("source") or {}
    parameters = {**run.record.get("parameters", {}), **named.given.values}
    recorded = "argo" if handle.remote is not None else run.record.get("environment")
    words = ["toolkit", "retry", run.id, named.pipeline or _recorded_pipeline(project, source)]
    words += ["--env", named.environment or str(recorded if recorded in ENVIRONMENTS else "ENV")]
    tag = named.tag or run.record.get("tag", "")
    if tag.isprintable() and tag:
        words += ["--tag", tag]
    words += named.others
    spellings = {**run.record.get("spellings", {}), **named.given.spellings}
    given = [
        word
        for name, value in parameters.items()
        for word in ("--param", f"{name}={spellings.get(name) or json.dumps(value)}")
    ]
    note = ""
    if len(shlex.join(given)) > _LONGEST_COMMAND:
        given = ["-p", "FILE"]
        note = f"; FILE has the parameters, which the record in {shown(run.folder)} lists"
    if source.get("arguments"):
        note += "; its script had arguments, which a retry can't be given: if they change the pipeline, begin a new run"
    return (
        f"what the run {run.id} was asked for is not kept on this machine, and its record lies where steps can write: check its "
        f"file, environment and parameters, and name them: `{shlex.join([*words, *given])}`{note}"
    )


def _recorded_pipeline(project: Project, source: Mapping[str, object]) -> str:
    """The pipeline that a record names, as it is typed; FILE where it names none that may be run."""
    name, recorded = source.get("name"), source.get("file")
    file = project.root / recorded if isinstance(recorded, str) and recorded.isprintable() else Path()
    if not file.is_file() or file.suffix not in (".py", ".yaml", ".yml") or volumes.is_on_volume(project, file):
        return "FILE"
    if not Path(file.resolve()).is_relative_to(project.root):
        return "FILE"
    return f"{shown(file)}:{name}" if isinstance(name, str) and _NAME.fullmatch(name) else shown(file)
