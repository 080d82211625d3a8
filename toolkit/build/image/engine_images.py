"""Images in the engine: describes an environment image, exports an image, and loads a composed one, all of it or nothing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from toolkit.build.image.archive import (
    Blob,
    ComposedImage,
    EnvironmentImage,
    Slice,
    digest_of,
    members,
    sent_size,
    stream,
)
from toolkit.build.image.build_record import ENVIRONMENT_LABEL, IDENTITY_LABEL, LAYERS_LABEL
from toolkit.build.progress import LiveLine, byte_progress, shown_size
from toolkit.build.state import unwritable
from toolkit.engine import EngineApi, EngineObject, Upload
from toolkit.errors import Infrastructure, ToolkitError
from toolkit.runtime.shared.whole_files import write_whole
from toolkit.temporary import temporary_folder

LOAD = "/images/load?quiet=1"
_WORTH_A_LOOK = 10_000_000
"""Bytes of layers that are worth a list of the engine's images, which takes a tenth of a second where there are hundreds."""
_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))


def read_environment_image(engine: EngineApi, reference: str, image: EngineObject, folder: Path) -> EnvironmentImage:
    """An image of the engine as an environment to build on.

    With a graph driver, the image id is the config's digest and layers are named by their diff ids. The containerd store names
    an image by its manifest and layers by their compressed blobs. There the image is exported once to learn the rest, which is
    remembered in ``folder``.

    Raises:
        Infrastructure: the engine cannot export the image.
    """
    if not uses_containerd_store(engine, image):
        layers = tuple(Blob(diff_id, None) for diff_id in image["RootFS"].get("Layers") or [])
        return EnvironmentImage(image, str(image["Id"]), layers)
    remembered = folder / f"layers-{str(image['Id']).partition(':')[2]}.json"
    try:
        content = json.loads(remembered.read_bytes())
        blobs = tuple(Blob(str(digest), int(size), str(media_type)) for digest, size, media_type in content["layers"])
        return EnvironmentImage(image, str(content["config"]), blobs)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with saved_image(engine, reference, folder) as (config, layers):
        content = {"config": config, "layers": [[layer.digest, layer.size, layer.media_type] for layer in layers]}
        write_whole(str(remembered), json.dumps(content).encode())
        return EnvironmentImage(image, config, tuple(replace(layer, content=None) for layer in layers))


def uses_containerd_store(engine: EngineApi, image: EngineObject) -> bool:
    """Whether the engine has containerd's image store. It does not say where it keeps an image's layers; a graph driver does."""
    if (image.get("GraphDriver") or {}).get("Data"):
        return False
    info = engine.json("/info") or {}
    return any("io.containerd.snapshotter" in str(value) for row in info.get("DriverStatus") or [] for value in row)


def layers_in_engine(
    engine: EngineApi, image: ComposedImage, environment: EnvironmentImage, last: str
) -> frozenset[str]:
    """Which of the image's layers on top of the environment the engine has already, by their digests, because of other images.

    With a graph driver, a layer is known only on the same layers below it. The containerd store knows each blob.

    Args:
        last: the image that was most likely made before this one; "" for none. Where it does not have all that it could, others
            on the same environment are looked at, whatever project they are of.
    """
    is_graph = any(layer.size is None for layer in environment.layers)
    own = [layer.digest for layer in image.layers]
    found: set[str] = set()

    def add(theirs: list[str]) -> None:
        """Adds what our layers share with those of another image on this environment."""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(own, theirs, strict=False))
        found.update([digest for digest, _ in same] if is_graph else set(own) & set(theirs))

    other = engine.image(last) if last else None
    theirs = list(((other or {}).get("RootFS") or {}).get("Layers") or [])
    below = len(environment.layers)
    if theirs[:below] == environment.diff_ids:
        add(theirs[below:])
    if sum(layer.size or 0 for layer in image.layers[:-1] if layer.digest not in found) > _WORTH_A_LOOK:
        filters = quote(json.dumps({"label": [f"{ENVIRONMENT_LABEL}={environment.config_digest}"]}))
        for each in engine.json(f"/images/json?filters={filters}") or []:
            add(str((each.get("Labels") or {}).get(LAYERS_LABEL, "")).split())
    return frozenset(found)


def load_image(
    engine: EngineApi, image: ComposedImage, environment: EnvironmentImage, source: str, reference: str, folder: Path,
    report: Callable[[str], None], upload: Upload | None = None, present: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Loads the image as ``reference``. When this returns, the engine has all of it; when it raises, nothing of that name.

    Args:
        source: the environment image's reference. It is exported when the engine wants all layers.
        upload: the request to use first, where one was started early.
        present: see :func:`layers_in_engine`.

    Raises:
        ChangedFile: a file of a layer changed since it was hashed.
        Infrastructure: the engine does not accept the image.
    """
    try:
        if load_members(engine, image, reference, environment.layers, upload, present, report) is None:
            return
        # What it had may have been removed meanwhile.
        if present and load_members(engine, image, reference, environment.layers, report=report) is None:
            return
        report("the engine does not accept the code's layers alone, so the whole image is loaded, which takes longer")
        with saved_image(engine, source, folder) as (_, layers):
            refusal = load_members(engine, image, reference, layers, report=report)
        if refusal is not None:
            raise Infrastructure(f"the Docker engine does not accept the image {reference}: {refusal}")
    except BaseException:
        try:
            if not has_image(engine, reference, image.identity, image.diff_ids):
                untag(engine, reference)
        except ToolkitError:
            pass  # the engine does not answer any more, and the first error says so
        raise


def load_members(
    engine: EngineApi, image: ComposedImage, reference: str, layers: tuple[Blob, ...], upload: Upload | None = None,
    present: Collection[str] = (), report: Callable[[str], None] | None = None,
) -> str | None:  # fmt: skip
    """One load, checked. Returns None when the engine has the image; else why not, and then no tag remains.

    Args:
        layers: the environment's. Those without content are not sent.
        present: the digests of the image's other layers that are not sent.
        report: gets progress.
    """
    files = members(image, reference, layers, present)
    shown = byte_progress(sent_size(files), "sending {} to the engine", report or (lambda _: None), elsewhere=True)
    with upload or engine.upload(LOAD) as request, shown as counted:
        reply = request.send(counted(stream(files)))
    refusal = reply.message() if reply.status >= 400 else _load_error(reply.body)
    if refusal is None and not has_image(engine, reference, image.identity, image.diff_ids):
        refusal = "it reported no error, but has another image than the one that was sent"
    if refusal is not None:
        untag(engine, reference)
    return refusal


def has_image(engine: EngineApi, reference: str, identity: str, diff_ids: tuple[str, ...] = ()) -> bool:
    """Whether the engine has this very image under this name. The layers are compared when ``diff_ids`` are given."""
    return find_image_id(engine, reference, identity, diff_ids) is not None


def find_image_id(engine: EngineApi, reference: str, identity: str, diff_ids: tuple[str, ...] = ()) -> str | None:
    """The engine's id of this very image; None where another image has its name, or none. Arguments as :func:`has_image`."""
    image = engine.image(reference)
    if image is None or ((image.get("Config") or {}).get("Labels") or {}).get(IDENTITY_LABEL) != identity:
        return None
    has_layers = not diff_ids or tuple(image["RootFS"].get("Layers") or []) == diff_ids
    return str(image["Id"]) if has_layers else None


def untag(engine: EngineApi, reference: str) -> None:
    """Removes a name, and with it an image that has no other."""
    engine.call("DELETE", f"/images/{reference}")


def _load_error(body: bytes) -> str | None:
    """The error in the progress of a load. The containerd store reports one as text, with a status of success."""
    for line in body.splitlines():
        try:
            progress = json.loads(line)
        except ValueError:
            continue
        if not isinstance(progress, dict):
            continue
        text = str(progress.get("error") or progress.get("stream") or "").strip()
        if "error" in progress or text.startswith("Error"):
            return text
    return None


@contextmanager
def saved_image(engine: EngineApi, reference: str, folder: Path) -> Iterator[tuple[str, tuple[Blob, ...]]]:
    """An image's config digest, and its layers with their contents, which lie in a file until the end of the block.

    Raises:
        Infrastructure: the engine cannot export the image, or exports it in an unknown layout.
    """
    with exported_image(engine, reference, folder) as (config, layers):
        yield digest_of(config), layers


@contextmanager
def exported_image(
    engine: EngineApi, reference: str, folder: Path, shown: str = "", report: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[bytes, tuple[Blob, ...]]]:
    """The same as :func:`saved_image`, with the config's bytes in place of its digest.

    Args:
        shown: how a sentence names the image, where ``reference`` is an id.
        report: gets progress.

    Raises:
        Infrastructure: as there, or the disk is full.
    """
    with temporary_folder(folder, "save-") as temporary:
        file = temporary / "image.tar"
        with (
            LiveLine(report, "exporting the image from the engine") as line,
            _Export(file, folder, line) as destination,
        ):
            engine.save(reference, destination, shown=shown)
        try:
            config, layers = _read_saved(file)
        except (tarfile.TarError, KeyError, ValueError, IndexError) as error:
            raise Infrastructure(f"the engine's archive of {shown or reference} cannot be read: {error}") from error
        yield config, layers


class _Export(io.FileIO):
    """A file that shows how much was written, and tells a full disk from an engine that breaks off.

    It has no buffer: the chunks are large, and what is not on the disk yet would fail when the file is closed.
    """

    def __init__(self, file: Path, folder: Path, line: LiveLine) -> None:
        super().__init__(file, "wb")
        self._folder, self._line, self._done = folder, line, 0

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._done += len(data)
        self._line.detail(shown_size(self._done))
        return len(data)


def _read_saved(file: Path) -> tuple[bytes, tuple[Blob, ...]]:
    with tarfile.open(file) as tar:
        manifest = json.loads(_content(tar, file, "manifest.json"))[0]
        config = _content(tar, file, manifest["Config"])
        return config, tuple(_blob(file, _slice(tar, file, path)) for path in manifest["Layers"])


def _slice(tar: tarfile.TarFile, file: Path, path: str) -> Slice:
    member = tar.getmember(path)
    if member.issym():  # engines before version 25 save a layer once, and link to it from other images
        member = tar.getmember(_joined(path, member.linkname))
    elif member.islnk():
        member = tar.getmember(member.linkname)
    return Slice(file, member.offset_data, member.size)


def _joined(path: str, target: str) -> str:
    import posixpath

    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _content(tar: tarfile.TarFile, file: Path, path: str) -> bytes:
    part = _slice(tar, file, path)
    with file.open("rb") as source:
        source.seek(part.offset)
        return source.read(part.size)


def _blob(file: Path, part: Slice) -> Blob:
    digest = hashlib.sha256()
    head = b""
    for chunk in part.read():
        head = head or chunk[:4]
        digest.update(chunk)
    suffix = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    return Blob(f"sha256:{digest.hexdigest()}", part.size, f"application/vnd.oci.image.layer.v1.tar{suffix}", part)
