"""An answer of the pod that reads the volume, taken apart piece by piece as it comes (see ``runtime/server/service.py``)."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.backends.argo.volume.reader import BrokenConnection
from toolkit.errors import Infrastructure
from toolkit.runtime.shared import volume_protocol

Progress = Callable[[int, int, float], None]
"""Told of a transfer now and then and at its end: bytes so far, bytes announced so far, bytes a second."""

_NOISE = 64 * 1024
_LONGEST_HEADER = 64 * 1024
_LONGEST_DOCUMENT = 64 * 1024 * 1024
_TOLD = 0.1


class ServerError(Infrastructure):
    """What the other side says is wrong."""


def unreadable(what: str) -> Infrastructure:
    return Infrastructure(
        f"the pod that reads the volume gave an answer that can't be understood ({what}): is its image of this version?"
    )


class Sink:
    """Takes an answer's items, one after the other."""

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        raise NotImplementedError

    def data(self, data: bytes) -> None:
        """A piece of the item that was begun last."""

    def end(self) -> None:
        """The item is whole."""

    def finish(self) -> None:
        """The answer is whole."""

    def close(self) -> None:
        """Lets go of what an answer that was cut off left half done."""


class AnswerStream:
    """Takes the bytes of an answer and gives its items to a sink.

    Attributes:
        whole: whether its end was seen and nothing is missing.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._raw = bytearray()
        self._begun = False
        self._total = 0
        self._crc = 0
        self._header = bytearray()
        self._left = 0
        self._open = False
        self.whole = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the exec's output."""
        self._raw += data
        if not self._begun:
            start = self._raw.find(volume_protocol.MAGIC)
            if start < 0:
                if len(self._raw) > _NOISE:
                    raise unreadable("it does not begin")
                return
            del self._raw[: start + len(volume_protocol.MAGIC)]
            self._begun = True
        used = 0
        while len(self._raw) - used >= volume_protocol.BLOCK_HEAD.size:
            kind, length = volume_protocol.BLOCK_HEAD.unpack_from(self._raw, used)
            if length > volume_protocol.BLOCK + 1024:
                raise unreadable("a block's length")
            end = used + volume_protocol.BLOCK_HEAD.size + length
            if len(self._raw) < end:
                break
            self._block(kind, bytes(self._raw[used + volume_protocol.BLOCK_HEAD.size : end]))
            used = end
        del self._raw[:used]

    def _block(self, kind: bytes, data: bytes) -> None:
        if self.whole:
            raise unreadable("it goes on after its end")
        if kind == volume_protocol.PACKED:
            data = _decompress(data)
        if kind in (volume_protocol.PLAIN, volume_protocol.PACKED):
            self._total += len(data)
            self._crc = zlib.crc32(data, self._crc)
            self._items(data)
        elif kind == volume_protocol.END:
            if data != volume_protocol.BLOCK_END.pack(self._total, self._crc) or self._open or self._header:
                raise BrokenConnection("the answer of the pod that reads the volume came damaged")
            self.whole = True
        elif kind != volume_protocol.ALIVE:
            raise unreadable("a block's kind")

    def _items(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._open:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                self._sink.data(piece)
                self._end_if_whole()
                continue
            line_end = data.find(b"\n", position)
            self._header += data[position : line_end if line_end >= 0 else len(data)]
            if len(self._header) > _LONGEST_HEADER:
                raise unreadable("a header's length")
            if line_end < 0:
                return
            position = line_end + 1
            self._begin()

    def _begin(self) -> None:
        try:
            fields = json.loads(bytes(self._header))
            size = fields["size"]
        except (ValueError, TypeError, KeyError):
            raise unreadable("a header") from None
        self._header.clear()
        if not isinstance(fields, dict) or not isinstance(size, int) or size < 0:
            raise unreadable("a size")
        if "error" in fields:
            raise ServerError(str(fields["error"])[:1000])
        self._sink.begin(fields, size)
        self._left, self._open = size, True
        self._end_if_whole()

    def _end_if_whole(self) -> None:
        if self._left == 0:
            self._open = False
            self._sink.end()


def _decompress(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, volume_protocol.BLOCK)
    except zlib.error:
        raise BrokenConnection("the answer of the pod that reads the volume came damaged") from None
    if not unpacker.eof:
        raise unreadable("a packed block")
    return plain


class Meter:
    """Counts a transfer and tells of it, not too often."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._told = 0.0
        self._done = 0
        self._announced = 0

    def announce(self, size: int) -> None:
        self._announced += size

    def count(self, size: int) -> None:
        self._done += size
        if self._progress is not None and time.monotonic() - self._told >= _TOLD:
            self.tell()

    def tell(self) -> None:
        if self._progress is not None:
            self._told = time.monotonic()
            self._progress(self._done, self._announced, self._done / max(self._told - self._began, 1e-6))


class DocumentSink(Sink):
    """Keeps each item in memory."""

    def __init__(self) -> None:
        self.items: list[tuple[dict[str, Any], bytes]] = []
        self._fields: dict[str, Any] = {}
        self._data = bytearray()

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        if size > _LONGEST_DOCUMENT:
            raise unreadable("a document's size")
        self._fields, self._data = dict(fields), bytearray()

    def data(self, data: bytes) -> None:
        self._data += data

    def end(self) -> None:
        self.items.append((self._fields, bytes(self._data)))
