"""Values of the user's: as JSON in the order of their keys, as the texts that spell them, and shortened for messages.

Canonical JSON, with its keys sorted, is for documents of our own (``records.py``). The order of its keys is part of a value, and
so is the text that spelled it, where it came as text: ``1.10`` is the number 1.1, and a version.
"""

from __future__ import annotations

import json
import math
import re
import sys
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms, dataclasses and pickle 10 ms more.
    from typing import NoReturn, Optional

    from .documents import JsonValue, StoredValue

DEEPEST = 200
"""Levels of lists and objects that a value may have."""
LONGEST_INTEGER = 4300
"""Digits of an integer. Python writes and reads no more of them, unless a program has lifted that limit for itself."""


class RepeatedKey(ValueError):
    """An object of a JSON text has a key twice, so that one of the two values would be lost. The message names the key."""


# --- as JSON --------------------------------------------------------------------------------------------------------


def encode_value(value: JsonValue) -> bytes:
    """A value that is JSON data as compact JSON in ASCII, its keys in their order. A lone surrogate survives as its escape.

    Raises:
        ValueError: a number is not finite, or too long. TypeError: it is not JSON.
    """
    # JSON data can't hold itself, and to check that takes a quarter of the time.
    return json.dumps(value, separators=(",", ":"), allow_nan=False, check_circular=False).encode("ascii")


_BASIC = frozenset({str, int, float, bool, type(None)})
_TEXT = frozenset({str})


def is_plain(value: object) -> bool:
    """Whether a value is JSON data as it is: of Python's own types alone, its keys texts, its numbers finite, not nested deep.

    An integer may still have too many digits, which :func:`encode_value` refuses where Python does. All parts of one level are
    looked at together. So a value of millions of parts is checked faster than it is encoded.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        kinds = set(map(type, level))
        if float in kinds and not all(map(math.isfinite, [part for part in level if type(part) is float])):
            return False
        if int in kinds and not _digits_are_limited() and any(is_too_long(part) for part in level):
            return False
        if kinds <= _BASIC:
            return True
        if not kinds - _BASIC <= {dict, list}:
            return False
        objects = [part for part in level if type(part) is dict] if dict in kinds else []
        if not _TEXT.issuperset(map(type, chain.from_iterable(objects))):
            return False
        lists = [part for part in level if type(part) is list] if list in kinds else []
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, objects))))
    return False


def is_too_long(value: object) -> bool:
    """Whether a value is an integer of more digits than other programs read."""
    return isinstance(value, int) and value.bit_length() > 14_000 and abs(value) >= 10**LONGEST_INTEGER


def _digits_are_limited() -> bool:
    """Whether this Python refuses to write longer integers itself."""
    limit = getattr(sys, "get_int_max_str_digits", None)
    return limit is not None and 0 < limit() <= LONGEST_INTEGER


_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def joins_surrogates(value: JsonValue, data: bytes) -> bool:
    """Whether a text of a value holds the two halves of a surrogate pair one by one. JSON would make one character of them.

    Args:
        data: the value as :func:`encode_value` gives it.
    """
    if b"\\ud" not in data:
        return False
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _HALVES.search(text) is not None
    return False


def short_json(value: JsonValue) -> str:
    """A value as messages show it: JSON, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- as text --------------------------------------------------------------------------------------------------------


def parse_json(text: str) -> JsonValue:
    """The value of a JSON text, if records can hold it.

    Raises:
        ValueError: it is no JSON, holds a number that is none, or too long a one, or is nested too deep.
        RepeatedKey: an object has a key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not is_plain(value):
        raise ValueError("it holds a number that is too large, or is nested too deep")
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKey(f"the key {short_json(key)} is given twice")
            seen.add(key)
    return made


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def parse_json_text(value: JsonValue) -> JsonValue:
    """A text that is JSON as the value it spells, because a shell step exports lists and objects as text."""
    if isinstance(value, str):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


def from_text(text: str) -> StoredValue:
    """What a text stands for that a command line, an environment variable or a shell step gives: JSON where it is, or else text.

    The text is kept as the value's spelling where the value alone does not give it back, as of ``1.10``, ``1e3`` or ``[1,2]``.

    Raises:
        RepeatedKey: it is JSON with a key twice.
    """
    try:
        value = parse_json(text)
    except RepeatedKey:
        raise
    except ValueError:
        return {"kind": "json", "value": text}
    stored: StoredValue = {"kind": "json", "value": value}
    # Of null as well, because a null that never was a text is no text.
    if not isinstance(value, str) and (value is None or text != as_text(value)):
        stored["spelling"] = text
    return stored


def as_text(value: JsonValue) -> str:
    """A value as a shell's variable holds it, where it has no spelling: text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else as_json_text(value)


def as_json_text(value: JsonValue) -> str:
    """A value as JSON that a person or a shell reads."""
    return json.dumps(value, separators=(", ", ": "))


class SpelledNumber(str):
    """A number of a JSON text, as it is spelled there."""

    __slots__ = ()


def parse_spelling(spelling: str) -> JsonValue:
    """The value of a JSON text with each number as a :class:`SpelledNumber`."""
    return json.loads(spelling, parse_float=SpelledNumber, parse_int=SpelledNumber)


def item_spelling(spelling: str, position: int, item: JsonValue) -> Optional[str]:
    """The spelling of an item of a list that a text spells; None where the item itself gives it back.

    Args:
        spelling: JSON text of a list that has the item.
    """
    items = parse_spelling(spelling)
    return _own_spelling(items[position], item) if isinstance(items, list) else None


def item_spellings(spelling: str, items: list[JsonValue]) -> list[Optional[str]]:
    """The same of all items of a list."""
    spelled = parse_spelling(spelling)
    pairs = zip(spelled if isinstance(spelled, list) else [], items)
    return [_own_spelling(text, item) for text, item in pairs]


def _own_spelling(spelled: JsonValue, item: JsonValue) -> Optional[str]:
    text = spelled_text(spelled)
    return None if isinstance(item, str) or text == as_text(item) else text


def spelled_text(value: JsonValue) -> str:
    """A value of :func:`parse_spelling` as text: JSON as :func:`as_text` writes it, but for the numbers."""
    if isinstance(value, SpelledNumber):
        return str(value)
    if isinstance(value, list):
        return list_spelling([spelled_text(item) for item in value])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {spelled_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def list_spelling(spellings: list[str]) -> str:
    """The spelling of a list whose items are spelled like this."""
    return f"[{', '.join(spellings)}]"
