"""What a built image consists of, as bytes: its config and its layers, at the least cost at which they can be had.

The code layer and the config are kept by the build that made them. What the environment's layers are called is remembered, so
that the engine has to hand over a whole image only when one of them must really be sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.build.image.archive import Blob, ComposedImage, Slice, digest_of
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.state import remove_stale
from toolkit.engine import EngineApi
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.whole_files import write_whole

_KEPT = 4
"""Builds whose code layer is kept: of several images in one project, and of builds that run meanwhile."""
_LARGEST = 64 << 20
"""Bytes of a code layer that is kept; a larger one is had from the engine."""
_REMEMBERED = 64
"""Layers whose names are remembered: of a few environments."""
_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""The head of a gzip file without a time, a name or a system."""


def keep_contents(folder: Path, image: ComposedImage) -> None:
    """Keeps a built image's own two parts; the layer's file is moved."""
    if image.code.size > _LARGEST:
        return
    kept = folder / "made"
    kept.mkdir(exist_ok=True)
    name = image.digest.partition(":")[2]
    write_whole(str(kept / f"{name}.json"), image.config)
    os.replace(image.code.file, kept / f"{name}.tar")
    files = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(kept) if not entry.name.endswith(".tmp")]
    for _, path in sorted(files, reverse=True)[2 * _KEPT :]:
        Path(path).unlink(missing_ok=True)


class ImageContents:
    """One image's.

    Attributes:
        image: which.
        config: its OCI config's bytes; None when they must be exported.
    """

    def __init__(self, engine: EngineApi, folder: Path, image: BuiltImage) -> None:
        self.image = image
        self._engine = engine
        self._folder = folder
        self._file = folder / "made" / image.digest.partition(":")[2]
        self._layer_blobs = _LayerBlobs(folder / "layers.json")
        self.config = self._kept_config()

    def _kept_config(self) -> bytes | None:
        try:
            config = self._file.with_suffix(".json").read_bytes()
        except OSError:
            return None
        return config if digest_of(config) == self.image.digest else None

    def stored_layers(self) -> tuple[Blob, ...] | None:
        """The layers as the engine exports them, the code with its content; None when that is not known."""
        return self._known("stored")

    def compressed_layers(self) -> tuple[Blob, ...] | None:
        """The layers compressed, all without content but the code's, which is not compressed yet; None: not known."""
        return self._known("packed")

    def _known(self, kind: str) -> tuple[Blob, ...] | None:
        code = self._kept_code()
        if self.config is None or code is None:
            return None
        diff_ids = json.loads(self.config)["rootfs"]["diff_ids"]
        below = [self._layer_blobs.of(diff_id, kind) for diff_id in diff_ids[:-1]]
        if diff_ids[-1] != code.digest or None in below:
            return None
        return (*(blob for blob in below if blob is not None), code)

    def _kept_code(self) -> Blob | None:
        file = self._file.with_suffix(".tar")
        try:
            size = file.stat().st_size
        except OSError:
            return None
        return Blob(self.image.code, size, content=Slice(file, 0, size))

    @contextmanager
    def exported(self) -> Iterator[tuple[Blob, ...]]:
        """All layers with their contents, from the engine, until the end of the block; sets ``config``.

        Raises:
            Infrastructure: the engine has not got the image any more, or another one under its name.
        """
        from toolkit.build.image.engine_images import exported_image

        remove_stale(self._folder, "save-*", "packed-*.gz", "layer-*.tar")
        with exported_image(self._engine, self.image.reference, self._folder) as (config, layers):
            if not self.image.existing and digest_of(config) != self.image.digest:
                raise Infrastructure(
                    f"the Docker engine has another image as {self.image.reference} than was built: build again"
                )
            self.config = config
            self._layer_blobs.add(dict(zip(diff_ids(config), layers, strict=True)), "stored")
            yield layers

    @contextmanager
    def compress(self, layer: Blob, diff_id: str = "") -> Iterator[Blob]:
        """The layer compressed, in a file until the end of the block; the same bytes each time.

        Args:
            diff_id: remembers by it what the compressed one is called.
        """
        if layer.content is None or not layer.media_type.endswith(".tar"):
            if diff_id:
                self._layer_blobs.add({diff_id: layer}, "packed")
            yield layer
            return
        file = self._folder / f"packed-{os.getpid()}-{os.urandom(4).hex()}.gz"
        try:
            digest, size = _compress(layer.content, file)
            packed = Blob(digest, size, f"{layer.media_type}+gzip", Slice(file, 0, size))
            if diff_id:
                self._layer_blobs.add({diff_id: packed}, "packed")
            yield packed
        finally:
            file.unlink(missing_ok=True)


def diff_ids(config: bytes) -> list[str]:
    """The layers' digests before any compression, from the bottom up."""
    return [str(diff_id) for diff_id in json.loads(config)["rootfs"]["diff_ids"]]


def _compress(content: Slice, destination: Path) -> tuple[str, int]:
    """The digest and the size of what is written; no time and no system's name is in it, as gzip's own head would have."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    digest, size, checksum, length = hashlib.sha256(), 0, 0, 0
    with destination.open("wb") as target:

        def write(chunk: bytes) -> None:
            nonlocal size
            digest.update(chunk)
            size += target.write(chunk)

        write(_GZIP)
        for chunk in content.read():
            checksum = zlib.crc32(chunk, checksum)
            length += len(chunk)
            write(packer.compress(chunk))
        write(packer.flush())
        write(checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"))
    return f"sha256:{digest.hexdigest()}", size


class _LayerBlobs:
    """What layers are called and how large they are, by diff id, as exported (``stored``) and compressed (``packed``)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, diff_id: str, kind: str) -> Blob | None:
        try:
            digest, size, media_type = self._read()[diff_id][kind]
            return Blob(str(digest), int(size), str(media_type))
        except (KeyError, TypeError, ValueError):
            return None

    def add(self, layers: dict[str, Blob], kind: str) -> None:
        found = self._read()
        for diff_id, blob in layers.items():
            entry = found.pop(diff_id, {})  # the newest last
            found[diff_id] = {**entry, kind: [blob.digest, blob.size, blob.media_type]}
        kept = dict(list(found.items())[-_REMEMBERED:])
        write_whole(str(self._file), json.dumps(kept).encode())

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def without_content(layers: tuple[Blob, ...], there: set[str]) -> tuple[Blob, ...]:
    """The layers, those of which ``there`` has the digest without their content, so that they are not sent."""
    return tuple(replace(layer, content=None) if layer.digest in there else layer for layer in layers)
