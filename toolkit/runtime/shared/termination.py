"""The last words of a process of the runtime: its reason on standard error, and as the container's termination message."""

from __future__ import annotations

import os

from .causes import blaming
from .protocol import FAULT

TERMINATION_LOG = "/dev/termination-log"
"""The file from which Kubernetes reads a container's termination message. Only a pod's container has it."""
LONGEST_MESSAGE = 2048
"""Bytes: Kubernetes keeps 4096 of a container's, and Argo copies them into the Workflow's status, which has a limit too."""


def give_up(reason: str, for_container: bool = True) -> int:
    """Reports a fault of the runtime's own; returns the exit code for it.

    Args:
        for_container: False in a process that runs beside the container's own one, as an exec does: it leaves no message.
    """
    report(reason, for_container)
    return FAULT


def report(reason: str, for_container: bool = True) -> None:
    """Blames the infrastructure for the end of this process. Args: as of :func:`give_up`."""
    text = blaming(reason) + "\n"
    try:
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        pass
    if for_container:
        leave_message(text)


def leave_message(text: str) -> None:
    """Writes the container's termination message, where there is a file for it."""
    try:
        if os.path.exists(TERMINATION_LOG):
            with open(TERMINATION_LOG, "wb") as file:
                file.write(text.encode("utf-8", "replace")[:LONGEST_MESSAGE])
    except OSError:
        pass
