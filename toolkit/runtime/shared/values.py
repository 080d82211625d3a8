"""A parameter's value as text: JSON that is read where it is JSON, and values as messages show them."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms, dataclasses and pickle 10 ms more.
    from typing import Any


def short_json(value: Any) -> str:
    """A value as messages have it: JSON, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json_text(value: Any) -> Any:
    """Text that is JSON, as what it says: a shell step exports lists and objects as text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
