"""An answer of the pod that reads the volume, parsed as its pieces come (see ``runtime/server/service.py``)."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping

from toolkit.backends.argo.volume.reader import BrokenConnection
from toolkit.errors import Infrastructure
from toolkit.runtime.shared import volume_protocol

Progress = Callable[[int, int, float], None]
"""Called now and then during a transfer and at its end: bytes so far, bytes announced so far, bytes a second."""

Document = tuple[Mapping[str, object], bytes]
"""An item of an answer: the fields of its header, and its data."""

_NOISE = 64 * 1024
"""Bytes that something else may print before the answer begins."""
_LONGEST_HEADER = 64 * 1024
_LONGEST_DOCUMENT = 64 * 1024 * 1024
_REPORT_INTERVAL = 0.1
"""Seconds between two reports of a transfer."""


class ServerError(Infrastructure):
    """The pod answered with an error."""


def unreadable(part: str) -> Infrastructure:
    """The error for an answer of which ``part`` is wrong."""
    return Infrastructure(
        f"the pod that reads the volume gave an answer that can't be understood ({part}): is its image of this version?"
    )


class Sink:
    """Takes the items of an answer, one after the other."""

    def begin(self, fields: Mapping[str, object], size: int) -> None:
        """An item begins.

        Args:
            fields: of its header, not checked. size: bytes of its data.
        """
        raise NotImplementedError

    def data(self, data: bytes) -> None:
        """A piece of the data of the item that began last."""

    def end(self) -> None:
        """The item is whole."""

    def finish(self) -> None:
        """The answer is whole."""

    def close(self) -> None:
        """Removes what an answer that was cut off left unfinished; called after :meth:`finish`, too."""


class AnswerStream:
    """Parses the bytes of an answer and gives its items to a sink.

    Attributes:
        whole: whether its end came and nothing is missing.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._raw = bytearray()
        self._has_begun = False
        self._total = 0
        self._crc = 0
        self._header = bytearray()
        self._left = 0
        self._is_item_open = False
        self.whole = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the exec's output."""
        self._raw += data
        if not self._has_begun:
            start = self._raw.find(volume_protocol.MAGIC)
            if start < 0:
                if len(self._raw) > _NOISE:
                    raise unreadable("its beginning")
                return
            del self._raw[: start + len(volume_protocol.MAGIC)]
            self._has_begun = True
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
            raise unreadable("data after its end")
        if kind == volume_protocol.PACKED:
            data = _decompress(data)
        if kind in (volume_protocol.PLAIN, volume_protocol.PACKED):
            self._total += len(data)
            self._crc = zlib.crc32(data, self._crc)
            self._items(data)
        elif kind == volume_protocol.END:
            if data != volume_protocol.BLOCK_END.pack(self._total, self._crc) or self._is_item_open or self._header:
                raise BrokenConnection("the answer of the pod that reads the volume came damaged")
            self.whole = True
        elif kind != volume_protocol.ALIVE:
            raise unreadable("a block's kind")

    def _items(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._is_item_open:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                self._sink.data(piece)
                self._end_item_if_whole()
                continue
            line_end = data.find(b"\n", position)
            self._header += data[position : line_end if line_end >= 0 else len(data)]
            if len(self._header) > _LONGEST_HEADER:
                raise unreadable("a header's length")
            if line_end < 0:
                return
            position = line_end + 1
            self._begin_item()

    def _begin_item(self) -> None:
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
        self._left, self._is_item_open = size, True
        self._end_item_if_whole()

    def _end_item_if_whole(self) -> None:
        if self._left == 0:
            self._is_item_open = False
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
    """Counts the bytes of a transfer and reports them, at most ten times a second."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._reported = 0.0
        self._done = 0
        self._announced = 0

    def announce(self, size: int) -> None:
        self._announced += size

    def count(self, size: int) -> None:
        self._done += size
        if self._progress is not None and time.monotonic() - self._reported >= _REPORT_INTERVAL:
            self.report()

    def report(self) -> None:
        if self._progress is not None:
            self._reported = time.monotonic()
            self._progress(self._done, self._announced, self._done / max(self._reported - self._began, 1e-6))


class DocumentSink(Sink):
    """Keeps each item in memory."""

    def __init__(self) -> None:
        self.items: list[Document] = []
        self._fields: Mapping[str, object] = {}
        self._data = bytearray()

    def begin(self, fields: Mapping[str, object], size: int) -> None:
        if size > _LONGEST_DOCUMENT:
            raise unreadable("a document's size")
        self._fields, self._data = dict(fields), bytearray()

    def data(self, data: bytes) -> None:
        self._data += data

    def end(self) -> None:
        self.items.append((self._fields, bytes(self._data)))
