"""Finds secrets in bytes, as they are and as programs usually re-spell them, and blots them out."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

MASK = b"***"
SHORTEST = 4
"""A value of fewer characters is not searched for: it would blot out half of every text and tell its length."""


def spellings(secret: str) -> set[bytes]:
    """All the byte strings under which ``secret`` is searched for: plain, escaped, quoted, hexadecimal and base64.

    In base64 the same bytes look different at each of three offsets, and their edges depend on the neighbours: of
    each the part that does not is searched for.
    """
    import base64
    from urllib.parse import quote, quote_plus  # Only a step with secrets pays for it.

    raw = secret.encode("utf-8", "surrogateescape")
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    found.add(json.dumps(secret)[1:-1].encode())
    found.add(json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"))
    found.add(repr(secret)[1:-1].encode("utf-8", "surrogatepass"))
    found.add(quote(raw, safe="").encode())
    found.add(quote(raw).encode())
    found.add(quote_plus(raw).encode())
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw)
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        core = coded[first:last]
        # A core of a few characters would be found in any base64 text.
        if len(core) >= 6:
            found.add(core)
            found.add(core.replace(b"+", b"-").replace(b"/", b"_"))
    for line in secret.splitlines():
        if len(line.strip()) >= 8:
            found.add(line.strip().encode("utf-8", "surrogateescape"))
    return {spelling for spelling in found if len(spelling) >= SHORTEST}


class Redactor:
    """Blots out a set of secrets.

    Args:
        secrets: the values by name; the empty ones and those shorter than SHORTEST are not searched for.
    """

    def __init__(self, secrets: dict[str, str]) -> None:
        self._named: list[tuple[bytes, str]] = []
        for name, value in secrets.items():
            if len(value) >= SHORTEST:
                self._named.extend((spelling, name) for spelling in spellings(value))
        # The longest first: a plain secret may be part of a longer spelling of itself.
        self._named.sort(key=lambda pair: (-len(pair[0]), pair[0]))
        self._pattern = re.compile(b"|".join(re.escape(one) for one, _ in self._named)) if self._named else None
        self._prefixes = {one[:size] for one, _ in self._named for size in range(1, len(one))}
        self._longest = max((len(one) for one, _ in self._named), default=0)

    def blotted(self, data: bytes) -> bytes:
        """``data`` with every secret blotted out."""
        return self._pattern.sub(MASK, data) if self._pattern else data

    def text(self, text: str) -> str:
        """``text`` with every secret blotted out."""
        if not self._pattern:
            return text
        return self.blotted(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def found(self, data: bytes) -> Optional[str]:
        """The name of a secret that ``data`` holds in any spelling, or None."""
        match = self._pattern.search(data) if self._pattern else None
        if match is None:
            return None
        return next(name for spelling, name in self._named if spelling == match.group())

    def held_back(self, data: bytes) -> int:
        """How many bytes at the end of ``data`` could be the beginning of a secret that goes on in the next chunk."""
        for size in range(min(self._longest - 1, len(data)), 0, -1):
            if data[-size:] in self._prefixes:
                return size
        return 0


class RedactedStream:
    """Passes a stream on in chunks with the secrets blotted out, also those that lie across two chunks."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on after ``data`` came in."""
        data = self._redactor.blotted(self._rest + data)
        held = self._redactor.held_back(data)
        self._rest = data[len(data) - held :]
        return data[: len(data) - held]

    def end(self) -> bytes:
        """What was held back, when no more comes."""
        rest, self._rest = self._rest, b""
        return rest
