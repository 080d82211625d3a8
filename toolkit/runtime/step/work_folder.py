"""A folder of links to the project, for one attempt alone: where code can't be written in place.

Folders are real and files are links, so that what a step writes beside the code stays the attempt's own.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def make_work_folder(folder: str, code: str, files: Iterable[tuple[str, bool]]) -> None:
    """Makes ``folder``.

    Args:
        code: the project's root, absolute. files: relative paths, each with whether it is a folder, parents first.
    """
    os.makedirs(folder, exist_ok=True)
    for path, is_folder in files:
        target = os.path.join(folder, path)
        if is_folder:
            os.makedirs(target, exist_ok=True)
        else:
            os.symlink(os.path.join(code, path), target)


def list_code(code: str) -> list[tuple[str, bool]]:
    """All that lies below ``code``, as :func:`make_work_folder` takes it."""
    found = []
    for folder, folders, files in os.walk(code):
        folders.sort()
        inside = os.path.relpath(folder, code)
        found += [(os.path.normpath(os.path.join(inside, name)), True) for name in folders]
        found += [(os.path.normpath(os.path.join(inside, name)), False) for name in sorted(files)]
    return found


def replace_link(path: str) -> None:
    """Replaces a link to a file by a copy of the file."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(path, "rb") as source, open(temporary, "wb") as copy:
        while chunk := source.read(1 << 20):
            copy.write(chunk)
    os.rename(temporary, path)
