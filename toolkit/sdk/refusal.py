"""The error for a pipeline that can't be described. It knows the line of the user's file that is at fault."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from types import FrameType


def user_line() -> Optional[int]:
    """The line of the pipeline's own file in the innermost frame of that file; None when the file is not on the stack.

    Frames of other files are passed over, because messages name the pipeline's file before the line.
    """
    script = getattr(sys.modules.get("__main__"), "__dict__", None)
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_globals is not script:
        frame = frame.f_back
    return frame.f_lineno if frame is not None else None


class Refusal(ValueError):
    """A pipeline can't be described. The message is one sentence for its author."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.__toolkit_refusal__ = line if line is not None else user_line()
