"""Reads what an image holds: its Python says it in a container without a network, and the engine gives single files of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.build.inventory.packages import Inventory, inventory_of
from toolkit.engine import EngineApi, connect
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import WORKSPACE
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    import docker

_TIME_LIMIT = 120.0
"""Seconds. Tens of thousands of files on a cold disk take some."""
_FORM = 1
"""Of what is kept; another one is read again."""
_KEPT = 40
_LARGEST = 64 << 20
"""Bytes of a database of packages."""


def read_inventory(engine: EngineApi, image: str, shown: str) -> Inventory:
    """What an image holds. It is read once, and kept by the image's id in the user's cache.

    Args:
        image: its id. shown: its name, for messages.

    Raises:
        Infrastructure: the engine makes no container of it, or doesn't answer.
    """
    file = _cache() / f"{hashlib.sha256(f'{_FORM} {image}'.encode()).hexdigest()}.json"
    try:
        found = Inventory.from_json(json.loads(file.read_bytes()))
        os.utime(file)
        return found
    except (OSError, ValueError, TypeError, KeyError):
        pass
    found = _read(engine, image, shown)
    if not found.python:
        return found  # it has none, or the engine can't run it now
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(file), json.dumps(found.to_json()).encode())
        files = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[_KEPT:]:
            path.unlink(missing_ok=True)
    except OSError:
        pass  # it is read again
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit" / "inventories"


def _read(engine: EngineApi, image: str, shown: str) -> Inventory:
    import docker
    import requests

    try:
        with closing(connect(engine.endpoint)) as client:
            return _read_in(client, image)
    except docker.errors.APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        raise Infrastructure(f"the Docker engine can't show what is in {shown}: {reason}") from error
    except requests.exceptions.RequestException as error:
        raise Infrastructure(f"the Docker engine did not say in time what is in {shown}: try again") from error


def _read_in(client: docker.DockerClient, image: str) -> Inventory:
    import docker

    api = client.api
    script = Path(__file__).with_name("inside.py").read_text("utf-8")
    container = api.create_container(
        image=image,
        entrypoint=["python3", "-I", "-c", script, WORKSPACE],
        user="0",
        working_dir="/",
        labels={"dev.toolkit.inventory": ""},
        use_config_proxy=False,
        host_config={
            "NetworkMode": "none",
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {}},
        },
    )["Id"]
    try:
        answer: dict[str, Any] = {}
        try:
            api.start(container)
            if api.wait(container, timeout=_TIME_LIMIT)["StatusCode"] == 0:
                answer = json.loads(api.logs(container, stdout=True, stderr=False).splitlines()[-1])
        except (docker.errors.APIError, ValueError, IndexError):
            pass  # it has no python3 that runs; the rest can be said nevertheless
        dpkg = _files(client, container, "/var/lib/dpkg/status") + _files(client, container, "/var/lib/dpkg/status.d")
        apk = _files(client, container, "/lib/apk/db/installed")
        # /etc/os-release is most often a link, which would be given as one.
        system = _files(client, container, "/usr/lib/os-release") or _files(client, container, "/etc/os-release")
        return inventory_of(answer, "\n\n".join(dpkg), "\n\n".join(apk), "\n".join(system))
    finally:
        api.remove_container(container, force=True, v=True)


def _files(client: docker.DockerClient, container: str, path: str) -> list[str]:
    """The texts of a file, or of all files in a folder; none where there is no such thing."""
    import docker

    try:
        chunks, _ = client.api.get_archive(container, path)
    except docker.errors.NotFound:
        return []
    content = io.BytesIO()
    for chunk in chunks:
        content.write(chunk)
        if content.tell() > _LARGEST:
            return []
    content.seek(0)
    texts = []
    with tarfile.open(fileobj=content) as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isfile() and not info.name.endswith(".md5sums") else None
            if file is not None:
                texts.append(file.read().decode("utf-8", "replace"))
    return texts
