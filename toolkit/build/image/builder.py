"""The image of a project's code. It is built from the environment and the code layer, and tagged by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.code.files import CodeFile, is_project_file, project_files
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.layer import LayerEntry, entry_summaries, runtime_entries, user_entries
from toolkit.build.environment.base_image import (
    CONDA_PYTHON,
    DEFAULT_BASE,
    OWN_BASE,
    find_base_image,
    find_tool_base,
    pull,
)
from toolkit.build.environment.definition import EnvironmentDefinition, check_packages, network_files
from toolkit.build.environment.dependencies.found import Dependencies, Export
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.image.build_record import (
    CODE_LABEL,
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
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.protocol import PROTOCOL

if TYPE_CHECKING:
    from toolkit.build.code.installed import Distribution

Report = Callable[[str], None]

_FALL_BACK = "0.0.0"
"""The version of a project whose own files do not say it. It is the same for each commit, which makes no other image."""


@dataclass(frozen=True)
class _BuildJob:
    """The arguments that all parts of one build share."""

    project: Project
    engine: EngineApi
    folder: Path
    report: Report
    anew: bool = False


def build(
    project: Project,
    *,
    report: Report,
    explain: bool = False,
    image: str | None = None,
    engine: EngineApi | None = None,
    anew: bool = False,
) -> BuiltImage:
    """The image of the project's code as it is now. Builds nothing when the engine has it already.

    Args:
        report: gets progress, notes and warnings, a sentence at a time.
        explain: whether to report why the image is built, or that nothing changed.
        image: used in place of the setting executor.config.image (a step's own image).
        anew: whether everything is installed again, and versions that nothing locks are chosen again.
        engine: the engine to use; None is the one that DOCKER_HOST or the current context names.

    Raises:
        BadInput: a reference, a lock, a file or an image of the user's is wrong.
        Infrastructure: the engine, a registry, the network or the disk fails.
    """
    chosen = image or project.config.executor.config.image
    target = parse_reference(chosen, "image") if chosen else Reference(repository_for(project.root.name))
    folder = build_folder(project)
    job = _BuildJob(project, engine or EngineApi(), folder, report, anew)
    with build_lock(folder, report):
        if target.names_an_image:
            return _build_on_existing(job, target, explain)
        return _build_on_environment(job, target, explain)


def lock_dependencies(project: Project, *, report: Report, engine: EngineApi | None = None) -> bytes:
    """A pylock.toml (PEP 751) of what the project declares without locking it, for all platforms.

    Raises:
        BadInput: the project has a lock, or declares nothing. Others as of :func:`build`.
    """
    from toolkit.build.environment.builder import ask_tool

    folder = build_folder(project)
    job = _BuildJob(project, engine or EngineApi(), folder, report, anew=True)
    settings = project.config.build
    with build_lock(folder, report):
        found = find_dependencies(project.root, settings, report, {}, _pipeline_file(project))
        if not isinstance(found, Export) or not found.unlocked:
            there = f"its dependencies are locked by {found.file}" if found.file else "it declares no dependencies"
            raise BadInput(f"there is nothing to lock in this project: {there}")
        if found.tool != "uv":
            raise BadInput(f"a pylock.toml can't hold what {found.file} names: {found.unlocked}", found.file)
        base, image = find_base_image(job.engine, settings.base_image, settings.python)
        base_id = str((image or _pull_base(job, base))["Id"])
        _check_python(job, base, base_id)
        network = network_files(settings.network, project.home)
        export = replace(found, command=f"{found.command} --universal", unlocked="")
        packages = settings.system_packages
        answer = ask_tool(
            job.engine,
            export,
            base,
            base_id,
            packages,
            network,
            folder,
            report,
            anew=True,
            build_packages=settings.build_packages,
        )
    return answer.files["pylock.toml"]


def _build_on_environment(job: _BuildJob, target: Reference, explain: bool) -> BuiltImage:
    settings = job.project.config.build
    check_packages(settings.system_packages)
    check_packages(settings.build_packages, "build.build_packages")
    last = read_build_record(job.folder, target)
    accepted = last.inputs.environment if last else None
    found = find_dependencies(job.project.root, settings, job.report, accepted, _pipeline_file(job.project))
    base, base_image = find_base_image(job.engine, settings.base_image, settings.python)
    base_id = str(base_image["Id"]) if base_image else ""
    if not base_id and last and last.base == base:
        base_id = last.base_id  # the base was removed, but the environment that was built on it may still be there
    if isinstance(found, Export):
        if base_image is None:
            base_id = str(_pull_base(job, base)["Id"])
        found = _answered(job, found, base, base_id)
    definition = EnvironmentDefinition(base, base_id, settings.system_packages, found, settings.build_packages)
    return _build_code(job, target, definition, last, explain)


def _answered(job: _BuildJob, export: Export, base: str, base_id: str) -> Dependencies:
    """The exact dependencies that a tool makes of what the project declares."""
    from toolkit.build.environment.builder import ask_tool

    settings = job.project.config.build
    _check_python(job, base, base_id, export.tool == "conda")
    network = network_files(settings.network, job.project.home)
    packages, build_packages = settings.system_packages, settings.build_packages
    if export.python:
        packages = build_packages = ()
        found = find_tool_base(job.engine, base, base_id, export.python)
        if found is None:
            raise BadInput(
                f"{export.tool} needs Python {export.python} or later to read the lock, and the base image {base} has an older "
                f"one: pull {DEFAULT_BASE}, or write requirements with {export.tool} and name them in build.lock",
                export.file,
            )
        base, base_id = found
    return ask_tool(
        job.engine, export, base, base_id, packages, network, job.folder, job.report, job.anew, build_packages
    )


def _pull_base(job: _BuildJob, base: str) -> EngineObject:
    """Pulls the base image. A version of Python that no image here has is the user's to change.

    Raises:
        BadInput, Infrastructure: as of :func:`pull`.
    """
    settings = job.project.config.build
    try:
        return pull(job.engine, base, "build.base_image" if settings.base_image else "", job.report)
    except Infrastructure as error:
        own = job.engine.image(OWN_BASE)
        if settings.base_image or not settings.python or own is None:
            raise
        from toolkit.build.interpreter import interpreter_of

        there = interpreter_of(job.engine, str(own["Id"]), OWN_BASE).version
        raise BadInput(
            f"build.python is {settings.python}, and {base} can't be pulled: this engine has {OWN_BASE} with Python {there} "
            "(or name another image in build.base_image)"
        ) from error


def _check_python(job: _BuildJob, base: str, base_id: str, of_conda: bool = False) -> None:
    """Compares the project's Python with the base image's, where the project says which it needs.

    An environment of conda has a Python of its own; the base image's runs what installs it.
    """
    if of_conda:
        if find_tool_base(job.engine, base, base_id, CONDA_PYTHON, others=False) is None:
            raise BadInput(
                f"what installs packages of conda needs Python {CONDA_PYTHON} or later, and the base image {base} has an older "
                "one: name another in build.base_image"
            )
        return
    root = job.project.root
    if any((root / name).is_file() for name in ("pyproject.toml", "Pipfile", ".python-version", "runtime.txt")):
        from toolkit.build.environment.python_version import check_python
        from toolkit.build.interpreter import interpreter_of

        check_python(root, base, interpreter_of(job.engine, base_id, base).version, job.report)


def _pipeline_file(project: Project) -> Path | None:
    """The file of the configuration's pipeline."""
    name = (project.config.pipeline or "").partition(":")[0]
    return project.home / name if name.endswith(".py") else None


def _build_on_existing(job: _BuildJob, target: Reference, explain: bool) -> BuiltImage:
    reference = str(target)
    image = job.engine.image(reference) or pull(job.engine, reference, "image", job.report)
    labels = (image.get("Config") or {}).get("Labels") or {}
    if PROTOCOL_LABEL in labels:
        if labels[PROTOCOL_LABEL] != str(PROTOCOL):
            raise BadInput(
                f"image: the runtime in {reference} has protocol {labels[PROTOCOL_LABEL]}, but this toolkit has {PROTOCOL}: build "
                "the image again with this toolkit, or install the toolkit that built it"
            )
        if explain:
            job.report(f"{reference} exists and carries the runtime: it is used as it is")
        code = str((image["RootFS"].get("Layers") or [""])[-1])
        environment = str(labels.get(ENVIRONMENT_LABEL, ""))
        identity = str(labels.get(IDENTITY_LABEL, ""))
        content, image_id = str(labels.get(CODE_LABEL, "")), str(image["Id"])
        return BuiltImage(
            reference, image_id, code, environment, identity, False, existing=True, id=image_id, content=content
        )
    settings = job.project.config.build
    if settings.system_packages or settings.lock not in (None, "none"):
        job.report(
            f"note: {reference} is an existing image, so build.system_packages and build.lock do not apply to it"
        )
    derived = Reference(f"{target.repository}-toolkit")
    definition = EnvironmentDefinition(reference, str(image["Id"]), (), Dependencies("none"))
    return _build_code(job, derived, definition, read_build_record(job.folder, derived), explain)


def code_files(project: Project, report: Report) -> list[CodeFile]:
    """The project's files that are code. Its image holds them in the working folder."""
    return _code(project, network_files(project.config.build.network, project.home), report)


def is_code(project: Project, path: str) -> bool:
    """Whether a file of the project, by its path relative to the root, is code. It must exist."""
    private = _private(project, network_files(project.config.build.network, project.home))
    return is_project_file(project.root, path, without=private)


def _private(project: Project, network: dict[str, Path]) -> list[Path]:
    """The files that are as little code as `.env` is: a secrets file of another name, or a netrc in the project."""
    return [project.home / project.config.secrets.location, *network.values()]


def _code(project: Project, network: dict[str, Path], report: Report) -> list[CodeFile]:
    return project_files(project.root, without=_private(project, network), warn=_warning(report))


def _build_code(
    job: _BuildJob, target: Reference, definition: EnvironmentDefinition, last: BuildRecord | None, explain: bool
) -> BuiltImage:
    network = network_files(job.project.config.build.network, job.project.home)
    hashes = FileHashes(job.folder / "hashes.json")
    user = user_entries(_code(job.project, network, job.report), hashes)
    runtime = runtime_entries(hashes)
    hashes.save()
    inputs = BuildInputs(target.repository, definition.input_hashes(), entry_summaries(user), entry_summaries(runtime))

    is_unchanged = last is not None and last.inputs == inputs
    image_id = _engine_id(job.engine, last.result) if last is not None and is_unchanged else None
    if explain:
        for reason in rebuild_reasons(last.inputs if last else None, inputs, image_id is None) or ["nothing changed"]:
            job.report(reason)
    if last is not None and image_id is not None and not job.anew:
        return replace(last.result, id=image_id)

    definition, environment = _environment(job, definition, network)
    inputs = replace(inputs, environment=definition.input_hashes())
    if last is None or last.base != definition.base:
        job.report(f"the base image is {definition.base}")
    with job.engine.upload("/images/load?quiet=1") as upload:
        # These imports cost time, which an unchanged build must not spend. The engine prepares its load meanwhile.
        from toolkit.build.image.assembly import assemble

        built = assemble(
            job.engine, str(environment["Id"]), environment, user, runtime, target, job.folder, job.report, upload,
            partial(_installed, job, definition),
        )  # fmt: skip
    record = BuildRecord(inputs, definition.base, definition.base_id, replace(built, changed=False))
    write_build_record(job.folder, target, record)
    return built


def _installed(job: _BuildJob, definition: EnvironmentDefinition, environment: str) -> list[LayerEntry]:
    """The files of the project as it is installed into an environment, by its id.

    Raises:
        BadInput: it has an extension module, which nothing here builds.
    """
    from toolkit.build.code.installed import (
        backend_entries,
        declared_distribution,
        extension_module,
        installed_entries,
    )
    from toolkit.build.interpreter import interpreter_of

    root = job.project.root
    found = [declared_distribution(root, folder) for folder in (".", *definition.lock.members)]
    distributions = [one for one in found if one is not None]
    if not distributions:
        return []
    for one in distributions:
        extension = extension_module(root, one.folder)
        if extension:
            raise BadInput(
                "the project has an extension module, which is not built into the image: build a wheel of it and name that in "
                "requirements.txt, or build the module in place",
                extension,
            )

    def version(one: Distribution) -> str:
        chosen = job.project.config.build.version
        if chosen is None:
            job.report(
                f"note: the version of {one.name} is that of a tag or is computed, so it is {_FALL_BACK} in the image "
                "(build.version sets it)"
            )
        return chosen or _FALL_BACK

    python = interpreter_of(job.engine, environment, definition.reference)
    entries = installed_entries([one for one in distributions if not one.ask], python, version)
    for one in distributions:
        if not one.ask:
            continue
        answer = _backends_answer(job, definition, one)
        if answer is not None:
            entries += backend_entries(answer, python)
            continue
        shown = one.name or f"the project in {one.folder!r}"
        job.report(
            f"warning: {shown} is not installed as a package, because its own build backend refuses it (see "
            f"{job.folder / 'environment.log'}): its code is in the image, "
            f"{'only what its files say of it is known' if one.name else 'importlib.metadata does not know it'} "
            "(asked again with --no-cache, or when its files of the build change)"
        )
        if one.name:
            entries += installed_entries([one], python, version)
    return entries


def _backends_answer(job: _BuildJob, definition: EnvironmentDefinition, one: Distribution) -> Path | None:
    """The folder with what the project's build backend makes for an editable install; None where it refuses the project."""
    from toolkit.build.environment.builder import ask_backend

    settings = job.project.config.build
    network = network_files(settings.network, job.project.home)
    files = {
        file.path: Path(file.source) for file in _code(job.project, network, lambda _: None) if file.kind == "file"
    }
    # What says how the project is built is there for that also where .dockerignore keeps it out of the image.
    files |= {name: job.project.root / name for name in one.reads}
    read = {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in one.reads if name in files}
    version = settings.version or _FALL_BACK
    inputs = [definition.base_id, definition.packages, definition.build_packages, one.folder, version, read]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    contents = {name: path.read_bytes() for name, path in files.items()}
    arguments = {"FOLDER": one.folder, "PROJECT_VERSION": version}
    return ask_backend(
        job.engine, contents, arguments, key, definition.base, definition.base_id, settings.system_packages,
        settings.build_packages, network, job.folder, job.report, job.anew,
    )  # fmt: skip


def _environment(
    job: _BuildJob, definition: EnvironmentDefinition, network: dict[str, Path]
) -> tuple[EnvironmentDefinition, EngineObject]:
    """The environment image and its definition, completed by the id of a base that had to be pulled."""
    from toolkit.build.image.environment_image import ensure_environment

    is_known = definition.base_id and job.engine.image(definition.reference)
    if not is_known and job.engine.image(definition.base) is None:
        definition = replace(definition, base_id=str(_pull_base(job, definition.base)["Id"]))
    elif not definition.base_id:
        definition = replace(definition, base_id=str((job.engine.image(definition.base) or {})["Id"]))
    if job.engine.image(definition.base_id) is not None:
        # Else the environment is what is left of it, and was checked when it was made.
        _check_python(job, definition.base, definition.base_id, definition.lock.kind == "conda")
    return definition, ensure_environment(job.engine, definition, network, job.folder, job.report, job.anew)


def _engine_id(engine: EngineApi, built: BuiltImage) -> str | None:
    """The engine's id of an image that was built before; None where another image has its name, or none."""
    image = engine.image(built.reference) or {}
    is_same = ((image.get("Config") or {}).get("Labels") or {}).get(IDENTITY_LABEL) == built.identity
    return str(image["Id"]) if is_same else None


def _warning(report: Report) -> Report:
    return lambda sentence: report(f"warning: {sentence}")


__all__ = ["BuiltImage", "build"]
