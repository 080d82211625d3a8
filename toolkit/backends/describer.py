"""Asks the runtime to describe a pipeline: what a request and its answer are, and a describer that is a plain process.

The describer that is a container is in :mod:`toolkit.backends.docker.describer`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import BadInput
from toolkit.runtime.shared.causes import last_blame
from toolkit.runtime.shared.protocol import FAULT, PROTOCOL

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse

TIME_LIMIT = 120.0
"""Seconds that the user's file may take; imports of large libraries are most of it."""

Describer = Callable[["DescribeRequest"], "DescribeResponse"]
"""Sends a request to the runtime's ``--describe`` and returns its answer; both are JSON (see ``runtime/user/describe.py``)."""


def process_describer(python: str, main: Path, environment: Mapping[str, str]) -> Describer:
    """A describer that starts a plain process of the project's own interpreter for each request."""

    def describe(request: DescribeRequest) -> DescribeResponse:
        process = subprocess.Popen(
            [python, str(main), "--describe", str(PROTOCOL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            output, stderr = process.communicate(json.dumps(request).encode() + b"\n", timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
            raise BadInput(f"the pipeline's file did not end within {spent:.0f} s while it was described") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return parse_answer(process.returncode, output, stderr.decode("utf-8", "replace").strip(), python)

    return describe


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
