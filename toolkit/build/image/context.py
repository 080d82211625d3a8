"""The files of the project that a build of the user's own can read: chosen by their paths, hashed, and copied for BuildKit."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from toolkit.build.code.files import CodeFile, Folder, Walk, with_content
from toolkit.build.code.hashes import FileHashes
from toolkit.build.dockerignore import parse
from toolkit.build.environment.dependencies.found import inside
from toolkit.errors import BadInput, ChangedFile, Infrastructure, VanishedFile

_LISTED = 50
"""Files that are told apart in what a build depends on; more of them are one part."""


def inside_project(path: str, setting: str) -> str:
    """A path that a setting names, relative to the root and normalized.

    Raises:
        BadInput: it leads out of the project.
    """
    try:
        return inside(path, setting)
    except BadInput as error:
        raise BadInput(f"{setting}: {error.message}") from error


def walk_by(walk: Walk, ignore_file: Path) -> Walk:
    """The same walk by the rules of another file than .dockerignore, where that is there.

    Raises:
        BadInput: the file can't be read.
    """
    if not ignore_file.is_file():
        return walk
    return replace(walk, patterns=parse(ignore_file.read_bytes(), ignore_file.name))


def chosen_files(walk: Walk, patterns: Iterable[str] | None) -> list[CodeFile]:
    """The project's files that the patterns name, and all that is in the folders that they name, sorted by path.

    Only the folders are read that may hold one. Where a pattern leads through a link, any file may be meant.

    Args:
        patterns: paths relative to the root with Docker's wildcards in each part; None takes all files.

    Raises:
        BadInput: a folder can't be read.
    """
    wanted = [[part.replace("[^", "[!") for part in one.split("/") if part] for one in patterns or [""]]
    folders: dict[str, Folder] = {}
    todo = [("", False)]
    while todo:
        prefix, is_below_machines_own = todo.pop()
        try:
            found = walk.folder(prefix, walk.listing(prefix), is_below_machines_own)
        except VanishedFile:
            if not prefix:
                raise
            continue
        if found is not None:
            folders[prefix] = found
            below = [name for name in found.below if any(_agree(f"{prefix}{name}", one) for one in wanted)]
            todo += [(f"{prefix}{name}/", found.is_machines_own) for name in below]
    files: list[CodeFile] = []
    for prefix in with_content((prefix, one.is_ignored, bool(one.files)) for prefix, one in folders.items()):
        entries = [CodeFile(prefix[:-1], "dir", walk.source(prefix[:-1]))] if prefix else []
        for file in [*entries, *folders[prefix].files]:
            depth = file.path.count("/") + 1
            named = [one for one in wanted if _agree(file.path, one)]
            if file.kind == "symlink" and any(depth <= len(one) for one in named):
                return chosen_files(walk, None)
            if any(depth >= len(one) for one in named):
                files.append(file)
    return sorted(files, key=lambda file: file.path.encode())


def _agree(path: str, pattern: list[str]) -> bool:
    """Whether a path and a pattern agree as far as both go."""
    return all(fnmatch.fnmatchcase(name, part) for name, part in zip(path.split("/"), pattern, strict=False))


def parts_of(files: list[CodeFile], hashes: FileHashes, reader: str) -> dict[str, str]:
    """What these files are for a build: a part for each, or one for all where they are many.

    Args:
        reader: what reads them, for sentences.

    Raises:
        BadInput: a file can't be read. ChangedFile: it changes meanwhile.
    """
    import hashlib

    parts = {}
    implied = {os.path.dirname(file.path) for file in files}
    for file in files:
        if file.path in implied and file.kind == "dir":
            continue
        content = hashes.of(file) if file.kind == "file" else file.target
        kind = hashlib.sha256(f"{file.kind} {file.executable} {content}".encode()).hexdigest()
        parts[f"{file.path} (read by {reader})"] = f"\n{kind}"
    if len(parts) > _LISTED:
        whole = hashlib.sha256("".join(f"{name}{value}\n" for name, value in sorted(parts.items())).encode())
        return {f"what {reader} reads of the project": f"\n{whole.hexdigest()}"}
    return parts


def copier(files: list[CodeFile]) -> Callable[[Path], None]:
    """Copies files into a folder, with modes that do not depend on this machine. They must be as they were looked at.

    Raises (when called):
        ChangedFile: one is not. Infrastructure: there is no space.
    """

    def copy(folder: Path) -> None:
        for file in files:
            path = folder / file.path
            try:
                (path if file.kind == "dir" else path.parent).mkdir(parents=True, exist_ok=True)
                if file.kind == "symlink":
                    path.symlink_to(file.target)
                elif file.kind == "file":
                    shutil.copyfile(file.source, path, follow_symlinks=False)
                    _check_unchanged(file)
                    path.chmod(0o755 if file.executable else 0o644)
                    os.utime(path, ns=(file.stamp[0], file.stamp[0]))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise Infrastructure(
                        f"there is no space left in {folder}, where the build copies {file.path}"
                    ) from error
                raise ChangedFile(f"it cannot be copied for the build: {error.strerror}", file.path) from error

    return copy


def _check_unchanged(file: CodeFile) -> None:
    status = os.lstat(file.source)
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (file.size, file.stamp[0], file.stamp[2]):
        raise ChangedFile(
            "it changed while it was read: name it in .dockerignore if it changes all the time", file.path
        )
