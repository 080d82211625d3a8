"""The Python of an image: its version, and where it looks for what is installed. That very Python says it, where it runs here."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from toolkit.engine import EngineApi, connect
from toolkit.errors import BadInput
from toolkit.runtime.shared.whole_files import write_whole

_TIME_LIMIT = 60.0
"""Seconds. An emulated machine takes a few."""
_COMMAND = [
    "python3",
    "-c",
    "import json, platform, sys, sysconfig as s; "
    "print(json.dumps([platform.python_version(), s.get_path('purelib'), s.get_path('scripts'), sys.executable]))",
]


class Interpreter(NamedTuple):
    """What the ``python3`` of an image says of itself.

    Attributes:
        version: as ``3.12.4``. packages: the folder of installed packages. scripts: that of their commands.
        executable: its own path.
    """

    version: str
    packages: str
    scripts: str
    executable: str


def interpreter_of(engine: EngineApi, image: str, shown: str) -> Interpreter:
    """What the Python of an image says of itself. It is asked once, in a container without a network.

    Args:
        image: its id. shown: its name, for messages.

    Raises:
        BadInput: the image has no python3 that runs.
    """
    known = known_interpreter(image)
    if known is not None:
        return known
    found = _read_or_ask(engine, image, shown)
    file = _file(image)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(file), json.dumps(found).encode())
    except OSError:
        pass  # the next build asks again
    return found


def _read_or_ask(engine: EngineApi, image: str, shown: str) -> Interpreter:
    """An image of another platform can't be asked: its files are read."""
    from toolkit.platforms import is_foreign

    described = engine.image(image)
    if described is not None and is_foreign(engine, described):
        from toolkit.build.foreign.interpreter import read_interpreter

        return read_interpreter(engine, described, shown)
    return _ask(engine, image, shown)


def known_interpreter(image: str) -> Interpreter | None:
    """What :func:`interpreter_of` was told before; None where it would ask."""
    try:
        return Interpreter(*json.loads(_file(image).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _file(image: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit" / "interpreters"
    return cache / f"{hashlib.sha256(image.encode()).hexdigest()}.json"


def _ask(engine: EngineApi, image: str, shown: str) -> Interpreter:
    import docker

    with closing(connect(engine.endpoint)) as client:
        api = client.api
        container = api.create_container(
            image=image,
            entrypoint=_COMMAND,
            user="0",
            working_dir="/",
            labels={"dev.toolkit.interpreter": ""},
            use_config_proxy=False,
            host_config={"NetworkMode": "none", "SecurityOpt": ["no-new-privileges"]},
        )["Id"]
        try:
            api.start(container)
            code = api.wait(container, timeout=_TIME_LIMIT)["StatusCode"]
            output = api.logs(container, stdout=True, stderr=code != 0)
        except docker.errors.APIError as error:
            code, output = 1, str(error.explanation or error).encode()
        finally:
            api.remove_container(container, force=True, v=True)
    try:
        if code == 0:
            return Interpreter(*json.loads(output))
    except (ValueError, TypeError):
        pass
    reason = " ".join(output.decode("utf-8", "replace").split())[-300:]
    raise BadInput(f"the image {shown} has no python3 that runs ({reason}): name another one in build.base_image")
