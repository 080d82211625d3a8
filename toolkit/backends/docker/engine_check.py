"""What is checked before the first run on an engine: that it sees the volumes, and that the steps' user can write in them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends import volumes
from toolkit.backends.docker.refusals import is_folder_missing, refusal_text
from toolkit.backends.docker.rendering import security_options
from toolkit.backends.driver import client_of_labels, is_alive
from toolkit.engine import EngineObject
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.spec.container import GROUP

if TYPE_CHECKING:
    import docker

_NOT_SEEN, _NOT_WRITABLE = 41, 42
"""Exit codes of the container that looks for the nonce."""


def check_engine(client: docker.DockerClient, project: Project, image: str, user: int) -> list[str]:
    """Makes sure that the engine sees the volumes' folders and that the steps' user can write in them.

    A container looks for a nonce in each folder. What has passed is remembered for the engine, the folders and the user.
    Containers that a client left behind when it was killed are removed.

    Args:
        image: the engine's id of an image with a shell. user: the user id of the steps.

    Returns:
        Sentences about what is special with this engine, to be shown.

    Raises:
        Infrastructure: the engine is on another machine, or the user can't write.
    """
    remove_orphans(client)
    info = client.api.info()
    notes = _notes(info)
    folders = volumes.folders(project)
    key = json.dumps([info["ID"], sorted(folders.items()), _inodes(folders), user])
    passed = project.state / "cache" / f"engine-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    if not passed.exists():
        _look_for_nonce(client, folders, image, user)
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    return notes


def _inodes(folders: Mapping[str, str]) -> list[int]:
    return [Path(folder).stat().st_ino for folder in folders.values()]


def _notes(info: EngineObject) -> list[str]:
    options = " ".join(info.get("SecurityOptions") or ())
    if "name=rootless" in options:
        return ["the engine is rootless: the user in the containers is not the user of that number on this machine"]
    if "name=userns" in options:
        return ["the engine maps users (userns-remap): the user in the containers has another number on this machine"]
    return []


def _look_for_nonce(client: docker.DockerClient, folders: Mapping[str, str], image: str, user: int) -> None:
    import docker

    nonce = f".nonce-{os.urandom(8).hex()}"
    for folder in folders.values():
        (Path(folder) / nonce).write_text(nonce)
    # The steps' own user removes the nonce: whether it may write is known before a step needs it.
    test = "; ".join(
        f'[ -e "{path}/{nonce}" ] || exit {_NOT_SEEN}; rm -f "{path}/{nonce}" || exit {_NOT_WRITABLE}'
        for path in folders
    )
    try:
        container = client.api.create_container(
            image=image,
            entrypoint=["sh", "-c", test],
            user=f"{user}:{GROUP}",
            use_config_proxy=False,
            labels={"dev.toolkit.check": "1"},
            host_config={
                **security_options(),
                "Mounts": [{"Type": "bind", "Source": folder, "Target": path} for path, folder in folders.items()],
                "NetworkMode": "none",
            },
        )["Id"]
        try:
            client.api.start(container)
            code = client.api.wait(container, timeout=60)["StatusCode"]
        finally:
            client.api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        text = refusal_text(error)
        if not is_folder_missing(text):
            raise Infrastructure(f"the engine can't start a container: {text}") from None
        code = _NOT_SEEN
    finally:
        for folder in folders.values():
            (Path(folder) / nonce).unlink(missing_ok=True)
    if code == _NOT_SEEN:
        raise Infrastructure(
            "the engine does not see this project's volumes: it runs on another machine, or shares no folders with this one"
        )
    if code != 0:
        raise Infrastructure(
            f"the user {user}:{GROUP} can't write in the volumes ({', '.join(folders.values())}): "
            "change their owner or mode, or set executor.config.user"
        )


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
