"""What is checked before the first run on an engine: that it sees the volumes, and that the steps' user can write in them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends import volumes
from toolkit.backends.docker.refusals import is_folder_missing, refusal_text
from toolkit.backends.docker.rendering import security_options
from toolkit.backends.driver import client_of_labels, is_alive
from toolkit.config.settings import PersistentVolume
from toolkit.engine import EngineObject
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.spec.container import GROUP

if TYPE_CHECKING:
    import docker

_ALL_WELL, _NOT_SEEN, _NOT_READABLE, _NOT_WRITABLE = "well", "unseen", "unreadable", "unwritable"
"""What the container says that looks into the volumes; but for the first, a mount path follows."""
_LOOKED_FOR = 3
"""Entries of a folder that the engine must see where nothing is written to it."""


def check_engine(client: docker.DockerClient, project: Project, image: str, user: int) -> list[str]:
    """Makes sure that the engine sees the volumes' folders and that the steps' user can write in them.

    A container looks for a nonce in each folder that steps write in. What has passed is remembered for the engine, the
    folders and the user. Containers that a client left behind when it was killed are removed.

    Args:
        image: the engine's id of an image with a shell. user: the user id of the steps.

    Returns:
        Sentences about what is special with this engine, to be shown.

    Raises:
        Infrastructure: the engine is on another machine, or the user can't read or write.
    """
    remove_orphans(client)
    info = client.api.info()
    notes = _notes(info)
    used = [
        _Used(volume, str(volumes.volume_folder(project, volume)))
        for volume in project.config.executor.config.persistent_volumes
    ]
    key = json.dumps([info["ID"], sorted(each.state() for each in used), user])
    passed = project.state / "cache" / f"engine-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    if not passed.exists():
        _look_into(client, used, image, user)
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    return notes


def _notes(info: EngineObject) -> list[str]:
    options = " ".join(info.get("SecurityOptions") or ())
    if "name=rootless" in options:
        return ["the engine is rootless: the user in the containers is not the user of that number on this machine"]
    if "name=userns" in options:
        return ["the engine maps users (userns-remap): the user in the containers has another number on this machine"]
    return []


def _look_into(client: docker.DockerClient, used: Sequence[_Used], image: str, user: int) -> None:
    """Has a container look for what this machine sees in each folder; in one that is written to it removes a nonce."""
    import docker

    nonce = f".nonce-{os.urandom(8).hex()}"
    tests = [each.test(nonce) for each in used]
    found = ""
    try:
        container = client.api.create_container(
            image=image,
            entrypoint=["sh", "-c", "; ".join([*tests, f"echo {_ALL_WELL}"])],
            user=f"{user}:{GROUP}",
            use_config_proxy=False,
            labels={"dev.toolkit.check": "1"},
            host_config={
                **security_options(),
                "Mounts": [each.mount() for each in used],
                "NetworkMode": "none",
                "LogConfig": {"Type": "json-file", "Config": {}},
            },
        )["Id"]
        try:
            client.api.start(container)
            client.api.wait(container, timeout=60)
            found = client.api.logs(container, stdout=True, stderr=False).decode("utf-8", "replace").strip()
        finally:
            client.api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        text = refusal_text(error)
        if not is_folder_missing(text):
            raise Infrastructure(f"the engine can't start a container: {text}") from None
        found = _NOT_SEEN
    finally:
        for each in used:
            each.clean(nonce)
    if found == _ALL_WELL:
        return
    what, _, mount_path = found.partition(" ")
    refused = next((each for each in used if each.volume.mount_path == mount_path), None)
    if refused is None or what == _NOT_SEEN:
        raise Infrastructure(
            "the engine does not see this project's volumes: it runs on another machine, or shares no folders with this one"
            + (f" (the volume {refused.volume.name}, {refused.folder})" if refused is not None else "")
        )
    raise volumes.no_access(refused.volume, refused.folder, f"the user {user}:{GROUP}", write=what == _NOT_WRITABLE)


@dataclass(frozen=True)
class _Used:
    """A volume with its folder on this machine."""

    volume: PersistentVolume
    folder: str

    def state(self) -> list[str | int]:
        """All that what was found depends on, as far as this machine can see it."""
        found = os.stat(self.folder)
        owner = [found.st_mode, found.st_uid, found.st_gid]
        return [self.folder, self.volume.mount_path, self.volume.read_only, found.st_ino, *owner]

    def mount(self) -> EngineObject:
        return {
            "Type": "bind",
            "Source": self.folder,
            "Target": self.volume.mount_path,
            "ReadOnly": self.volume.read_only,
        }

    def test(self, nonce: str) -> str:
        """A command of the shell that ends it with a word and the mount path when steps could not use the volume.

        A folder that is only read stays untouched, and so does one that this client may not write in: there the engine must
        see some of what this machine sees.
        """
        path = self.volume.mount_path
        lines = [self._unless(f"-r {shlex.quote(path)} -a -x {shlex.quote(path)}", _NOT_READABLE)]
        if not self.volume.read_only:
            try:
                (Path(self.folder) / nonce).write_text(nonce)
            except OSError:
                lines.append(self._unless(f"-w {shlex.quote(path)}", _NOT_WRITABLE))
            else:
                file = shlex.quote(f"{path}/{nonce}")
                # The steps' own user removes the nonce: whether it may write is known before a step needs it.
                lines += [self._unless(f"-e {file}", _NOT_SEEN), f"rm -f {file} || {self._end(_NOT_WRITABLE)}"]
                return "; ".join(lines)
        try:
            # A name that is not UTF-8 can't be given to the engine.
            names = sorted(filter(str.isprintable, os.listdir(self.folder)))[:_LOOKED_FOR]
        except OSError:
            names = []
        for name in names:
            file = shlex.quote(f"{path}/{name}")
            lines.append(self._unless(f"-e {file} -o -L {file}", _NOT_SEEN))
        return "; ".join(lines)

    def _unless(self, test: str, what: str) -> str:
        return f"[ {test} ] || {self._end(what)}"

    def _end(self, what: str) -> str:
        return f"{{ echo {what} {shlex.quote(self.volume.mount_path)}; exit; }}"

    def clean(self, nonce: str) -> None:
        if not self.volume.read_only:
            try:
                (Path(self.folder) / nonce).unlink(missing_ok=True)
            except OSError:
                pass


def remove_orphans(client: docker.DockerClient) -> None:
    """Removes containers of ours whose client has ended without removing them: it was killed, or lost the engine."""
    import docker

    for container in client.api.containers(all=True, filters={"label": "dev.toolkit.driver-pid"}):
        client_process = client_of_labels(container["Labels"])
        if client_process is not None and not is_alive(client_process):
            try:
                client.api.remove_container(container["Id"], force=True, v=True)
            except docker.errors.APIError:
                pass
