"""Writes one setting of the section ``build`` into a configuration file, and leaves all else in it as it is.

A file is edited as text: comments, order, quotes and line ends stay. Where there are several places for a setting they are tried in
turn, and what would be written is read again. Only a text that says what the file said, and the setting, is taken.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.config.located import read_text, shown
from toolkit.errors import BadInput, Infrastructure
from toolkit.runtime.shared.whole_files import write_whole

SECTION = "build"
_TABLE = ("tool", "toolkit", SECTION)
_BOM = b"\xef\xbb\xbf"
_STEP = 2
"""Columns by which a new mapping is indented."""


class WrittenSetting(NamedTuple):
    """A setting that is to be written.

    Attributes:
        spellings: its keys, the canonical one first. value: a text of one line without quotes or backslashes.
    """

    spellings: tuple[str, ...]
    value: str

    @property
    def key(self) -> str:
        return self.spellings[0]


def write_setting(file: Path, setting: WrittenSetting, read_as: str | None) -> None:
    """Writes a setting into a YAML file, or into ``[tool.toolkit.build]`` of a TOML file, which is replaced whole or not at all.

    Args:
        read_as: the value that the configuration has now; None where it has none.

    Raises:
        BadInput: it can't be written without a change of something else. The sentence has what to write.
        Infrastructure: the file can't be written.
    """
    is_toml = file.suffix == ".toml"
    by_hand = (
        f'write {setting.key} = "{setting.value}" below [{".".join(_TABLE)}] yourself'
        if is_toml
        else f'write {setting.key}: "{setting.value}" below {SECTION}: yourself'
    )
    text = read_text(file)
    data = file.read_bytes()
    prefix = _BOM if data.startswith(_BOM) else b""
    if prefix + text.encode() != data:
        raise BadInput(f"the file changed while it was read: {by_hand}", shown(file))
    old = _raw_value(text, setting, is_toml)
    if old is not None and old != read_as:
        raise BadInput(f"{SECTION}.{setting.key} comes from a variable, which stays as it is: {by_hand}", shown(file))
    new = with_setting(text, setting, is_toml)
    if new is None:
        raise BadInput(
            f"{SECTION}.{setting.key} can't be written here without a change of something else: {by_hand}", shown(file)
        )
    target = os.path.realpath(file)
    try:
        status = os.stat(target)

        def keep_owner_and_mode(descriptor: int) -> None:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                try:
                    os.fchown(descriptor, status.st_uid, status.st_gid)
                except OSError:
                    pass  # only root may give a file away
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))

        write_whole(target, prefix + new.encode(), prepare=keep_owner_and_mode)
    except OSError as error:
        raise Infrastructure(f"the file can't be written ({error.strerror}): {by_hand}", shown(file)) from error


def with_setting(text: str, setting: WrittenSetting, is_toml: bool) -> str | None:
    """The text of a configuration with the setting in it; None where that can't be done with everything else as it is."""
    for candidate in (_toml_candidates if is_toml else _yaml_candidates)(text, setting):
        if _says(candidate, text, setting, is_toml):
            return candidate
    return None


def _parsed(text: str, is_toml: bool) -> Any:
    if is_toml:
        import tomli

        return tomli.loads(text)
    from toolkit.config.yaml_tree import parse_yaml

    return parse_yaml(text, "").plain()


def _section(document: Any, is_toml: bool) -> dict[str, Any] | None:
    """The section of a document, which is made where there is none; None where something else is in its place."""
    for name in _TABLE if is_toml else (SECTION,):
        if document.get(name) is None:
            document[name] = {}
        document = document[name]
        if not isinstance(document, dict):
            return None
    return document  # type: ignore[no-any-return]


def _raw_value(text: str, setting: WrittenSetting, is_toml: bool) -> Any:
    document = _parsed(text, is_toml)
    section = _section(document, is_toml) if isinstance(document, dict) else None
    return next((section[key] for key in setting.spellings if key in section), None) if section else None


def _says(candidate: str, text: str, setting: WrittenSetting, is_toml: bool) -> bool:
    """Whether a text says what the other one says, and the setting."""
    try:
        wanted, found = _parsed(text, is_toml), _parsed(candidate, is_toml)
    except (BadInput, ValueError):
        return False
    wanted = {} if wanted is None else wanted
    section = _section(wanted, is_toml) if isinstance(wanted, dict) else None
    if section is None:
        return False
    section[next((key for key in setting.spellings if key in section), setting.key)] = setting.value
    # As text, because 1, 1.0 and True are equal in Python.
    return _comparable(wanted) == _comparable(found)


def _comparable(document: Any) -> str:
    return json.dumps(document, sort_keys=True, default=repr)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_end(text: str, at: int) -> int:
    """Where the line ends that this position is in, before its line break."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


# --- YAML -----------------------------------------------------------------------------------------------------------


def _yaml_candidates(text: str, setting: WrittenSetting) -> Iterator[str]:
    import yaml

    try:
        # The parser in pure Python, whose marks count characters.
        root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
    # Where keys are in quotes, as in JSON, so is what is added.
    is_quoted = isinstance(root, yaml.MappingNode) and bool(root.value) and root.value[0][0].style == '"'
    for value in (f'"{setting.value}"',) if is_quoted else (setting.value, f'"{setting.value}"'):
        yield from _in_yaml(text, root, setting, value, '"' if is_quoted else "")


def _in_yaml(text: str, root: Any, setting: WrittenSetting, value: str, quote: str) -> Iterator[str]:
    import yaml

    newline = _newline(text)
    name, pair = f"{quote}{SECTION}{quote}", f"{quote}{setting.key}{quote}: {value}"
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        yield f"{text}{'' if not text or text.endswith(chr(10)) else newline}{SECTION}:{newline}{' ' * _STEP}{pair}{newline}"
        return
    if not isinstance(root, yaml.MappingNode):
        return
    found = _entry(root, (SECTION,))
    if found is None:
        if root.flow_style:
            yield _first_in(text, root, f"{name}: {{{pair}}}")
            return
        column = root.value[0][0].start_mark.column
        lines = f"{' ' * column}{name}:{newline}{' ' * (column + _STEP)}{pair}{newline}"
        yield f"{text}{'' if text.endswith(chr(10)) else newline}{lines}"
        yield _first_in(text, root, f"{name}:{newline}{' ' * (column + _STEP)}{pair}")
        return
    key, section = found
    if isinstance(section, yaml.MappingNode):
        entry = _entry(section, setting.spellings)
        if entry is not None:
            yield _replaced(text, entry[1], value)
            return
        if section.value and not section.flow_style:
            # Above the comment of what comes first.
            yield _line_after(text, key, section.value[0][0].start_mark.column, pair)
        yield _first_in(text, section, pair)
        return
    # It is empty.
    start, end = section.start_mark.index, section.end_mark.index
    if start == end:
        yield _line_after(text, key, key.start_mark.column + _STEP, pair)
    yield f"{text[:start]}{' ' if start == end else ''}{{{pair}}}{text[end:]}"


def _entry(mapping: Any, keys: tuple[str, ...]) -> tuple[Any, Any] | None:
    return next(((key, value) for key, value in mapping.value if key.value in keys), None)


def _line_after(text: str, key: Any, column: int, pair: str) -> str:
    """The text with a pair on a line of its own, below that of a key."""
    at = _line_end(text, key.end_mark.index)
    return f"{text[:at]}{_newline(text)}{' ' * column}{pair}{text[at:]}"


def _first_in(text: str, mapping: Any, pair: str) -> str:
    """The text with a pair before the first one of a mapping."""
    if not mapping.value:
        at = text.index("{", mapping.start_mark.index) + 1
        return text[:at] + pair + text[at:]
    mark = mapping.value[0][0].start_mark
    separator = ", " if mapping.flow_style else _newline(text) + " " * mark.column
    return text[: mark.index] + pair + separator + text[mark.index :]


def _replaced(text: str, node: Any, value: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:
        return f"{text[:start]} {value}{text[end:]}"
    quote = text[start] if text[start] in "\"'" and not value.startswith('"') else ""
    return f"{text[:start]}{quote}{value}{quote}{text[end:]}"


# --- TOML -----------------------------------------------------------------------------------------------------------


def _toml_candidates(text: str, setting: WrittenSetting) -> Iterator[str]:
    from toolkit.config.toml_tree import scan_places

    values, headers = scan_places(text)
    newline = _newline(text)
    for key in setting.spellings:
        place = values.get((*_TABLE, key))
        if place is not None:
            start, end = place
            quote = "'" if text[start] == "'" else '"'
            yield f"{text[:start]}{quote}{setting.value}{quote}{text[end:]}"
    pair = f'{setting.key} = "{setting.value}"'
    if _TABLE in values:
        at = values[_TABLE][0] + 1
        is_empty = text[at : values[_TABLE][1] - 1].strip() == ""
        yield f"{text[:at]} {pair}{' ' if is_empty else ','}{text[at:]}"
    for number in range(len(_TABLE), 0, -1):
        header = headers.get(_TABLE[:number])
        if header is not None:
            at = _line_end(text, header)
            indent = text[text.rfind("\n", 0, header) + 1 : header]
            indent = indent[: len(indent) - len(indent.lstrip())]
            name = "".join(f"{part}." for part in _TABLE[number:])
            yield f"{text[:at]}{newline}{indent}{name}{pair}{text[at:] or newline}"
    yield f"{text}{'' if text.endswith(chr(10)) else newline}{newline}[{'.'.join(_TABLE)}]{newline}{pair}{newline}"
    yield f"{'.'.join(_TABLE)}.{pair}{newline}{text}"
