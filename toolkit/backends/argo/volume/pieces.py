"""Files in pieces, of which a request to the pod that writes on the volume holds a few."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import Infrastructure
from toolkit.runtime.shared.volume_files import open_file

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PieceDocument

_PIECE = 8 * 1024 * 1024
"""Bytes of one request: the pod has it in memory several times while it decodes it."""
_OVERHEAD = 200
"""Bytes that a piece takes besides its data."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a file.

    Attributes:
        name: of the file on the volume: a path inside a run, or an object's hash. size: of the whole file, in bytes.
    """

    name: str
    offset: int
    size: int
    data: bytes

    def document(self) -> PieceDocument:
        """The piece as a part of a request."""
        data = base64.b64encode(self.data).decode("ascii")
        return {"name": self.name, "offset": self.offset, "size": self.size, "data": data}


def batches(files: Iterable[tuple[str, Path]], limit: int = _PIECE) -> Iterator[list[Piece]]:
    """The pieces of one request after the other. An empty file is one piece.

    Args:
        files: name and path of each. limit: bytes of one request.

    Raises:
        Infrastructure: a file can't be read, or becomes shorter while it is read.
    """
    batch: list[Piece] = []
    room = limit
    for name, path in files:
        try:
            descriptor = open_file(str(path))
            if descriptor is None:
                raise Infrastructure(f"{path} can't be read: it is no regular file")
            with open(descriptor, "rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                offset = 0
                while not offset or offset < size:
                    if room <= 0:
                        yield batch
                        batch, room = [], limit
                    data = file.read(min(room, size - offset))
                    if len(data) < min(room, size - offset):
                        raise Infrastructure(f"{path} became shorter while it was read")
                    batch.append(Piece(name, offset, size, data))
                    offset += len(data)
                    room -= len(data) + _OVERHEAD
                    if not size:
                        break
        except OSError as error:
            raise Infrastructure(f"{path} can't be read: {error.strerror}") from None
    if batch:
        yield batch
