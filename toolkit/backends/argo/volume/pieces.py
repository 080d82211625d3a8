"""Files in pieces, as requests to the pod that writes on the volume can take them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import Infrastructure

_PIECE = 8 * 1024 * 1024
"""Bytes of one request: the pod holds it in memory, several times over while it takes it apart."""
_OVERHEAD = 200
"""Bytes that a piece takes besides its data."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a file: ``name`` is what it is there (a path, a hash), ``size`` that of the whole file."""

    name: str
    offset: int
    size: int
    data: bytes

    def document(self) -> dict[str, Any]:
        """The piece as JSON has it."""
        data = base64.b64encode(self.data).decode("ascii")
        return {"name": self.name, "offset": self.offset, "size": self.size, "data": data}


def batches(files: Iterable[tuple[str, Path]], limit: int = _PIECE) -> Iterator[list[Piece]]:
    """Names and files, as the pieces of one request after the other; an empty file is a piece, too.

    Raises:
        Infrastructure: a file can't be read, or becomes shorter meanwhile.
    """
    batch: list[Piece] = []
    room = limit
    for name, path in files:
        try:
            with open(path, "rb") as file:
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
