"""One request about the volume and its whole answer: sent again when the connection breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from toolkit.backends.argo.volume.answer import AnswerStream, Document, DocumentSink, Sink
from toolkit.backends.argo.volume.reader import BrokenConnection, Reader
from toolkit.errors import Infrastructure

_ATTEMPTS = 3
"""How often a request is sent when the connection breaks. What arrived whole is not requested again."""
_S = TypeVar("_S", bound=Sink)


def ask(reader: Reader, make: Callable[[], tuple[Mapping[str, object], _S]], folder: Path) -> _S:
    """Sends a request until its answer came whole; returns the sink that took it.

    Args:
        make: gives the request and a sink for its answer; called for each attempt.
        folder: where the sink writes, for messages.

    Raises:
        Infrastructure: there is no answer, or what it holds can't be written on this machine.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        request, sink = make()
        stream = AnswerStream(sink)
        try:
            reader.exec(request, stream.feed)
            if not stream.whole:
                raise BrokenConnection("the answer of the pod that reads the volume was cut off")
            sink.finish()
            return sink
        except BrokenConnection:
            if not attempts_left:
                raise
        except FileNotFoundError:
            # Another process removed the run that had this id before, while this one wrote below its folder.
            if not attempts_left:
                raise Infrastructure(f"{folder} changes all the time while it is written: try again") from None
        except OSError as error:
            raise Infrastructure(f"{error.filename or folder} can't be written: {error.strerror}") from None
        finally:
            sink.close()
    raise AssertionError


def ask_documents(reader: Reader, request: Mapping[str, object], folder: Path) -> list[Document]:
    """Sends a request until its answer came whole; returns the items of the answer.

    Raises:
        Infrastructure: as of :func:`ask`.
    """
    return ask(reader, lambda: (request, DocumentSink()), folder).items
