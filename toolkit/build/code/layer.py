"""The code layer: the user's code, the runtime and the SDK as one tar that is the same from any checkout.

Paths, kinds, executable bits and contents decide its bytes; times, owners, umask and the checkout's place do not.
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
"""The one time of all files, in seconds since 1970: 1980-01-02. Not 0, which a zip written by user code refuses."""
TOOLKIT_FOLDER = "/opt/toolkit"
_RUNTIME_FOLDER = "/opt/toolkit/runtime"


@dataclass(frozen=True)
class LayerEntry:
    """One entry of the layer.

    Attributes:
        path: absolute in the image.
        mode: permission bits. Those of user code let any user id write, since the step's user is not known here.
        digest: the content's SHA-256 in hex, a link's target, or nothing for a folder.
        source: the file on this machine; None for a folder or a link.
        content: of a file that is on no machine: of what is derived from the others.
    """

    path: str
    kind: EntryKind
    mode: int
    digest: str = ""
    source: str | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class CodeLayer:
    """A layer that lies in a file.

    Attributes:
        digest: of its bytes, which are not compressed: blob digest and diff id in one, ``sha256:…``.
        size: bytes.
    """

    file: Path
    digest: str
    size: int


def user_entries(files: list[CodeFile], hashes: FileHashes) -> list[LayerEntry]:
    """The project's files below the working folder.

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
    """The runtime below its folder, and the SDK under its import name: of this installation of toolkit."""
    package = Path(__file__).resolve().parents[2]
    sources = {f"{SDK_FOLDER}/toolkit/__init__.py": package / "__init__.py"}
    for folder, target in (("sdk", f"{SDK_FOLDER}/toolkit/sdk"), ("runtime", _RUNTIME_FOLDER)):
        sources |= {
            f"{target}/{path.relative_to(package / folder).as_posix()}": path
            for path in (package / folder).rglob("*.py")
        }
    folders = {TOOLKIT_FOLDER}
    for path in sources:
        parent = os.path.dirname(path)
        while len(parent) > len(TOOLKIT_FOLDER):
            folders.add(parent)
            parent = os.path.dirname(parent)
    entries = [LayerEntry(path, "dir", 0o755) for path in folders]
    for path, source in sources.items():
        if not source.is_file():
            continue
        status = source.stat()
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        file = CodeFile(path, "file", str(source), size=status.st_size, stamp=stamp)
        entries.append(LayerEntry(path, "file", 0o644, hashes.of(file), str(source)))
    return sorted(entries, key=_order)


def code_digest(entries: list[LayerEntry]) -> str:
    """SHA-256, in hex, over what the layer holds, without its bytes being put together."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=_order):
        digest.update(f"{entry.path}\0{entry.kind}\0{entry.mode:o}\0{entry.digest}\0".encode())
    return digest.hexdigest()


def id_file_content(entries: list[LayerEntry], environment: str) -> bytes:
    """The content of the image's id file, by which a runtime knows what it runs in."""
    content = {"protocol": PROTOCOL, "environment": environment, "code": code_digest(entries)}
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def write_code_layer(
    entries: list[LayerEntry], environment: str, destination: Path, derived: Sequence[LayerEntry] = ()
) -> CodeLayer:
    """Writes the layer's tar.

    Args:
        environment: the config digest of the environment's image, which the id file names.
        derived: what follows from both, and does not count as code.

    Raises:
        BadInput: a file cannot be read, or changed since it was hashed.
    """
    identity = LayerEntry(IMAGE_FILE, "file", 0o644, content=id_file_content(entries, environment))
    with destination.open("wb") as raw:
        stream = _DigestWriter(raw)
        write_tar([*entries, *derived, identity], stream)
    return CodeLayer(destination, f"sha256:{stream.digest.hexdigest()}", stream.size)


def write_tar(entries: list[LayerEntry], stream: IO[bytes] | _DigestWriter) -> None:
    """Writes these entries, in one order and with one time.

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
            reader = _Reader(content)
            tar.addfile(info, reader)
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror or 'it was cut while it was read'}", source) from error
    if reader.digest.hexdigest() != digest:
        raise BadInput(
            "it changed while the image was being built: build again, or name it in .dockerignore if it always does",
            source,
        )


class _Reader(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._content.read(size)
        self.digest.update(chunk)
        return chunk


class _DigestWriter(io.RawIOBase):
    """A stream that is hashed and counted as it is written."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        self._raw.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        return len(chunk)


def _order(entry: LayerEntry) -> bytes:
    return entry.path.encode("utf-8")


def entry_summaries(files: list[LayerEntry]) -> dict[str, str]:
    """What the state remembers of each entry, so that the next build can say what changed."""
    return {entry.path: f"{entry.kind} {entry.mode:o} {entry.digest}" for entry in files}
