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
    # As a stream of ASCII, such as Python's own standard error where the locale is C, escapes it; and as bytes show it.
    found.add(secret.encode("ascii", "backslashreplace"))
    found.add(repr(raw)[2:-1].encode())
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

    def redacted(self, data: bytes) -> bytes:
        """``data`` with every secret blotted out."""
        return self._pattern.sub(MASK, data) if self._pattern else data

    def text(self, text: str) -> str:
        """``text`` with every secret blotted out."""
        if not self._pattern:
            return text
        data = self.redacted(text.encode("utf-8", "surrogatepass"))
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            # A secret that is not text itself was cut out of the middle of a character.
            return data.decode("utf-8", "replace")

    def found(self, data: bytes) -> Optional[str]:
        """The name of a secret that ``data`` holds in any spelling, or None."""
        if self._pattern is None:
            return None
        # Base64 is often broken into lines; a line's end in JSON is a backslash and an n.
        for text in (data, data.replace(b"\n", b""), data.replace(b"\\r", b"").replace(b"\\n", b"")):
            match = self._pattern.search(text)
            if match is not None:
                return next(name for spelling, name in self._named if spelling == match.group())
        return None

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """What of ``data`` may be passed on, blotted out, and what must wait for more.

        What waits begins where a secret may begin that goes on in the next chunk; so what is passed on over time is what
        :meth:`redacted` makes of the whole, also where one secret is the beginning of another.
        """
        if self._pattern is None:
            return data, b""
        passed, position = [], 0
        waits = self._may_begin(data, 0)
        for match in self._pattern.finditer(data):
            if match.start() >= waits:
                break
            passed += [data[position : match.start()], MASK]
            position = match.end()
            if position > waits:
                waits = self._may_begin(data, position)
        passed.append(data[position:waits])
        return b"".join(passed), data[waits:]

    def _may_begin(self, data: bytes, start: int) -> int:
        """The first position from ``start`` on at which ``data`` ends within a secret; its length where there is none."""
        first = len(data)
        for one, _ in self._named:
            # Its own beginning is looked for, and not each of its beginnings kept: a long key has thousands of bytes.
            position = data.find(one[:1], max(start, len(data) - len(one) + 1), first)
            while position >= 0:
                if one.startswith(data[position:]):
                    first = position
                    break
                position = data.find(one[:1], position + 1, first)
        return first


class RedactedStream:
    """Passes a stream on in chunks with the secrets blotted out, also those that lie across two chunks."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on after ``data`` came in."""
        passed, self._rest = self._redactor.split(self._rest + data)
        return passed

    def end(self) -> bytes:
        """What was held back, when no more comes."""
        rest, self._rest = self._rest, b""
        return self._redactor.redacted(rest)
