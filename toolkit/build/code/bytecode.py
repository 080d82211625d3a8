"""The layer of the runtime and the SDK, with their bytecode. Without that, each step would compile the runtime when it starts.

Only a Python of the environment's version can make it. So a container of the environment image compiles it, or for another
platform one of the engine's own with the same version, once for each environment and version of the runtime. The layer is kept
in the user's cache folder. The bytecode does not count as code of the image: the files that it was compiled from do.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.code.layer import TOOLKIT_FOLDER, LayerEntry, code_digest, write_tar
from toolkit.engine import EngineApi, connect
from toolkit.errors import ToolkitError
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    import docker

_KEPT = 16
"""Results in the cache."""
_FORM = 2
"""Of what is kept; another form has other names."""
_TIME_LIMIT = 60.0
"""Seconds. An emulated machine takes a few."""
_LARGEST = 16 << 20
"""Bytes of a result."""
_COMPILED = re.compile(r"(.+)/__pycache__/([^/]+)\.[^./]+-[0-9]+\.pyc")
# Unchecked, because the source's time in the layer is not the one at which it was compiled. Both lie in the same layer.
_COMMAND = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", TOOLKIT_FOLDER]


def runtime_layer(
    engine: EngineApi, image: str, runtime: list[LayerEntry], compiler: Callable[[], str | None]
) -> bytes:
    """The layer's tar: always the same for one environment and one version of the runtime.

    It lacks the bytecode where the image's Python can't compile it.

    Args:
        image: the id of the environment image.
        runtime: the entries of the runtime and the SDK.
        compiler: gives the id of the image whose Python compiles; None where there is none.
    """
    key = hashlib.sha256(json.dumps([_FORM, image, code_digest(runtime)]).encode()).hexdigest()
    file = _cache() / f"{key}.tar"
    kept = _read(file)
    if kept is not None:
        return kept
    python = compiler()
    bytecode = _compile_runtime(engine, python, runtime) if python is not None else []
    layer = _tar([*runtime, *bytecode])
    if bytecode:
        _keep(file, layer)
    return layer


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit" / "bytecode"


def _read(file: Path) -> bytes | None:
    """The content of a file that begins with its digest; None when they do not agree. Half a file would break every step."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _keep(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(file), hashlib.sha256(content).digest() + content)
        files = sorted(file.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[_KEPT:]:
            path.unlink(missing_ok=True)
    except OSError:
        pass  # the next build compiles it again


def _compile_runtime(engine: EngineApi, image: str, runtime: list[LayerEntry]) -> list[LayerEntry]:
    """Compiles the runtime in a container of the image; returns nothing where that fails."""
    import docker
    import requests

    try:
        with closing(connect(engine.endpoint)) as client:
            archive = _compile_in(client, image, _tar(runtime))
        return _entries(archive, os.path.dirname(TOOLKIT_FOLDER), runtime)
    except (docker.errors.APIError, requests.exceptions.RequestException, tarfile.TarError, ToolkitError):
        # Bytecode only saves time. If the image or the engine is broken, the build or the run reports it.
        return []


def _compile_in(client: docker.DockerClient, image: str, sources: bytes) -> bytes:
    api = client.api
    container = api.create_container(
        image=image,
        entrypoint=_COMMAND,
        environment={"PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": ""},
        user="0",
        working_dir="/",
        labels={"dev.toolkit.bytecode": ""},
        use_config_proxy=False,
        host_config={
            "NetworkMode": "none",
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "none", "Config": {}},
        },
    )["Id"]
    try:
        api.put_archive(container, "/", sources)
        api.start(container)
        if api.wait(container, timeout=_TIME_LIMIT)["StatusCode"] != 0:
            return b""
        chunks, _ = api.get_archive(container, TOOLKIT_FOLDER)
        return _read_limited(chunks)
    finally:
        api.remove_container(container, force=True, v=True)


def _read_limited(chunks: Iterable[bytes]) -> bytes:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > _LARGEST:
            return b""
    return content


def _tar(entries: list[LayerEntry]) -> bytes:
    stream = io.BytesIO()
    write_tar(entries, stream)
    return stream.getvalue()


def _entries(archive: bytes, above: str, runtime: list[LayerEntry]) -> list[LayerEntry]:
    """The bytecode files in an archive that belong to files of the runtime, and their folders.

    Args:
        above: the folder that the archive's paths start from.
    """
    if not archive:
        return []
    sources = {entry.path for entry in runtime}
    entries: dict[str, LayerEntry] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for info in tar:
            path = f"{above}/{info.name}"
            match = _COMPILED.fullmatch(path)
            if info.isfile() and match and f"{match[1]}/{match[2]}.py" in sources:
                folder = os.path.dirname(path)
                entries[folder] = LayerEntry(folder, "dir", 0o755)
                content = tar.extractfile(info)
                assert content is not None
                entries[path] = LayerEntry(path, "file", 0o644, content=content.read())
    return list(entries.values())
