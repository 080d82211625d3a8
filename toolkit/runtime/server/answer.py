"""Writes an answer to a client, as ``toolkit/backends/argo/volume/answer.py`` reads it.

An answer is MAGIC and then blocks: one letter for its kind, four bytes for its length, and its bytes. PLAIN and PACKED (zlib)
blocks are pieces of one stream, ALIVE says that the answer is not finished yet, and END holds the stream's length and CRC. An
answer without END was cut off, which happens now and then to the connection of an exec without an error.

The stream is a row of items: a JSON object on a line, whose ``size`` says how many bytes follow it. An item with ``error`` is
the last one.
"""

from __future__ import annotations

import json
import time
import zlib

from ..shared.volume_protocol import ALIVE, BLOCK, BLOCK_END, BLOCK_HEAD, END, MAGIC, PACKED, PLAIN
from ..shared.whole_files import write_all

_PULSE = 5.0
"""Seconds after which a client is sent an ALIVE block."""
_UNPACKED = 15
"""The number of blocks that are sent as they are after one that compression did not shrink: the next ones won't shrink either."""


class AnswerWriter:
    """Writes items as blocks. What compression shrinks is sent compressed, because the connection may be slow."""

    def __init__(self, descriptor: int) -> None:
        self._to = descriptor
        self._held = bytearray()
        self._total = 0
        self._crc = 0
        self._skip = 0
        self._last = time.monotonic()
        write_all(self._to, MAGIC)

    def item(self, data: bytes = b"", **fields: object) -> None:
        """Writes an item. Where more bytes than ``data`` are to follow by :meth:`add`, ``size`` is the number of all of them."""
        fields.setdefault("size", len(data))
        self.add(json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n")
        self.add(data)

    def add(self, data: bytes) -> None:
        """Writes bytes of the newest item."""
        self._total += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._held += data
        while len(self._held) >= BLOCK:
            self._send(bytes(self._held[:BLOCK]))
            del self._held[:BLOCK]

    def alive(self) -> None:
        """Shows the client that the answer is not finished; called now and then by whatever takes long."""
        if time.monotonic() - self._last >= _PULSE:
            self._flush()
            self._block(ALIVE, b"")

    def end(self) -> None:
        """Ends the answer."""
        self._flush()
        self._block(END, BLOCK_END.pack(self._total, self._crc))

    def _flush(self) -> None:
        if self._held:
            self._send(bytes(self._held))
            self._held.clear()

    def _send(self, data: bytes) -> None:
        if self._skip:
            self._skip -= 1
        else:
            packed = zlib.compress(data, 1)
            if len(packed) < len(data) * 0.9:
                self._block(PACKED, packed)
                return
            self._skip = _UNPACKED
        self._block(PLAIN, data)

    def _block(self, kind: bytes, data: bytes) -> None:
        write_all(self._to, BLOCK_HEAD.pack(kind, len(data)) + data)
        self._last = time.monotonic()
