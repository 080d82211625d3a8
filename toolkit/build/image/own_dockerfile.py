"""The image of the project's own Dockerfile (``build.dockerfile``), which takes the place of a base image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from toolkit.build.code.files import CodeFile, Walk
from toolkit.build.code.hashes import FileHashes
from toolkit.build.environment.definition import short_command
from toolkit.build.environment.dockerfile import (
    REPOSITORY,
    Dockerfile,
    Stage,
    faulty_instruction,
    read_dockerfile,
    with_argument,
)
from toolkit.build.environment.meaning.parts import of_bytes, of_value
from toolkit.build.image.context import chosen_files, copier, inside_project, parts_of, walk_by
from toolkit.config.located import shown
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput, Infrastructure
from toolkit.platforms import Platform, of_engine, of_image, parse_platform
from toolkit.project import Project

_HASHES = "dockerfile-hashes.json"
_OLDEST = (3, 9)


class OwnDockerfile(NamedTuple):
    """What the image of a Dockerfile is made of.

    Attributes:
        file: its path, relative to the project's root.
        files: all of the project that it can read.
        parts: what the image depends on, as :meth:`EnvironmentDefinition.inputs` has it.
        reference: of the image.
        platform: of the image, where it is not the engine's.
    """

    file: str
    content: bytes
    read: Dockerfile
    files: list[CodeFile]
    parts: dict[str, str]
    reference: str
    platform: Platform | None = None


def find_own_dockerfile(
    project: Project, engine: EngineApi, walk: Walk, folder: Path, keep: bool = True, platform: Platform | None = None
) -> OwnDockerfile:
    """The Dockerfile that ``build.dockerfile`` names, and what it can read.

    Args:
        walk: through the project's code. folder: the build's.
        keep: whether hashes of files may be written into ``folder``.
        platform: that the image is for, where it is not the engine's.

    Raises:
        BadInput: there is no such file or stage, or it is for another platform.
    """
    settings = project.config.build
    file = inside_project(settings.dockerfile or "", "build.dockerfile")
    path = project.root / file
    if not path.is_file():
        raise BadInput(f"build.dockerfile names {file!r}, which is not a file below {project.root}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", file) from error
    read = read_dockerfile(content, settings.args)
    if not read.stages:
        raise BadInput("it has no FROM, so no image can be made of it", file)
    if settings.target and not read.has_stage(settings.target):
        names = ", ".join(stage.name for stage in read.stages if stage.name) or "none with a name"
        raise BadInput(f"build.target: {file} has no stage {settings.target!r} (it has: {names})")
    if platform is not None:
        _check_platform(engine, file, read.root_of(settings.target or ""), platform)
    sources = read.sources
    if sources is not None and any(_has_triggers(engine, image) for image in read.images):
        sources = None  # the commands of the image's ONBUILD read the context as well
    nothing = sources is not None and not sources
    files = [] if nothing else chosen_files(walk_by(walk, project.root / f"{file}.dockerignore"), sources)
    hashes = FileHashes(folder / _HASHES)
    parts = {file: of_bytes(content), **parts_of(files, hashes, file)}
    if keep and files:
        hashes.save()
    if settings.target:
        parts["build.target"] = of_value(settings.target)
    for name, value in settings.args.items():
        is_hidden = name in project.config.hidden_arguments
        parts[f"build.args: {name}"] = of_bytes(value.encode()) if is_hidden else of_value(value)
    counted = [parts, sorted(settings.args.items()), *([str(platform)] if platform else [])]
    key = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
    return OwnDockerfile(file, content, read, files, parts, f"{REPOSITORY}:{key[:16]}", platform)


def ensure_own_image(
    project: Project, engine: EngineApi, own: OwnDockerfile, secrets: dict[str, Path], folder: Path,
    report: Callable[[str], None], anew: bool = False,
) -> EngineObject:  # fmt: skip
    """The image of a Dockerfile. BuildKit is asked when the engine does not have it.

    Args:
        secrets: the files of ``build.network``, which a RUN may mount by their ids.
        anew: whether BuildKit is asked although the engine has it, and runs each command again.

    Raises:
        BadInput: a command of the Dockerfile fails, or there is no Python in the image that steps can use.
        Infrastructure: there is no BuildKit, network or space, or the time limit has passed.
    """
    from toolkit.build.interpreter import interpreter_of

    image = None if anew else engine.image(own.reference)
    if image is None:
        _build(project, engine, own, secrets, folder, report, anew)
        image = engine.image(own.reference)
    if image is None:
        raise Infrastructure(f"the engine reported no error, but does not have {own.reference}: see the engine's log")
    if own.platform is not None and not own.platform.is_of(image):
        raise _of_another(of_image(image), own.platform, own.file)
    triggers = (image.get("Config") or {}).get("OnBuild")
    if triggers:
        line = max((one.line for one in own.read.instructions if one.keyword == "ONBUILD"), default=1)
        raise BadInput(
            f"the image has ONBUILD {' '.join(str(triggers[0]).split())[:60]}, which would be run in toolkit's own stages on it: "
            "remove it, or name a stage without it in build.target",
            f"{own.file}:{line}",
        )
    remedy = "install python3 in it, or start it from an image that has one"
    try:
        version = interpreter_of(engine, str(image["Id"]), own.reference).version
    except BadInput as error:
        reason = error.message.partition(" (")[2].rpartition("): ")[0]
        raise BadInput(
            f"the image that it makes has no python3 that runs, and steps need Python 3.9 or later: {remedy} ({reason})",
            own.file,
        ) from error
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise BadInput(
            f"the python3 of the image that it makes is Python {version}, and steps need 3.9 or later: {remedy}",
            own.file,
        )
    return image


def _check_platform(engine: EngineApi, file: str, stage: Stage, wanted: Platform) -> None:
    """Refuses a FROM that names another platform: BuildKit would say of such an image that it is for the wanted one."""
    if stage.platform.strip("${}") == "BUILDPLATFORM":
        named = of_engine(engine)
    elif not stage.platform or "$" in stage.platform:
        return
    else:
        named = parse_platform(stage.platform, "--platform")
    if named != wanted:
        raise _of_another(named, wanted, f"{file}:{stage.line}")


def _of_another(found: Platform, wanted: Platform, where: str) -> BadInput:
    return BadInput(
        f"the image that it makes is {found}, and it has to be {wanted}: leave --platform out of the FROM that it starts from, "
        "or name an image that is for this platform",
        where,
    )


def _has_triggers(engine: EngineApi, image: str) -> bool:
    if "$" in image or not image:
        return False
    try:
        return bool(((engine.image(image) or {}).get("Config") or {}).get("OnBuild"))
    except Infrastructure:
        return False  # no name of an image: BuildKit says so


def _build(
    project: Project, engine: EngineApi, own: OwnDockerfile, secrets: dict[str, Path], folder: Path,
    report: Callable[[str], None], anew: bool,
) -> None:  # fmt: skip
    from toolkit.build.environment import buildkit
    from toolkit.build.environment.builder import LOG, attempt, passed_on
    from toolkit.build.environment.failures import explain_own_dockerfile, shown_words
    from toolkit.temporary import temporary_folder

    settings = project.config.build
    for name in own.read.undeclared(settings.args):
        report(f"warning: build.args sets {name}, which no ARG of {own.file} declares, so it has no effect")
    if own.read.sources is None or "" in own.read.sources:
        report(
            f"note: {own.file} may read any file of the project, so each change of code asks BuildKit again (toolkit itself puts "
            "the code on the image: COPY only what is installed)"
        )
    report(f"building the base image from {own.file} (output: {shown(folder / LOG)})")
    content = own.content
    if anew:
        content = with_argument(content, own.read, f"TOOLKIT_ANEW={os.urandom(16).hex()}")
    client = buildkit.find_build_client(engine.endpoint)
    with temporary_folder(folder, "context-") as made:
        context = made / "context"
        context.mkdir()
        copier(own.files)(context)
        (made / "Dockerfile").write_bytes(content)
        # Beside it, so that BuildKit reads no .dockerignore of the context: what that leaves out is left out already.
        (made / "Dockerfile.dockerignore").write_text("# the context holds only what the build reads\n")
        request = buildkit.BuildRequest(
            dockerfile=made / "Dockerfile",
            context=context,
            tag=own.reference,
            output=folder / LOG,
            arguments=dict(settings.args),
            passed_on=tuple(name for name in passed_on() if name not in settings.args),
            secrets={name: path for name, path in secrets.items() if name != "ssh"},
            ssh=f"default={secrets['ssh']}" if "ssh" in secrets else "",
            target=settings.target or "",
            platform=str(own.platform or ""),
            shows_steps=True,
        )
        failed = attempt(client, request, folder, report)
    if failed is not None:
        for line in shown_words(failed):
            report("  " + line)
        if own.platform is not None and "exec format error" in failed.lower():
            from toolkit.build.environment.foreign.base import must_run

            number, instruction, _ = faulty_instruction(failed, own.read, added=anew)
            command = f"{short_command(instruction)} has to run" if instruction else "a command has to run"
            raise BadInput(must_run(command, own.platform).message, f"{own.file}:{number}" if number else own.file)
        raise explain_own_dockerfile(failed, own.read, own.file, shown(folder / LOG), added=anew, root=project.root)
