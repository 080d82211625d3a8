"""What the user's code raised while a pipeline was described: where, and what it lacked."""

from __future__ import annotations

import errno
import os
import sys

from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Optional

    from ..shared.documents import DescribeResponse

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ECONNREFUSED)
_OF_THE_NETWORK = (
    "gaierror",
    "URLError",
    "NewConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "ClientConnectorError",
)
"""The names of exceptions of the standard library and of well-known clients that say that nobody could be reached."""


def raised_answer(error: BaseException, code: str) -> DescribeResponse:
    """The answer for an exception of the user's code.

    Args:
        code: the folder of the user's code, which places are relative to.
    """
    if isinstance(error, SyntaxError) and _own_path(error.filename or "", code):
        version = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
        line = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        return {
            "refused": f"{type(error).__name__}: {error.msg} ({version}){line}",
            "place": f"{_own_path(error.filename or '', code)}:{error.lineno or 1}",
        }
    frames = imports.strip_runtime_frames(error.__traceback__)
    text = "".join(imports.standard_module("traceback").format_exception(type(error), error, frames))
    answer: DescribeResponse = {"raised": f"{type(error).__name__}: {error}", "traceback": text}
    place = _place(error.__traceback__, code)
    if place is not None:
        answer["place"] = place
    if isinstance(error, ModuleNotFoundError) and error.name:
        answer["module"] = error.name
    for cause in _chain(error):
        if isinstance(cause, KeyError) and cause.args and _is_raised_by_environ(cause.__traceback__):
            answer.setdefault("variable", str(cause.args[0]))
        if isinstance(cause, OSError) and isinstance(cause.filename, str):
            answer.setdefault("path", os.path.abspath(cause.filename))
        names = [kind.__name__ for kind in type(cause).__mro__]
        if getattr(cause, "errno", None) in _UNREACHABLE or not set(names).isdisjoint(_OF_THE_NETWORK):
            answer["network"] = True
    return answer


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    """An exception, and those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _own_path(path: str, code: str) -> str:
    """The path of a file of the user's code, relative to its folder; empty for all other files."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(code)) if os.path.isabs(path) else ".."
    parts = relative.split(os.sep)
    return "" if parts[0] in ("..", ".venv") or "site-packages" in parts else relative


def _place(frames: Optional[TracebackType], code: str) -> Optional[str]:
    """The innermost line of the user's code in a traceback."""
    place = None
    while frames is not None:
        path = _own_path(frames.tb_frame.f_code.co_filename, code)
        if path:
            place = f"{path}:{frames.tb_lineno}"
        frames = frames.tb_next
    return place


def _is_raised_by_environ(frames: Optional[TracebackType]) -> bool:
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return frames is not None and frames.tb_frame.f_globals.get("__name__") == "os"
