"""The image of a project's code: found, or built from the environment and the code layer, and named by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.build.code.files import CodeFile, project_files
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.layer import entry_summaries, runtime_entries, user_entries
from toolkit.build.environment.base_image import find_base_image, pull
from toolkit.build.environment.definition import EnvironmentDefinition, check_packages, network_files
from toolkit.build.environment.locks import Lock, find_lock
from toolkit.build.image.build_record import (
    ENVIRONMENT_LABEL,
    IDENTITY_LABEL,
    PROTOCOL_LABEL,
    BuildRecord,
    BuiltImage,
    read_build_record,
    write_build_record,
)
from toolkit.build.image.changes import BuildInputs, rebuild_reasons
from toolkit.build.reference import Reference, parse_reference, repository_for
from toolkit.build.state import build_folder, build_lock
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.runtime.shared.protocol import PROTOCOL

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Build:
    """What all parts of one build need."""

    project: Project
    engine: EngineApi
    folder: Path
    report: Report


def build(
    project: Project,
    *,
    report: Report,
    explain: bool = False,
    image: str | None = None,
    engine: EngineApi | None = None,
) -> BuiltImage:
    """The image of the project's code as it is now; does nothing when the engine has it already.

    Args:
        report: is given progress, notes and warnings, one sentence each.
        explain: also report why it is built, or that nothing changed.
        image: stands in for the setting executor.config.image (a step's own image).
        engine: the engine to use; None is the one that DOCKER_HOST or the current context names.

    Raises:
        BadInput: a reference, a lock, a file or an image of the user's is wrong.
        Infrastructure: engine, registry, network or disk.
    """
    chosen = image or project.config.executor.config.image
    target = parse_reference(chosen, "image") if chosen else Reference(repository_for(project.root.name))
    folder = build_folder(project)
    job = _Build(project, engine or EngineApi(), folder, report)
    with build_lock(folder, report):
        if target.names_an_image:
            return _on_existing(job, target, explain)
        return _on_environment(job, target, explain)


def _on_environment(job: _Build, target: Reference, explain: bool) -> BuiltImage:
    settings = job.project.config.build
    check_packages(settings.system_packages)
    remembered = read_build_record(job.folder, target)
    accepted = remembered.inputs.environment if remembered else None
    lock = find_lock(job.project.root, settings.lock, job.report, accepted)
    base, base_image = find_base_image(job.engine, settings.base_image)
    base_id = str(base_image["Id"]) if base_image else ""
    if not base_id and remembered and remembered.base == base:
        base_id = remembered.base_id  # removed since then, but the environment made from it may still be there
    wanted = EnvironmentDefinition(base, base_id, settings.system_packages, lock)
    return _build_code(job, target, wanted, remembered, explain)


def _on_existing(job: _Build, target: Reference, explain: bool) -> BuiltImage:
    reference = str(target)
    found = job.engine.image(reference) or pull(job.engine, reference, "image", job.report)
    labels = (found.get("Config") or {}).get("Labels") or {}
    if PROTOCOL_LABEL in labels:
        if labels[PROTOCOL_LABEL] != str(PROTOCOL):
            raise BadInput(
                f"image: the runtime in {reference} speaks protocol {labels[PROTOCOL_LABEL]}, this toolkit {PROTOCOL}: "
                "build it again with this toolkit, or install the toolkit that built it"
            )
        if explain:
            job.report(f"{reference} exists and carries the runtime: it is used as it is")
        code = str((found["RootFS"].get("Layers") or [""])[-1])
        environment = str(labels.get(ENVIRONMENT_LABEL, ""))
        identity = str(labels.get(IDENTITY_LABEL, ""))
        return BuiltImage(reference, str(found["Id"]), code, environment, identity, False, existing=True)
    settings = job.project.config.build
    if settings.system_packages or settings.lock not in (None, "none"):
        job.report(
            f"note: {reference} is an existing image, so build.system_packages and build.lock do not apply to it"
        )
    derived = Reference(f"{target.repository}-toolkit")
    wanted = EnvironmentDefinition(reference, str(found["Id"]), (), Lock("none"))
    return _build_code(job, derived, wanted, read_build_record(job.folder, derived), explain)


def code_files(project: Project, report: Report) -> list[CodeFile]:
    """The project's files that are code: what an image of it holds in its working folder."""
    return _code(project, network_files(project.config.build.network, project.home), report)


def _code(project: Project, network: dict[str, Path], report: Report) -> list[CodeFile]:
    # A secrets file with a name of its own, or a netrc kept in the project, is no more code than `.env` is.
    private = [project.home / project.config.secrets.location, *network.values()]
    return project_files(project.root, without=private, warn=_warning(report))


def _build_code(
    job: _Build, target: Reference, wanted: EnvironmentDefinition, remembered: BuildRecord | None, explain: bool
) -> BuiltImage:
    network = network_files(job.project.config.build.network, job.project.home)
    hashes = FileHashes(job.folder / "hashes.json")
    user = user_entries(_code(job.project, network, job.report), hashes)
    runtime = runtime_entries(hashes)
    hashes.keep()
    inputs = BuildInputs(target.repository, wanted.parts(), entry_summaries(user), entry_summaries(runtime))

    same = remembered is not None and remembered.inputs == inputs
    there = remembered is not None and same and _engine_has(job.engine, remembered.result)
    if explain:
        for reason in rebuild_reasons(remembered.inputs if remembered else None, inputs, not there) or [
            "nothing changed"
        ]:
            job.report(reason)
    if remembered is not None and there:
        return remembered.result

    wanted, environment = _environment(job, wanted, network)
    inputs = replace(inputs, environment=wanted.parts())
    if remembered is None or remembered.base != wanted.base:
        job.report(f"the base image is {wanted.base}")
    with job.engine.upload("/images/load?quiet=1") as upload:
        # Only what has to be built pays for the imports of building, while the engine gets ready.
        from toolkit.build.image.assembly import assemble

        built = assemble(
            job.engine, wanted.reference, environment, user, runtime, target, job.folder, job.report, upload
        )
    write_build_record(
        job.folder, target, BuildRecord(inputs, wanted.base, wanted.base_id, replace(built, changed=False))
    )
    return built


def _environment(
    job: _Build, wanted: EnvironmentDefinition, network: dict[str, Path]
) -> tuple[EnvironmentDefinition, EngineObject]:
    """The environment's image, and what it was made from: a base that had to be pulled has its id only now."""
    from toolkit.build.environment.builder import ensure_environment

    if not (wanted.base_id and job.engine.image(wanted.reference)) and job.engine.image(wanted.base) is None:
        setting = "build.base_image" if job.project.config.build.base_image else ""
        wanted = replace(wanted, base_id=str(pull(job.engine, wanted.base, setting, job.report)["Id"]))
    return wanted, ensure_environment(job.engine, wanted, network, job.folder, job.report)


def _engine_has(engine: EngineApi, result: BuiltImage) -> bool:
    found = engine.image(result.reference)
    return bool(found) and ((found or {}).get("Config", {}).get("Labels") or {}).get(IDENTITY_LABEL) == result.identity


def _warning(report: Report) -> Report:
    return lambda sentence: report(f"warning: {sentence}")


__all__ = ["BuiltImage", "build"]
