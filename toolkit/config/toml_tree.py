"""TOML text to a located tree. tomllib reads the values, and a small scan of the text finds their lines.

tomllib gives no lines, so the scan follows the outline of the grammar. It runs on text that tomllib has accepted. A value
whose line the scan can't find takes the line of the table or array around it.
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
# No key that a person writes has this many parts, and tomllib's time grows with their square.
_LONG_KEY = re.compile(r"(?:[A-Za-z0-9_\-\"']+[ \t]*\.[ \t]*){30}")
# tomllib reads about one megabyte a second. A pyproject.toml has a few kilobytes.
_MAX_CHARACTERS = 256 * 1024

_Path = tuple[str | int, ...]


class _Location(NamedTuple):
    """Where a value stands, and its text as written; None for a table or an array."""

    key_line: int
    line: int
    text: str | None


@dataclass
class _LocationScan:
    """One pass over valid TOML. It notes where each key and value stands, by their paths."""

    text: str
    at: int = 0

    def __post_init__(self) -> None:
        self.starts = [0] + [match.end() for match in re.finditer("\n", self.text)]
        self.locations: dict[_Path, _Location] = {}
        self.arrays: dict[_Path, int] = {}
        self.values: dict[_Path, tuple[int, int]] = {}
        self.headers: dict[_Path, int] = {}

    def current_line(self) -> int:
        return bisect_right(self.starts, self.at)

    def skip_space(self) -> str:
        """Skips white space and comments; returns the next character, or an empty text at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def scan(self) -> dict[_Path, _Location]:
        table: _Path = ()
        while self.skip_space():
            if self.text[self.at] == "[":
                table = self.scan_header()
            else:
                self.scan_pair(table)
        return self.locations

    def scan_header(self) -> _Path:
        line = self.current_line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        parts = self.scan_key()
        self.skip_space()
        self.at += 2 if is_array else 1
        path: _Path = ()
        for number, part in enumerate(parts, 1):
            path += (part,)
            self.locations.setdefault(path, _Location(line, line, None))
            if is_array and number == len(parts):
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path += (self.arrays[path],)
                self.locations.setdefault(path, _Location(line, line, None))
        self.headers.setdefault(path, self.at)
        return path

    def scan_key(self) -> list[str]:
        parts: list[str] = []
        while True:
            char = self.skip_space()
            match = (_STRING if char in "\"'" else _BARE_KEY).match(self.text, self.at)
            if not match:
                raise ValueError("no key")
            self.at = match.end()
            part = match.group()
            parts.append(tomllib.loads(f"k = {part}")["k"] if char in "\"'" else part)
            if self.skip_space() != ".":
                return parts
            self.at += 1

    def scan_pair(self, table: _Path) -> None:
        self.skip_space()
        line = self.current_line()
        path = table
        for part in self.scan_key():
            path += (part,)
            self.locations.setdefault(path, _Location(line, line, None))
        if self.skip_space() != "=":
            raise ValueError("no =")
        self.at += 1
        self.scan_value(path, line)

    def scan_value(self, path: _Path, key_line: int) -> None:
        char = self.skip_space()
        line, start = self.current_line(), self.at
        self.locations[path] = _Location(key_line, line, None)
        if char == "[":
            self.at += 1
            number = 0
            while self.skip_space() != "]":
                self.scan_value((*path, number), self.current_line())
                number += 1
                if self.skip_space() == ",":
                    self.at += 1
            self.at += 1
        elif char == "{":
            self.at += 1
            while self.skip_space() != "}":
                self.scan_pair(path)
                if self.skip_space() == ",":
                    self.at += 1
            self.at += 1
        else:
            match = (_STRING if char in "\"'" else _BARE_VALUE).match(self.text, self.at)
            if not match:
                raise ValueError("no value")
            self.at = match.end()
            self.locations[path] = _Location(key_line, line, self.text[start : self.at].rstrip())
        self.values[path] = (start, self.at)


def scan_places(text: str) -> tuple[dict[_Path, tuple[int, int]], dict[_Path, int]]:
    """Where the values of a valid TOML text begin and end, and where the headers of its tables end, by their paths.

    What stands behind something that the scan can't follow is missing.
    """
    scan = _LocationScan(text)
    try:
        scan.scan()
    except (ValueError, IndexError, RecursionError):
        pass
    return scan.values, scan.headers


class _TreeBuilder:
    """Joins the values of tomllib with the locations of the scan."""

    def __init__(self, file: str, locations: Mapping[_Path, _Location]) -> None:
        self.file = file
        self.locations = locations

    def build(self, value: Any, path: _Path, fallback: int) -> Located:
        location = self.locations.get(path)
        line = location.line if location else fallback
        if isinstance(value, dict):
            items = {key: self.build(item, (*path, key), line) for key, item in value.items()}
            return Located(items, self.file, line, key_lines={key: self.key_line((*path, key), line) for key in value})
        if isinstance(value, list):
            return Located(tuple(self.build(item, (*path, i), line) for i, item in enumerate(value)), self.file, line)
        if isinstance(value, str):
            return Located(value, self.file, line, value)
        text = location.text if location and location.text is not None else str(value)
        # A date or a time is the text as written, the same as in YAML.
        return Located(value if isinstance(value, (bool, int, float)) else text, self.file, line, text)

    def key_line(self, path: _Path, fallback: int) -> int:
        location = self.locations.get(path)
        return location.key_line if location else fallback


def _check_bounds(data: Any, file: str) -> None:
    """Refuses data that is too deep or has too many values. It does not recurse."""
    level, depth, values = [data], 0, 0
    while level:
        depth, values = depth + 1, values + len(level)
        if depth > MAX_DEPTH:
            raise BadInput(f"this file is nested more than {MAX_DEPTH} levels deep", file)
        if values > MAX_VALUES:
            raise BadInput(f"this file holds more than {MAX_VALUES} values", file)
        level = [item for value in level if isinstance(value, (dict, list)) for item in _children(value)]


def _children(value: dict[object, object] | list[object]) -> list[object]:
    return list(value.values()) if isinstance(value, dict) else value


def parse_toml(text: str, file: str, table: tuple[str, ...]) -> Located | None:
    """The tree of the table of that name; None when there is none.

    Raises:
        BadInput: with file and, where it is known, the line, for invalid TOML, and for data that is too deep or too large.
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
        match = _AT_LINE.search(str(error))
        line = match.group(1) if match and match.group(1) else str(text.rstrip().count("\n") + 1)
        raise BadInput(f"this is not valid TOML: {_AT_LINE.sub('', str(error)).lower()}", f"{file}:{line}") from None
    _check_bounds(data, file)
    for name in table:
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    scan = _LocationScan(text)
    try:
        scan.scan()
    except (ValueError, IndexError, RecursionError):
        pass  # The lines that it has found are right.
    return _TreeBuilder(file, scan.locations).build(data, table, 1)
