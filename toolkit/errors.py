"""The hierarchy of errors. Each class carries the exit code that the command ends with.

A user sees the message as one sentence (what is wrong, where, and what to do), never a traceback of toolkit's own code.
This module imports nothing else of toolkit.
"""

from __future__ import annotations

from typing import Optional

SUCCEEDED = 0
STEP_FAILED = 1
BAD_INPUT = 2
INFRASTRUCTURE = 3
CANCELLED = 130
READER_LEFT = 141
"""As a shell reports of a program that SIGPIPE has ended, which is how most programs end then."""


class ToolkitError(Exception):
    """An error that the user sees as one sentence.

    Attributes:
        exit_code: the command's exit code, one of this module's constants.
        where: what the sentence is about, as ``file:line`` or ``file``; None when it is about no file.
    """

    exit_code = INFRASTRUCTURE

    def __init__(self, message: str, where: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class BadInput(ToolkitError):
    """The user's input is wrong: the configuration, the pipeline, a parameter, a lock file or an option."""

    exit_code = BAD_INPUT


class ChangedFile(BadInput):
    """A file of the code changed while it was read; ``where`` is its path on this machine. A second look may succeed."""


class VanishedFile(ChangedFile):
    """It was removed while it was read."""


class Infrastructure(ToolkitError):
    """The engine, the cluster, the network or the disk failed."""

    exit_code = INFRASTRUCTURE
