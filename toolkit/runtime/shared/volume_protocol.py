"""What a client and the program in the pod that reads the volume (``runtime/server/service.py``) agree on."""

from __future__ import annotations

import struct

ABSENT, RETURNS, THERE, ELSEWHERE = "absent", "returns", "there", "elsewhere"
"""Of a run that would come: it is not here; it had been moved to where it comes from; it is here; it has gone elsewhere."""

MAGIC = b"\0toolkit-store\n"
"""Begins every answer; what comes before it was printed by something else (the image's own ``sitecustomize``)."""
PLAIN, PACKED, ALIVE, END = b"P", b"Z", b"K", b"E"
BLOCK_HEAD = struct.Struct(">cI")
BLOCK_END = struct.Struct(">QI")
BLOCK = 256 * 1024
"""Bytes of the stream in one block, at most."""
LONGEST_REQUEST = 64 * 1024 * 1024
"""Bytes of a request's line."""

NO_RUN = "no-run"
"""The ``error`` of a request about a run that does not exist."""
