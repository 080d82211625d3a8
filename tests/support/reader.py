"""A stand-in for the reader pod: a process of this machine with the runtime's own files, which answers over its streams.

``LocalReader`` replaces only the transport (an exec in a pod); tests/argo/test_reader_pod.py tests the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import toolkit.runtime
from toolkit.backends.argo.volume.answer import AnswerStream, DocumentSink
from toolkit.backends.argo.volume.reader import request_line
from toolkit.errors import Infrastructure
from toolkit.runtime.shared.protocol import PROTOCOL

MAIN = Path(toolkit.runtime.__file__).parent / "main.py"
CHUNK = 10_000


class LocalReader:
    """Answers requests as a reader pod does, by a process on this machine.

    Attributes:
        asked: the requests so far.
        sent: the number of bytes of each answer.
        cut: for tests, a function that changes an answer on its way.
    """

    def __init__(self, cut: Callable[[bytes], bytes] | None = None, python: str = sys.executable) -> None:
        self.asked: list[dict[str, Any]] = []
        self.sent: list[int] = []
        self.cut = cut
        self._python = python

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """Answers one request."""
        self.asked.append(dict(request))
        command = [self._python, str(MAIN), "--store", str(PROTOCOL)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            # Standard input stays open, as it does in an exec.
            process.stdin.write(request_line(request))
            process.stdin.flush()
            self.sent.append(0)
            if self.cut is not None:
                data = self.cut(process.stdout.read())
                self.sent[-1] = len(data)
                for start in range(0, len(data), CHUNK):
                    sink(data[start : start + CHUNK])
            else:
                while data := os.read(process.stdout.fileno(), CHUNK):
                    self.sent[-1] += len(data)
                    sink(data)
            error = process.stderr.read().decode()
            if process.wait(timeout=60):
                raise Infrastructure(error)
        finally:
            process.kill()
            process.communicate()


def ask(request: dict[str, Any], reader: LocalReader | None = None) -> list[tuple[dict[str, Any], bytes]]:
    """The items of the answer to a request."""
    documents = DocumentSink()
    stream = AnswerStream(documents)
    (reader or LocalReader()).exec(request, stream.feed)
    assert stream.whole
    return [(dict(fields), data) for fields, data in documents.items]


class Killed(BaseException):
    """The client is killed at this point."""


class UntilKilled(LocalReader):
    """A reader pod whose client is killed before request number ``requests`` + 1."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self._left = requests

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """Answers one request, or kills the client."""
        if not self._left:
            raise Killed
        self._left -= 1
        super().exec(request, sink)
