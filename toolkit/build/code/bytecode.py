"""The runtime's bytecode for an environment's Python: without it each step would compile the runtime anew as it starts.

Only that very Python can make it, so a container of the environment does, once for each environment and version of the
runtime; the result is kept in the user's cache folder. It is no part of what an image is called the code of: the files
that it was made from are.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable
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
_TIME_LIMIT = 60.0
"""Seconds; a machine that is emulated takes a few."""
_LARGEST = 16 << 20
_COMPILED = re.compile(r"(.+)/__pycache__/([^/]+)\.[^./]+-[0-9]+\.pyc")
# Not checked against the source, whose time in the layer is not the one it was compiled at; both lie in one layer.
_COMMAND = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", TOOLKIT_FOLDER]


def bytecode(engine: EngineApi, image: str, runtime: list[LayerEntry]) -> list[LayerEntry]:
    """The entries to lay beside the runtime's; none where the image's Python can't compile it.

    Args:
        image: the id of the environment's image.
        runtime: what is compiled.
    """
    key = hashlib.sha256(json.dumps([image, code_digest(runtime)]).encode()).hexdigest()
    kept = _cache() / f"{key}.tar"
    known = _read(kept)
    if known is not None:
        return _entries(known, "", runtime)
    made = _compile_runtime(engine, image, runtime)
    if made:
        _keep(kept, _tar(made))
    return made


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit" / "bytecode"


def _read(kept: Path) -> bytes | None:
    """A file's content after its digest, which it begins with: half a file would break every step."""
    try:
        content = kept.read_bytes()
    except OSError:
        return None
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _keep(kept: Path, content: bytes) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(kept), hashlib.sha256(content).digest() + content)
        files = sorted(kept.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[_KEPT:]:
            path.unlink(missing_ok=True)
    except OSError:
        pass  # it is made again by the next build


def _compile_runtime(engine: EngineApi, image: str, runtime: list[LayerEntry]) -> list[LayerEntry]:
    """What a container of the image makes of the runtime; nothing where that fails."""
    import docker
    import requests

    try:
        with closing(connect(engine.endpoint)) as client:
            archive = _compile_in(client, image, _tar(runtime))
        return _entries(archive, os.path.dirname(TOOLKIT_FOLDER), runtime)
    except (docker.errors.APIError, requests.exceptions.RequestException, tarfile.TarError, ToolkitError):
        # Bytecode is a matter of speed. What is wrong with the image or the engine is told by what can't do without.
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
    """The files of bytecode in an archive of ``above``, each of a file of the runtime's, and their folders."""
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
