"""Whether the image that a step's container runs is the one that its run has resolved.

A container is made by an id or a digest wherever an engine has one. A node may know an image by its name alone, and a name can be
given to another image. So the runtime compares what it finds inside, before any record is written and any user code runs.
"""

from __future__ import annotations

import json

from ..shared import records

_SHOWN = 19
"""Characters of a digest in a sentence: they are enough to tell two images apart."""


class WrongImage(Exception):
    """The container runs another image than the run."""


def check_image(expected: str, image_file: str) -> None:
    """Compares the image's id file with what the run expects.

    Args:
        expected: JSON, as :data:`IMAGE_VARIABLE` holds it. It leaves out what the client did not know of the image.

    Raises:
        WrongImage: a value in the file is another one, or the file is missing or can't be read.
    """
    run = json.loads(expected)
    try:
        here = records.read(image_file) or {}
    except (OSError, ValueError):
        here = {}
    for key in ("code", "environment"):
        if key in run and here.get(key) != run[key]:
            found = str(here[key])[:_SHOWN] if key in here else "none"
            raise WrongImage(
                f"this container's image is not the one that the run began with: {run.get('reference', 'the image')} had the "
                f"{key} {run[key][:_SHOWN]}, and here it is {found}. Another image was given its name: `toolkit retry` resolves "
                "the name again and resumes the run"
            )
