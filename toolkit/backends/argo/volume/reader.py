"""What answers a client's requests about the volume (:class:`Reader`), and a request as it is sent."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from toolkit.errors import Infrastructure

_LONG_REQUEST = 4096
"""Bytes above which a request is compressed."""


class BrokenConnection(Infrastructure):
    """The connection ended before the answer did: the same request may succeed when it is sent again."""


class Reader(Protocol):
    """What answers requests about a volume: a reader pod, or in tests a process of this machine."""

    def exec(self, request: Mapping[str, object], sink: Callable[[bytes], None]) -> None:
        """Sends one request and passes the answer to ``sink`` in pieces, as they come.

        Raises:
            BrokenConnection: the answer ended early. Infrastructure: there is no answer.
        """


def request_line(request: Mapping[str, object]) -> bytes:
    """A request (see ``runtime/server/service.py``) as the line of standard input that it is sent as."""
    data = json.dumps(request, separators=(",", ":")).encode("ascii")
    if len(data) > _LONG_REQUEST:
        data = base64.b64encode(zlib.compress(data, 1))
    return data + b"\n"
