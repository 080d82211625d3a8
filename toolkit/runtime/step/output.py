"""A step's output: it goes, redacted, to the container's own stream and to output.log on the volume."""

from __future__ import annotations

import os

from ..shared.redaction import RedactedStream, Redactor
from ..shared.whole_files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


_TAIL = 1024
"""Bytes."""


class Output:
    """The destination of the child's two streams, which are one, in the order in which they were written.

    Attributes:
        tail: the end of what was written, at most 1 kB.
        fault: why the log could not be written; such an attempt is no success.
    """

    def __init__(self, path: str, redactor: Redactor) -> None:
        self._stream = RedactedStream(redactor)
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o664)
        self._echo: Optional[int] = 1
        self.tail = b""
        self.fault: Optional[str] = None

    def feed(self, data: bytes) -> None:
        self._pass_on(self._stream.feed(data))

    def close(self) -> None:
        """Writes what was held back because a secret might begin with it, and closes the log."""
        self._pass_on(self._stream.end())
        try:
            # A network file system may tell of a full disk only now.
            os.close(self._log)
        except OSError as error:
            self.fault = self.fault or error.strerror

    def _pass_on(self, data: bytes) -> None:
        self.tail = (self.tail + data[-_TAIL:])[-_TAIL:]
        if self._echo is not None:
            try:
                write_all(self._echo, data)
            except OSError:
                self._echo = None
        if self.fault is None:
            try:
                write_all(self._log, data)
            except OSError as error:
                self.fault = error.strerror
