"""The value of a parameter as text: text that is JSON is read as JSON, and values are shortened for messages."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms, dataclasses and pickle 10 ms more.
    from .documents import JsonValue


def short_json(value: JsonValue) -> str:
    """A value as messages show it: JSON, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json_text(value: JsonValue) -> JsonValue:
    """A text that is JSON as the value it spells, because a shell step exports lists and objects as text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
