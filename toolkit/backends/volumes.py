"""The shared volumes on this machine: a folder beside the configuration for each, with modes that every step's user can work in."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from toolkit.config.consistency import volume_of
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.spec.container import GROUP

SHARED = 0o2775
"""Folders: the group may write, and what is made inside keeps the group."""


def volume_folder(project: Project, name: str) -> Path:
    """The folder that stands for the claim of this name."""
    return project.state / "volumes" / name


def folders(project: Project) -> dict[str, str]:
    """Host folder by mount path, for all volumes of the configuration."""
    return {
        volume.mount_path: str(volume_folder(project, volume.name))
        for volume in project.config.executor.config.persistent_volumes
    }


def host_path(project: Project, path: str) -> Path:
    """A path of the configuration's (run log, catalog) as it is on this machine.

    Raises:
        BadInput: it lies on no volume.
    """
    volume = volume_of(path, project.config.executor.config.persistent_volumes)
    if volume is None:
        raise BadInput(f"{path} lies on no volume: it must be below a mount_path of executor.config.persistent_volumes")
    return volume_folder(project, volume.name) / PurePosixPath(path).relative_to(volume.mount_path)


def prepare(project: Project, user: int) -> None:
    """Makes the folders of all volumes, writable for the steps' user and group.

    Raises:
        Infrastructure: one can't be made.
    """
    make_private_state(project)
    for folder in folders(project).values():
        make_shared(Path(folder), user)


def make_private_state(project: Project) -> None:
    """Makes ``.toolkit/``, which keeps itself out of version control."""
    try:
        project.state.mkdir(parents=True, exist_ok=True)
        ignore = project.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise Infrastructure(f"{project.state} can't be written: {error.strerror}") from None


def make_shared(folder: Path, user: int) -> None:
    """Makes a folder, and those above it that are missing, that the steps' user and group can write in.

    An existing folder is left as it is: it may be the user's own, mounted there.
    """
    if folder.is_dir():
        return
    try:
        make_shared(folder.parent, user) if not folder.parent.exists() else None
        folder.mkdir(exist_ok=True)
        share(folder, user)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be made: {error.strerror}") from None


def share(path: Path, user: int, mode: int = SHARED) -> None:
    """Gives a folder or file to the steps' user and group.

    Raises:
        OSError: that can't be done.
    """
    if os.geteuid() == 0:
        os.chown(path, user, GROUP)
    os.chmod(path, mode)
