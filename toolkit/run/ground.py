"""What the steps of a run of plain processes stand on: the project's files, and the volumes at their mount paths or elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.backends import process, volumes
from toolkit.backends.interpreter import interpreter
from toolkit.backends.overlay import Changes, overlay_changes, shares_blocks
from toolkit.build.code.files import CodeFile
from toolkit.build.image.builder import code_files
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.run.preparation import Preparation
from toolkit.runtime.shared.protocol import volume_variable

_SMALL = 16_000_000
_FEW = 500
"""Bytes and number of files that are copied sooner than an overlay is mounted. A copy also stays as it is when the user
edits the project meanwhile, and its folders can be renamed."""
_LARGE = 100_000_000
"""Bytes of a project's files from which on copies that take their time are mentioned."""
_TIME_LIMIT = 20.0
"""Seconds within which a file system must have said whether it can be mounted. One that hangs would make each step hang."""


@dataclass(frozen=True)
class Ground:
    """What is decided before the first step, for all of them.

    Attributes:
        files: those that each step gets a copy of, each with whether it is a folder.
        hidden: what each step's overlay on the project hides; None where a step gets a copy of all files, and no overlay.
        mounts: folder by mount path, of the volumes that each step mounts; empty where it can't.
    """

    files: list[tuple[str, bool]]
    hidden: list[str] | None
    mounts: Mapping[str, str]


def prepare_ground(preparation: Preparation) -> Ground:
    """Decides it, and reports what a step will not have.

    Nothing of a run is touched: another command may be about to have a run of the same name.

    Raises:
        BadInput: the project's files can't be read, or a variable of the configuration is a path that would lead elsewhere.
        Infrastructure: no folder can be made beside those of the steps.
    """
    project = preparation.request.project
    files = tuple(code_files(project, preparation.note))
    folder = project.state / "work" / f"ground-{os.urandom(8).hex()}"
    _make(folder)
    try:
        return _decide(preparation, files, folder)
    finally:
        process.remove(folder)


def make_work_folder(project: Project, run_id: str) -> None:
    """Makes the folder of the steps' working folders; to be called by whoever holds the run's lock.

    Raises:
        Infrastructure: it can't be made.
    """
    folder = project.state / "work" / run_id
    # A run that is retried has one, perhaps.
    process.remove(folder)
    _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be created: {error.strerror}") from None


def _decide(preparation: Preparation, files: tuple[CodeFile, ...], folder: Path) -> Ground:
    project = preparation.request.project
    mounts = volumes.folders(project)
    obstacles = _obstacles(project, mounts)
    listed = [(file.path, file.kind == "dir") for file in files]
    size = sum(file.size for file in files)
    changes: Changes | None = None
    if sys.platform.startswith("linux") and (size > _SMALL or len(files) > _FEW):
        changes = overlay_changes(str(project.root), listed, _SMALL)
    mounts = {path: folder for path, folder in mounts.items() if path not in obstacles}
    if mounts or changes:
        refused = _ask(interpreter(project), project, mounts, changes, folder)
        if refused["overlay"]:
            changes = None
        if refused["volumes"]:
            obstacles.update(dict.fromkeys(mounts, refused["volumes"]))
            mounts = {}
    if obstacles:
        _report_volumes(preparation, obstacles)
    if size >= _LARGE and changes is None:
        largest = max(files, key=lambda file: file.size)
        if not shares_blocks(largest.source, folder):
            preparation.note(
                f"each step gets a copy of the project's files, which are {size / 1e6:.0f} MB: .dockerignore leaves out what no "
                "step needs"
            )
    copied, hidden = changes or (listed, None)
    return Ground(copied, hidden, mounts)


def _obstacles(project: Project, mounts: Mapping[str, str]) -> dict[str, str]:
    """Why volumes are not even tried to be mounted, as a clause by mount path."""
    if not sys.platform.startswith("linux"):
        return dict.fromkeys(mounts, "only Linux lets a process have mounts of its own")
    python = interpreter(project)
    needed = {
        "the project": project.root,
        "the private state": project.state,
        "the interpreter": Path(python),
        "the interpreter's own installation": Path(os.path.realpath(python)),
        "toolkit": process.PACKAGE,
    }
    return {
        path: f"{path} holds {what}"
        for path in mounts
        for what, place in needed.items()
        if any(one.is_relative_to(os.path.realpath(path)) for one in (place, Path(os.path.realpath(place))))
    }


def _ask(
    python: str,
    project: Project,
    mounts: Mapping[str, str],
    changes: Changes | None,
    folder: Path,
) -> dict[str, str]:
    """Has the interpreter of the steps try it; returns why each of the two was refused, or empty texts."""
    scratch = folder / "mounts"
    scratch.mkdir()
    files, hidden = changes or ([], [])
    request = {
        "volumes": dict(mounts),
        "overlay": str(folder / "probe") if changes else "",
        "code": str(project.root),
        "files": files,
        "hidden": hidden,
        "scratch": str(scratch),
    }
    command = [python, "-I", "-S", str(process.MAIN), "--mounts"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_TIME_LIMIT, check=True
        )
        answer: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        answer = dict.fromkeys(("overlay", "volumes"), f"it can't be tried ({type(error).__name__})")
    return answer


def _report_volumes(preparation: Preparation, obstacles: Mapping[str, str]) -> None:
    """Says which volumes are not at their mount paths, and refuses variables that need them there."""
    plan, config = preparation.plan, preparation.request.project.config.executor.config
    given = {pair for settings in plan.settings for pair in dict(settings.environment).items()}
    missing = [volume for volume in config.persistent_volumes if volume.mount_path in obstacles]
    for variable, value in sorted({*given, *config.environment.items()}):
        for volume in missing:
            # Neither a part of another path, nor the host of an address (s3://mnt/data).
            if re.search(rf"(?<![\w.-])(?<!:/){re.escape(volume.mount_path)}(?![\w.-])", value):
                raise BadInput(
                    f"the environment variable {variable} of the configuration names {volume.mount_path}, where --env process "
                    f"can't mount the volume {volume.name} ({obstacles[volume.mount_path]}): let the step take "
                    f"{volume_variable(volume.name)} in its place, or use --env local"
                )
    paths = ", ".join(f"{volume.mount_path} (its folder is {volume_variable(volume.name)})" for volume in missing)
    reasons = "; ".join(dict.fromkeys(obstacles.values()))
    preparation.note(f"no volume is mounted at {paths}: {reasons}")
    read_only = ", ".join(volume.name for volume in missing if volume.read_only)
    if read_only:
        preparation.note(f"nothing keeps a step from writing on what is read-only elsewhere: {read_only}")
