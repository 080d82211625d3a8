"""Which files of the code share a layer: large files, many small files of data and many programs lie below the code layer.

So a changed line sends none of them. Which files share a layer follows from their paths, kinds and sizes alone, never from what
was built before. So two checkouts give the same layers, and a file that is added, changed or removed changes no layer but its own
(and, where its size leaves a range, the one that it comes to). Where small files are four times as many, they spread anew.

A file gets no object here: there may be a hundred thousand, of which one has changed. A group keeps the bytes that the index has of
each folder, from which its key is made, and makes entries of them when its layer must be read.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from toolkit.build.code.files import source_below
from toolkit.build.code.kinds import DATA, FORMAT, LARGE, PROGRAM, Folders, Own, Part, part_of
from toolkit.build.code.layer import LayerEntry, Tar
from toolkit.build.progress import shown_size
from toolkit.runtime.shared.protocol import WORKSPACE

if TYPE_CHECKING:
    from toolkit.build.code.index import Code

TOGETHER = 10_000_000
"""Bytes of all large files together, and of all small files of data, above which they get layers of their own."""
MANY_DATA = 2_000
"""Small files of data above which they get layers of their own."""
MANY_PROGRAMS = 5_000
"""Programs above which only some lie in the code layer."""
_RANGES = ((100_000_000, 10), (10_000_000, 6), (0, 4))
"""How many layers large files of at least so many bytes are spread over: the larger a file, the more likely it is alone in one."""
LARGE_FILES = "large files"
MOST_LARGE = sum(layers for _, layers in _RANGES)
MOST_DATA = 12
MOST_PROGRAMS = 7
"""Layers of each kind. With the 127 layers that overlay2 can stack, they leave over eighty to the base image."""
_A_LAYER = 1_000
"""Small files that an engine unpacks in the time that one more layer takes."""
_A_FILE = 10_000
"""Bytes that it unpacks in the time that one more small file takes."""
_CROWDED = 1_000
"""Files of one kind in a folder above which they do not share one layer."""
_MUCH = 100_000_000
"""Bytes of code that are worth a warning."""
_NAMED = 3


@dataclass(frozen=True)
class Group:
    """Files that share a layer.

    Attributes:
        holds: what they are: ``large files``, ``data``, ``programs`` or ``code``.
        parts: the part of each folder that has some, in order, by the folder's path.
        empty: folders that lie in the layer although no file of it is in them, or below them.
    """

    holds: str
    parts: tuple[tuple[str, Part], ...]
    empty: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many files and links there are."""
        return sum(part[0] for _, part in self.parts)

    @property
    def size(self) -> int:
        """The bytes of the files."""
        return sum(part[1] for _, part in self.parts)

    @property
    def key(self) -> str:
        """A SHA-256, in hex, of all that :meth:`entries` gives but the sources."""
        digest = hashlib.sha256()
        for folder, part in self.parts:
            digest.update(marshal.dumps((folder, part), FORMAT))
        digest.update(marshal.dumps(self.empty, FORMAT))
        return digest.hexdigest()

    def folders(self) -> set[str]:
        """The folders that lie in the layer, with a slash at the end of each; "" is the working folder."""
        found = {""}
        for folder in (*(folder for folder, _ in self.parts), *self.empty):
            while folder not in found:
                found.add(folder)
                folder = folder[: folder.rfind("/", 0, -1) + 1]
        return found

    def entries(self, root: str) -> Iterator[LayerEntry]:
        """The entries of the layer, in no order.

        Args:
            root: the project's.
        """
        for folder in self.folders():
            yield LayerEntry(f"{WORKSPACE}/{folder}"[:-1], "dir", 0o777)
        for folder, (_, _, content) in self.parts:
            for name, kind, executable, size, digest in marshal.loads(content):
                path = f"{WORKSPACE}/{folder}{name}"
                if kind == "file":
                    mode, source = 0o777 if executable else 0o666, source_below(root, folder + name)
                    yield LayerEntry(path, "file", mode, digest, source, size=size)
                else:
                    yield LayerEntry(path, kind, 0o777, digest)


@dataclass(frozen=True)
class GroupTar:
    """The tar of a group, which is made of the project's files when it is read.

    Attributes:
        root: the project's. size: bytes of the tar.
        copy: a file that has the tar already.
    """

    group: Group
    root: str
    size: int
    copy: Path | None = None

    def read(self) -> Iterator[bytes]:
        """The bytes, in pieces.

        Raises:
            BadInput, ChangedFile: as of :meth:`Tar.read`.
        """
        if self.copy is None:
            yield from Tar(tuple(self.group.entries(self.root))).read()
            return
        with self.copy.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


_CHUNK = 1 << 20


def grouped(folders: Folders, most: int) -> tuple[list[Group], Group]:
    """The groups that get layers below the code layer, from the bottom up, and what is left for the code layer.

    What changes least often for its cost lies at the bottom, because an engine with a graph driver reads a layer again when one
    below it changes: large files, the largest first, then data, then programs.

    Args:
        most: layers that there may be below the code layer.
    """
    large, left_large = _large(folders, min(MOST_LARGE, most))
    data, left_data = _spread(folders, DATA, "data", min(MOST_DATA, most - len(large)))
    room = min(MOST_PROGRAMS, most - len(large) - len(data))
    programs, left_programs = _spread(folders, PROGRAM, "programs", room)
    below = [*large, *data, *programs]
    rest = Group("code", tuple(sorted((*left_large, *left_data, *left_programs))))
    covered = rest.folders().union(*(group.folders() for group in below))
    return below, replace(rest, empty=tuple(folder for folder in folders if folder not in covered))


_Left: TypeAlias = "list[tuple[str, Part]]"


def _spread(folders: Folders, kind: int, holds: str, layers: int) -> tuple[list[Group], _Left]:
    """The groups of small files of one kind, and what is left for the code layer. A folder that is not crowded is in one group."""
    mine = [(folder, parts[kind]) for folder, parts in folders.items() if parts[kind][0]]
    count, size = sum(part[0] for _, part in mine), sum(part[1] for _, part in mine)
    is_program = kind == PROGRAM
    is_many = count > MANY_PROGRAMS if is_program else count > MANY_DATA or size > TOGETHER
    if layers < 1 or not is_many:
        return [], mine
    # The code layer has an equal share of programs: which of them change is not known, and its share is always loaded.
    shares: list[_Left] = [[] for _ in range(_number_of_shares(count + size // _A_FILE, layers + is_program))]
    for folder, part in mine:
        if part[0] <= _CROWDED:
            # People write what lies in the project's root.
            number = -1 if is_program and not folder else _hash(folder) % len(shares)
            shares[number].append((folder, part))
            continue
        split: list[list[Own]] = [[] for _ in shares]
        for one in marshal.loads(part[2]):
            split[_hash(folder + one[0]) % len(shares)].append(one)
        for share, files in zip(shares, split, strict=True):
            if files:
                share.append((folder, part_of(files)))
    left = shares.pop() if is_program else []
    return [Group(holds, tuple(share)) for share in shares if share], left


def _number_of_shares(files: int, most: int) -> int:
    """The power of two near the root of what the files cost in layers, which makes a changed file cost least.

    With n shares it costs half of the files, a share of them and the time of n / 2 layers.
    """
    return min(1 << (files // _A_LAYER).bit_length() // 2, most)


def _hash(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=4).digest(), "big")


def _large(folders: Folders, layers: int) -> tuple[list[Group], _Left]:
    """The groups of large files, and what is left for the code layer.

    Those with the most bytes come first. Only the power of two that holds a group's size counts for that, so that a file that grows
    a little moves nothing.
    """
    mine = [(folder, parts[LARGE]) for folder, parts in folders.items() if parts[LARGE][0]]
    if layers < 1 or sum(part[1] for _, part in mine) <= TOGETHER:
        return [], mine
    shares: dict[int, dict[str, list[Own]]] = {}
    for folder, part in mine:
        for one in marshal.loads(part[2]):
            number = _number(f"{WORKSPACE}/{folder}{one[0]}", one[3]) % layers
            shares.setdefault(number, {}).setdefault(folder, []).append(one)
    groups = {
        number: Group(LARGE_FILES, tuple((folder, part_of(files)) for folder, files in share.items()))
        for number, share in shares.items()
    }
    return [groups[number] for number in sorted(groups, key=lambda one: (-groups[one].size.bit_length(), one))], []


def _number(path: str, size: int) -> int:
    first = 0
    for least, layers in _RANGES:
        if size >= least:
            return first + int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") % layers
        first += layers
    raise AssertionError("the last range begins with 0")


def size_warning(code: Code) -> str | None:
    """A sentence that names the largest files, where all of them are much; else None."""
    if code.size <= _MUCH:
        return None
    files = code.large()
    if len(files) < _NAMED:
        files = code.files()
    sizes = {file.path: file.size for file in files}
    largest = sorted(sizes, key=lambda path: (-sizes[path], path))[:_NAMED]
    named = ", ".join(f"{path} ({shown_size(sizes[path])})" for path in largest)
    more = ", …" if code.count > len(largest) else ""
    return (
        f"the code has {shown_size(code.size)}: {named}{more}: name what no step needs in .dockerignore, or mount it as a volume "
        "(docs/files.md)"
    )
