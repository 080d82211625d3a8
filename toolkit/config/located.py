"""A parsed YAML or TOML file as a tree in which every value knows its file and line.

The configuration, a pipeline's YAML form and parameter files are all read here. What has more than one meaning is refused.
Size, depth and number of values are bounded, so that a hostile file can't exhaust memory or time.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolkit.errors import BadInput

MAX_BYTES = 4 * 1024 * 1024
MAX_VALUES = 100_000
"""Values in one file, with its aliases expanded."""
MAX_CHARACTERS = 16 * 1024 * 1024
"""Characters of all scalars of one file together, with its aliases expanded."""
MAX_DEPTH = 100

Scalar = bool | int | float | str | None

# All but what YAML calls printable: messages can't show it, and editors change it.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_NO_LINES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Located:
    """One value of a file.

    Attributes:
        value: a scalar, a list as a tuple, or a mapping with its keys in the order of the file.
        file: the file, relative to the current folder when it lies in it.
        line: where the value begins, from 1.
        text: a scalar as written (without its quotes); None for a list or a mapping.
        key_lines: for a mapping, the line of each key.
        variable: whether a ``$NAME`` was replaced in it. The text may then be read as a number or a truth value.
    """

    value: Scalar | tuple[Located, ...] | dict[str, Located]
    file: str
    line: int
    text: str | None = None
    key_lines: Mapping[str, int] = field(default_factory=lambda: _NO_LINES)
    variable: bool = False

    @property
    def where(self) -> str:
        """The place as ``file:line``."""
        return f"{self.file}:{self.line}"

    def key_where(self, key: str) -> str:
        """The place of one of this mapping's keys as ``file:line``."""
        return f"{self.file}:{self.key_lines.get(key, self.line)}"

    def plain(self) -> Any:
        """The value without locations: dicts, lists and scalars, as JSON has them."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        return self.value

    def described(self) -> str:
        """The value as messages name it: ``the number 3.10``, ``a list``."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, tuple):
            return "a list"
        if self.value is None:
            return "nothing" if not self.text else f"{self.text} (no value)"
        spelling = self.text if self.text is not None else str(self.value)
        spelling = spelling if len(spelling) <= 60 else spelling[:57] + "..."
        if isinstance(self.value, bool):
            return f"the truth value {spelling}"
        if isinstance(self.value, (int, float)):
            return f"the number {spelling}"
        return f"the text {spelling!r}"


def shown(path: Path) -> str:
    """The path as messages name it: relative when it is inside the current folder, else absolute."""
    absolute = Path(os.path.abspath(path))
    try:
        return str(absolute.relative_to(os.getcwd()))
    except (ValueError, OSError):
        return str(absolute)


def read_text(path: Path) -> str:
    """A text file of at most 4 MiB, in UTF-8 with or without a byte order mark.

    Raises:
        BadInput: it is missing, no regular file, unreadable, too large, not UTF-8, or holds control characters.
    """
    name = shown(path)
    try:
        # Checked before the file is opened, because opening a pipe would block.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadInput("this is not a regular file", name)
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInput("this file does not exist", name) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadInput(f"this file can't be read: {(reason or 'no such name').lower()}", name) from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"this file is larger than {MAX_BYTES // 1024 // 1024} MiB", name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput("this line is not UTF-8 text; save the file as UTF-8", f"{name}:{line}") from None
    match = _NOT_PRINTABLE.search(text)
    if match:
        line = text.count("\n", 0, match.start()) + 1
        raise BadInput(f"this line holds the control character U+{ord(match.group()):04X}", f"{name}:{line}")
    return text


def read_yaml(path: Path, max_values: int = MAX_VALUES) -> Located:
    """The tree of a YAML file's one document; an empty file is the value None.

    Args:
        max_values: how many values it may hold at most, with its aliases expanded.

    Raises:
        BadInput: with file and line, for what yaml_tree.py refuses.
    """
    from toolkit.config.yaml_tree import parse_yaml

    return parse_yaml(read_text(path), shown(path), max_values)


def read_toml(path: Path, table: str) -> Located | None:
    """The tree of one table of a TOML file, by the name in its header (``tool.toolkit``); None when the file has no such table.

    Raises:
        BadInput: with file and line, for what toml_tree.py refuses.
    """
    text = read_text(path)
    names = table.split(".")
    # A file without the table belongs to other programs: it is neither parsed nor complained about.
    if not all(name in text for name in names):
        return None
    from toolkit.config.toml_tree import parse_toml

    return parse_toml(text, shown(path), tuple(names))
