"""YAML text to a located tree, built from the events of PyYAML's parser.

The tree is our own and not that of PyYAML's composer, because the composer bounds neither depth nor size nor aliases. It
recurses once for each level (in C, without a limit), and it builds the whole document before anything can be counted. A few
lines of aliases of aliases then stand for billions of values. Events come one at a time, so each bound is checked before the
value is taken. The composer also accepts duplicate keys, which are errors here.

Plain scalars are read by YAML 1.2's core schema. Spellings to which YAML 1.1 gives another meaning (``on``, ``012``,
``1_000``, ``1:30``) are refused, because the user can't know which version a program follows. A date is a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from toolkit.config.located import MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES, Located, Scalar
from toolkit.errors import BadInput

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE_WORDS: dict[str, Scalar] = {"": None, "~": None}
_CORE_WORDS.update({spelling: None for spelling in ("null", "Null", "NULL")})
_CORE_WORDS.update({spelling: True for spelling in ("true", "True", "TRUE")})
_CORE_WORDS.update({spelling: False for spelling in ("false", "False", "FALSE")})
_YAML_1_1_BOOLEANS = frozenset(
    spelling for word in ("yes", "no", "on", "off") for spelling in (word, word.title(), word.upper())
)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_YAML_1_1_NUMBER = re.compile(
    r"[-+]?0[0-7_]+|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|0o[0-7]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|[-+]?0[0-9]+"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 400
_LONGEST_QUOTE = 40


class Ambiguous(ValueError):
    """A plain scalar that YAML 1.1 and 1.2 read differently. The message says how."""


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        Ambiguous: YAML 1.1 and 1.2 read it differently, or it is a number of more than 400 digits.
    """
    if len(text) <= 5 and text in _CORE_WORDS:
        return _CORE_WORDS[text]
    if len(text) <= 3 and text in _YAML_1_1_BOOLEANS:
        raise Ambiguous(f"{text} is a truth value to some YAML readers and a text to others")
    if text[0] not in "+-.0123456789":
        return text
    is_int = _INT.fullmatch(text) is not None
    if is_int or _FLOAT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise Ambiguous(f"{text[:_LONGEST_QUOTE]}... is a number of {len(text)} digits")
        if is_int:
            return int(text, 16) if text.startswith("0x") else int(text)
        if not _YAML_1_1_NUMBER.fullmatch(text) or "." in text:
            return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    if _YAML_1_1_NUMBER.fullmatch(text):
        raise Ambiguous(f"{text[:_LONGEST_QUOTE]} is different numbers to different YAML readers, or a text")
    return text


@dataclass
class _OpenCollection:
    """A list or mapping whose end has not been reached.

    Attributes:
        values_before: how many values the document had before it; ``characters_before`` likewise.
        items: the items of a list so far; None for a mapping.
        key: the mapping's key whose value comes next.
        merging: whether the value of ``<<`` comes next.
        merged: the mappings that ``<<`` names.
        height: how many levels deep it is so far, itself included.
    """

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
    """A value with an anchor, and what an alias of it costs: values, characters and levels."""

    tree: Located
    values: int
    characters: int
    height: int


class _TreeBuilder:
    """Builds the tree from events, in order. ``root`` is the tree after the last event."""

    def __init__(self, file: str, max_values: int) -> None:
        self.file = file
        self.max_values = max_values
        self.root: Located | None = None
        self.documents = 0
        self.values = 0
        self.characters = 0
        self.stack: list[_OpenCollection] = []
        # None while the end of the anchored value has not been reached.
        self.anchors: dict[str, _Anchored | None] = {}

    def fail(self, message: str, line: int) -> NoReturn:
        raise BadInput(message, f"{self.file}:{line}")

    def handle_event(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            self.add_scalar(event, line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self.open_collection(event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.close_collection()
        elif isinstance(event, yaml.AliasEvent):
            self.add_alias(str(event.anchor), line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.fail("a second document begins here; a file holds one document", line)

    def count(self, values: int, characters: int, line: int) -> None:
        self.values += values
        self.characters += characters
        if self.values > self.max_values:
            self.fail(f"the file holds more than {self.max_values} values, with its aliases expanded", line)
        if self.characters > MAX_CHARACTERS:
            self.fail("the file's texts are too large, with its aliases expanded", line)

    def expects_key(self) -> bool:
        return (
            bool(self.stack)
            and self.stack[-1].items is None
            and self.stack[-1].key is None
            and not self.stack[-1].merging
        )

    def refuse_tag(self, tag: str, line: int) -> NoReturn:
        name = tag.replace("tag:yaml.org,2002:", "!!")
        self.fail(
            f"the tag {name[:_LONGEST_QUOTE]} is not allowed; remove it (a value in quotes is always a text)", line
        )

    def add_scalar(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self.refuse_tag(event.tag, line)
        text: str = event.value
        self.count(1, len(text), line)
        if not text.isascii() and _SURROGATE.search(text):
            self.fail("this text holds half of a surrogate pair, which is no character", line)
        if self.expects_key():
            self.set_key(text, bool(event.style), event.anchor, line)
            return
        try:
            value = text if event.style else plain_scalar(text)
        except Ambiguous as error:
            self.fail(f"{error}; {_remedy(text)}", line)
        tree = Located(value, self.file, line, text)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(tree, 1, len(text), 0)
        self.add_value(tree, 0, line)

    def set_key(self, text: str, quoted: bool, anchor: str | None, line: int) -> None:
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
            shown = text[:_LONGEST_QUOTE]
            self.fail(
                f'the key {shown} is not a text; put it in quotes: "{shown}"' if text else "this key is empty", line
            )
        if text in top.key_lines:
            self.fail(
                f"the key {text[:_LONGEST_QUOTE]!r} is given twice; the first is on line {top.key_lines[text]}", line
            )
        top.key, top.key_lines[text] = text, line

    def open_collection(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self.refuse_tag(event.tag, line)
        if self.expects_key():
            self.fail("a key must be a text, not a list or a mapping (quote a text that begins with { or [)", line)
        if len(self.stack) >= MAX_DEPTH:
            self.fail(f"this is nested more than {MAX_DEPTH} levels deep", line)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        is_list = isinstance(event, yaml.SequenceStartEvent)
        self.stack.append(_OpenCollection(line, event.anchor, self.values, self.characters, [] if is_list else None))
        self.count(1, 0, line)

    def close_collection(self) -> None:
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
        self.add_value(tree, top.height, top.line)

    def add_alias(self, name: str, line: int) -> None:
        if self.expects_key():
            self.fail("an alias can't be a key", line)
        if name not in self.anchors:
            self.fail(f"the alias *{name[:_LONGEST_QUOTE]} has no anchor &{name[:_LONGEST_QUOTE]} before it", line)
        target = self.anchors[name]
        if target is None:
            self.fail(f"the alias *{name[:_LONGEST_QUOTE]} stands for something that contains itself", line)
        self.count(target.values, target.characters, line)
        if len(self.stack) + target.height > MAX_DEPTH:
            self.fail(f"this is nested more than {MAX_DEPTH} levels deep", line)
        self.add_value(target.tree, target.height, line)

    def add_value(self, tree: Located, height: int, line: int) -> None:
        """Adds a finished value to the innermost open list or mapping."""
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
    shown = text[:_LONGEST_QUOTE]
    if text in _YAML_1_1_BOOLEANS:
        boolean = "true" if text.lower() in ("yes", "on") else "false"
        return f'write {boolean}, or "{shown}" for the text'
    return f'write a plain decimal number, or "{shown}" for the text'


def parse_yaml(text: str, file: str, max_values: int = MAX_VALUES) -> Located:
    """The tree of the text's one document; an empty text is the value None.

    Raises:
        BadInput: with file and line, for a syntax error, a duplicate key, a key that is no text, a tag, an alias that
            is unknown, contains itself or expands to too much, a second document, or nesting beyond 100 levels.
    """
    # Refused before parsing: the parser compares each such line with all before it, which takes hours for a large file.
    tag_line = re.search(r"^%TAG", text, re.MULTILINE)
    if tag_line:
        raise BadInput(
            "%TAG is not allowed; tags are not used here", f"{file}:{text.count(chr(10), 0, tag_line.start()) + 1}"
        )
    builder = _TreeBuilder(file, max_values)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.handle_event(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        lines = text.rstrip().split("\n")
        line = min(mark.line + 1 if mark is not None else 1, len(lines))
        hint = " (a tab; indent with spaces)" if lines[line - 1].lstrip(" ").startswith("\t") else ""
        if error.context and error.context_mark and error.context_mark.line + 1 != line:
            hint += f" ({error.context} that begins on line {error.context_mark.line + 1})"
        raise BadInput(f"this is not valid YAML: {error.problem or error.context}{hint}", f"{file}:{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The scanner in pure Python raises plain errors for some input, such as an escape beyond Unicode.
        line = builder.stack[-1].line if builder.stack else 1
        raise BadInput(f"this is not valid YAML: {' '.join(str(error).split())}", f"{file}:{line}") from None
    return builder.root if builder.root is not None else Located(None, file, 1, "")
