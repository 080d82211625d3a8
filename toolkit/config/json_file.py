"""JSON files that a user writes. What Python's own reader passes over is refused, with its line.

A key that is given twice, a number that JSON has not got (``NaN``) or that Python can't hold, and nesting without a bound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from toolkit.config.located import MAX_DEPTH
from toolkit.errors import BadInput
from toolkit.runtime.shared.values import LONGEST_INTEGER

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s\[\]{}:,"]+')
_COLON = re.compile(r"[ \t\r\n]*:")
_WORDS = ("true", "false", "null")


class JsonFile(NamedTuple):
    """The value of a file, and the line of each key where the value is an object."""

    value: JsonValue
    key_lines: Mapping[str, int]


def is_json(text: str) -> bool:
    """Whether a text is a JSON object, so that it means what JSON means by it, also in a file that may be YAML."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def parse_json_file(text: str, file: str) -> JsonFile:
    """The content of a JSON file; an empty one is the value None.

    Args:
        file: its name, for messages.

    Raises:
        BadInput: with file and line, for a syntax error, a key that is given twice, a number that JSON can't hold, or nesting
            beyond 100 levels.
    """
    if not text.strip():
        return JsonFile(None, {})
    value: JsonValue = None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"this is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}",
            f"{file}:{error.lineno}",
        ) from None
    except (ValueError, RecursionError):
        # A number of too many digits, or nesting, which is found below.
        pass
    return JsonFile(value, _key_lines(text, file))


def _key_lines(text: str, file: str) -> dict[str, int]:
    """The lines of the outermost object's keys. All that is refused in a text that has JSON's syntax is found on the way."""
    outermost: dict[str, int] = {}
    # For each object or list that is open, the lines of the keys so far.
    stack: list[dict[str, int]] = []
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        line, position = line + text.count("\n", position, match.start()), match.start()
        where = f"{file}:{line}"
        if token in "{[":
            stack.append(outermost if not stack else {})
            if len(stack) > MAX_DEPTH:
                raise BadInput(f"this is nested more than {MAX_DEPTH} levels deep", where)
        elif token in "}]":
            stack.pop()
        elif token.startswith('"'):
            if _COLON.match(text, match.end()):
                key: str = json.loads(token)
                if key in stack[-1]:
                    shown = json.dumps(key, ensure_ascii=False)[:60]
                    raise BadInput(f"the key {shown} is given twice; the first is on line {stack[-1][key]}", where)
                stack[-1][key] = line
        elif token not in _WORDS:
            _check_number(token, where)
    return outermost


def _check_number(token: str, where: str) -> None:
    if len(token) > LONGEST_INTEGER or not math.isfinite(float(token)):
        shown = token if len(token) <= 40 else f"{token[:37]}..."
        raise BadInput(f"{shown} is a number that JSON can't hold: put it in quotes, as a text", where)
