"""Redaction: finds secrets in bytes, plain and in the spellings that programs usually print, and replaces them by ``***``."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

MASK = b"***"
SHORTEST = 4
"""A value of fewer characters is not redacted: half of every text would be replaced, and the length be known."""


def spellings(secret: str) -> set[bytes]:
    """All the byte strings under which ``secret`` is searched for: plain, escaped, quoted, hexadecimal and base64.

    In base64 the same bytes look different at each of three offsets, and the characters at their edges depend on the bytes
    beside them. Of each offset, the characters that do not depend on those are searched for.
    """
    import base64
    from urllib.parse import quote, quote_plus  # Imported here, because only a step with secrets needs it.

    raw = secret.encode("utf-8", "surrogateescape")
    texts = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    texts.add(json.dumps(secret)[1:-1].encode())
    texts.add(json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"))
    texts.add(repr(secret)[1:-1].encode("utf-8", "surrogatepass"))
    # As a stream of ASCII, such as Python's own standard error where the locale is C, escapes it; and as bytes show it.
    texts.add(secret.encode("ascii", "backslashreplace"))
    texts.add(repr(raw)[2:-1].encode())
    texts.add(quote(raw, safe="").encode())
    texts.add(quote(raw).encode())
    texts.add(quote_plus(raw).encode())
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw)
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        core = coded[first:last]
        # A core of a few characters would be found in any base64 text.
        if len(core) >= 6:
            texts.add(core)
            texts.add(core.replace(b"+", b"-").replace(b"/", b"_"))
    for line in secret.splitlines():
        if len(line.strip()) >= 8:
            texts.add(line.strip().encode("utf-8", "surrogateescape"))
    return {spelling for spelling in texts if len(spelling) >= SHORTEST}


class Redactor:
    """Redacts a set of secrets.

    Args:
        secrets: the values by name. Those shorter than SHORTEST are not redacted.
    """

    def __init__(self, secrets: dict[str, str]) -> None:
        self._named: list[tuple[bytes, str]] = []
        for name, value in secrets.items():
            if len(value) >= SHORTEST:
                self._named.extend((spelling, name) for spelling in spellings(value))
        # The longest first: a plain secret may be part of a longer spelling of itself.
        self._named.sort(key=lambda pair: (-len(pair[0]), pair[0]))
        self._pattern = (
            re.compile(b"|".join(re.escape(spelling) for spelling, _ in self._named)) if self._named else None
        )

    def redacted(self, data: bytes) -> bytes:
        """``data`` with every secret redacted."""
        return self._pattern.sub(MASK, data) if self._pattern else data

    def text(self, text: str) -> str:
        """``text`` with every secret redacted."""
        if not self._pattern:
            return text
        data = self.redacted(text.encode("utf-8", "surrogatepass"))
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            # A secret that is not text itself was part of a character.
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
        """The part of ``data`` that may be passed on, redacted, and the rest, which must wait for more.

        The rest begins where a secret may begin that continues in the next chunk. So all that is passed on over time equals
        :meth:`redacted` of the whole, also where one secret is the beginning of another.
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
        for spelling, _ in self._named:
            # By its first byte: to keep each of its beginnings would be too much, as a long key has thousands of bytes.
            position = data.find(spelling[:1], max(start, len(data) - len(spelling) + 1), first)
            while position >= 0:
                if spelling.startswith(data[position:]):
                    first = position
                    break
                position = data.find(spelling[:1], position + 1, first)
        return first


class RedactedStream:
    """Redacts a stream that comes in chunks, also secrets that lie across two chunks."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on after ``data`` came in."""
        passed, self._rest = self._redactor.split(self._rest + data)
        return passed

    def end(self) -> bytes:
        """What was held back, redacted; called when no more comes."""
        rest, self._rest = self._rest, b""
        return self._redactor.redacted(rest)
