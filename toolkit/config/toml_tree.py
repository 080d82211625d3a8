"""TOML text to a located tree: the values are tomllib's, and a small scan of the text finds their lines.

tomllib tells no lines, so the scan repeats the outline of the grammar; the text is known to be valid when it runs. A
value whose line it can't find takes the line of what contains it.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolkit.config.located import MAX_DEPTH, MAX_VALUES, Located
from toolkit.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)|\s*\(at end of document\)")
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}' r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]+")
# No key that a person writes has this many parts; tomllib's time grows with the square of them.
_LONG_KEY = re.compile(r"(?:[A-Za-z0-9_\-\"']+[ \t]*\.[ \t]*){30}")
# tomllib reads about a megabyte a second; pyproject files have a few kilobytes.
_MAX_CHARACTERS = 256 * 1024

_Path = tuple[str | int, ...]


class _Spot(NamedTuple):
    key_line: int
    line: int
    text: str | None


@dataclass
class _Scan:
    """One pass over valid TOML, noting where each key and value stands."""

    text: str
    at: int = 0

    def __post_init__(self) -> None:
        self.starts = [0] + [match.end() for match in re.finditer("\n", self.text)]
        self.spots: dict[_Path, _Spot] = {}
        self.arrays: dict[_Path, int] = {}

    def line(self) -> int:
        return bisect_right(self.starts, self.at)

    def space(self) -> str:
        """Skips white space and comments; the character that follows, or nothing at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def run(self) -> dict[_Path, _Spot]:
        table: _Path = ()
        while self.space():
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.spots

    def header(self) -> _Path:
        line = self.line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        parts = self.key()
        self.space()
        self.at += 2 if is_array else 1
        path: _Path = ()
        for number, part in enumerate(parts, 1):
            path += (part,)
            self.spots.setdefault(path, _Spot(line, line, None))
            if is_array and number == len(parts):
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path += (self.arrays[path],)
                self.spots.setdefault(path, _Spot(line, line, None))
        return path

    def key(self) -> list[str]:
        parts: list[str] = []
        while True:
            char = self.space()
            match = (_STRING if char in "\"'" else _BARE_KEY).match(self.text, self.at)
            if not match:
                raise ValueError("no key")
            self.at = match.end()
            part = match.group()
            parts.append(tomllib.loads(f"k = {part}")["k"] if char in "\"'" else part)
            if self.space() != ".":
                return parts
            self.at += 1

    def pair(self, table: _Path) -> None:
        self.space()
        line = self.line()
        path = table
        for part in self.key():
            path += (part,)
            self.spots.setdefault(path, _Spot(line, line, None))
        if self.space() != "=":
            raise ValueError("no =")
        self.at += 1
        self.value(path, line)

    def value(self, path: _Path, key_line: int) -> None:
        char = self.space()
        line, start = self.line(), self.at
        self.spots[path] = _Spot(key_line, line, None)
        if char == "[":
            self.at += 1
            number = 0
            while self.space() != "]":
                self.value((*path, number), self.line())
                number += 1
                if self.space() == ",":
                    self.at += 1
            self.at += 1
        elif char == "{":
            self.at += 1
            while self.space() != "}":
                self.pair(path)
                if self.space() == ",":
                    self.at += 1
            self.at += 1
        else:
            match = (_STRING if char in "\"'" else _BARE_VALUE).match(self.text, self.at)
            if not match:
                raise ValueError("no value")
            self.at = match.end()
            self.spots[path] = _Spot(key_line, line, self.text[start : self.at].rstrip())


class _Builder:
    def __init__(self, file: str, spots: Mapping[_Path, _Spot]) -> None:
        self.file = file
        self.spots = spots

    def build(self, value: Any, path: _Path, fallback: int) -> Located:
        spot = self.spots.get(path)
        line = spot.line if spot else fallback
        if isinstance(value, dict):
            items = {key: self.build(item, (*path, key), line) for key, item in value.items()}
            return Located(items, self.file, line, key_lines={key: self.key_line((*path, key), line) for key in value})
        if isinstance(value, list):
            return Located(tuple(self.build(item, (*path, i), line) for i, item in enumerate(value)), self.file, line)
        if isinstance(value, str):
            return Located(value, self.file, line, value)
        text = spot.text if spot and spot.text is not None else str(value)
        # A date or a time is the text as written, the same as in YAML.
        return Located(value if isinstance(value, (bool, int, float)) else text, self.file, line, text)

    def key_line(self, path: _Path, fallback: int) -> int:
        spot = self.spots.get(path)
        return spot.key_line if spot else fallback


def _bounded(data: Any, file: str) -> None:
    """Refuses what is too deep or too much, without recursion."""
    level, depth, values = [data], 0, 0
    while level:
        depth, values = depth + 1, values + len(level)
        if depth > MAX_DEPTH:
            raise BadInput(f"this file is nested more than {MAX_DEPTH} levels deep", file)
        if values > MAX_VALUES:
            raise BadInput(f"this file holds more than {MAX_VALUES} values", file)
        level = [item for value in level if isinstance(value, (dict, list)) for item in _children(value)]


def _children(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def parse_toml(text: str, file: str, table: tuple[str, ...]) -> Located | None:
    """The table of that name; None when there is none.

    Raises:
        BadInput: with file and, where it is known, the line, for invalid TOML or what is too deep or too much.
    """
    if len(text) > _MAX_CHARACTERS:
        raise BadInput(f"this file is larger than {_MAX_CHARACTERS // 1024} KiB", file)
    long_key = _LONG_KEY.search(text)
    if long_key:
        raise BadInput("this key has too many parts", f"{file}:{text.count(chr(10), 0, long_key.start()) + 1}")
    try:
        data: Any = tomllib.loads(text)
    except RecursionError:
        raise BadInput(f"this file is nested more than {MAX_DEPTH} levels deep", file) from None
    except ValueError as error:
        found = _AT_LINE.search(str(error))
        line = found.group(1) if found and found.group(1) else str(text.rstrip().count("\n") + 1)
        raise BadInput(f"this is not valid TOML: {_AT_LINE.sub('', str(error)).lower()}", f"{file}:{line}") from None
    _bounded(data, file)
    for name in table:
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    scan = _Scan(text)
    try:
        scan.run()
    except (ValueError, IndexError, RecursionError):
        pass  # The lines found so far still serve.
    return _Builder(file, scan.spots).build(data, table, 1)
