"""What commands print: sentences on standard error, JSON on standard output."""

from __future__ import annotations

import json
import sys


def note(sentence: str) -> None:
    """Prints a sentence for a person on standard error, so that standard output has only the result."""
    print(sentence, file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """Prints a JSON document on standard output, whatever encoding that has."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # A value or a file's name has half of a surrogate pair, or the terminal is not UTF-8.
        text = json.dumps(document, indent=2)
    print(text)
