"""The layers that toolkit makes itself, as tars that are the same from any checkout: the code's, the runtime's, those of groups.

Their bytes depend on paths, kinds, executable bits and contents. They do not depend on times, owners, the umask or the
checkout's location.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from toolkit.build.code.files import OPENED, CodeFile, EntryKind, open_file, unreadable
from toolkit.build.code.hashes import FileHashes
from toolkit.errors import ChangedFile, VanishedFile
from toolkit.runtime.shared.protocol import IMAGE_FILE, PROTOCOL, SDK_FOLDER, WORKSPACE

MTIME = 315_619_200
"""The modification time of all files, in seconds since 1970: 1980-01-02. Not 0, which a zip file cannot hold."""
TOOLKIT_FOLDER = "/opt/toolkit"
_RUNTIME_FOLDER = "/opt/toolkit/runtime"


@dataclass(frozen=True)
class LayerEntry:
    """One entry of the layer's tar.

    Attributes:
        path: absolute in the image.
        mode: permission bits. Those of user code let any user id write, because the step's user is not known yet.
        digest: a file's SHA-256 in hex, a link's target, or "" for a folder.
        source: the file on this machine; None for a folder, a link or a generated file.
        content: the bytes of a generated file; None for the others.
        size: bytes of ``source``; 0 for the others.
    """

    path: str
    kind: EntryKind
    mode: int
    digest: str = ""
    source: str | None = None
    content: bytes | None = None
    size: int = 0


@dataclass(frozen=True)
class CodeLayer:
    """The code layer in a file.

    Attributes:
        file: the tar, uncompressed.
        digest: the tar's, ``sha256:…``; it is the layer's diff id as well.
        size: bytes.
        content: what the id file says of the code.
    """

    file: Path
    digest: str
    size: int
    content: str


def user_entries(files: list[CodeFile], hashes: FileHashes, without_vanished: bool = False) -> list[LayerEntry]:
    """The entries of the project's files, below the working folder.

    Args:
        without_vanished: leave out a file that is gone.

    Raises:
        BadInput: a file cannot be read.
        VanishedFile: a file is gone.
    """
    entries = [LayerEntry(WORKSPACE, "dir", 0o777)]
    for file in files:
        path = f"{WORKSPACE}/{file.path}"
        if file.kind == "file":
            try:
                digest = hashes.of(file)
            except VanishedFile:
                if without_vanished:
                    continue
                raise
            mode = 0o777 if file.executable else 0o666
            entries.append(LayerEntry(path, "file", mode, digest, file.source, size=file.size))
        elif file.kind == "symlink":
            entries.append(LayerEntry(path, "symlink", 0o777, file.target))
        else:
            entries.append(LayerEntry(path, "dir", 0o777))
    return entries


def runtime_entries(hashes: FileHashes) -> list[LayerEntry]:
    """The entries of the runtime and of the SDK, as this installation of toolkit has them."""
    package = str(Path(__file__).resolve().parents[2])
    sources = {f"{SDK_FOLDER}/toolkit/__init__.py": f"{package}/__init__.py"}
    todo = [(f"{package}/sdk", f"{SDK_FOLDER}/toolkit/sdk"), (f"{package}/runtime", _RUNTIME_FOLDER)]
    while todo:
        folder, target = todo.pop()
        for entry in os.scandir(folder):
            if entry.name.endswith(".py"):
                sources[f"{target}/{entry.name}"] = entry.path
            elif entry.is_dir():
                todo.append((entry.path, f"{target}/{entry.name}"))
    folders = {TOOLKIT_FOLDER}
    for path in sources:
        parent = path.rpartition("/")[0]
        while len(parent) > len(TOOLKIT_FOLDER):
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    entries = [LayerEntry(path, "dir", 0o755) for path in folders]
    for path, source in sources.items():
        status = os.stat(source)
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        file = CodeFile(path, "file", source, size=status.st_size, stamp=stamp)
        entries.append(LayerEntry(path, "file", 0o644, hashes.of(file), source, size=file.size))
    return sorted(entries, key=_order)


def code_digest(entries: list[LayerEntry]) -> str:
    """A SHA-256, in hex, of what the entries hold. It needs no tar, so it is not the digest of one."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=_order):
        digest.update(f"{entry.path}\0{entry.kind}\0{entry.mode:o}\0{entry.digest}\0".encode())
    return digest.hexdigest()


def id_file_content(code: str, environment: str) -> bytes:
    """The content of the image's id file, which tells a runtime in which image it runs.

    Args:
        code: a digest of all code, the runtime and the SDK. environment: the config digest of the environment image.
    """
    content = {"protocol": PROTOCOL, "environment": environment, "code": code}
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def write_code_layer(
    entries: list[LayerEntry], environment: str, destination: Path, derived: Sequence[LayerEntry] = (),
    content: str = "", count: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
) -> CodeLayer:  # fmt: skip
    """Writes the layer's tar.

    Args:
        environment: the config digest of the environment image, which the id file names.
        derived: entries that follow from the others (the installed project's). The id file's digest of the code leaves them out.
        content: what the id file says of the code, of which some lies in layers below this one; "" is the digest of the entries.
        count: what is written goes through it, so that progress can be shown.

    Raises:
        BadInput: a file cannot be read.
        ChangedFile: a file changed since it was hashed, or is gone.
    """
    code = content or code_digest(entries)
    id_file = LayerEntry(IMAGE_FILE, "file", 0o644, content=id_file_content(code, environment))
    # An engine makes a folder that a layer does not name with a mode of its own.
    folder = (
        [] if any(entry.path == TOOLKIT_FOLDER for entry in entries) else [LayerEntry(TOOLKIT_FOLDER, "dir", 0o755)]
    )
    with destination.open("wb") as raw:
        stream = DigestWriter(raw)
        for chunk in count(Tar((*entries, *derived, *folder, id_file)).read()):
            stream.write(chunk)
    return CodeLayer(destination, stream.digest, stream.size, code)


def write_tar(entries: Sequence[LayerEntry], stream: IO[bytes]) -> None:
    """Writes :class:`Tar` to a file.

    Raises:
        BadInput, ChangedFile: as of :meth:`Tar.read`.
    """
    for chunk in Tar(tuple(entries)).read():
        stream.write(chunk)


@dataclass(frozen=True)
class Tar:
    """The tar of these entries, sorted, all with the same time. It is never in memory or on disk as a whole."""

    entries: tuple[LayerEntry, ...]

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return sum(len(header) + size + -size % _BLOCK for _, header, size in self._members()) + len(_END)

    def read(self) -> Iterator[bytes]:
        """The bytes, in pieces. The content of each file is compared with its hash.

        Raises:
            BadInput: a file cannot be read.
            ChangedFile: a file changed since it was hashed, or is gone.
        """
        held: list[bytes] = []  # Small files go on together: each piece has its price wherever it comes by.
        length = 0
        for entry, header, size in self._members():
            held.append(header)
            if entry.source is None:
                content = entry.content or b""
            elif size <= _SMALL:
                content = _small_file(entry)
            else:
                with open_file(entry.source) as stream:
                    yield b"".join(held)
                    yield from _checked(stream, entry)
                held, length, content = [], 0, b""
            held.append(content)
            if size % _BLOCK:
                held.append(_PADDING[size % _BLOCK :])
            length += len(header) + len(content)
            if length >= _TOGETHER:
                yield b"".join(held)
                held, length = [], 0
        yield b"".join(held) + _END

    def _members(self) -> Iterator[tuple[LayerEntry, bytes, int]]:
        """Each entry, its header and the size of its content."""
        plain: dict[tuple[EntryKind, int], _PlainHeader] = {}
        for entry in sorted(self.entries, key=_order):
            size = entry.size if entry.content is None else len(entry.content)
            name = entry.path.lstrip("/") + ("/" if entry.kind == "dir" else "")
            if entry.kind == "symlink" or not _PlainHeader.holds(name, size):
                yield entry, _header(entry, name, size), size
                continue
            header = plain.get((entry.kind, entry.mode))
            if header is None:
                header = plain[entry.kind, entry.mode] = _PlainHeader(_header(entry, "", 0))
            yield entry, header.of(name, size), size


def _header(entry: LayerEntry, name: str, size: int) -> bytes:
    import tarfile

    info = tarfile.TarInfo(name)
    info.mtime, info.mode, info.size = MTIME, entry.mode, size
    if entry.kind == "dir":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "symlink":
        info.type, info.linkname = tarfile.SYMTYPE, entry.digest
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


class _PlainHeader:
    """The header of entries that differ in name and size alone. Of a hundred thousand, tarfile makes each one from its parts."""

    def __init__(self, example: bytes) -> None:
        self._before, self._between, self._after = example[100:124], example[136:148], example[156:]
        self._sum = sum(self._before) + sum(self._between) + sum(b" " * 8) + sum(self._after)

    @staticmethod
    def holds(name: str, size: int) -> bool:
        """Whether its fields can hold them, so that there is no second header."""
        return len(name) <= 100 and size < 8**11 and name.isascii()

    def of(self, name: str, size: int) -> bytes:
        path, length = name.encode(), b"%011o\0" % size
        total = self._sum + sum(path) + sum(length)
        return b"".join((path.ljust(100, b"\0"), self._before, length, self._between, b"%06o\0 " % total, self._after))


_BLOCK = 512
_PADDING = b"\0" * _BLOCK
_END = b"\0" * (2 * _BLOCK)
_SMALL = 1 << 16
"""Bytes of a file that is read at once."""
_TOGETHER = 1 << 18
"""Bytes that are gathered from small files."""


def _small_file(entry: LayerEntry) -> bytes:
    """The content of a small file, which must be what was hashed."""
    assert entry.source is not None
    try:
        # As of open_file, without an object for each file.
        descriptor = os.open(entry.source, OPENED)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ChangedFile(_CHANGED, entry.source)
            content = os.read(descriptor, entry.size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(error, entry.source) from error
    if hashlib.sha256(content).hexdigest() != entry.digest or len(content) != entry.size:
        raise ChangedFile(_CHANGED, entry.source)
    return content


def _checked(content: IO[bytes], entry: LayerEntry) -> Iterator[bytes]:
    """The content of a file, which must be what was hashed."""
    assert entry.source is not None
    digest, left = hashlib.sha256(), entry.size
    try:
        if os.fstat(content.fileno()).st_size != left:
            raise ChangedFile(_CHANGED, entry.source)
        while left and (chunk := content.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
            if left:
                yield chunk
            elif digest.hexdigest() == entry.digest:
                yield chunk
                return
    except OSError as error:
        raise unreadable(error, entry.source) from error
    if left or digest.hexdigest() != entry.digest:
        raise ChangedFile(_CHANGED, entry.source)


_CHUNK = 1 << 20
_CHANGED = (
    "it changed while the image was being built: build again, or name it in .dockerignore if it changes all the time"
)


class DigestWriter(io.RawIOBase):
    """Writes to a file, and hashes and counts what is written.

    Attributes:
        size: bytes written.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes | memoryview) -> int:  # type: ignore[override]
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    @property
    def digest(self) -> str:
        """Of what was written so far, ``sha256:…``."""
        return f"sha256:{self._hash.hexdigest()}"


def _order(entry: LayerEntry) -> bytes:
    return entry.path.encode("utf-8")
