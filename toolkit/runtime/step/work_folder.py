"""A folder of links to the project's files, for one attempt alone, where the code itself must not be written to.

Its folders are real and its files are links, so that new files beside the code belong to the attempt.
"""

from __future__ import annotations

import os

from ..shared.whole_files import WholeFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def make_work_folder(folder: str, code: str, files: Iterable[tuple[str, bool]]) -> None:
    """Makes the folder of links.

    Args:
        folder: where it is made. code: the project's root, absolute.
        files: relative paths, each with whether it is a folder; a folder comes before what it holds.
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
    paths = []
    for folder, folders, files in os.walk(code):
        folders.sort()
        relative = os.path.relpath(folder, code)
        paths += [(os.path.normpath(os.path.join(relative, name)), True) for name in folders]
        paths += [(os.path.normpath(os.path.join(relative, name)), False) for name in sorted(files)]
    return paths


def replace_link(path: str) -> None:
    """Replaces a link to a file by a copy of the file."""
    with open(path, "rb") as source, WholeFile(path) as copy:
        while chunk := source.read(1 << 20):
            copy.write(chunk)
        copy.publish()
