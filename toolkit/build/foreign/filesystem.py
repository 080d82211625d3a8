"""Single files of an image, read by the engine. The container that is made for it is never started."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from toolkit.engine import EngineApi, connect
from toolkit.errors import Infrastructure

if TYPE_CHECKING:
    import docker

_LARGEST = 64 << 20
"""Bytes of a file that is read."""
_LINKS = 40
"""Links in a row that are followed, as Linux does."""


class ImageFiles:
    """The files of an image."""

    def __init__(self, client: docker.DockerClient, container: str) -> None:
        self._api = client.api
        self._container = container

    def real_path(self, path: str) -> str | None:
        """The path without any link in it; None where nothing is there."""
        done, rest, links = "/", [part for part in path.split("/") if part], 0
        while rest:
            part = rest.pop(0)
            if part == "..":
                done = posixpath.dirname(done)
                continue
            info = self._info(posixpath.join(done, part))
            if info is None:
                return None
            if not info.issym():
                done = posixpath.join(done, part)
                continue
            links += 1
            if links > _LINKS:
                return None
            if info.linkname.startswith("/"):
                done = "/"
            rest = [one for one in info.linkname.split("/") if one not in ("", ".")] + rest
        return done

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none, or one that is far too large."""
        import docker

        real = self.real_path(path)
        if real is None:
            return None
        try:
            chunks, _ = self._api.get_archive(self._container, real)
        except docker.errors.NotFound:
            return None
        content = io.BytesIO()
        for chunk in chunks:
            content.write(chunk)
            if content.tell() > _LARGEST:
                return None
        content.seek(0)
        with tarfile.open(fileobj=content) as tar:
            info = tar.next()
            file = tar.extractfile(info) if info is not None and info.isfile() else None
            return file.read() if file is not None else None

    def _info(self, path: str) -> tarfile.TarInfo | None:
        """The first member of the engine's archive of a path: the thing itself, also where it is a link."""
        import docker

        try:
            chunks, _ = self._api.get_archive(self._container, path, chunk_size=4096)
        except docker.errors.NotFound:
            return None
        head = b""
        with closing(chunks):
            for chunk in chunks:
                head += chunk
                if len(head) >= 4096:  # a long name takes a header of its own
                    break
        with tarfile.open(fileobj=io.BytesIO(head + b"\0" * 1024), ignore_zeros=False) as tar:
            return tar.next()


@contextmanager
def files_of(engine: EngineApi, image: str, shown: str) -> Iterator[ImageFiles]:
    """The files of an image.

    Args:
        image: its id. shown: its name, for messages.

    Raises:
        Infrastructure: the engine makes no container of it.
    """
    import docker

    with closing(connect(engine.endpoint)) as client:
        try:
            container = client.api.create_container(
                image=image, entrypoint=["/"], labels={"dev.toolkit.files": ""}, use_config_proxy=False,
                host_config={"NetworkMode": "none"},
            )["Id"]  # fmt: skip
        except docker.errors.APIError as error:
            reason = " ".join(str(error.explanation or error).split())
            raise Infrastructure(f"the Docker engine can't show what is in {shown}: {reason}") from error
        try:
            yield ImageFiles(client, container)
        finally:
            client.api.remove_container(container, force=True, v=True)
