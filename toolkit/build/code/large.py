"""Large files of the code, which lie in layers of their own: a changed line beside them sends none of them.

Which files share a layer follows from their paths and sizes alone, never from what was built before. So two checkouts give the
same layers, and a file that is added, changed or removed changes no layer but its own (and, where its size leaves a range, the
one that it comes to).
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable

from toolkit.build.code.files import CodeFile
from toolkit.build.code.layer import LayerEntry
from toolkit.build.progress import shown_size
from toolkit.runtime.shared.protocol import WORKSPACE

LARGE = 1_000_000
"""Bytes of a file from which it is large."""
TOGETHER = 10_000_000
"""Bytes of all large files together above which they get layers of their own."""
_RANGES = ((100_000_000, 10), (10_000_000, 6), (0, 4))
"""How many layers files of at least so many bytes are spread over: the larger a file, the more likely it is alone in one."""
MOST_LAYERS = sum(layers for _, layers in _RANGES)
"""With 127 layers that overlay2 can stack, this leaves a hundred to the base image."""
_MUCH = 100_000_000
"""Bytes of code that are worth a warning."""
_NAMED = 3


def large_layers(entries: list[LayerEntry], most: int = MOST_LAYERS) -> list[list[LayerEntry]]:
    """The entries of each layer of large files, from the bottom up, with the folders above them; empty where there are none.

    The layers with the most bytes come first, because an engine reads a layer again when one below it changes. Only the power
    of two that holds a layer's size counts for that, so that a file that grows a little moves nothing.

    Args:
        most: layers that there may be.
    """
    large = [entry for entry in entries if entry.source is not None and entry.size >= LARGE]
    if most < 1 or sum(entry.size for entry in large) <= TOGETHER:
        return []
    groups: dict[int, list[LayerEntry]] = {}
    for entry in large:
        groups.setdefault(_number(entry) % most, []).append(entry)
    by_path = {entry.path: entry for entry in entries}

    def place(number: int) -> tuple[int, int]:
        return -sum(entry.size for entry in groups[number]).bit_length(), number

    return [_with_folders(groups[number], by_path) for number in sorted(groups, key=place)]


def _number(entry: LayerEntry) -> int:
    first = 0
    for least, layers in _RANGES:
        if entry.size >= least:
            return first + int.from_bytes(hashlib.sha256(entry.path.encode()).digest()[:8], "big") % layers
        first += layers
    raise AssertionError("the last range begins with 0")


def _with_folders(files: list[LayerEntry], by_path: dict[str, LayerEntry]) -> list[LayerEntry]:
    folders = set()
    for entry in files:
        folder = posixpath.dirname(entry.path)
        while folder.startswith(WORKSPACE) and folder not in folders:
            folders.add(folder)
            folder = posixpath.dirname(folder)
    return [*(by_path[folder] for folder in sorted(folders)), *files]


def size_warning(files: Iterable[CodeFile]) -> str | None:
    """A sentence that names the largest files, where all of them are much; else None."""
    sizes = {file.path: file.size for file in files}
    total = sum(sizes.values())
    if total <= _MUCH:
        return None
    largest = sorted(sizes, key=lambda path: (-sizes[path], path))[:_NAMED]
    named = ", ".join(f"{path} ({shown_size(sizes[path])})" for path in largest)
    more = ", …" if len(sizes) > len(largest) else ""
    return (
        f"the code has {shown_size(total)}: {named}{more}: name what no step needs in .dockerignore, or mount it as a volume "
        "(docs/files.md)"
    )
