"""The image of a project's code. It is built from the environment and the layers of the code, and tagged by its content."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from toolkit.build.code.checkout import ignored_by_git, warn_of_missing
from toolkit.build.code.files import CodeFile, Walk, is_project_file, open_file, project_files, walk_of
from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.index import CODE_INDEX, Code, look_at
from toolkit.build.code.layer import LayerEntry, code_digest, runtime_entries
from toolkit.build.code.own_outputs import outputs_folder
from toolkit.build.environment.apt_file import find_apt_file, with_apt_packages
from toolkit.build.environment.base_image import (
    CONDA_PYTHON,
    DEFAULT_BASE,
    OWN_BASE,
    find_base_image,
    find_tool_base,
    image_in_engine,
    pull,
)
from toolkit.build.environment.definition import EnvironmentDefinition, check_packages, network_files
from toolkit.build.environment.dependencies.found import Dependencies, Export, ReadAs
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.meaning.memory import Memory
from toolkit.build.environment.places import placed
from toolkit.build.image.build_record import (
    CODE_LABEL,
    ENVIRONMENT_LABEL,
    IDENTITY_LABEL,
    PROTOCOL_LABEL,
    BuildRecord,
    BuiltImage,
    code_file,
    read_build_record,
    write_build_record,
)
from toolkit.build.image.changes import BuildInputs
from toolkit.build.reference import Reference, parse_reference, repository_for
from toolkit.build.state import build_folder, build_lock
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput, ChangedFile, Infrastructure, ToolkitError, VanishedFile
from toolkit.project import Project
from toolkit.runtime.shared.protocol import PROTOCOL

if TYPE_CHECKING:
    from toolkit.build.code.installed import Distribution
    from toolkit.platforms import Platform

Report = Callable[[str], None]

_LOOKS = 3
"""Times that the code is looked at, where files change while they are read."""
_PAUSE = 0.3
"""Seconds before another look."""
_NAMED = 5
"""Changing files that are named; the rest is counted."""
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

    @property
    def platform(self) -> str:
        """The platform that the image is to be for; "" for the engine's own."""
        return self.project.config.build.platform or ""


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
    with placed(project), build_lock(folder, report):
        # An existing image has the system packages that it has.
        project = project if target.names_an_image else with_apt_packages(project, report)
        job = _BuildJob(project, engine or EngineApi(), folder, report, anew)
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
    project = with_apt_packages(project, report)
    job = _BuildJob(project, engine or EngineApi(), folder, report, anew=True)
    settings = project.config.build
    with placed(project), build_lock(folder, report):
        found = find_dependencies(project.root, settings, report, {}, pipeline_file(project))
        if not isinstance(found, Export) or not found.unlocked:
            there = f"its dependencies are locked by {found.file}" if found.file else "it declares no dependencies"
            raise BadInput(f"there is nothing to lock in this project: {there}")
        if found.tool != "uv":
            raise BadInput(f"a pylock.toml can't hold what {found.file} names: {found.unlocked}", found.file)
        with_base = replace(job, anew=False)  # versions are chosen anew, for the base that builds have
        if (foreign := _foreign_base(with_base)) is not None:
            from toolkit.build.environment.foreign.asked import own_base

            base, base_id = own_base(job.engine, str(foreign.image["Id"]), foreign.named, report)
        else:
            base, image, _ = _find_base(with_base)
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


def dependency_files(project: Project, engine: EngineApi) -> dict[str, bytes]:
    """What the environment of the project's image is installed from, by path: locks, requirements, local wheels.

    It is known without a question after a build, and is empty for an existing image.

    Raises:
        BadInput, Infrastructure: as of :func:`build`.
    """
    chosen = project.config.executor.config.image
    target = parse_reference(chosen, "image") if chosen else Reference(repository_for(project.root.name))
    if target.names_an_image:
        return {}
    project = with_apt_packages(project, lambda _: None)
    job = _BuildJob(project, engine, build_folder(project), lambda _: None)
    return _definition(job, read_build_record(job.folder, target, job.platform)).lock.files


def _build_on_environment(job: _BuildJob, target: Reference, explain: bool) -> BuiltImage:
    last = read_build_record(job.folder, target, job.platform)
    return _build_code(job, target, _definition(job, last), last, explain)


def _definition(job: _BuildJob, last: BuildRecord | None) -> EnvironmentDefinition:
    """The environment that the project declares. A tool is asked where only that knows which packages it means."""
    settings = job.project.config.build
    check_packages(settings.system_packages)
    check_packages(settings.build_packages, "build.build_packages")
    memory = Memory(job.folder)
    found = find_dependencies(job.project.root, settings, job.report, memory.accepted(), pipeline_file(job.project))
    if (foreign := _foreign_base(job)) is not None:
        return _foreign_definition(job, found, memory, foreign)
    base, base_image, made_of = _find_base(job)
    base_id = str(base_image["Id"]) if base_image else ""
    if not base_id and last and last.base == base:
        base_id = last.base_id  # the base was removed, but the environment that was built on it may still be there
    if isinstance(found, Export):
        if base_image is None:
            base_id = str(_pull_base(job, base)["Id"])
        found = _answered(job, found, base, base_id)
    if found.kind == "uv":
        memory.accept(found.files, found.reading)
    meaning = memory.of(found.files, found.reading)
    pip_config = network_files(settings.network, job.project.home).get("pip_config")
    definition = EnvironmentDefinition(
        base, base_id, settings.system_packages, found, meaning, settings.build_packages, made_of, pip_config
    )
    return with_commands(definition, job.project, job.folder)


def with_commands(
    definition: EnvironmentDefinition, project: Project, folder: Path, keep: bool = True
) -> EnvironmentDefinition:
    """The environment with what ``build.run`` and ``build.files`` say, and with the name of its apt.txt.

    Raises:
        BadInput: a file is not there, or is not one that a build may read.
    """
    settings = project.config.build
    definition = replace(definition, apt=find_apt_file(project.root))
    if not settings.run:
        return definition
    if not settings.files:
        return replace(definition, commands=settings.run)
    from toolkit.build.image.context import chosen_files, copier, inside_project, parts_of

    network = network_files(settings.network, project.home)
    walk = code_walk(project, network, lambda _: None)
    names = [inside_project(name, "build.files") for name in settings.files]
    files = chosen_files(walk, names)
    there = {file.path for file in files}
    for name in names:
        if name not in there and name != ".":
            why = (
                ".dockerignore or a rule of toolkit leaves it out"
                if (project.root / name).exists()
                else "it is not there"
            )
            raise BadInput(f"build.files names {name!r}, which no command can read: {why}")
    hashes = FileHashes(folder / "run-hashes.json")
    parts = parts_of(files, hashes, "build.run")
    if keep:
        hashes.save()
    return replace(definition, commands=settings.run, command_files=parts, place_files=copier(files))


class _ForeignBase(NamedTuple):
    """The base image of another platform than the engine's.

    Attributes:
        base: its name here. named: the one that was chosen.
        made_of: as of :class:`EnvironmentDefinition`.
    """

    base: str
    named: str
    image: EngineObject
    platform: Platform
    made_of: Mapping[str, str]


def foreign_platform(project: Project, engine: EngineApi) -> Platform | None:
    """The platform that the image is for; None where that is the engine's own.

    Raises:
        BadInput: ``build.platform`` names none.
    """
    chosen = project.config.build.platform
    if not chosen:
        return None
    from toolkit.platforms import of_engine, parse_platform

    wanted = parse_platform(chosen, "build.platform")
    return wanted if of_engine(engine) != wanted else None


def _foreign_base(job: _BuildJob) -> _ForeignBase | None:
    """The base image of the platform that the image is for; None where that platform is the engine's own."""
    wanted, settings = foreign_platform(job.project, job.engine), job.project.config.build
    if wanted is None:
        return None
    from toolkit.build.environment.foreign.base import find_foreign_base, pull_foreign_base

    if settings.dockerfile:
        name, image, made_of = _own_base(job, wanted)
        return _ForeignBase(name, name, image, wanted, made_of)
    if settings.base_image:
        parse_reference(settings.base_image, "build.base_image")
    base, named, found = find_foreign_base(job.engine, settings.base_image, settings.python, wanted)
    if found is None:
        setting = "build.base_image" if settings.base_image else ""
        found = pull_foreign_base(
            job.engine, named, wanted, setting, job.report, _place_of_base(job) if setting else None
        )
    return _ForeignBase(base, named, found, wanted, {})


def _foreign_definition(
    job: _BuildJob, found: Dependencies | Export, memory: Memory, foreign: _ForeignBase
) -> EnvironmentDefinition:
    """The environment for another platform. What has to be asked is asked on an image of the engine's own, for that platform."""
    from toolkit.build.environment.foreign.asked import for_platform

    base_id = str(foreign.image["Id"])
    if isinstance(found, Export):
        asked = for_platform(job.engine, found, base_id, foreign.named, foreign.platform, job.report)
        found = _answered(job, *asked)
    if found.kind == "uv":
        memory.accept(found.files, found.reading)
    meaning = memory.of(found.files, found.reading)
    definition = foreign_definition(
        job.project, found, meaning, foreign.base, foreign.named, base_id, foreign.platform, foreign.made_of
    )
    return with_commands(definition, job.project, job.folder)


def foreign_definition(
    project: Project, found: Dependencies, meaning: Mapping[str, str], base: str, named: str, base_id: str,
    platform: Platform, made_of: Mapping[str, str],
) -> EnvironmentDefinition:  # fmt: skip
    """The environment for another platform, without the commands of ``build.run``; arguments as of its parts there."""
    settings = project.config.build
    return EnvironmentDefinition(
        base, base_id, settings.system_packages, found, meaning, settings.build_packages, made_of,
        network_files(settings.network, project.home).get("pip_config"),
        platform=str(platform), named=named if named != base else "",
    )  # fmt: skip


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


def _find_base(job: _BuildJob) -> tuple[str, EngineObject | None, dict[str, str]]:
    """The base image, as :func:`find_base_image` gives it, and what it is made of where the project has a Dockerfile of its own."""
    settings = job.project.config.build
    if settings.dockerfile:
        return _own_base(job)
    try:
        return *find_base_image(job.engine, settings.base_image, settings.python), {}
    except BadInput as error:
        raise BadInput(error.message, _place_of_base(job)) from error


def _own_base(job: _BuildJob, platform: Platform | None = None) -> tuple[str, EngineObject, dict[str, str]]:
    """The image of the project's Dockerfile, and what it is made of. platform: as of :func:`find_own_dockerfile`."""
    from toolkit.build.image.own_dockerfile import ensure_own_image, find_own_dockerfile

    network = network_files(job.project.config.build.network, job.project.home)
    walk = code_walk(job.project, network, lambda _: None)
    own = find_own_dockerfile(job.project, job.engine, walk, job.folder, platform=platform)
    image = ensure_own_image(job.project, job.engine, own, network, job.folder, job.report, job.anew)
    return own.reference, image, own.parts


def _place_of_base(job: _BuildJob) -> str | None:
    """Where the configuration names the base image. It is read again for that, which only an error is worth."""
    from toolkit.config.load import place_of

    return place_of(job.project.config, ("base_image", "base"), job.project.config.build.base_image or "")


def _pull_base(job: _BuildJob, base: str) -> EngineObject:
    """Pulls the base image. A version of Python that no image here has is the user's to change.

    Raises:
        BadInput, Infrastructure: as of :func:`pull`.
    """
    settings = job.project.config.build
    try:
        setting = "build.base_image" if settings.base_image else ""
        return pull(job.engine, base, setting, job.report, _place_of_base(job) if setting else None)
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


def pipeline_file(project: Project) -> Path | None:
    """The file of the configuration's pipeline."""
    name = (project.config.pipeline or "").partition(":")[0]
    return project.home / name if name.endswith(".py") else None


def _build_on_existing(job: _BuildJob, target: Reference, explain: bool) -> BuiltImage:
    reference = str(target)
    image = image_in_engine(job.engine, reference)
    if image is None:
        from toolkit.config.load import place_of

        where = place_of(job.project.config, ("image", "docker_image"), reference)
        image = pull(job.engine, reference, "image", job.report, where)
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
        from toolkit.platforms import of_image

        return BuiltImage(
            reference, image_id, code, environment, identity, False, existing=True, id=image_id, content=content,
            platform=str(of_image(image)),
        )  # fmt: skip
    derived = Reference(f"{target.repository}-toolkit")
    definition = EnvironmentDefinition(reference, str(image["Id"]), (), Dependencies("none"))
    last = read_build_record(job.folder, derived, job.platform)
    built = _build_code(job, derived, definition, last, explain)
    # An unchanged build does not read what no image is made of.
    if (last is None or built.changed) and (sentence := nothing_installed(job.project, reference)):
        job.report(sentence)
    return built


def nothing_installed(project: Project, reference: str) -> str | None:
    """The line that says what is not installed into an existing image; None where the project declares nothing."""
    from toolkit.build.environment.dependencies.search import declaring_file

    settings = project.config.build
    file = declaring_file(project.root, settings, pipeline_file(project))
    apt = find_apt_file(project.root)
    lock = "build.lock" if settings.lock not in (None, "none") else None
    told = [name for name in (file or lock, apt.file if apt else None) if name]
    told += [f"build.{name}" for name in ("system_packages", "dockerfile", "run") if getattr(settings, name)]
    if not told:
        return None
    them = f"{', '.join(told[:-1])} and {told[-1]} do" if len(told) > 1 else f"{told[0]} does"
    sentence = f"note: {reference} is an existing image, so nothing is installed into it: {them} not count"
    if reference == project.config.executor.config.image and not settings.dockerfile:
        sentence += f" (to have both, write it as build.base_image: {reference}, and image without tag and digest)"
    return sentence


def code_files(project: Project, report: Report) -> list[CodeFile]:
    """The project's files that are code. Its image holds them in the working folder."""
    from toolkit.build.code.judged import JUDGED, JudgedFiles

    judged = JudgedFiles(build_folder(project) / JUDGED)
    files = _code(project, network_files(project.config.build.network, project.home), report, judged.of)
    judged.save()
    return files


def is_code(project: Project, path: str) -> bool:
    """Whether a file of the project, by its path relative to the root, is code. It must exist."""
    private = _private(project, network_files(project.config.build.network, project.home))
    return is_project_file(project.root, path, without=private, outputs=outputs_folder(project.state))


def _private(project: Project, network: dict[str, Path]) -> list[Path]:
    """The files that are as little code as `.env` is: a secrets file of another name, or a netrc in the project."""
    return [project.home / project.config.secrets.location, *network.values()]


def code_walk(project: Project, network: dict[str, Path], report: Report) -> Walk:
    """A walk through the project's code."""
    outputs = outputs_folder(project.state)
    return walk_of(project.root, without=_private(project, network), outputs=outputs, warn=_warning(report))


def _code(
    project: Project, network: dict[str, Path], report: Report, judge: Callable[[CodeFile], str] | None = None
) -> list[CodeFile]:
    return project_files(
        project.root,
        without=_private(project, network),
        outputs=outputs_folder(project.state),
        warn=_warning(report),
        judge=judge,
    )


def _build_code(
    job: _BuildJob, target: Reference, definition: EnvironmentDefinition, last: BuildRecord | None, explain: bool
) -> BuiltImage:
    """The image of the code as it is now. Where a file changes while it is read, all files are looked at anew, a few times.

    Raises:
        ChangedFile: files change each time.
    """
    said: set[str] = set()

    def report_once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            job.report(sentence)

    once = replace(job, report=report_once)
    changed: list[str] = []
    for look in range(1, _LOOKS + 1):
        try:
            return _look_and_build(once, target, definition, last, explain, look > 1)
        except ChangedFile as error:
            changed.append(error.where or "")
            if look == _LOOKS:
                raise _changing(job.project.root, changed) from error
            time.sleep(_PAUSE)
    raise AssertionError("the last look ends the loop")


def _look_and_build(
    job: _BuildJob, target: Reference, definition: EnvironmentDefinition, last: BuildRecord | None, explain: bool,
    without_vanished: bool,
) -> BuiltImage:  # fmt: skip
    """One look at the files, and the image of what was seen.

    Args:
        without_vanished: a file that vanishes after that is left out. The first look does not do so, because a file may have been
            renamed: then it would be in the image under neither name.

    Raises:
        ChangedFile: a file changed while it was read.
    """
    network = network_files(job.project.config.build.network, job.project.home)
    hashes = FileHashes(job.folder / "hashes.json")
    code = look_at(
        code_walk(job.project, network, job.report),
        job.folder / CODE_INDEX,
        job.report,
        without_vanished=without_vanished,
    )
    runtime = runtime_entries(hashes)
    hashes.save()
    warn_of_missing(job.project.root, code.below(), code.pointers, _warning(job.report))
    inputs = BuildInputs(target.repository, definition.inputs(), code.digest, code_digest(runtime))

    is_unchanged = last is not None and last.inputs == inputs
    image_id = engine_id(job.engine, last.result) if last is not None and is_unchanged else None
    if explain:
        from toolkit.build.image.explanation import explanation

        for reason in explanation(
            job.project, job.folder, target, definition, last, inputs, image_id is None, code
        ) or ["nothing changed"]:
            job.report(reason)
    is_done = last is not None and image_id is not None and not job.anew
    if (explain or not is_done) and not without_vanished:
        _report_size(job, code)
    if last is not None and image_id is not None and not job.anew:
        return replace(last.result, id=image_id)

    if sentence := ignored_by_git(job.project.root, code.large()):
        job.report(sentence)
    definition, environment = _environment(job, definition, network)
    if last is None or last.base != definition.base:
        of_platform = f" for {definition.platform}" if definition.platform else ""
        job.report(f"the base image is {definition.shown_base}{of_platform}")
    while True:
        inputs = replace(inputs, environment=definition.inputs(), code=code.digest)
        try:
            with job.engine.upload("/images/load?quiet=1") as upload:
                # These imports cost time, which an unchanged build must not spend. The engine prepares its load meanwhile.
                from toolkit.build.image.archive import base_labels
                from toolkit.build.image.assembly import assemble

                about = base_labels(definition.shown_base, job.engine.image(definition.base_id))
                built = assemble(
                    job.engine, str(environment["Id"]), environment, code, runtime, target, job.folder, job.report, upload,
                    partial(_installed, job, definition), about, last.result.id if last is not None else "",
                )  # fmt: skip
            break
        except VanishedFile:
            left = code.without_vanished()
            if not without_vanished or left.digest == code.digest:
                raise
            code = left
    record = BuildRecord(inputs, definition.base, definition.base_id, replace(built, changed=False))
    code.keep(code_file(job.folder, target, job.platform))
    write_build_record(job.folder, target, record, job.platform)
    return built


def _report_size(job: _BuildJob, code: Code) -> None:
    from toolkit.build.code.grouping import size_warning

    warning = size_warning(code)
    if warning is not None:
        job.report(f"warning: {warning}")


def _changing(root: Path, changed: Iterable[str]) -> ChangedFile:
    """The error that names the files that changed or vanished while they were read."""
    paths = sorted({os.path.relpath(one, root) if os.path.isabs(one) else one for one in changed})
    named = ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
    one = len(paths) == 1
    return ChangedFile(
        f"{named} {'was' if one else 'were'} changed or removed each of the {_LOOKS} times that the code was read: name "
        f"{'it' if one else 'them'} in .dockerignore, or end what writes to {'it' if one else 'them'}"
    )


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
    read = {name: _content(files[name]) for name in one.reads if name in files}
    # A comment or the table of another tool asks nothing anew.
    forms = {name: "backend" for name in read if Path(name).name == "pyproject.toml"}
    version = settings.version or _FALL_BACK
    meaning = Memory(job.folder).of(read, ReadAs(forms))
    inputs = [definition.base_id, definition.packages, definition.build_packages, one.folder, version, meaning]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    contents = {name: _content(path) for name, path in files.items() if path.exists()}
    arguments = {"FOLDER": one.folder, "PROJECT_VERSION": version}
    base, base_id = definition.base, definition.base_id
    if definition.platform:
        from toolkit.build.environment.foreign.asked import own_base

        base, base_id = own_base(job.engine, base_id, definition.shown_base, job.report)
    return ask_backend(
        job.engine, contents, arguments, key, base, base_id, settings.system_packages,
        settings.build_packages, network, job.folder, job.report, job.anew,
    )  # fmt: skip


def _content(path: Path) -> bytes:
    with open_file(str(path)) as file:
        return file.read()


def _environment(
    job: _BuildJob, definition: EnvironmentDefinition, network: dict[str, Path]
) -> tuple[EnvironmentDefinition, EngineObject]:
    """The environment image and its definition, completed by the id of a base that had to be pulled."""
    is_known = job.engine.image(definition.reference) if definition.base_id else None
    base = None if is_known else image_in_engine(job.engine, definition.base)
    if base is not None and not definition.platform:
        _check_base_platform(job, definition, base)
    if not is_known and base is None:
        definition = replace(definition, base_id=str(_pull_base(job, definition.base)["Id"]))
    elif base is not None and not definition.base_id:
        definition = replace(definition, base_id=str(base["Id"]))
    if job.engine.image(definition.base_id) is not None:
        # Else the environment is what is left of it, and was checked when it was made.
        _check_python(job, definition.shown_base, definition.base_id, definition.lock.kind == "conda")
    if is_known and not job.anew and not definition.is_base:
        return definition, is_known  # what installs is not even loaded
    from toolkit.build.image.environment_image import ensure_environment

    environment = ensure_environment(job.engine, definition, network, job.folder, job.report, job.anew)
    if (not is_known or job.anew) and not definition.is_base:
        _warn_of_gpu(job, definition, environment)
    return definition, environment


def _check_base_platform(job: _BuildJob, definition: EnvironmentDefinition, base: EngineObject) -> None:
    """Refuses a base image on which nothing can be installed here, because its tag was last pulled for another platform."""
    from toolkit.platforms import is_foreign, of_engine, of_image

    if definition.is_base or not is_foreign(job.engine, base):
        return
    from toolkit.build.environment.foreign.base import can_run
    from toolkit.build.interpreter import interpreter_of

    if not can_run(
        job.engine, str(base["Id"]), interpreter_of(job.engine, str(base["Id"]), definition.base).executable
    ):
        own = of_engine(job.engine)
        if definition.made_of:
            file = job.project.config.build.dockerfile
            raise BadInput(
                f"the image that {file} makes is {of_image(base)}, and the engine runs {own}: leave --platform out of its FROM, "
                f"or build for that platform (`toolkit build --platform {of_image(base)}`)"
            )
        raise BadInput(
            f"build.base_image: {definition.base} is {of_image(base)} here, and the engine runs {own}: `docker pull --platform "
            f"{own} {definition.base}`, or build for that platform (`toolkit build --platform {of_image(base)}`)",
            _place_of_base(job),
        )


_SMALLEST = 20 << 20
"""Bytes that an environment adds to its base, below which no library for a GPU is looked for in it."""


def _warn_of_gpu(job: _BuildJob, definition: EnvironmentDefinition, environment: EngineObject) -> None:
    """Says which packages of an environment that was just made are for a GPU, where nothing asks for one."""
    base = job.engine.image(definition.base_id) or {}
    if int(environment.get("Size") or 0) - int(base.get("Size") or 0) < _SMALLEST:
        return
    from toolkit.build.inventory.gpu import asks_for_gpu, gpu_warning, has_cuda
    from toolkit.build.inventory.reading import read_inventory

    config, variables = job.project.config.executor.config, (environment.get("Config") or {}).get("Env") or []
    if asks_for_gpu(config) or has_cuda(variables):
        return
    try:
        inventory = read_inventory(job.engine, str(environment["Id"]), definition.reference)
    except ToolkitError:
        return  # the environment is there; what is wrong with the engine is said by whoever needs it
    warning = gpu_warning(inventory, config, variables, definition.lock.file or "")
    if warning:
        job.report(f"warning: {warning}")


def engine_id(engine: EngineApi, built: BuiltImage) -> str | None:
    """The engine's id of an image that was built before; None where another image has its name, or none."""
    image = engine.image(built.reference) or {}
    is_same = ((image.get("Config") or {}).get("Labels") or {}).get(IDENTITY_LABEL) == built.identity
    return str(image["Id"]) if is_same else None


def _warning(report: Report) -> Report:
    return lambda sentence: report(f"warning: {sentence}")


__all__ = ["BuiltImage", "build"]
