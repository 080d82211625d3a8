"""What commands print: sentences on standard error, JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def note(sentence: str) -> None:
    """A sentence for the person at the terminal: on standard error, so that standard output is the result alone."""
    print(sentence, file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output, whatever encoding that has."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, in a value or a file's name, or a terminal that is not UTF-8.
        text = json.dumps(document, indent=2)
    print(text)
