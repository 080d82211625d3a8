"""Asks the runtime to describe a pipeline: what a request and its answer are.

A describer that is a container is in :mod:`toolkit.backends.docker.describer`, one that is a plain process in
:mod:`toolkit.backends.process`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from toolkit.errors import BadInput
from toolkit.runtime.shared.causes import last_blame
from toolkit.runtime.shared.protocol import FAULT

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse

TIME_LIMIT = 120.0
"""Seconds that the user's file may take; imports of large libraries are most of it."""

Describer = Callable[["DescribeRequest"], "DescribeResponse"]
"""Sends a request to the runtime's ``--describe`` and returns its answer; both are JSON (see ``runtime/user/describe.py``)."""


def parse_answer(code: int, output: bytes, stderr: str, image: str) -> DescribeResponse:
    """The answer of a describer.

    Args:
        code: its exit code. output: its standard output. image: the image, or the interpreter, that it was started from.

    Raises:
        BadInput: the runtime is another version's, or the user's file ended the interpreter.
    """
    if (code == FAULT and last_blame(stderr)) or (code != 0 and "can't open file" in stderr):
        raise BadInput(f"the runtime in the image {image} is another version's: build it again ({stderr[-300:]})")
    try:
        answer: DescribeResponse = json.loads(output)
    except ValueError:
        ending = f": {stderr}" if stderr else ""
        raise BadInput(
            f"the pipeline's file ended the interpreter (exit code {code}) while it was described{ending}"
        ) from None
    return answer
