"""Puts the code layer on top of an environment image and loads the result into the engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from toolkit.build.code.bytecode import runtime_bytecode
from toolkit.build.code.layer import LayerEntry, write_code_layer
from toolkit.build.image.archive import compose_image
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import keep_contents
from toolkit.build.image.engine_images import find_image_id, load_image, read_environment_image
from toolkit.build.progress import LiveLine
from toolkit.build.reference import Reference
from toolkit.engine import EngineApi, EngineObject, Upload
from toolkit.errors import Infrastructure

_TAG_LENGTH = 16
"""Hexadecimal digits of the config's digest that make the tag."""


def assemble(
    engine: EngineApi, source: str, image: EngineObject, user: list[LayerEntry], runtime: list[LayerEntry], target: Reference,
    folder: Path, report: Callable[[str], None], upload: Upload, installed: Callable[[str], list[LayerEntry]],
) -> BuiltImage:  # fmt: skip
    """The final image. It is loaded unless the engine has it already, from another checkout or an earlier state of the code.

    Args:
        source: the environment image's id; ``image`` is what the engine says of it.
        user: the entries of the user's code; ``runtime`` those of the runtime and the SDK.
        target: the repository that the image is tagged in.
        folder: for temporary files.
        upload: a load into the engine that was started already.
        installed: gives the files of the project as it is installed into the environment with this id.

    Raises:
        BadInput: a file changed or vanished during the build.
        Infrastructure: the engine does not accept the image.
    """
    with LiveLine(report, "reading the environment"):
        environment = read_environment_image(engine, source, image, folder)
    layer = folder / f"layer-{os.getpid()}-{os.urandom(4).hex()}.tar"
    try:
        derived = [*runtime_bytecode(engine, str(image["Id"]), runtime), *installed(str(image["Id"]))]
        with LiveLine(report, "writing the code"):
            code = write_code_layer([*user, *runtime], environment.config_digest, layer, derived)
        composed = compose_image(environment, code)
        reference = f"{target.repository}:{composed.config_digest.partition(':')[2][:_TAG_LENGTH]}"
        image_id = find_image_id(engine, reference, composed.identity, composed.diff_ids)
        if image_id is None:
            with LiveLine(report, "loading the image") as progress:
                load_image(engine, composed, environment, source, reference, folder, progress.say, upload)
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
    )
