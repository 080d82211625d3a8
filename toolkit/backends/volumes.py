"""The volumes on this machine: each is a folder beside the configuration, with an owner and a mode that let steps write in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from toolkit.config.consistency import volume_of
from toolkit.config.settings import PersistentVolume
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.layout import SHARED_MODE
from toolkit.spec.container import GROUP

MIRRORS = "cluster"
"""The folder of the private state that holds a folder for each mirror of a volume on a cluster (``argo/volume/mirror.py``)."""
MIRRORED_VOLUME, MIRRORED_PLACE = "volume", "place.json"
"""In each of them what was read of the volume, and which cluster it is of."""


def volume_folder(project: Project, volume: PersistentVolume) -> Path:
    """The folder on this machine that is the volume: its ``host_path``, of which links are resolved, else one of our own.

    Raises:
        BadInput: the ``host_path`` names the home of a user whom this machine does not know.
    """
    if volume.host_path is None:
        return project.state / "volumes" / volume.name
    try:
        path = Path(volume.host_path).expanduser()
    except RuntimeError:
        raise _bad_host_path(project, volume, "names the home of a user that this machine has not") from None
    return Path(os.path.realpath(project.home / path))


def _bad_host_path(project: Project, volume: PersistentVolume, what: str) -> BadInput:
    place = project.config.executor.host_path_places.get(volume.name)
    return BadInput(f"the host_path of the volume {volume.name}, {volume.host_path}, {what}", place)


def volume_folders(project: Project) -> dict[str, str]:
    """Host folder by the volume's name, for all volumes of the configuration."""
    return {volume.name: str(volume_folder(project, volume)) for volume in _volumes(project)}


def _volumes(project: Project) -> tuple[PersistentVolume, ...]:
    return project.config.executor.config.persistent_volumes


def folders(project: Project) -> dict[str, str]:
    """Host folder by mount path, for all volumes of the configuration."""
    return {volume.mount_path: str(volume_folder(project, volume)) for volume in _volumes(project)}


def locate(project: Project, path: str) -> tuple[PersistentVolume, PurePosixPath]:
    """The volume on which a path (the run log, the catalog) lies, and the path relative to that volume.

    Args:
        path: as the configuration has it, or the plan in a run's record, which a step may have written.

    Raises:
        BadInput: it lies on no volume.
    """
    volume = volume_of(path, _volumes(project))
    if volume is not None and ".." in PurePosixPath(path).parts:
        volume = None
    if volume is None:
        raise BadInput(f"{path} lies on no volume: it must be below a mount_path of executor.config.persistent_volumes")
    return volume, PurePosixPath(path).relative_to(volume.mount_path)


def host_path(project: Project, path: str) -> Path:
    """A path (the run log, the catalog) as it is on this machine.

    Args:
        path: as of :func:`locate`.

    Raises:
        BadInput: it lies on no volume, or a link on the volume leads elsewhere. The volume's own folder may be a link.
    """
    volume, inside = locate(project, path)
    folder = volume_folder(project, volume)
    if os.path.realpath(folder / inside) != os.path.join(os.path.realpath(folder), inside):
        raise BadInput(f"{path} is reached by a link on the volume {volume.name}, and no link there is followed")
    return folder / inside


def prepare(project: Project, user: int) -> None:
    """Makes the folders of all volumes, writable for the steps' user and group.

    A ``host_path`` is data of the user's own: it must be there, and its owner and mode stay as they are.

    Raises:
        BadInput: a volume's folder is what steps must not see, or a ``host_path`` is no folder.
        Infrastructure: a folder can't be created.
    """
    make_private_state(project)
    check(project)
    for volume in _volumes(project):
        if volume.host_path is None:
            make_shared(volume_folder(project, volume), user)


def check(project: Project) -> None:
    """Refuses a volume that steps must not see, and a ``host_path`` that is no folder.

    Raises:
        BadInput: with the place of the ``host_path``.
    """
    for volume in _volumes(project):
        _check_apart(project, volume)
        if volume.host_path is not None:
            check_host_path(project, volume)


def _check_apart(project: Project, volume: PersistentVolume) -> None:
    """Refuses a volume that holds the private state, or lies in it: steps would have what the client keeps for itself."""
    state, folder = Path(os.path.realpath(project.state)), Path(os.path.realpath(volume_folder(project, volume)))
    volumes = state / "volumes"
    if state.is_relative_to(folder) or (folder.is_relative_to(state) and volumes not in folder.parents):
        raise BadInput(
            f"the volume {volume.name} is {folder}, where steps could {'read' if volume.read_only else 'write'} what toolkit "
            f"keeps for itself in {project.state}: make it another folder",
            project.config.executor.host_path_places.get(volume.name),
        )


def check_host_path(project: Project, volume: PersistentVolume) -> None:
    """Refuses a ``host_path`` that is no folder of this machine.

    Raises:
        BadInput: with its place.
    """
    folder = volume_folder(project, volume)
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except OSError as error:
        raise _bad_host_path(project, volume, f"can't be used: {folder}: {error.strerror}") from None
    if not is_folder:
        raise _bad_host_path(project, volume, f"is {folder}, which is no folder")


def check_access(project: Project) -> None:
    """Makes sure that this process itself can use the volumes' folders: plain processes run as its user.

    Raises:
        Infrastructure: it may not read one, or not write in one.
    """
    for volume in _volumes(project):
        folder = volume_folder(project, volume)
        if not os.access(folder, os.R_OK | os.X_OK):
            raise no_access(volume, str(folder), f"the user {os.getuid()}", write=False)
        if not volume.read_only and not os.access(folder, os.W_OK):
            raise no_access(volume, str(folder), f"the user {os.getuid()}", write=True)


def no_access(volume: PersistentVolume, folder: str, user: str, write: bool) -> Infrastructure:
    """The error for a volume that steps can't use.

    Args:
        user: whom they run as, as ``the user ID:GROUP``. write: whether they can't write there; else they can't read.
    """
    remedy = f"change the owner or mode of {folder}, or set executor.config.user"
    if not write:
        return Infrastructure(f"{user} can't read the volume {volume.name} ({folder}): {remedy}")
    if volume.host_path is not None:
        remedy += "; read_only: true on the volume, where steps only read it"
    return Infrastructure(f"{user} can't write in the volume {volume.name} ({folder}): {remedy}")


def is_on_volume(project: Project, file: Path) -> bool:
    """Whether a file lies where steps can write: on a volume, or anywhere in a private state. Links are resolved."""
    real = Path(os.path.realpath(file))
    tops = [Path(os.path.realpath(folder)) for folder in folders(project).values()]
    return project.state.name in real.parts or any(real.is_relative_to(top) for top in tops)


def make_private_state(project: Project) -> None:
    """Makes ``.toolkit/``, which keeps itself out of version control."""
    try:
        project.state.mkdir(parents=True, exist_ok=True)
        ignore = project.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise Infrastructure(f"{project.state} can't be written: {error.strerror}") from None


def make_store(project: Project, path: str, user: int) -> Path:
    """Makes the folder of the run log or of the catalog; returns it.

    Args:
        path: as of :func:`locate`.

    Raises:
        BadInput: as of :func:`host_path`. Infrastructure: it can't be made.
    """
    folder = host_path(project, path)
    make_shared(folder, user)
    if locate(project, path)[0].host_path is not None:
        # A folder that was there may be data of the user's own.
        return folder
    try:
        if os.geteuid() == 0 != user and folder.stat().st_uid == 0 and locate(project, path)[1].parts:
            # A client that was killed has left it as root's own.
            share(folder, user)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be given to the user {user}: {error.strerror}") from None
    return folder


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


def share(path: Path, user: int) -> None:
    """Gives a folder to the steps' user and group. What is made in it later takes after it (``store/writer.py``).

    Raises:
        OSError: its owner or its mode can't be changed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, user, GROUP)
        os.fchmod(descriptor, SHARED_MODE)
    finally:
        os.close(descriptor)
