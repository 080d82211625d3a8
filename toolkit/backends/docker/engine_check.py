"""What has to be found out about an engine before the first run on it, rather than guessed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends import volumes
from toolkit.backends.driver import is_alive
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.spec.container import GROUP

if TYPE_CHECKING:
    import docker


def check_engine(client: docker.DockerClient, project: Project, image: str, user: int) -> list[str]:
    """Makes sure that the engine sees the volumes' folders and that the steps' user can write in them.

    A container looks for a nonce in each; an engine and folder that passed are remembered. Containers that a dead client
    left behind are removed.

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
    seen = project.state / "cache" / f"engine-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    if not seen.exists():
        _look_for_nonce(client, folders, image, user)
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()
    return notes


def _inodes(folders: dict[str, str]) -> list[int]:
    return [Path(folder).stat().st_ino for folder in folders.values()]


def _notes(info: dict[str, Any]) -> list[str]:
    options = " ".join(info.get("SecurityOptions") or ())
    if "name=rootless" in options:
        return ["the engine is rootless: the user in the containers is not the user of that number on this machine"]
    if "name=userns" in options:
        return ["the engine maps users (userns-remap): the user in the containers has another number on this machine"]
    return []


def _look_for_nonce(client: docker.DockerClient, folders: dict[str, str], image: str, user: int) -> None:
    import docker

    nonce = f".nonce-{os.urandom(8).hex()}"
    for folder in folders.values():
        (Path(folder) / nonce).write_text(nonce)
    # Written and removed again by the steps' own user: what a step could not do, it must not find out.
    test = "; ".join(f'[ -e "{path}/{nonce}" ] || exit 41; rm -f "{path}/{nonce}" || exit 42' for path in folders)
    try:
        container = client.api.create_container(
            image=image,
            entrypoint=["sh", "-c", test],
            user=f"{user}:{GROUP}",
            use_config_proxy=False,
            labels={"dev.toolkit.check": "1"},
            host_config={
                "Mounts": [{"Type": "bind", "Source": folder, "Target": path} for path, folder in folders.items()],
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
            },
        )["Id"]
        try:
            client.api.start(container)
            code = client.api.wait(container, timeout=60)["StatusCode"]
        finally:
            client.api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        if "bind source path does not exist" in str(error):
            code = 41
        else:
            raise Infrastructure(f"the engine can't start a container: {error.explanation or error}") from None
    finally:
        for folder in folders.values():
            (Path(folder) / nonce).unlink(missing_ok=True)
    if code == 41:
        raise Infrastructure(
            "the engine does not see this project's volumes: it runs on another machine, or shares no folders with this one"
        )
    if code != 0:
        raise Infrastructure(
            f"the user {user}:{GROUP} can't write in the volumes ({', '.join(folders.values())}): "
            "change their owner or mode, or set executor.config.user"
        )


def remove_orphans(client: docker.DockerClient) -> None:
    """Removes containers of ours whose client is gone: killed, or cut off from the engine."""
    import docker

    found = client.api.containers(all=True, filters={"label": "dev.toolkit.driver-pid"})
    for container in found:
        labels = container["Labels"]
        alive = is_alive(
            labels.get("dev.toolkit.driver-host", ""),
            int(labels["dev.toolkit.driver-pid"]),
            labels.get("dev.toolkit.driver-started", ""),
        )
        if not alive:
            try:
                client.api.remove_container(container["Id"], force=True, v=True)
            except docker.errors.APIError:
                pass
