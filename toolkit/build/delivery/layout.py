"""Writes a built image as an OCI image layout: into one tar, or into a folder that is given only the blobs that it lacks.

The tar has Docker's layout as well, by its `manifest.json`, since engines before version 25 load no other.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.build.code.own_outputs import record_output
from toolkit.build.image.archive import Blob, Content, Member, layout_members, sent_size, stream, without_content
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.builder import is_code
from toolkit.build.image.contents import ImageContents
from toolkit.build.progress import byte_progress, shown_size
from toolkit.build.state import build_folder, remove_stale
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, ChangedFile, Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared.whole_files import WholeFile, write_whole

Report = Callable[[str], None]
Annotations = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Destination:
    """Where an image is written to.

    Attributes:
        place: the file or the folder, with links followed. shown: as the user named it.
        in_project: a file's path relative to the project's root, where it lies in it.
    """

    place: Path
    shown: str
    is_folder: bool
    in_project: str | None = None


def check_output(project: Project, text: str) -> Destination:
    """The destination that --output names: a folder where there is one or the name ends with a slash, else a file.

    Raises:
        BadInput: it can't be written there, as far as that is known before.
    """
    if text == "-":
        raise BadInput("--output: standard output has the image's reference: name a file (--output image.tar)")
    if not text:
        raise BadInput("--output names no file: name one (--output image.tar)")
    place = Path(os.path.realpath(text))
    is_folder = place.is_dir() or text.endswith(os.sep)
    if not place.parent.is_dir():
        raise BadInput(f"--output: the folder {str(place.parent)!r} does not exist: create it first")
    path = os.path.relpath(place, os.path.realpath(project.root))
    is_inside = path != ".." and not path.startswith(f"..{os.sep}")
    if is_folder:
        if is_inside and (path == "." or is_code(project, f"{path}/index.json")):
            raise BadInput(
                f"--output: the folder {text!r} would be code of the next image: name it in .dockerignore, or a folder outside "
                "of the project"
            )
        _check_folder(place, text)
        return Destination(place, text, True)
    if place.exists() and not stat.S_ISREG(place.stat().st_mode):
        raise BadInput(f"--output: {text!r} is no file: name one (--output image.tar)")
    if is_inside and place.exists() and is_code(project, path):
        raise BadInput(
            f"--output: {text!r} is a file of the project's code, which would be replaced: name another one, or remove it before"
        )
    return Destination(place, text, False, path if is_inside else None)


def _check_folder(folder: Path, text: str) -> None:
    try:
        is_free = not folder.is_dir() or not os.listdir(folder) or (folder / "oci-layout").is_file()
    except OSError as error:
        raise BadInput(f"--output: the folder {text!r} cannot be read ({error.strerror})") from error
    if not is_free:
        raise BadInput(
            f"--output: {text!r} has files in it and is no OCI layout: name an empty or a new folder, or a file (image.tar)"
        )
    _index(folder)


def write_image(project: Project, destination: Destination, built: BuiltImage, report: Report) -> None:
    """Writes an image that was just built; see :func:`write_layout`."""
    from toolkit.build.delivery.annotations import manifest_annotations

    engine = EngineApi()
    contents = ImageContents(engine, build_folder(project), built)
    write_layout(project, destination, contents, lambda: manifest_annotations(project, built, engine), report)


def write_layout(
    project: Project, destination: Destination, contents: ImageContents, annotations: Annotations, report: Report,
) -> None:  # fmt: skip
    """Writes the image, and reports where to and how much. A file that was there stays until all of it is written.

    The same image with the same annotations gives the same bytes: the layers are as the engine stores them, not compressed by
    toolkit.

    Args:
        annotations: gives those of the image's manifest.

    Raises:
        BadInput: the image is named by a registry's digest, so it has no name here.
        Infrastructure: the disk is full, the place can't be written, or the engine can't export the image.
    """
    reference = contents.image.reference
    if "@" in reference:
        raise BadInput(
            f"{reference} cannot be written by --output, because it is named by its registry's digest: name it by a tag"
        )
    named = annotations() if not contents.image.existing else {}
    write = _write_folder if destination.is_folder else _write_file
    try:
        for layers in _attempts(destination, contents, report):
            with suppress(ChangedFile), layers as found:
                assert contents.config is not None
                files = layout_members(contents.config, reference, found, named)
                amount = write(project, destination, files, found, report)
                report(f"wrote {reference} to {destination.shown} ({amount})")
                return
    except OSError as error:
        raise _unwritable(destination, error) from error
    raise Infrastructure(f"{reference} changed while it was written: build again")


def _attempts(destination: Destination, contents: ImageContents, report: Report) -> Iterator[Any]:
    """The layers, as contexts: from where they are already, then from the engine, which has files as they were at the build."""
    known = contents.stored_layers()
    if known is not None and destination.is_folder:
        there = [layer.digest for layer in known if _has_blob(destination.place, layer.digest, layer.size)]
        known = without_content(known, there)
        if all(layer.content is not None or layer.digest in there for layer in known):
            yield _as_they_are(known)
    report("the image is exported from the Docker engine, which takes a while where it is large")
    yield contents.exported(report)


@contextmanager
def _as_they_are(layers: tuple[Blob, ...]) -> Iterator[tuple[Blob, ...]]:
    yield layers


def _write_file(
    project: Project, destination: Destination, files: list[Member], layers: tuple[Blob, ...], report: Report
) -> str:
    place, path = destination.place, destination.in_project
    digest = hashlib.sha256()
    with (
        WholeFile(str(place), _temporary(project, place) if path is not None else None) as file,
        byte_progress(sent_size(files), f"writing {{}} to {destination.shown}", report) as counted,
    ):
        size = 0
        for chunk in counted(stream(files)):
            file.write(chunk)
            size += len(chunk)
            if path is not None:
                digest.update(chunk)
        if path is not None:
            # Before it has its name, so that another build never takes it for code.
            record_output(project, path, Path(file.temporary), size, digest.hexdigest())
        file.publish()
    if path is not None:
        record_output(project, path, place, size, digest.hexdigest())
        if is_code(project, path):
            report(f"warning: {destination.shown} is code of the next image: name it in .dockerignore")
    return shown_size(size)


def _temporary(project: Project, place: Path) -> str | None:
    """A name in the build's private folder, where no build looks for code; None where that is on another file system."""
    folder = build_folder(project)
    remove_stale(folder, "output-*.tar")
    if folder.stat().st_dev != place.parent.stat().st_dev:
        return None
    return str(folder / f"output-{os.getpid()}-{os.urandom(4).hex()}.tar")


def _write_folder(
    project: Project, destination: Destination, files: list[Member], layers: tuple[Blob, ...], report: Report
) -> str:
    folder = destination.place
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    by_path = dict(files)
    del by_path["manifest.json"]  # Docker's layout is of archives only
    index = by_path.pop("index.json")
    assert isinstance(index, bytes)
    lacking = {path: content for path, content in by_path.items() if not _is_there(folder / path, content)}
    size = sent_size(list(lacking.items()))
    with byte_progress(size, f"writing {{}} to {destination.shown}", report) as counted:
        for path, content in lacking.items():
            if isinstance(content, bytes):
                write_whole(str(folder / path), content)
                continue
            with WholeFile(str(folder / path)) as file:
                for chunk in counted(content.read()):
                    file.write(chunk)
                file.publish()
    # Last, so that who reads it finds all that it names.
    with _one_writer(folder):
        write_whole(str(folder / "index.json"), _merged(_index(folder), json.loads(index)))
    digests = {f"blobs/{layer.digest.replace(':', '/', 1)}" for layer in layers}
    count = len(digests & lacking.keys())
    return f"{count} of {len(layers)} layers, {shown_size(size)}" if lacking else "it was there already"


def _is_there(place: Path, content: bytes | Content) -> bool:
    size = len(content) if isinstance(content, bytes) else content.size
    # Each blob is written whole, under a name that tells its content.
    return place.is_file() and (place.name == "oci-layout" or place.stat().st_size == size)


def _has_blob(folder: Path, digest: str, size: int | None) -> bool:
    place = folder / "blobs" / digest.replace(":", "/", 1)
    return size is not None and place.is_file() and place.stat().st_size == size


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Keeps two commands from each writing an index without the other's image."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # this file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _index(folder: Path) -> dict[str, Any]:
    """The index of a layout; without images where there is none yet.

    Raises:
        BadInput: it is damaged.
    """
    file = folder / "index.json"
    try:
        index = json.loads(file.read_bytes())
        if isinstance(index, dict) and all(isinstance(row, dict) for row in index.get("manifests") or []):
            return index
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        pass
    raise BadInput(f"--output: {str(file)!r} is no index of an OCI layout: name another folder, or remove that one")


def _merged(index: dict[str, Any], own: dict[str, Any]) -> bytes:
    """The index with our image in it. Other images stay; one of the same name gives way, as a tag does."""
    row = own["manifests"][0]
    others = [other for other in index.get("manifests") or [] if _names(other).isdisjoint(_names(row))]
    merged = {**own, **index, "manifests": [*others, row]}
    return json.dumps(merged, sort_keys=True, separators=(",", ":")).encode()


def _names(row: dict[str, Any]) -> set[object]:
    annotations = row.get("annotations") or {}
    return {
        annotations.get("io.containerd.image.name")
        or annotations.get("org.opencontainers.image.ref.name")
        or row.get("digest")
    }


def _unwritable(destination: Destination, error: OSError) -> Infrastructure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Infrastructure(
            f"there is no space left to write the image to {destination.shown}: free some, or name another disk"
        )
    return Infrastructure(f"{destination.shown} cannot be written: {error.strerror or error}")
