"""YAML text to a located tree, built from the parser's events.

Built from events because they come one at a time, so depth, size and aliases are bounded as they are met: PyYAML's own
composer recurses (in C, without a limit) and expands before anything can be counted.

Plain scalars are read by YAML 1.2's core schema. Spellings to which YAML 1.1 gives another meaning (``on``, ``012``,
``1_000``, ``1:30``) are refused, because the user can't know which of the two a program follows. A date is a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from toolkit.config.located import MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES, Located, Scalar
from toolkit.errors import BadInput

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, Scalar] = {"": None, "~": None}
_WORDS.update({spelt: None for spelt in ("null", "Null", "NULL")})
_WORDS.update({spelt: True for spelt in ("true", "True", "TRUE")})
_WORDS.update({spelt: False for spelt in ("false", "False", "FALSE")})
_OLD_BOOLS = frozenset(spelt for word in ("yes", "no", "on", "off") for spelt in (word, word.title(), word.upper()))
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OLD_NUMBER = re.compile(
    r"[-+]?0[0-7_]+|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|0o[0-7]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|[-+]?0[0-9]+"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 400
_SHORT = 40


class Ambiguous(ValueError):
    """A plain scalar that YAML 1.1 and 1.2 read differently; the message says how."""


def plain_scalar(text: str) -> Scalar:
    """What an unquoted scalar means.

    Raises:
        Ambiguous: YAML 1.1 and 1.2 differ about it, or it is a number of absurd length.
    """
    if len(text) <= 5 and text in _WORDS:
        return _WORDS[text]
    if len(text) <= 3 and text in _OLD_BOOLS:
        raise Ambiguous(f"{text} is a truth value to some YAML readers and a text to others")
    if text[0] not in "+-.0123456789":
        return text
    is_int = _INT.fullmatch(text) is not None
    if is_int or _FLOAT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise Ambiguous(f"{text[:_SHORT]}... is a number of {len(text)} digits")
        if is_int:
            return int(text, 16) if text.startswith("0x") else int(text)
        if not _OLD_NUMBER.fullmatch(text) or "." in text:
            return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    if _OLD_NUMBER.fullmatch(text):
        raise Ambiguous(f"{text[:_SHORT]} is different numbers to different YAML readers, or a text")
    return text


@dataclass
class _Open:
    """A list or mapping whose end has not been met."""

    line: int
    anchor: str | None
    values_before: int
    characters_before: int
    items: list[Located] | None = None
    entries: dict[str, Located] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    merging: bool = False
    merged: list[Located] = field(default_factory=list)
    merge_line: int = 0
    height: int = 1


@dataclass(frozen=True)
class _Anchored:
    """What an alias stands for, with its cost: values, characters, levels."""

    tree: Located
    values: int
    characters: int
    height: int


class _Builder:
    """Takes events in order; ``root`` is the tree once they have ended."""

    def __init__(self, file: str, max_values: int) -> None:
        self.file = file
        self.max_values = max_values
        self.root: Located | None = None
        self.documents = 0
        self.values = 0
        self.characters = 0
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Anchored | None] = {}

    def fail(self, message: str, line: int) -> NoReturn:
        raise BadInput(message, f"{self.file}:{line}")

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event, line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self.open(event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.close()
        elif isinstance(event, yaml.AliasEvent):
            self.alias(str(event.anchor), line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.fail("a second document begins here; one file is one document", line)

    def count(self, values: int, characters: int, line: int) -> None:
        self.values += values
        self.characters += characters
        if self.values > self.max_values:
            self.fail(f"the file holds more than {self.max_values} values, counting what its aliases stand for", line)
        if self.characters > MAX_CHARACTERS:
            self.fail("the file's texts are too large, counting what its aliases stand for", line)

    def expects_key(self) -> bool:
        return (
            bool(self.stack)
            and self.stack[-1].items is None
            and self.stack[-1].key is None
            and not self.stack[-1].merging
        )

    def refuse_tag(self, tag: str, line: int) -> NoReturn:
        name = tag.replace("tag:yaml.org,2002:", "!!")
        self.fail(f"the tag {name[:_SHORT]} is not allowed; remove it (a value in quotes is always a text)", line)

    def scalar(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self.refuse_tag(event.tag, line)
        text: str = event.value
        self.count(1, len(text), line)
        if not text.isascii() and _SURROGATE.search(text):
            self.fail("this text holds half of a surrogate pair, which is no character", line)
        if self.expects_key():
            self.key(text, bool(event.style), event.anchor, line)
            return
        try:
            value = text if event.style else plain_scalar(text)
        except Ambiguous as error:
            self.fail(f"{error}; {_remedy(text)}", line)
        tree = Located(value, self.file, line, text)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(tree, 1, len(text), 0)
        self.add(tree, 0, line)

    def key(self, text: str, quoted: bool, anchor: str | None, line: int) -> None:
        if anchor is not None:
            self.fail("a key can't have an anchor", line)
        top = self.stack[-1]
        if not quoted and text == "<<":
            if top.merge_line:
                self.fail(f"a second << (the first is on line {top.merge_line}); merge a list: <<: [*a, *b]", line)
            top.merging, top.merge_line = True, line
            return
        try:
            is_text = quoted or isinstance(plain_scalar(text), str)
        except Ambiguous:
            is_text = False
        if not is_text:
            spelt = text[:_SHORT]
            self.fail(
                f'the key {spelt} is not a text; put it in quotes: "{spelt}"' if text else "this key is empty", line
            )
        if text in top.key_lines:
            self.fail(f"the key {text[:_SHORT]!r} is given twice; the first is on line {top.key_lines[text]}", line)
        top.key, top.key_lines[text] = text, line

    def open(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self.refuse_tag(event.tag, line)
        if self.expects_key():
            self.fail("a key must be a text, not a list or a mapping (quote a text that begins with { or [)", line)
        if len(self.stack) >= MAX_DEPTH:
            self.fail(f"this is nested more than {MAX_DEPTH} levels deep", line)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        is_list = isinstance(event, yaml.SequenceStartEvent)
        self.stack.append(_Open(line, event.anchor, self.values, self.characters, [] if is_list else None))
        self.count(1, 0, line)

    def close(self) -> None:
        top = self.stack.pop()
        if top.items is not None:
            tree = Located(tuple(top.items), self.file, top.line)
        else:
            for source in top.merged:
                assert isinstance(source.value, dict)
                for key, item in source.value.items():
                    if key not in top.entries:
                        top.entries[key] = item
                        top.key_lines[key] = source.key_lines[key]
            tree = Located(top.entries, self.file, top.line, key_lines=top.key_lines)
        if top.anchor is not None:
            cost = (self.values - top.values_before, self.characters - top.characters_before, top.height)
            self.anchors[top.anchor] = _Anchored(tree, *cost)
        self.add(tree, top.height, top.line)

    def alias(self, name: str, line: int) -> None:
        if self.expects_key():
            self.fail("an alias can't be a key", line)
        if name not in self.anchors:
            self.fail(f"the alias *{name[:_SHORT]} has no anchor &{name[:_SHORT]} before it", line)
        target = self.anchors[name]
        if target is None:
            self.fail(f"the alias *{name[:_SHORT]} stands for something that contains itself", line)
        self.count(target.values, target.characters, line)
        if len(self.stack) + target.height > MAX_DEPTH:
            self.fail(f"this is nested more than {MAX_DEPTH} levels deep", line)
        self.add(target.tree, target.height, line)

    def add(self, tree: Located, height: int, line: int) -> None:
        """Puts a finished value into what is open."""
        if not self.stack:
            self.root = tree
            return
        top = self.stack[-1]
        top.height = max(top.height, height + 1)
        if top.items is not None:
            top.items.append(tree)
        elif top.merging:
            top.merging = False
            sources = tree.value if isinstance(tree.value, tuple) else (tree,)
            if not all(isinstance(source.value, dict) for source in sources):
                self.fail("<< takes a mapping or a list of mappings", line)
            top.merged.extend(sources)
        else:
            assert top.key is not None
            top.entries[top.key], top.key = tree, None


def _remedy(text: str) -> str:
    spelt = text[:_SHORT]
    if text in _OLD_BOOLS:
        meant = "true" if text.lower() in ("yes", "on") else "false"
        return f'write {meant}, or "{spelt}" for the text'
    return f'write a plain decimal number, or "{spelt}" for the text'


def parse_yaml(text: str, file: str, max_values: int = MAX_VALUES) -> Located:
    """The one document of the text; an empty one is the value None.

    Raises:
        BadInput: with file and line, for a syntax error, a duplicate key, a key that is no text, a tag, an alias that
            is unknown, contains itself or expands to too much, a second document, or nesting beyond 100 levels.
    """
    # Checked here because the parser compares each such line with all before it: hours for a large file.
    tag_line = re.search(r"^%TAG", text, re.MULTILINE)
    if tag_line:
        raise BadInput(
            "%TAG is not allowed; tags are not used here", f"{file}:{text.count(chr(10), 0, tag_line.start()) + 1}"
        )
    builder = _Builder(file, max_values)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        lines = text.rstrip().split("\n")
        line = min(mark.line + 1 if mark is not None else 1, len(lines))
        hint = " (a tab; indent with spaces)" if lines[line - 1].lstrip(" ").startswith("\t") else ""
        if error.context and error.context_mark and error.context_mark.line + 1 != line:
            hint += f" ({error.context} that begins on line {error.context_mark.line + 1})"
        raise BadInput(f"this is not valid YAML: {error.problem or error.context}{hint}", f"{file}:{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The pure Python scanner lets some of its own errors through, such as an escape beyond Unicode.
        line = builder.stack[-1].line if builder.stack else 1
        raise BadInput(f"this is not valid YAML: {' '.join(str(error).split())}", f"{file}:{line}") from None
    return builder.root if builder.root is not None else Located(None, file, 1, "")
