"""Puts the layers of the runtime, of groups of files and of the code on an environment image, and loads it into the engine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from toolkit.build.code.bytecode import runtime_layer
from toolkit.build.code.grouping import LARGE_FILES, Group, GroupTar, grouped
from toolkit.build.code.index import Code
from toolkit.build.code.layer import DigestWriter, LayerEntry, Tar, code_digest, write_code_layer
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
from toolkit.temporary import temporary_folder

_TAG_LENGTH = 16
"""Hexadecimal digits of the config's digest that make the tag."""
_DEEPEST = 125
"""Layers of an image that Docker accepts."""
_FORM = 1
"""Of how a tar is written: other bytes for the same entries need another number."""
_REMEMBERED = 512
"""Layers of groups whose digests are remembered."""
_HEADER = 512
"""Bytes of the tar for a file, beside its content."""


def assemble(
    engine: EngineApi, source: str, image: EngineObject, user: Code, runtime: list[LayerEntry], target: Reference,
    folder: Path, report: Callable[[str], None], upload: Upload, installed: Callable[[str], list[LayerEntry]],
    about: Mapping[str, str], last: str = "",
) -> BuiltImage:  # fmt: skip
    """The final image. It is loaded unless the engine has it already, from another checkout or an earlier state of the code.

    Args:
        source: the environment image's id; ``image`` is what the engine says of it.
        user: the user's code; ``runtime`` the entries of the runtime and the SDK.
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
    content = hashlib.sha256(f"{user.digest}\0{code_digest(runtime)}".encode()).hexdigest()
    with temporary_folder(folder, "layer-") as temporary:
        groups, rest = grouped(user.folders, _DEEPEST - len(environment.diff_ids) - 2)
        compiler = partial(_compiler, engine, image)
        below = [_kept_layer(runtime_layer(engine, str(image["Id"]), runtime, compiler), folder)]
        below += _group_blobs(groups, user.root, folder, temporary, report)
        derived = installed(str(image["Id"]))
        with byte_progress(rest.size, "writing {} of code", report) as counted:
            layer, entries = temporary / "code.tar", list(rest.entries(user.root))
            code = write_code_layer(entries, environment.config_digest, layer, derived, content, counted)
        composed = compose_image(environment, code, below, about, ("runtime", *(group.holds for group in groups)))
        reference = f"{target.repository}:{composed.config_digest.partition(':')[2][:_TAG_LENGTH]}"
        image_id = find_image_id(engine, reference, composed.identity, composed.diff_ids)
        if image_id is None:
            present = layers_in_engine(engine, composed, environment, last)
            load_image(engine, composed, environment, source, reference, folder, report, upload, present)
            image_id = find_image_id(engine, reference, composed.identity, composed.diff_ids)
        if image_id is None:
            raise Infrastructure(f"another image was given the name {reference} while it was built: build again")
        keep_contents(folder, composed)
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


def _group_blobs(
    groups: list[Group], root: str, folder: Path, temporary: Path, report: Callable[[str], None]
) -> list[Blob]:
    """The layers of groups. Their digests and sizes are remembered, so that nothing is read of one that did not change.

    Args:
        temporary: a folder for the tars of small files, which are sent soon.

    Raises:
        BadInput, ChangedFile: as of :meth:`Tar.read`.
    """
    if not groups:
        return []
    file = folder / "groups.json"
    known = _known_tars(file)
    keys = {group.key: group for group in groups}
    unknown = {key: group for key, group in keys.items() if key not in known}
    # A small file costs more to open than to copy.
    copies = {key: temporary / f"{key}.tar" for key, group in unknown.items() if group.holds != LARGE_FILES}
    size = sum(group.size + group.count * _HEADER for group in unknown.values())
    what = "large files" if all(group.holds == LARGE_FILES for group in unknown.values()) else "code"
    with byte_progress(size, f"reading {{}} of {what}", report) as counted:
        for key, group in unknown.items():
            tar = Tar(tuple(group.entries(root)))
            with open(copies.get(key, os.devnull), "wb") as copy:
                stream = DigestWriter(copy)
                for chunk in counted(tar.read()):
                    stream.write(chunk)
            known[key] = stream.digest, stream.size
    if unknown:
        newest = {**{key: one for key, one in known.items() if key not in keys}, **{key: known[key] for key in keys}}
        write_whole(str(file), json.dumps({"form": _FORM, "tars": dict(list(newest.items())[-_REMEMBERED:])}).encode())
    blobs = []
    for key, group in keys.items():
        digest, length = known[key]
        blobs.append(Blob(digest, length, content=GroupTar(group, root, length, copies.get(key))))
    return blobs


def _known_tars(file: Path) -> dict[str, tuple[str, int]]:
    """The digests and sizes of tars, by the keys of their groups."""
    try:
        content = json.loads(file.read_bytes())
        if content["form"] != _FORM:
            return {}
        return {key: (str(digest), int(size)) for key, (digest, size) in content["tars"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
