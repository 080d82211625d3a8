"""The volumes on this machine: each is a folder beside the configuration, with an owner and a mode that let steps write in it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from toolkit.config.consistency import volume_of
from toolkit.config.settings import PersistentVolume
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.layout import SHARED_MODE
from toolkit.spec.container import GROUP


def volume_folder(project: Project, name: str) -> Path:
    """The folder on this machine that is the volume of this name."""
    return project.state / "volumes" / name


def folders(project: Project) -> dict[str, str]:
    """Host folder by mount path, for all volumes of the configuration."""
    return {
        volume.mount_path: str(volume_folder(project, volume.name))
        for volume in project.config.executor.config.persistent_volumes
    }


def locate(project: Project, path: str) -> tuple[PersistentVolume, PurePosixPath]:
    """The volume on which a path of the configuration (the run log, the catalog) lies, and the path relative to that volume.

    Raises:
        BadInput: it lies on no volume.
    """
    volume = volume_of(path, project.config.executor.config.persistent_volumes)
    if volume is None:
        raise BadInput(f"{path} lies on no volume: it must be below a mount_path of executor.config.persistent_volumes")
    return volume, PurePosixPath(path).relative_to(volume.mount_path)


def host_path(project: Project, path: str) -> Path:
    """A path of the configuration (the run log, the catalog) as it is on this machine.

    Raises:
        BadInput: it lies on no volume.
    """
    volume, inside = locate(project, path)
    return volume_folder(project, volume.name) / inside


def prepare(project: Project, user: int) -> None:
    """Makes the folders of all volumes, writable for the steps' user and group.

    Raises:
        Infrastructure: a folder can't be created.
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
    """Makes a folder in which the steps' user and group can write, and the missing ones above it.

    An existing folder is left as it is: it may be one of the user's own that is mounted there.
    """
    if folder.is_dir():
        return
    try:
        if not folder.parent.exists():
            make_shared(folder.parent, user)
        folder.mkdir(exist_ok=True)
        share(folder, user)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be created: {error.strerror}") from None


def share(path: Path, user: int, mode: int = SHARED_MODE) -> None:
    """Gives a folder or a file to the steps' user and group.

    Raises:
        OSError: its owner or its mode can't be changed.
    """
    if os.geteuid() == 0:
        os.chown(path, user, GROUP)
    os.chmod(path, mode)
