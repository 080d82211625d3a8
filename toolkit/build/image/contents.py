"""A built image as bytes: its config and its layers, read from where that costs least.

The build keeps the code layer and the config that it made. The digests and sizes of the environment's layers are remembered, so
the engine exports a whole image only when one of those layers must be sent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from toolkit.build.code.layer import DigestWriter
from toolkit.build.image.archive import Blob, ComposedImage, Slice, digest_of
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.state import remove_stale
from toolkit.engine import EngineApi
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.whole_files import write_whole

_KEPT = 4
"""Builds whose code layer is kept: several images of one project, and builds that run at the same time."""
_LARGEST = 64 << 20
"""Bytes of a code layer that is kept. A larger one is exported from the engine."""
_REMEMBERED = 64
"""Layers whose blobs are remembered: those of a few environments."""
_COMPRESSION_LEVEL = 6


def keep_contents(folder: Path, image: ComposedImage) -> None:
    """Keeps the config and the code layer of an image that was just built; the layer's file is moved."""
    if image.code.size > _LARGEST:
        return
    kept = folder / "made"
    kept.mkdir(exist_ok=True)
    name = image.config_digest.partition(":")[2]
    write_whole(str(kept / f"{name}.json"), image.config)
    os.replace(image.code.file, kept / f"{name}.tar")
    files = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(kept) if not entry.name.endswith(".tmp")]
    for _, path in sorted(files, reverse=True)[2 * _KEPT :]:
        Path(path).unlink(missing_ok=True)


class ImageContents:
    """The config and the layers of one image.

    Attributes:
        image: the image.
        config: the bytes of its OCI config; None until they are exported, where the build did not keep them.
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
        """The layers as the engine exports them, the code layer with its content; None when they are not known."""
        return self._known_layers("stored")

    def compressed_layers(self) -> tuple[Blob, ...] | None:
        """The environment's layers compressed and without content, then the code layer, uncompressed and with its content.

        None when they are not known.
        """
        return self._known_layers("packed")

    def _known_layers(self, form: str) -> tuple[Blob, ...] | None:
        code = self._kept_code()
        if self.config is None or code is None:
            return None
        *environment, top = diff_ids(self.config)
        below = [self._layer_blobs.of(diff_id, form) for diff_id in environment]
        if top != code.digest or None in below:
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
        """All layers with their contents, exported from the engine, until the end of the block; sets ``config``.

        Raises:
            Infrastructure: the engine no longer has the image, or gave another one.
        """
        from toolkit.build.image.engine_images import exported_image

        remove_stale(self._folder, "packed-*.gz", "layer-*.tar")
        # By the id, because the name may have been given to another image.
        with exported_image(self._engine, self.image.id, self._folder, self.image.reference) as (config, layers):
            if not self.image.existing and digest_of(config) != self.image.digest:
                raise Infrastructure(
                    f"the Docker engine gave another image as {self.image.reference} than the one that was built: build again"
                )
            self.config = config
            self._layer_blobs.add(dict(zip(diff_ids(config), layers, strict=True)), "stored")
            yield layers

    @contextmanager
    def compress(self, layer: Blob, diff_id: str = "") -> Iterator[Blob]:
        """The layer compressed, in a file until the end of the block. The same layer gives the same bytes each time.

        Args:
            diff_id: the layer's; the compressed blob is remembered by it, so that the layer is not compressed again.
        """
        if layer.content is None or not layer.media_type.endswith(".tar"):
            if diff_id:
                self._layer_blobs.add({diff_id: layer}, "packed")
            yield layer
            return
        file = self._folder / f"packed-{os.getpid()}-{os.urandom(4).hex()}.gz"
        try:
            digest, size = _compress(layer.content, file)
            compressed = Blob(digest, size, f"{layer.media_type}+gzip", Slice(file, 0, size))
            if diff_id:
                self._layer_blobs.add({diff_id: compressed}, "packed")
            yield compressed
        finally:
            file.unlink(missing_ok=True)


def diff_ids(config: bytes) -> list[str]:
    """The digests of an image's layers before any compression, from the bottom up."""
    return [str(diff_id) for diff_id in json.loads(config)["rootfs"]["diff_ids"]]


def _compress(content: Slice, destination: Path) -> tuple[str, int]:
    """The digest and the size of the gzip file that is written. Its header holds neither a time nor a file name."""
    import gzip

    with destination.open("wb") as raw:
        stream = DigestWriter(raw)
        with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, stream, mtime=0) as target:
            for chunk in content.read():
                target.write(chunk)
    return stream.digest, stream.size


class _LayerBlobs:
    """Digest, size and media type of layers, by diff id, in two forms: as exported (``stored``) and compressed (``packed``)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, diff_id: str, form: str) -> Blob | None:
        try:
            digest, size, media_type = self._read()[diff_id][form]
            return Blob(str(digest), int(size), str(media_type)) if size is not None else None
        except (KeyError, TypeError, ValueError):
            return None

    def add(self, layers: Mapping[str, Blob], form: str) -> None:
        known = self._read()
        for diff_id, blob in layers.items():
            forms = known.pop(diff_id, {})  # the newest last
            known[diff_id] = {**forms, form: (blob.digest, blob.size, blob.media_type)}
        newest = dict(list(known.items())[-_REMEMBERED:])
        write_whole(str(self._file), json.dumps(newest).encode())

    def _read(self) -> dict[str, dict[str, tuple[str, int | None, str]]]:
        """What the file holds; an entry of another form is one of a damaged file, and counts as absent."""
        try:
            content = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def without_content(layers: tuple[Blob, ...], digests: set[str]) -> tuple[Blob, ...]:
    """The layers, with those of these digests stripped of their content, so that they are not sent."""
    return tuple(replace(layer, content=None) if layer.digest in digests else layer for layer in layers)
