"""Puts the layers of the runtime, of large files and of the code on an environment image, and loads the result into the engine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from toolkit.build.code.bytecode import runtime_layer
from toolkit.build.code.large import MOST_LAYERS, large_layers
from toolkit.build.code.layer import LayerEntry, Tar, write_code_layer
from toolkit.build.image.archive import Blob, Slice, compose_image, digest_of
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import keep_contents, made_folder
from toolkit.build.image.engine_images import find_image_id, layers_in_engine, load_image, read_environment_image
from toolkit.build.progress import LiveLine, byte_progress
from toolkit.build.reference import Reference
from toolkit.engine import EngineApi, EngineObject, Upload
from toolkit.errors import Infrastructure, ToolkitError
from toolkit.platforms import is_foreign, of_image
from toolkit.runtime.shared.whole_files import write_whole

_TAG_LENGTH = 16
"""Hexadecimal digits of the config's digest that make the tag."""
_DEEPEST = 125
"""Layers of an image that Docker accepts."""
_FORM = 1
"""Of how a tar is written: other bytes for the same entries need another number."""
_REMEMBERED = 256
"""Layers of large files whose digests are remembered."""


def assemble(
    engine: EngineApi, source: str, image: EngineObject, user: list[LayerEntry], runtime: list[LayerEntry], target: Reference,
    folder: Path, report: Callable[[str], None], upload: Upload, installed: Callable[[str], list[LayerEntry]],
    about: Mapping[str, str], last: str = "",
) -> BuiltImage:  # fmt: skip
    """The final image. It is loaded unless the engine has it already, from another checkout or an earlier state of the code.

    Args:
        source: the environment image's id; ``image`` is what the engine says of it.
        user: the entries of the user's code; ``runtime`` those of the runtime and the SDK.
        target: the repository that the image is tagged in.
        folder: for temporary files.
        upload: a load into the engine that was started already.
        installed: gives the files of the project as it is installed into the environment with this id.
        about: the labels of the image that say what it was made from.
        last: the id of the project's last image, with which this one shares layers; "" for none.

    Raises:
        BadInput: a file cannot be read.
        ChangedFile: a file changed or vanished during the build.
        Infrastructure: the engine does not accept the image.
    """
    with LiveLine(report, "reading the environment"):
        environment = read_environment_image(engine, source, image, folder)
    layer = folder / f"layer-{os.getpid()}-{os.urandom(4).hex()}.tar"
    try:
        below = [
            _kept_layer(runtime_layer(engine, str(image["Id"]), runtime, partial(_compiler, engine, image)), folder)
        ]
        large = large_layers(user, min(MOST_LAYERS, _DEEPEST - len(environment.diff_ids) - 2))
        below += _large_blobs(large, folder, report)
        apart = {entry.path for entries in large for entry in entries if entry.kind == "file"}
        small = [entry for entry in user if entry.path not in apart]
        rest = [*runtime, *(entry for entry in user if entry.path in apart)]
        derived = installed(str(image["Id"]))
        with byte_progress(sum(entry.size for entry in small), "writing {} of code", report) as counted:
            code = write_code_layer(small, environment.config_digest, layer, derived, rest, counted)
        composed = compose_image(environment, code, below, about)
        reference = f"{target.repository}:{composed.config_digest.partition(':')[2][:_TAG_LENGTH]}"
        image_id = find_image_id(engine, reference, composed.identity, composed.diff_ids)
        if image_id is None:
            present = layers_in_engine(engine, composed, environment, last)
            load_image(engine, composed, environment, source, reference, folder, report, upload, present)
            image_id = find_image_id(engine, reference, composed.identity, composed.diff_ids)
        if image_id is None:
            raise Infrastructure(f"another image was given the name {reference} while it was built: build again")
        keep_contents(folder, composed)
    finally:
        layer.unlink(missing_ok=True)
    return BuiltImage(
        reference,
        composed.config_digest,
        code.digest,
        environment.config_digest,
        composed.identity,
        changed=True,
        id=image_id,
        content=code.content,
        platform=str(of_image(image)),
    )


def _compiler(engine: EngineApi, image: EngineObject) -> str | None:
    """The image whose Python compiles the runtime: the environment, or for another platform one of the same version."""
    if not is_foreign(engine, image):
        return str(image["Id"])
    from toolkit.build.environment.foreign.base import counterpart
    from toolkit.build.interpreter import interpreter_of

    try:
        found = counterpart(engine, interpreter_of(engine, str(image["Id"]), str(image["Id"])).version, ())
    except ToolkitError:
        return None  # bytecode only saves time
    return found[1] if found is not None else None


def _kept_layer(tar: bytes, folder: Path) -> Blob:
    """A small layer in a file, from which it is also delivered."""
    digest = digest_of(tar)
    file = made_folder(folder) / f"runtime-{digest.partition(':')[2]}.layer"
    try:
        is_there = file.read_bytes() == tar
    except OSError:
        is_there = False
    if is_there:
        os.utime(file)
    else:
        write_whole(str(file), tar)
    return Blob(digest, len(tar), content=Slice(file, 0, len(tar)))


def _large_blobs(layers: list[list[LayerEntry]], folder: Path, report: Callable[[str], None]) -> list[Blob]:
    """The layers of large files. Their digests are remembered, so that nothing is read of one that did not change.

    Raises:
        BadInput, ChangedFile: as of :meth:`Tar.read`.
    """
    if not layers:
        return []
    file = folder / "large-layers.json"
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        content = {}
    known: dict[str, str] = content if isinstance(content, dict) else {}
    tars = {_content_key(entries): Tar(tuple(entries)) for entries in layers}
    unknown = sum(tar.size for key, tar in tars.items() if key not in known)
    with byte_progress(unknown, "reading {} of large files", report) as counted:
        for _ in counted(_hashed(tars, known)):
            pass
    newest = {**{key: digest for key, digest in known.items() if key not in tars}, **{key: known[key] for key in tars}}
    if unknown:
        write_whole(str(file), json.dumps(dict(list(newest.items())[-_REMEMBERED:])).encode())
    return [Blob(known[key], tar.size, content=tar) for key, tar in tars.items()]


def _hashed(tars: dict[str, Tar], known: dict[str, str]) -> Iterator[bytes]:
    """Reads the tars that are not known, and adds their digests."""
    for key, tar in tars.items():
        if key in known:
            continue
        digest = hashlib.sha256()
        for chunk in tar.read():
            digest.update(chunk)
            yield chunk
        known[key] = f"sha256:{digest.hexdigest()}"


def _content_key(entries: list[LayerEntry]) -> str:
    """What a layer's tar depends on, hashed."""
    parts = [(entry.path, entry.kind, entry.mode, entry.digest) for entry in entries]
    return hashlib.sha256(json.dumps([_FORM, sorted(parts)]).encode()).hexdigest()
