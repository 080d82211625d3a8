"""The folders and files of an attempt: in a container, or on the host in the ``process`` environment."""

from __future__ import annotations

import json
import os

from .protocol import IMAGE_FILE, PROCESS_VARIABLE, RUN_FOLDER, SDK_FOLDER, WORKSPACE


class Locations:
    """Absolute folders and files as this process sees them.

    Attributes:
        run: the folder of the plan and the root parameters.
        code: the user's code, which import roots are relative to. In a step that has a folder of its own, it is there.
        origin: where the user's code lies, whatever folder the step has.
        work: the working folder of the step.
        sdk: the folder from which the SDK's ``toolkit`` is imported.
        image_file: the id file of the image; empty where there is no image.
        volumes: host folder by mount path; empty in a container, where the mount path is the folder.
        hidden: names of environment variables that user code does not see.
        mounts: those of the volumes that a plain process mounts at their mount paths.
        terminal: the descriptor by which a plain process can have the user's terminal, for a debugger; None where it can't.
        overlay: whether a plain process's folder is an overlay on the code; else it is a copy.
    """

    def __init__(
        self,
        run: str = RUN_FOLDER,
        code: str = WORKSPACE,
        work: str = WORKSPACE,
        sdk: str = SDK_FOLDER,
        image_file: str = IMAGE_FILE,
        volumes: dict[str, str] | None = None,
        hidden: tuple[str, ...] = (),
        mounts: dict[str, str] | None = None,
        overlay: bool = False,
        terminal: int | None = None,
    ) -> None:
        self.run = run
        self.code = code
        self.origin = code
        self.work = work
        self.sdk = sdk
        self.image_file = image_file
        self.volumes = volumes or {}
        self.hidden = hidden
        self.mounts = mounts or {}
        self.overlay = overlay
        self.terminal = terminal

    @property
    def in_container(self) -> bool:
        return bool(self.image_file)

    def volume_folder(self, mount_path: str) -> str:
        """The folder in which user code finds a volume."""
        return mount_path if self.in_container or mount_path in self.mounts else self.volumes[mount_path]

    def translate(self, path: str) -> str:
        """The path at which this process finds a path of the plan's below a mount path."""
        for mount, folder in self.volumes.items():
            if path == mount or path.startswith(mount.rstrip("/") + "/"):
                return os.path.normpath(os.path.join(folder, os.path.relpath(path, mount)))
        return path


def current_locations() -> Locations:
    """The locations for this process."""
    text = os.environ.get(PROCESS_VARIABLE)
    if not text:
        return Locations()
    values = json.loads(text)
    return Locations(
        run=values["run"],
        code=values["code"],
        work=values["work"],
        sdk=values["sdk"],
        image_file="",
        volumes=values["volumes"],
        hidden=tuple(values["hidden"]),
        mounts=values["mounts"],
        overlay=values["overlay"],
        terminal=values.get("terminal"),
    )
