"""What the last look at a project's code found, kept by folder, so that an unchanged folder costs no more than its listing.

It says what was hashed, and nothing is run from it. A folder whose entries have the same names, modes, sizes, times and inodes as
at the last look holds the same code. One of 100,000 files would take seconds if each got objects, a pattern and a line of JSON.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast

from toolkit.build import credentials, dockerignore, left_out
from toolkit.build.code import files, kinds
from toolkit.build.code.files import CodeFile, EntryKind, Walk, with_content
from toolkit.build.code.hashes import RACY_NS, FileContent, read_hash
from toolkit.build.code.kinds import FORMAT, LARGE, LARGE_SIZE, NOTHING, Own, Part, Parts, part_of, parts_of
from toolkit.build.code.links import warn_of_links
from toolkit.errors import VanishedFile
from toolkit.runtime.shared.whole_files import write_whole

CODE_INDEX = "code.index"
"""The name of its file in the build's folder."""
_MAGIC = b"toolkit code index 4\n"
_facts = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")

_Facts: TypeAlias = tuple[int, int, int, int, int]
_Row: TypeAlias = list["str | _Facts | None"]
"""The entries of a folder, in the order of the listing: a name, which the facts follow unless it is a folder. They are None
where they do not settle what the entry is; they then differ from those of the next look."""

_UNREAD = FileContent("", None, "")
_CODE, _IGNORED, _OUT = 0, 1, 2


class _Known(NamedTuple):
    """A folder.

    Attributes:
        row: its entries, as :data:`_Row`.
        state: whether it is code, ignored, or out with all in it.
        above: whether the folder above it is the machine's own; ``machines_own``: whether it is itself (:class:`Folder`).
        below: the names of folders in it that may hold code.
        own: its files and links.
        special: by name, the targets of its links, and the sizes that its Git LFS pointers lack.
        credentials: by name, what looks like a credential: what its content is, or nothing where its name tells it. Those that are
            among ``own`` are kept by .dockerignore.
    """

    row: bytes
    state: int
    above: bool
    machines_own: bool
    below: tuple[str, ...]
    own: Parts
    special: tuple[tuple[str, int | str], ...]
    credentials: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """The user's code as one look found it.

    Attributes:
        digest: a SHA-256, in hex, of the code. It is the same from every checkout.
        folders: its folders with the files and links of each, in order.
        pointers: files that are Git LFS pointers, with the size that is missing, in bytes.
    """

    digest: str
    pointers: dict[str, int]
    folders: dict[str, Parts]
    _walk: Walk

    @property
    def root(self) -> str:
        """The project's folder on this machine."""
        return self._walk.root

    @property
    def count(self) -> int:
        """How many files and links there are."""
        return sum(part[0] for parts in self.folders.values() for part in parts)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(part[1] for parts in self.folders.values() for part in parts)

    def without_vanished(self) -> Code:
        """The code without the files and links that are gone by now."""
        left = {}
        for prefix, parts in self.folders.items():
            left[prefix] = tuple(self._there(prefix, part) for part in parts)
        return Code(_digest(left), self.pointers, left, self._walk)

    def _there(self, prefix: str, part: Part) -> Part:
        own = marshal.loads(part[2])
        there = [one for one in own if os.path.lexists(self._walk.source(prefix + one[0]))]
        return part if len(there) == len(own) else part_of(there)

    def below(self) -> Iterator[CodeFile]:
        """The folders."""
        return (CodeFile(prefix[:-1], "dir", self._walk.folder_source(prefix)) for prefix in self.folders if prefix)

    def files(self) -> list[CodeFile]:
        """The files and links, without their stamps."""
        return [self._file(*one) for one in self._own()]

    def large(self) -> list[CodeFile]:
        """The large files, without their stamps."""
        contents = ((prefix, parts[LARGE]) for prefix, parts in self.folders.items() if parts[LARGE][0])
        return [self._file(prefix + name, *rest) for prefix, part in contents for name, *rest in marshal.loads(part[2])]

    def _file(self, path: str, kind: EntryKind, executable: bool, size: int, digest: str) -> CodeFile:
        return CodeFile(path, kind, self._walk.source(path), executable, digest if kind == "symlink" else "", size)

    def _own(self) -> Iterator[Own]:
        for prefix, parts in self.folders.items():
            for name, kind, executable, size, digest in _own(parts):
                yield prefix + name, kind, executable, size, digest

    def keep(self, file: Path) -> None:
        """Writes it for :func:`kept_lines`."""
        _write(file, (self.digest, self.folders))

    def lines(self) -> dict[str, str]:
        """One line for each entry, by its path in the project."""
        return _lines(self.folders)

    def __contains__(self, path: object) -> bool:
        """Whether a path in the project is code. This is quick for some paths of few folders only."""
        assert isinstance(path, str)
        folder, slash, name = path.rpartition("/")
        parts = self.folders.get(folder + slash)
        is_folder = f"{path}/" in self.folders
        return is_folder or (parts is not None and name in {one[0] for one in _own(parts)})


def kept_lines(file: Path, digest: str) -> dict[str, str] | None:
    """The lines of the code that :meth:`Code.keep` wrote; None where the file holds no code with this digest."""
    content = _read(file)
    if not isinstance(content, tuple) or content[0] != digest:
        return None
    return _lines(content[1])


def _own(parts: Parts) -> Iterator[Own]:
    for count, _, content in parts:
        if count:
            yield from marshal.loads(content)


def _lines(folders: dict[str, Parts]) -> dict[str, str]:
    lines = {prefix[:-1]: "dir" for prefix in folders if prefix}
    for prefix, parts in folders.items():
        for name, *line in _own(parts):
            lines[prefix + name] = str(line)
    return lines


def look_at(
    walk: Walk,
    store: Path,
    report: Callable[[str], None] | None = None,
    *,
    keep: bool = True,
    without_vanished: bool = False,
) -> Code:
    """The user's code as it is now; to be called under the build's lock.

    Args:
        store: the file of the index. What it holds of unchanged folders is believed.
        report: gets a line now and then where reading takes long; None says nothing.
        keep: whether the index is written.
        without_vanished: leave out a file that is gone.

    Raises:
        BadInput: an entry cannot be read, or its name is not UTF-8.
        ChangedFile: a file changed while it was read, or vanished.
    """
    content = _read(store)
    key, judge = _key(walk), _stamp(credentials)
    known: dict[str, tuple[Any, ...]] = {}
    old_key, old_judge = "", judge
    if isinstance(content, tuple):
        old_key, old_judge, known = content
    look = _Look(walk, known, old_key == key, old_judge == judge, without_vanished, report)
    with look.progress:
        folders = look.folders()
    if keep and (look.is_changed or len(folders) != len(known)):
        _write(store, (key, judge, {prefix: tuple(one) for prefix, one in folders.items()}))
    shown = with_content(
        (prefix, one.state != _CODE, one.own != NOTHING) for prefix, one in folders.items() if one.state != _OUT
    )
    found = {prefix: folders[prefix].own for prefix in sorted(shown)}
    special = [(prefix + name, what) for prefix in found for name, what in folders[prefix].special]
    pointers = {path: what for path, what in special if isinstance(what, int)}
    code = Code(_digest(found), pointers, found, walk)
    links = [CodeFile(path, "symlink", walk.source(path), target=to) for path, to in special if isinstance(to, str)]
    if links:
        links.sort(key=lambda link: link.path.encode("utf-8"))
        warn_of_links(links, code, walk.warn)
    credentials.warn_of_credentials(
        {
            prefix + name: kind
            for prefix, one in folders.items() if one.credentials
            for name, kind in one.credentials if name not in {own[0] for own in _own(one.own)}
        },
        walk.warn,
    )  # fmt: skip
    return code


def _digest(folders: dict[str, Parts]) -> str:
    digest = hashlib.sha256()
    for prefix, own in folders.items():
        digest.update(marshal.dumps((prefix, own), FORMAT))
    return digest.hexdigest()


class _Look:
    """One look.

    Attributes:
        is_changed: whether the index has to be written.
        progress: what shows progress, to be left at the end.
    """

    def __init__(
        self, walk: Walk, known: dict[str, tuple[Any, ...]], has_same_rules: bool, has_same_judge: bool,
        without_vanished: bool, report: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        self._walk = walk
        self._report = report
        self._count: Callable[[Iterable[bytes]], Iterable[bytes]] = iter
        self.progress = ExitStack()
        self._without_vanished = without_vanished
        self._known = known
        self._has_same_rules = has_same_rules and has_same_judge
        self._has_same_judge = has_same_judge
        self._own_output = frozenset(inode for _, inode in walk.own_output)
        # What is recorded of outputs changes without them.
        self._outputs = {path[: path.rfind("/") + 1] for path in walk.outputs}
        self._racy = time.time_ns() - RACY_NS  # before anything is looked at
        self.is_changed = not self._has_same_rules

    def folders(self) -> dict[str, _Known]:
        folders: dict[str, _Known] = {}
        todo = [("", False)]
        while todo:
            prefix, above = todo.pop()
            kept = self._known.get(prefix)
            known = _Known(*kept) if kept is not None else None
            if known is None or not self._is_same(prefix, above, known):
                try:
                    entries = self._walk.listing(prefix)
                except VanishedFile:
                    if not prefix:
                        raise
                    continue  # it was removed just now
                new = self._anew(prefix, entries, above, known)
                self.is_changed = self.is_changed or new != known
                known = new
            folders[prefix] = known
            for name in known.below:
                todo.append((f"{prefix}{name}/", known.machines_own))
        return folders

    def _is_same(self, prefix: str, above: bool, known: _Known) -> bool:
        """Whether a folder's entries are as they were. Its listing is asked for relative to it, which is faster."""
        if not self._has_same_rules or above != known.above or prefix in self._outputs:
            return False
        folder = self._walk.folder_source(prefix)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                row = _row(os.scandir(descriptor), known.state == _OUT)
            finally:
                os.close(descriptor)
        except OSError:
            return False  # the look from nothing says what is wrong
        if self._own_output and not self._own_output.isdisjoint(one[4] for one in row if isinstance(one, tuple)):
            return False
        return marshal.dumps(row, FORMAT) == known.row

    def _read(self, file: CodeFile) -> FileContent:
        """The same as :func:`read_hash`, with progress from the first large file on."""
        if file.size >= LARGE_SIZE and self._count is iter and self._report is not None:
            from toolkit.build.progress import byte_progress

            self._count = self.progress.enter_context(byte_progress(None, "reading the code", self._report))
        return read_hash(file, self._count)

    def _anew(self, prefix: str, entries: list[os.DirEntry[str]], above: bool, known: _Known | None) -> _Known:
        """A folder as it is found without the index, which still says the hashes of files that are as they were."""
        found = self._walk.folder(prefix, entries, above)
        if found is None:
            return _Known(marshal.dumps(_row(entries, True), FORMAT), _OUT, above, False, (), NOTHING, (), ())
        facts = _facts_by_name(entries)
        hashes = _hashes(known) if known else {}
        own: list[Own] = []
        special: list[tuple[str, int | str]] = []
        judged: list[tuple[str, str]] = [(name, "") for name in found.credentials]
        for file in found.files:
            name = file.path[len(prefix) :]
            if file.kind == "file":
                before, content = hashes.get(name, (None, _UNREAD))
                is_known = before is not None and before == facts[os.path.basename(file.source)]
                if is_known and not self._has_same_judge:
                    is_known = not credentials.may_hold_credential(name, file.size)
                if is_known and not content.digest:
                    is_known = not credentials.keeps_credential(self._walk.patterns, file.path)
                if not is_known:
                    try:
                        content = self._read(file)
                    except VanishedFile:
                        if not self._without_vanished:
                            raise
                        found.unsettled.add(os.path.basename(file.source))
                        continue
                if content.credential:
                    judged.append((name, content.credential))
                    if not credentials.keeps_credential(self._walk.patterns, file.path):
                        continue
                if content.missing is not None:
                    special.append((name, content.missing))
                own.append((name, "file", file.executable, file.size, content.digest))
            else:
                special.append((name, file.target))
                own.append((name, file.kind, False, 0, file.target))
        row: _Row = []
        for entry in entries:
            row.append(entry.name)
            if entry.name in facts:
                one = facts[entry.name]
                is_settled = one is not None and entry.name not in found.unsettled and max(one[2], one[3]) <= self._racy
                row.append(one if is_settled else None)
        state = _IGNORED if found.is_ignored else _CODE
        return _Known(
            marshal.dumps(row, FORMAT), state, above, found.is_machines_own, tuple(found.below), parts_of(own),
            tuple(special), tuple(judged),
        )  # fmt: skip


def _row(entries: Iterable[os.DirEntry[str]], names_only: bool) -> _Row:
    row: _Row = []
    append = row.append
    for entry in entries:
        append(entry.name)
        if not names_only and not entry.is_dir(follow_symlinks=False):
            append(_facts(entry.stat(follow_symlinks=False)))
    return row


def _facts_by_name(entries: list[os.DirEntry[str]]) -> dict[str, _Facts | None]:
    """What :func:`os.lstat` said of the entries that are no folders; None for one that is gone. An entry asks only once."""
    facts: dict[str, _Facts | None] = {}
    for entry in entries:
        try:
            if not entry.is_dir(follow_symlinks=False):
                facts[entry.name] = None
                facts[entry.name] = _facts(entry.stat(follow_symlinks=False))
        except OSError:
            pass
    return facts


def _hashes(known: _Known) -> dict[str, tuple[_Facts, FileContent]]:
    """What is known of the contents of a folder's files, each with the facts for which it holds.

    Of a credential that is left out there is no SHA-256.
    """
    missing = {name: what for name, what in known.special if isinstance(what, int)}
    judged = {name: kind for name, kind in known.credentials if kind}
    contents = {name: FileContent("", None, kind) for name, kind in judged.items()}
    for name, kind, *_, digest in _own(known.own):
        if kind == "file":
            contents[name] = FileContent(digest, missing.get(name), judged.get(name, ""))
    hashes = {}
    name = ""
    for one in marshal.loads(known.row):
        if isinstance(one, str):
            name = os.fsencode(one).decode("utf-8", "surrogateescape")
        elif one is not None and name in contents:
            hashes[name] = (one, contents[name])
    return hashes


def _key(walk: Walk) -> str:
    """A digest of what decides, beside the entries, which of them are code."""
    patterns = [(one.regex.pattern, one.exception, one.literal) for one in walk.patterns.patterns]
    rules = [_stamp(module) for module in (files, left_out, dockerignore, kinds)]
    decisive = (
        patterns,
        sorted(walk.without),
        walk.root,
        rules,
        sys.getfilesystemencoding(),
    )
    return hashlib.sha256(repr(decisive).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(module: ModuleType) -> tuple[int, int]:
    """What changes when a module does."""
    status = os.stat(str(module.__file__))
    return status.st_mtime_ns, status.st_size


def _read(file: Path) -> object:
    """What :func:`_write` wrote; None where there is no such file, or it is damaged or of another version."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + 4
    body = memoryview(content)[head:]
    if content[:head] != _MAGIC + zlib.crc32(body).to_bytes(4, "big"):
        return None
    try:
        return cast("object", marshal.loads(body))
    except (EOFError, ValueError, TypeError):
        return None


def _write(file: Path, value: Any) -> None:
    body = marshal.dumps(value, FORMAT)
    write_whole(str(file), _MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)
