"""Puts the code layer onto an environment and the result into the engine: the part of a build that makes something."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from toolkit.build.code.bytecode import bytecode
from toolkit.build.code.layer import LayerEntry, write_code_layer
from toolkit.build.image.archive import compose_image
from toolkit.build.image.build_record import BuiltImage
from toolkit.build.image.contents import keep_contents
from toolkit.build.image.engine_images import has_image, load_image, read_environment_image
from toolkit.build.reference import Reference
from toolkit.engine import EngineApi, EngineObject, Upload

_TAG_LENGTH = 16
"""Hexadecimal digits of the config's digest that make the tag."""


def assemble(
    engine: EngineApi, source: str, image: EngineObject, user: list[LayerEntry], runtime: list[LayerEntry], target: Reference, folder: Path,
    report: Callable[[str], None], upload: Upload,
) -> BuiltImage:  # fmt: skip
    """The final image, loaded unless the engine has it already: from another checkout, or from before an undone change.

    Args:
        source: the reference of the environment's image, which ``image`` describes.
        target: the repository that the image is tagged in.
        folder: where temporary files may lie.
        upload: a load that the engine has been told of.

    Raises:
        BadInput: a file changed or vanished meanwhile.
        Infrastructure: the engine does not take the image.
    """
    environment = read_environment_image(engine, source, image, folder)
    layer = folder / f"layer-{os.getpid()}-{os.urandom(4).hex()}.tar"
    try:
        compiled = bytecode(engine, str(image["Id"]), runtime)
        code = write_code_layer([*user, *runtime], environment.config_digest, layer, compiled)
        composed = compose_image(environment, code)
        reference = f"{target.repository}:{composed.config_digest.partition(':')[2][:_TAG_LENGTH]}"
        if not has_image(engine, reference, composed.identity, composed.diff_ids):
            load_image(engine, composed, environment, source, reference, folder, report, upload)
        keep_contents(folder, composed)
    finally:
        layer.unlink(missing_ok=True)
    return BuiltImage(
        reference, composed.config_digest, code.digest, environment.config_digest, composed.identity, True
    )
