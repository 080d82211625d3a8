"""The error for a pipeline that can't be: it knows the line of the user's file that it is about."""

from __future__ import annotations

import os
import sys
from typing import Optional

_HERE = os.path.dirname(os.path.abspath(__file__))


def user_line() -> Optional[int]:
    """The line, outside the SDK, from which the SDK was called."""
    frame = sys._getframe(1)
    while frame is not None and os.path.dirname(os.path.abspath(frame.f_code.co_filename)) == _HERE:
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_lineno if frame is not None else None


class Refusal(ValueError):
    """Something about a pipeline that can't be described; the message is one sentence for its author."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.__toolkit_refusal__ = line if line is not None else user_line()
