"""Catalog keys with names in braces, which stand for values: ``model-{item}.pkl``.

``{{`` and ``}}`` are braces of the key itself. Only keys that hold a brace need this module, so the others cost no import.
"""

from __future__ import annotations

import re

from .catalog import BadKey, is_pattern
from .values import as_text, short_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .documents import JsonValue

_PART = re.compile(r"(\{\{|\}\})|\{([A-Za-z_][A-Za-z0-9_]*)\}|([{}][^{}]*\}?)|[^{}]+")
_GLOB = re.compile(r"[*?\[]")


def parse_key(key: str) -> list[tuple[str, bool]]:
    """The parts of a key, each as its text and whether it is a name.

    Raises:
        BadKey: a brace is neither doubled nor around a name.
    """
    parts: list[tuple[str, bool]] = []
    for match in _PART.finditer(key):
        brace, name, wrong = match.groups()
        if wrong:
            raise BadKey(
                f"the catalog key {key!r} has {wrong!r}: in braces stands the name of a parameter and nothing else, and a brace "
                "itself is written twice"
            )
        parts.append((name, True) if name else (brace[0] if brace else match.group(), False))
    return parts


def names_in_key(key: str) -> list[str]:
    """The names in a key, each once.

    Raises:
        BadKey: as of :func:`parse_key`.
    """
    return list(dict.fromkeys(text for text, is_name in parse_key(key) if is_name))


def fill_key(key: str, text_of: Callable[[str], str]) -> tuple[str, bool]:
    """A key with its values, and whether it is a name as it stands, which no character of a pattern in it changes.

    A value is never a pattern: in a key that is one, its characters are escaped.

    Raises:
        BadKey: as of :func:`parse_key`.
    """
    parts = parse_key(key)
    names_pattern = any(is_pattern(text) for text, is_name in parts if not is_name)
    filled = []
    for text, is_name in parts:
        value = text_of(text) if is_name else text
        filled.append(_GLOB.sub(r"[\g<0>]", value) if is_name and names_pattern else value)
    return "".join(filled), not names_pattern


def escape_braces(name: str) -> str:
    """The key that stands for this very name."""
    return name.replace("{", "{{").replace("}", "}}")


def text_in_key(key: str, name: str, value: JsonValue) -> str:
    """A value without a spelling as it stands in a key.

    Raises:
        BadKey: it is neither text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadKey(
            f"the catalog key {key!r} names {name}, which is {_kind(value)} ({short_json(value)}): only text and numbers "
            "can be part of a key"
        )
    return as_text(value)


def _kind(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true or false"
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "a dictionary" if isinstance(value, dict) else "no JSON"
