"""What this machine lacks for a run: engine or interpreter, volumes, secrets, disk space."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from toolkit import secrets as providers
from toolkit.backends import volumes
from toolkit.backends.argo.preflight import Finding
from toolkit.config.located import shown
from toolkit.config.settings import EnvironmentName
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.run.preparation import prepare
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.spec.container import GROUP, steps_user

_LITTLE, _ALMOST_NONE = 2 << 30, 200 << 20
"""Free disk space in bytes below which there is a warning, and an error."""
_OLDEST_API = (1, 40)
"""The first version of the Engine API that has devices (GPUs): Docker 19.03."""


def check_machine(
    project: Project, reference: PipelineReference | None, environment: EnvironmentName, note: Note
) -> Iterator[Finding]:
    """What this machine lacks.

    Args:
        reference: the pipeline whose secrets are checked as well; None checks the configuration's alone.
    """
    engine_works = True
    if environment == "local":
        for finding in _engine(project):
            engine_works = engine_works and finding.level != "error"
            yield finding
    else:
        yield _interpreter(project)
    yield from _volumes(project, environment)
    names = tuple(secret.environment_variable for secret in project.config.executor.config.secrets_from_k8s)
    if reference is not None and engine_works:
        request = Request(project, environment, reference, {})
        names = prepare(request, note, parameters_given=False).secret_names()
    yield from _secrets(project, names)
    yield from _space(project.home, "this project")


def _engine(project: Project) -> Iterator[Finding]:
    from toolkit.build.environment.base_image import find_base_image

    raw = EngineApi()
    try:
        version, info = raw.json("/version"), raw.json("/info")
    except Infrastructure as error:
        yield Finding("error", str(error.message), "docker version shows the same")
        return
    api = str(version["ApiVersion"])
    answer = f"the Docker engine answers: {version['Version']}, API {api}, at {raw.endpoint}"
    if tuple(int(part) for part in api.split(".")) < _OLDEST_API:
        oldest = ".".join(map(str, _OLDEST_API))
        yield Finding("warning", f"{answer}; it is older than API {oldest}", "install a newer engine")
    else:
        yield Finding("ok", f"{answer}, storage {info.get('Driver')}, cgroups v{info.get('CgroupVersion', '1')}")
    missing = [name for name, key in (("memory", "MemoryLimit"), ("cpu", "CpuCfsQuota")) if not info.get(key, True)]
    if missing:
        sentence = f"the engine can't limit {' and '.join(missing)}, so resources.limits would have no effect"
        yield Finding("warning", sentence, "enable these cgroups on the kernel's command line")
    own = project.config.build.dockerfile
    base, image = (
        ("", None) if own else find_base_image(raw, project.config.build.base_image, project.config.build.python)
    )
    if own and (project.root / own).is_file():
        yield Finding("ok", f"the base image is what {own} makes")
    elif own:
        sentence = f"build.dockerfile names {own!r}, which is not a file below {project.root}"
        yield Finding("error", sentence, "correct the name")
    elif image is not None:
        yield Finding("ok", f"the engine has the base image {base}")
    else:
        pull = f"docker pull {base}" + (
            "" if project.config.build.base_image else ", or `task setup` where none can be pulled"
        )
        yield Finding("warning", f"the engine does not have the base image {base} yet: the first build pulls it", pull)
    yield from _platform(project, raw, image)
    root = Path(str(info.get("DockerRootDir") or "/"))
    if raw.endpoint.socket is not None and root.is_dir():
        yield from _space(root, "the engine")


def _platform(project: Project, raw: EngineApi, base: EngineObject | None) -> Iterator[Finding]:
    """Whether the engine runs images of the platform that the configuration or else the base image has."""
    from toolkit.platforms import emulation_remedy, of_engine, of_image, parse_platform

    chosen, own = project.config.build.platform, of_engine(raw)
    if chosen is None and base is None:
        return
    wanted = parse_platform(chosen, "build.platform") if chosen is not None else of_image(base or {})
    if own.runs(wanted):
        yield Finding("ok", f"the engine runs images for {wanted}, which the image is")
        return
    what = "build.platform" if chosen is not None else "the base image"
    remedy = f"set build.platform to {own}" if chosen is not None else f"docker pull --platform {own} IMAGE"
    yield Finding(
        "warning",
        f"{what} is {wanted}, and the engine is {own}: steps run here by an emulator alone, where there is one",
        f"{remedy}; or install an emulator: {emulation_remedy(wanted)}",
    )


def _interpreter(project: Project) -> Finding:
    from toolkit.backends.interpreter import interpreter

    python = interpreter(project)
    command = [python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
    try:
        version = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "error", f"the steps' Python {python} does not start: {error}", "create the virtual environment again"
        )
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 9):
        return Finding(
            "error", f"the steps' Python {python} is {version}, and steps need 3.9 or later", "activate a newer one"
        )
    return Finding("ok", f"the steps' Python is {python}, {version}")


def _volumes(project: Project, environment: EnvironmentName) -> Iterator[Finding]:
    user = os.getuid() if environment == "process" else steps_user(project.config.executor.config)
    for volume in project.config.executor.config.persistent_volumes:
        mount = volume.mount_path
        try:
            folder = volumes.volume_folder(project, volume)
            if volume.host_path is not None:
                volumes.check_host_path(project, volume)
        except BadInput as error:
            yield Finding("error", str(error), f"create the folder, or correct the host_path of {volume.name}")
            continue
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if existing != folder:
            if os.access(existing, os.W_OK | os.X_OK):
                yield Finding("ok", f"the volume at {mount} will be the folder {shown(folder)}")
            else:
                sentence = (
                    f"the folder of the volume at {mount} can't be created: you may not write in {shown(existing)}"
                )
                yield Finding("error", sentence, f"sudo chown {os.getuid()} {existing}")
            continue
        status = folder.stat()
        if not folder.is_dir():
            yield Finding(
                "error", f"the volume at {mount} is not a folder: {shown(folder)}", f"mv {folder} {folder}.old"
            )
        elif user != 0 and not _may(status, user, 5):
            sentence = f"the steps' user {user}:{GROUP} may not read the volume at {mount}, {shown(folder)}"
            yield Finding("error", sentence, f"sudo chmod o+rx {folder}")
        elif volume.read_only:
            yield Finding("ok", f"the volume at {mount} is {shown(folder)}, which steps only read")
        elif user != 0 and not _may(status, user, 2):
            sentence = f"the steps' user {user}:{GROUP} may not write in the volume at {mount}, {shown(folder)}"
            yield Finding("error", sentence, f"sudo chgrp {GROUP} {folder} && sudo chmod 2775 {folder}")
        else:
            yield Finding("ok", f"the volume at {mount} is {shown(folder)}, writable for the steps")


def _may(status: os.stat_result, user: int, rights: int) -> bool:
    """Whether a user of the steps' group has these rights (4 is to read, 2 to write, 1 to enter) in a folder."""
    shift = 6 if status.st_uid == user else 3 if status.st_gid == GROUP else 0
    return status.st_mode >> shift & rights == rights


def _secrets(project: Project, names: Sequence[str]) -> Iterator[Finding]:
    if not names:
        return
    provider = providers.provider(project)
    if provider.type == "do-nothing":
        yield Finding("ok", f"secrets.type is do-nothing, so the steps do not get {', '.join(names)}")
        return
    try:
        values = provider.lookup(names)
    except BadInput as error:
        yield Finding("error", str(error), f"fix {shown(provider.file)}")
        return
    for name in names:
        variable = f"{provider.prefix}{name}{provider.suffix}"
        line = f"a line {variable}=… in {shown(provider.file)}"
        if name not in values:
            remedy = f"export {variable}=…, or {line}" if provider.type == "env-secrets" else line
            yield Finding("error", f"the secret {name} is missing", remedy)
    if len(values) == len(set(names)):
        yield Finding("ok", f"all secrets are set: {', '.join(dict.fromkeys(names))}")


def _space(folder: Path, owner: str) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    sentence = f"{free / (1 << 30):.1f} GiB are free on the disk of {owner} ({shown(folder)})"
    if free < _LITTLE:
        yield Finding("error" if free < _ALMOST_NONE else "warning", sentence, f"free some space: df -h {folder}")
    else:
        yield Finding("ok", sentence)
