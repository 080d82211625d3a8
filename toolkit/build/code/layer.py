"""The code layer: the user's code, the runtime and the SDK as one tar, which is the same from any checkout.

Its bytes depend on paths, kinds, executable bits and contents. They do not depend on times, owners, the umask or the checkout's
location.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.build.code.files import CodeFile, EntryKind
from toolkit.build.code.hashes import FileHashes
from toolkit.errors import BadInput
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
    """

    path: str
    kind: EntryKind
    mode: int
    digest: str = ""
    source: str | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class CodeLayer:
    """The code layer in a file.

    Attributes:
        file: the tar, uncompressed.
        digest: the tar's, ``sha256:…``; it is the layer's diff id as well.
        size: bytes.
        content: what the id file says of the code (:func:`code_digest`).
    """

    file: Path
    digest: str
    size: int
    content: str


def user_entries(files: list[CodeFile], hashes: FileHashes) -> list[LayerEntry]:
    """The entries of the project's files, below the working folder.

    Raises:
        BadInput: a file cannot be read.
    """
    entries = [LayerEntry(WORKSPACE, "dir", 0o777)]
    for file in files:
        path = f"{WORKSPACE}/{file.path}"
        if file.kind == "file":
            entries.append(LayerEntry(path, "file", 0o777 if file.executable else 0o666, hashes.of(file), file.source))
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
        entries.append(LayerEntry(path, "file", 0o644, hashes.of(file), source))
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
        code: see :func:`code_digest`. environment: the config digest of the environment image.
    """
    content = {"protocol": PROTOCOL, "environment": environment, "code": code}
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def write_code_layer(
    entries: list[LayerEntry], environment: str, destination: Path, derived: Sequence[LayerEntry] = ()
) -> CodeLayer:
    """Writes the layer's tar.

    Args:
        environment: the config digest of the environment image, which the id file names.
        derived: entries that follow from the others (bytecode). The id file's digest of the code leaves them out.

    Raises:
        BadInput: a file cannot be read, or changed since it was hashed.
    """
    code = code_digest(entries)
    id_file = LayerEntry(IMAGE_FILE, "file", 0o644, content=id_file_content(code, environment))
    with destination.open("wb") as raw:
        stream = DigestWriter(raw)
        write_tar([*entries, *derived, id_file], stream)
    return CodeLayer(destination, stream.digest, stream.size, code)


def write_tar(entries: list[LayerEntry], stream: IO[bytes] | DigestWriter) -> None:
    """Writes a tar of these entries, sorted, all with the same time.

    Raises:
        BadInput: a file cannot be read, or changed since it was hashed.
    """
    import tarfile

    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=_order):
            info = tarfile.TarInfo(entry.path.lstrip("/"))
            info.mtime, info.mode = MTIME, entry.mode
            if entry.kind == "dir":
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif entry.kind == "symlink":
                info.type, info.linkname = tarfile.SYMTYPE, entry.digest
                tar.addfile(info)
            elif entry.content is not None:
                info.size = len(entry.content)
                tar.addfile(info, io.BytesIO(entry.content))
            else:
                assert entry.source is not None
                _add_file(tar, info, entry.source, entry.digest)


def _add_file(tar: object, info: object, source: str, digest: str) -> None:
    import tarfile

    assert isinstance(tar, tarfile.TarFile) and isinstance(info, tarfile.TarInfo)
    try:
        with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            reader = _HashingReader(content)
            tar.addfile(info, reader)
    except OSError as error:
        raise BadInput(
            f"it cannot be read: {error.strerror or 'it became shorter while it was read'}", source
        ) from error
    if reader.hash.hexdigest() != digest:
        raise BadInput(
            "it changed while the image was being built: build again, or name it in .dockerignore if it changes all the time",
            source,
        )


class _HashingReader(io.RawIOBase):
    """Reads a file and hashes what is read."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._content.read(size)
        self.hash.update(chunk)
        return chunk


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
