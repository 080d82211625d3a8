"""Reads the names and values of a .env file. Its errors name a line and never its content, which may be a secret.

`KEY=value`, with an optional `export`, comments, and values in single or double quotes that may span lines. A `$` is an
ordinary character. Of two lines with one key, the last counts.
"""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.config.located import read_text, shown
from toolkit.errors import BadInput

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_.\-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'((?:[^'\\]+|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]+|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"[ \t]+#")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_DOUBLE_ESCAPE = re.compile(r"""\\([abfnrtv\\'"])""")
_SINGLE_ESCAPE = re.compile(r"\\([\\'])")


def read_dotenv(path: Path) -> dict[str, str]:
    """The file's names and values.

    Raises:
        BadInput: with file and line, when it can't be read or a line is not of the form above.
    """
    return parse_dotenv(read_text(path), shown(path))


def parse_dotenv(text: str, file: str) -> dict[str, str]:
    """The names and values of a .env file's text; ``file`` names it in errors."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    values: dict[str, str] = {}
    position = 0

    def fail(message: str) -> BadInput:
        return BadInput(message, f"{file}:{text.count(chr(10), 0, position) + 1}")

    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank:
            position = blank.end()
            continue
        match = _KEY.match(text, position)
        if not match:
            raise fail("this line is not NAME=value (a value of several lines needs quotes around it)")
        quote = text[match.end() : match.end() + 1]
        if quote and quote in "'\"":
            quoted = (_SINGLE if quote == "'" else _DOUBLE).match(text, match.end())
            if not quoted:
                raise fail(
                    f"the {'single' if quote == chr(39) else 'double'} quote that opens on this line is never closed"
                )
            rest = _BLANK.match(text, quoted.end())
            if not rest:
                raise fail("something follows the closing quote of the value that begins on this line")
            escape = _SINGLE_ESCAPE if quote == "'" else _DOUBLE_ESCAPE
            value, next_position = escape.sub(lambda escaped: _ESCAPES[escaped[1]], quoted[1]), rest.end()
        else:
            bare = _BARE.match(text, match.end())
            assert bare is not None
            value, next_position = bare.group(), bare.end() + 1
            if value.startswith("#") and text[match.end() - 1] in " \t":
                raise fail(
                    "this may be an empty value with a comment or a value that begins with #; put the value in quotes"
                )
            comment = _COMMENT.search(value)
            value = (value[: comment.start()] if comment else value).rstrip(" \t")
        values[match["key"]] = value
        position = next_position
    return values
