"""The one hierarchy of errors: each class carries the exit code that the command ends with.

A user sees the message as one sentence (what, where, what to do) and never a traceback of ours.
This module imports nothing of the rest.
"""

from __future__ import annotations

from typing import Optional

SUCCEEDED = 0
STEP_FAILED = 1
BAD_INPUT = 2
INFRASTRUCTURE = 3
CANCELLED = 130


class ToolkitError(Exception):
    """A fault that is told to the user in one sentence.

    Attributes:
        exit_code: what the command ends with (see the module's constants).
        where: the place the sentence is about, as ``file:line`` or ``file``; None when there is no such place.
    """

    exit_code = INFRASTRUCTURE

    def __init__(self, message: str, where: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class BadInput(ToolkitError):
    """Something that the user wrote is wrong: configuration, pipeline, parameters, a lock file, an option."""

    exit_code = BAD_INPUT


class Infrastructure(ToolkitError):
    """The engine, the cluster, the network or the disk did not do its part."""

    exit_code = INFRASTRUCTURE
