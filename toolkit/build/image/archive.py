"""The final image as an archive: its OCI config, and a tar in Docker's layout and, where the sizes are known, also in OCI's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from toolkit.build.code.layer import CodeLayer
from toolkit.build.image.build_record import (
    BASE_DIGEST_LABEL,
    BASE_NAME_LABEL,
    CODE_LABEL,
    ENVIRONMENT_LABEL,
    IDENTITY_LABEL,
    LAYERS_LABEL,
    PROTOCOL_LABEL,
)
from toolkit.build.reference import full_name
from toolkit.engine import EngineObject
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import IMAGE_HOME, IMAGE_USER, PROTOCOL, WORKSPACE

_CHUNK = 1 << 20
_OCI = "application/vnd.oci.image"
MANIFEST = f"{_OCI}.manifest.v1+json"
_OF_AN_IMAGE = ("org.opencontainers.image.", "org.label-schema.")
"""Labels that describe one image: its title, version, source, licences. What the base says of itself is not true of ours."""


class Content(Protocol):
    """Bytes that are read when they are sent: a part of a file, or a tar that is made of the code's files."""

    @property
    def size(self) -> int: ...

    def read(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Slice:
    """A part of a file, in bytes."""

    file: Path
    offset: int
    size: int

    def read(self) -> Iterator[bytes]:
        """The bytes, in pieces.

        Raises:
            Infrastructure: the file cannot be read, or is shorter than it was.
        """
        try:
            with self.file.open("rb") as source:
                source.seek(self.offset)
                left = self.size
                while left and (chunk := source.read(min(left, _CHUNK))):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise Infrastructure(f"{self.file} cannot be read: {error.strerror}") from error
        if left:
            raise Infrastructure(f"{self.file} became shorter while it was read: build again")


@dataclass(frozen=True)
class Blob:
    """A blob of an image, as an engine or a registry stores it: a layer, or a config.

    Attributes:
        digest: of the stored bytes, which may be compressed.
        size: of the stored bytes; None when the engine does not tell it (a graph driver stores no blobs).
        content: where the bytes are; None when they are not sent.
    """

    digest: str
    size: int | None
    media_type: str = f"{_OCI}.layer.v1.tar"
    content: Content | None = None


@dataclass(frozen=True)
class EnvironmentImage:
    """The environment image, as far as the final image depends on it.

    Attributes:
        image: as `docker inspect` shows it.
        config_digest: the digest of its OCI config.
        layers: from the bottom up, as the engine stores them.
    """

    image: EngineObject
    config_digest: str
    layers: tuple[Blob, ...]

    @property
    def diff_ids(self) -> list[str]:
        return list(self.image["RootFS"].get("Layers") or [])


@dataclass(frozen=True)
class ComposedImage:
    """A final image that no engine has yet.

    Attributes:
        config: the bytes of its OCI config.
        identity: a digest of the environment and of all layers on top of it, which does not depend on the store that they are in.
        diff_ids: of all layers, the code layer's last.
        code: the code layer.
        layers: those on top of the environment, from the bottom up, with their contents: the runtime's, those of groups of files,
            and the code layer. They are not compressed, so their digests are their diff ids.
    """

    config: bytes
    identity: str
    diff_ids: tuple[str, ...]
    code: CodeLayer
    layers: tuple[Blob, ...]

    @property
    def config_digest(self) -> str:
        return digest_of(self.config)


def identity_of(environment: str, layers: Sequence[str]) -> str:
    """The identity of an image with this environment (its config digest) and these layers on top of it (their diff ids)."""
    return digest_of("".join(f"{part}\n" for part in (environment, *layers)).encode())


def compose_image(
    environment: EnvironmentImage, code: CodeLayer, below: Sequence[Blob] = (), about: Mapping[str, str] | None = None,
    holds: Sequence[str] = (),
) -> ComposedImage:  # fmt: skip
    """The environment with our layers on top. Nothing in it depends on when, where or by whom it is built.

    The entrypoint is dropped, so that a step's command is the same whether or not an engine honours entrypoints. The user is
    an ordinary one, for those who run the image themselves: every backend sets its own.

    Args:
        below: the layers between the environment and the code layer, from the bottom up.
        about: labels that say what the image was made from (:func:`base_labels`).
        holds: what each layer in ``below`` holds.
    """
    base: EngineObject = environment.image.get("Config") or {}
    layers = (*below, Blob(code.digest, code.size, content=Slice(code.file, 0, code.size)))
    own = [layer.digest for layer in layers]
    identity = identity_of(environment.config_digest, own)
    labels = {name: value for name, value in (base.get("Labels") or {}).items() if not name.startswith(_OF_AN_IMAGE)}
    labels |= {
        **(about or {}),
        IDENTITY_LABEL: identity,
        PROTOCOL_LABEL: str(PROTOCOL),
        ENVIRONMENT_LABEL: environment.config_digest,
        CODE_LABEL: code.content,
        LAYERS_LABEL: " ".join(own),
    }
    variables = list(base.get("Env") or [])
    if not any(one.startswith("HOME=") for one in variables):
        variables.append(f"HOME={IMAGE_HOME}")
    settings: dict[str, object] = {"Env": variables, "Labels": labels, "User": IMAGE_USER, "WorkingDir": WORKSPACE}
    content = image_config(environment, "environment", settings, own, (*holds, "code"))
    return ComposedImage(content, identity, (*environment.diff_ids, *own), code, layers)


def image_config(
    base: EnvironmentImage, called: str, settings: Mapping[str, object], layers: Sequence[str], holds: Sequence[str]
) -> bytes:
    """The OCI config of a base with further layers on top; nothing in it is of this time or this machine.

    Args:
        called: what the history calls the base.
        settings: those of a container. The base's command is kept.
        layers: the diff ids on top of the base. holds: what is in each, for the history.
    """
    command = (base.image.get("Config") or {}).get("Cmd")
    created = base.image.get("Created") or "1980-01-02T00:00:00Z"
    config: dict[str, object] = {
        "architecture": base.image["Architecture"],
        "os": base.image["Os"],
        "created": created,
        "config": {**settings, **({"Cmd": command} if command else {})},
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *layers]},
        "history": [
            {"created": created, "created_by": f"toolkit: {what}"} for what in (*[called] * len(base.diff_ids), *holds)
        ],
    }
    if base.image.get("Variant"):
        config["variant"] = base.image["Variant"]
    return _json(config)


def base_labels(name: str, image: EngineObject | None) -> dict[str, str]:
    """The labels that say which image another is based on: its name, and the digest by which a registry has it.

    Args:
        image: as the engine has it; None where it is gone. One that came from no registry has no such digest.
    """
    repository = name.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    found = [digest.partition("@") for digest in (image or {}).get("RepoDigests") or []]
    digests = sorted(digest for of, _, digest in found if full_name(of) == full_name(repository))
    return {BASE_NAME_LABEL: name, **({BASE_DIGEST_LABEL: digests[0]} if digests else {})}


Member = tuple[str, "bytes | Content"]
"""A file of an archive: its path and its content."""


def members(
    image: ComposedImage, reference: str, layers: tuple[Blob, ...], present: Collection[str] = ()
) -> list[Member]:
    """The files of the archive that is loaded into an engine.

    Docker's layout is always there. OCI's is there when the stored size of every layer is known: the engine would believe a
    descriptor with a made-up size, and a later `docker save` would fail.

    Args:
        layers: the environment's. Those without content are left out of the archive.
        present: the digests of the image's other layers that are left out as well.
    """
    blobs = (*layers, *without_content(image.layers, present))
    files: list[Member] = [(_path(image.config_digest), image.config)]
    files += [(_path(blob.digest), blob.content) for blob in _distinct(blobs) if blob.content is not None]
    manifest = [
        {
            "Config": _path(image.config_digest),
            "RepoTags": [reference],
            "Layers": [_path(blob.digest) for blob in blobs],
        }
    ]
    files.append(("manifest.json", _json(manifest)))
    if all(blob.size is not None for blob in blobs):
        files += _oci(image.config, (reference,), blobs)
    return files


def oci_manifest(config: bytes, blobs: tuple[Blob, ...], annotations: Mapping[str, str] | None = None) -> bytes:
    """The image's manifest, the same bytes for the same image and annotations. The size of every blob must be known."""
    layers = [{"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size} for blob in blobs]
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": f"{_OCI}.config.v1+json", "digest": digest_of(config), "size": len(config)},
            "layers": layers,
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )


def oci_members(config: bytes, references: tuple[str, ...], blobs: tuple[Blob, ...]) -> list[Member]:
    """The files of an archive in OCI's layout alone, of one image under all its names. Layers without content are left out."""
    files: list[Member] = [(_path(digest_of(config)), config)]
    files += [(_path(blob.digest), blob.content) for blob in _distinct(blobs) if blob.content is not None]
    return files + _oci(config, references, blobs)


def layout_members(
    config: bytes, reference: str, blobs: tuple[Blob, ...], annotations: Mapping[str, str]
) -> list[Member]:
    """The files of a whole image in both layouts, for engines, nodes and tools of registries. What is read first comes first."""
    oci = _oci(config, (reference,), blobs, annotations)
    docker = {
        "Config": _path(digest_of(config)),
        "RepoTags": [reference],
        "Layers": [_path(blob.digest) for blob in blobs],
    }
    contents = [(_path(blob.digest), blob.content) for blob in _distinct(blobs) if blob.content is not None]
    return [*reversed(oci), ("manifest.json", _json([docker])), (_path(digest_of(config)), config), *contents]


def _oci(
    config: bytes, references: tuple[str, ...], blobs: tuple[Blob, ...], annotations: Mapping[str, str] | None = None
) -> list[Member]:
    manifest = oci_manifest(config, blobs, annotations)
    descriptors = [
        {
            "mediaType": MANIFEST,
            "digest": digest_of(manifest),
            "size": len(manifest),
            "annotations": {
                "io.containerd.image.name": full_name(reference),
                "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
            },
        }
        for reference in references
    ]
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": descriptors}
    return [
        (_path(digest_of(manifest)), manifest),
        ("index.json", _json(index)),
        ("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
    ]


def digest_of(content: bytes) -> str:
    """The digest of these bytes, ``sha256:…``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def without_content(layers: tuple[Blob, ...], digests: Collection[str]) -> tuple[Blob, ...]:
    """The layers, with those of these digests stripped of their content, so that they are not sent."""
    return tuple(replace(layer, content=None) if layer.digest in digests else layer for layer in layers)


def sent_size(files: list[Member]) -> int:
    """The bytes of the contents in an archive."""
    return sum(len(content) if isinstance(content, bytes) else content.size for _, content in files)


def _distinct(blobs: tuple[Blob, ...]) -> list[Blob]:
    return list({blob.digest: blob for blob in blobs}.values())


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def stream(files: list[Member]) -> Iterator[bytes]:
    """The tar of these files, in pieces, so that it is never in memory or on disk as a whole (tarfile writes to a file only)."""
    import tarfile

    for path, content in files:
        info = tarfile.TarInfo(path)
        info.mode = 0o644
        info.size = len(content) if isinstance(content, bytes) else content.size
        yield info.tobuf(tarfile.PAX_FORMAT)
        if isinstance(content, bytes):
            yield content
        else:
            yield from content.read()
        yield b"\0" * (-info.size % 512)
    yield b"\0" * 1024
