"""A built image as bytes: its config and its layers, read from where that costs least.

The build keeps the config and the small layers that it made, and of layers of groups which files they are made of: these are read
again. The digests and sizes of the environment's layers are remembered, so the engine exports a whole
image only when one of those must be sent, or a file of a group has changed since the build.
"""

from __future__ import annotations

import json
import marshal
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.build.code.grouping import Group, GroupTar
from toolkit.build.code.kinds import FORMAT
from toolkit.build.code.layer import DigestWriter
from toolkit.build.image.archive import Blob, ComposedImage, Slice, digest_of
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.progress import byte_progress
from toolkit.build.state import remove_stale, unwritable
from toolkit.engine import EngineApi
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.whole_files import write_whole

_KEPT = 4
"""Builds whose code layer is kept: several images of one project, and builds that run at the same time."""
_LARGEST = 64 << 20
"""Bytes of a code layer that is kept. A larger one is exported from the engine."""
_REMEMBERED = 512
"""Layers whose blobs are remembered: those of a few environments, and of groups of files."""
_COMPRESSION_LEVEL = 6
_BLOCK = 1 << 20
"""Bytes that are compressed, or left as they are, together."""
_SAMPLE = 1 << 16
_WORTH = 0.97
"""What compression must leave at most of a sample. Data that is packed already, such as a model, is not compressed again."""


def made_folder(folder: Path) -> Path:
    """Where what a build made is kept, below the build's private folder; created when it is missing."""
    made = folder / "made"
    made.mkdir(exist_ok=True)
    return made


def keep_contents(folder: Path, image: ComposedImage) -> None:
    """Keeps the config and the code layer of an image that was just built, and where its other layers come from.

    The code layer's file is moved.
    """
    if image.code.size > _LARGEST:
        return
    kept = made_folder(folder)
    name = image.config_digest.partition(":")[2]
    write_whole(str(kept / f"{name}.json"), image.config)
    sources = [keep_source(layer, kept) for layer in image.layers[:-1]]
    write_whole(str(kept / f"{name}.layers"), json.dumps(sources).encode())
    os.replace(image.code.file, kept / f"{name}.tar")
    for suffix in (".json", ".layers", ".tar", ".layer"):
        files = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(kept) if entry.name.endswith(suffix)]
        for _, path in sorted(files, reverse=True)[_KEPT:]:
            Path(path).unlink(missing_ok=True)
    named = b"".join(file.read_bytes() for file in kept.glob("*.layers"))
    for file in kept.glob("*.group"):
        if file.name.encode() not in named:
            file.unlink(missing_ok=True)


def keep_source(layer: Blob, kept: Path) -> dict[str, object]:
    """Keeps where a layer's content comes from, and says it for :func:`_own_layer`."""
    content = layer.content
    if isinstance(content, GroupTar):
        file = kept / f"{layer.digest.partition(':')[2]}.group"
        if not file.exists():
            group = content.group
            write_whole(str(file), marshal.dumps((group.holds, group.parts, group.empty), FORMAT))
        return {"digest": layer.digest, "size": content.size, "group": file.name, "root": content.root}
    assert isinstance(content, Slice)
    return {"digest": layer.digest, "size": content.size, "file": content.file.name}


def _own_layer(source: Mapping[str, Any], folder: Path) -> Blob | None:
    """A layer that the build made; None where it is not kept any more."""
    digest, size = str(source["digest"]), int(source["size"])
    if "group" in source:
        try:
            group = Group(*marshal.loads((folder / str(source["group"])).read_bytes()))
        except EOFError as error:
            raise ValueError from error
        return Blob(digest, size, content=GroupTar(group, str(source["root"]), size))
    file = folder / str(source["file"])
    is_there = file.is_file() and file.stat().st_size == size
    return Blob(digest, size, content=Slice(file, 0, size)) if is_there else None


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

    def own_layers(self) -> dict[str, Blob]:
        """The layers on top of the environment, with their contents, by diff id, the code layer last. Some may be missing."""
        code = self._kept_code()
        if code is None:
            return {}
        try:
            sources = json.loads(self._file.with_suffix(".layers").read_bytes())
            found = [_own_layer(source, self._file.parent) for source in sources]
        except (OSError, ValueError, KeyError, TypeError):
            found = []
        return {layer.digest: layer for layer in (*found, code) if layer is not None}

    def stored_layers(self) -> tuple[Blob, ...] | None:
        """The layers as the engine exports them, our own with their contents; None when they are not known."""
        own = self.own_layers()
        if self.config is None:
            return None
        layers = [own.get(diff_id) or self._layer_blobs.of(diff_id, "stored") for diff_id in diff_ids(self.config)]
        known = tuple(layer for layer in layers if layer is not None)
        return known if known[-1:] == (own.get(self.image.code),) and len(known) == len(layers) else None

    def compressed_layer(self, diff_id: str) -> Blob | None:
        """A layer as it was compressed before, without content; None when that is not known."""
        return self._layer_blobs.of(diff_id, "packed")

    def _kept_code(self) -> Blob | None:
        file = self._file.with_suffix(".tar")
        try:
            size = file.stat().st_size
        except OSError:
            return None
        return Blob(self.image.code, size, content=Slice(file, 0, size))

    @contextmanager
    def exported(self, report: Callable[[str], None] = lambda _: None) -> Iterator[tuple[Blob, ...]]:
        """All layers with their contents, exported from the engine, until the end of the block; sets ``config``.

        Args:
            report: gets progress.

        Raises:
            Infrastructure: the engine no longer has the image, or gave another one, or the disk is full.
        """
        from toolkit.build.image.engine_images import exported_image

        remove_stale(self._folder, "packed-*.gz", "layer-*.tar")
        # By the id, because the name may have been given to another image.
        exported = exported_image(self._engine, self.image.id, self._folder, self.image.reference, report)
        with exported as (config, layers):
            if not self.image.existing and digest_of(config) != self.image.digest:
                raise Infrastructure(
                    f"the Docker engine gave another image as {self.image.reference} than the one that was built: build again"
                )
            self.config = config
            self._layer_blobs.add(dict(zip(diff_ids(config), layers, strict=True)), "stored")
            yield layers

    @contextmanager
    def compress(self, layer: Blob, diff_id: str, report: Callable[[str], None]) -> Iterator[Blob]:
        """The layer compressed, in a file until the end of the block. The same layer gives the same bytes each time.

        Args:
            diff_id: the layer's; the compressed blob is remembered by it, so that the layer is not compressed again. With ""
                it is not remembered.
            report: gets progress.

        Raises:
            ChangedFile: a file of the layer changed since the build.
            Infrastructure: the disk is full.
        """
        if layer.content is None or not layer.media_type.endswith(".tar"):
            if diff_id:
                self._layer_blobs.add({diff_id: layer}, "packed")
            yield layer
            return
        file = self._folder / f"packed-{os.getpid()}-{os.urandom(4).hex()}.gz"
        try:
            try:
                with byte_progress(layer.content.size, "compressing {} for the registry", report) as counted:
                    digest, size = _compress(counted(layer.content.read()), file)
            except OSError as error:
                raise unwritable(self._folder, error) from error
            compressed = Blob(digest, size, f"{layer.media_type}+gzip", Slice(file, 0, size))
            if diff_id:
                self._layer_blobs.add({diff_id: compressed}, "packed")
            yield compressed
        finally:
            file.unlink(missing_ok=True)


def diff_ids(config: bytes) -> list[str]:
    """The digests of an image's layers before any compression, from the bottom up."""
    return [str(diff_id) for diff_id in json.loads(config)["rootfs"]["diff_ids"]]


def _compress(chunks: Iterable[bytes], destination: Path) -> tuple[str, int]:
    """The digest and the size of the gzip file that is written. Its header holds neither a time nor a file name.

    A part of the content that compression would hardly make smaller is stored as it is, which is many times as quick.
    """
    check, size = 0, 0
    with destination.open("wb") as raw:
        stream = DigestWriter(raw)
        stream.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
        level, packer = _COMPRESSION_LEVEL, zlib.compressobj(_COMPRESSION_LEVEL, wbits=-zlib.MAX_WBITS)
        for block in _blocks(chunks):
            sample = block[:_SAMPLE]
            worth = len(zlib.compress(sample, 1)) <= _WORTH * len(sample)
            wanted = _COMPRESSION_LEVEL if worth else 0
            if wanted != level:
                # What comes next does not refer to what came before.
                stream.write(packer.flush(zlib.Z_FULL_FLUSH))
                level, packer = wanted, zlib.compressobj(wanted, wbits=-zlib.MAX_WBITS)
            stream.write(packer.compress(block))
            check, size = zlib.crc32(block, check), size + len(block)
        stream.write(packer.flush())
        stream.write(check.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"))
    return stream.digest, stream.size


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of one size, so that what becomes of them does not depend on how they were read."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= _BLOCK:
            yield bytes(held[:_BLOCK])
            del held[:_BLOCK]
    if held:
        yield bytes(held)


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
