"""What a client and the program in the reader pod (``runtime/server/service.py``) agree on."""

from __future__ import annotations

import struct

ABSENT, RETURNS, THERE, ELSEWHERE = "absent", "returns", "there", "elsewhere"
"""The state on the volume of a run that a client would push.

It is absent; it was moved from here to where the client is, and so returns; it is there; or it was moved elsewhere.
"""

MAGIC = b"\0toolkit-store\n"
"""The beginning of every answer; what comes before it was printed by something else (the image's own ``sitecustomize``)."""
PLAIN, PACKED, ALIVE, END = b"P", b"Z", b"K", b"E"
BLOCK_HEAD = struct.Struct(">cI")
BLOCK_END = struct.Struct(">QI")
BLOCK = 256 * 1024
"""The largest number of bytes of the stream in one block."""
LONGEST_REQUEST = 64 * 1024 * 1024
"""The largest number of bytes in the line of a request."""

NO_RUN = "no-run"
"""The ``error`` of a request about a run that does not exist."""
