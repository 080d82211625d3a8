"""What this machine lacks for a run: its engine or interpreter, volumes, secrets and disk."""

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
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.run.preparation import prepare
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.spec.container import GROUP, steps_user

_LITTLE, _ALMOST_NONE = 2 << 30, 200 << 20
"""Bytes of free disk space that are worth a warning, and that no run gets along with."""
_OLDEST_API = (1, 40)
"""The Engine API that devices (GPUs) can first be asked of; Docker 19.03."""


def check_machine(
    project: Project, reference: PipelineReference | None, environment: EnvironmentName, note: Note
) -> Iterator[Finding]:
    """What this machine lacks.

    Args:
        reference: the pipeline whose secrets count too.
    """
    works = True
    if environment == "local":
        for one in _engine(project):
            works = works and one.level != "error"
            yield one
    else:
        yield _interpreter(project)
    yield from _volumes(project, environment)
    names = tuple(one.environment_variable for one in project.config.executor.config.secrets_from_k8s)
    if reference is not None and works:
        request = Request(project, environment, reference, {})
        names = prepare(request, note, parameters_given=False).secret_names()
    yield from _secrets(project, names)
    yield from _space(project.home, "this project")


def _engine(project: Project) -> Iterator[Finding]:
    from toolkit.build.environment.base_image import local_base
    from toolkit.engine import EngineApi

    raw = EngineApi()
    try:
        version, info = raw.json("/version"), raw.json("/info")
    except Infrastructure as error:
        yield Finding("error", str(error.message), "docker version shows the same")
        return
    api = str(version["ApiVersion"])
    told = f"the Docker engine answers: {version['Version']}, API {api}, at {raw.endpoint}"
    if tuple(int(part) for part in api.split(".")) < _OLDEST_API:
        wanted = ".".join(map(str, _OLDEST_API))
        yield Finding("warning", f"{told}; it is older than API {wanted}", "install a newer engine")
    else:
        yield Finding("ok", f"{told}, storage {info.get('Driver')}, cgroups v{info.get('CgroupVersion', '1')}")
    missing = [name for name, key in (("memory", "MemoryLimit"), ("cpu", "CpuCfsQuota")) if not info.get(key, True)]
    if missing:
        what = f"the engine can't limit {' and '.join(missing)}: steps would not be held to resources.limits"
        yield Finding("warning", what, "switch these cgroups on in the kernel's command line")
    base, image = local_base(raw, project.config.build.base_image)
    if image is not None:
        yield Finding("ok", f"the base image {base} is there")
    else:
        pull = f"docker pull {base}" + (
            "" if project.config.build.base_image else ", or `task setup` where none can be pulled"
        )
        yield Finding("warning", f"the base image {base} is not there yet: the first build pulls it", pull)
    root = Path(str(info.get("DockerRootDir") or "/"))
    if raw.endpoint.socket is not None and root.is_dir():
        yield from _space(root, "the engine")


def _interpreter(project: Project) -> Finding:
    from toolkit.backends import process

    python = process.interpreter(project)
    command = [python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "error", f"the steps' Python {python} does not start: {error}", "make the virtual environment anew"
        )
    if tuple(int(part) for part in said.split(".")[:2]) < (3, 9):
        return Finding("error", f"the steps' Python {python} is {said}, and 3.9 is the oldest", "activate a newer one")
    return Finding("ok", f"the steps' Python is {python}, {said}")


def _volumes(project: Project, environment: EnvironmentName) -> Iterator[Finding]:
    user = os.getuid() if environment == "process" else steps_user(project.config.executor.config)
    for mount, name in volumes.folders(project).items():
        folder = Path(name)
        there = next(one for one in (folder, *folder.parents) if one.exists())
        if there != folder:
            if os.access(there, os.W_OK | os.X_OK):
                yield Finding("ok", f"the volume at {mount} will be the folder {shown(folder)}")
            else:
                what = f"the volume at {mount} can't be made: you may not write in {shown(there)}"
                yield Finding("error", what, f"sudo chown {os.getuid()} {there}")
            continue
        state = folder.stat()
        if not folder.is_dir():
            yield Finding("error", f"the volume at {mount} is no folder: {shown(folder)}", f"mv {folder} {folder}.old")
        elif user != 0 and not _may_write(state, user):
            what = f"the steps' user {user}:{GROUP} may not write in the volume at {mount}, {shown(folder)}"
            yield Finding("error", what, f"sudo chgrp {GROUP} {folder} && sudo chmod 2775 {folder}")
        else:
            yield Finding("ok", f"the volume at {mount} is {shown(folder)}, writable for the steps")


def _may_write(state: os.stat_result, user: int) -> bool:
    if state.st_uid == user:
        return bool(state.st_mode & 0o200)
    return bool(state.st_mode & (0o020 if state.st_gid == GROUP else 0o002))


def _secrets(project: Project, names: Sequence[str]) -> Iterator[Finding]:
    if not names:
        return
    provider = providers.provider(project)
    if provider.type == "do-nothing":
        yield Finding("ok", f"secrets.type is do-nothing: the steps get no {', '.join(names)}")
        return
    try:
        found = provider.lookup(names)
    except BadInput as error:
        yield Finding("error", str(error), f"mend {shown(provider.file)}")
        return
    for name in names:
        spelt = f"{provider.prefix}{name}{provider.suffix}"
        line = f"a line {spelt}=… in {shown(provider.file)}"
        if name not in found:
            way = f"export {spelt}=…, or {line}" if provider.type == "env-secrets" else line
            yield Finding("error", f"the secret {name} is missing", way)
    if len(found) == len(set(names)):
        yield Finding("ok", f"there are the secrets {', '.join(dict.fromkeys(names))}")


def _space(folder: Path, whose: str) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    told = f"{free / (1 << 30):.1f} GiB are free on the disk of {whose} ({shown(folder)})"
    if free < _LITTLE:
        yield Finding("error" if free < _ALMOST_NONE else "warning", told, f"free some: df -h {folder}")
    else:
        yield Finding("ok", told)
