"""What commands print: sentences on standard error, the result on standard output."""

from __future__ import annotations

import codecs
import json
import sys
from typing import TYPE_CHECKING

from toolkit.errors import Infrastructure
from toolkit.report.streams import ReaderLeft

if TYPE_CHECKING:
    from toolkit.run.request import Request


def note(sentence: str) -> None:
    """Prints a sentence for a person on standard error, so that standard output has only the result."""
    print(sentence, file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """Prints a JSON document on standard output; in ASCII where a terminal or a value of it can't be UTF-8."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    text = json.dumps(document, indent=2, ensure_ascii=not is_utf8)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # A value or a file's name has half of a surrogate pair.
        text = json.dumps(document, indent=2)
    print_file(f"{text}\n")


def print_file(text: str) -> None:
    """Prints what is kept as a file, and read by other programs: the same bytes in every locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8"))


def print_run_id(request: Request) -> None:
    """Prints the id of the run that was submitted. A reader that has left does not want it, and the run goes on.

    Raises:
        Infrastructure: it can't be written, and so can't be read by the program that waits for it. The sentence names the run.
    """
    try:
        print(request.run_id, flush=True)
    except ReaderLeft:
        pass
    except Infrastructure as error:
        raise Infrastructure(f"the run {request.run_id} was submitted, but its id can't be printed: {error}") from None
