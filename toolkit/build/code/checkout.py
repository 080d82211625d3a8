"""What a Git checkout has not got, though the code is to have it, and what it has beside what Git keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.progress import shown_size

if TYPE_CHECKING:
    from toolkit.build.code.files import CodeFile

LARGEST_POINTER = 1024
"""Bytes that a Git LFS pointer has at most, by its specification."""
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_MOST_NAMED = 5
_LARGE_FILE = 1_000_000
_WORTH_A_LINE = 10_000_000
"""Bytes of one file, and of all of them, from which on it matters that Git ignores them."""
_TIME_LIMIT = 5.0
"""Seconds that Git may take. Without its answer, all is done but the line."""
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Variables by which Git, where it started this command, would look at another repository."""


def missing_size(content: bytes) -> int | None:
    """The size of the file that a Git LFS pointer stands for, in bytes; None if the content is no pointer."""
    if not content.startswith(_POINTER):
        return None
    size = re.search(rb"^size ([0-9]{1,18})$", content, re.MULTILINE)
    return int(size[1]) if size else None


def warn_of_missing(
    root: Path, files: Iterable[CodeFile], pointers: Mapping[str, int], warn: Callable[[str], None]
) -> None:
    """Names Git LFS pointers, and submodules that are empty: a step would find them in place of what it needs.

    Args:
        files: the code, or its folders; used only where there are submodules.
        pointers: the missing sizes, in bytes, by path.
    """
    if pointers:
        largest = sorted(pointers, key=lambda path: -pointers[path])
        missing = shown_size(sum(pointers.values()))
        warn(
            f"{largest[0]} is a Git LFS pointer in place of {missing}: `git lfs pull` gets it"
            if len(largest) == 1
            else f"{len(largest)} files are Git LFS pointers in place of {missing}: "
            f"{_listed(f'{path} ({shown_size(pointers[path])})' for path in largest)}: `git lfs pull` gets them"
        )
    submodules = _submodules(root)
    if submodules:
        folders = {file.path for file in files if file.kind == "dir"}
        empty = [path for path in submodules if path in folders and not _entries(root / path)]
        if empty:
            warn(
                f"the submodule {empty[0]} is empty: `git submodule update --init` gets it"
                if len(empty) == 1
                else f"the submodules {_listed(empty)} are empty: `git submodule update --init` gets them"
            )


def ignored_by_git(root: Path, files: Sequence[CodeFile]) -> str:
    """A line on the code's large files that Git ignores, by their sizes; "" where there is nothing to say."""
    large = {file.path: file.size for file in files if file.kind == "file" and file.size >= _LARGE_FILE}
    if sum(large.values()) < _WORTH_A_LINE or _top(root) is None:
        return ""
    ignored = [path for path in _ask_git(root, _of_this_repository(root, large)) if path in large]
    total = sum(large[path] for path in ignored)
    if total < _WORTH_A_LINE:
        return ""
    ignored.sort(key=lambda path: -large[path])
    them = "it" if len(ignored) == 1 else "them"
    named = _listed(f"{path} ({shown_size(large[path])})" for path in ignored)
    return (
        f"note: the image takes {shown_size(total)} that Git ignores: {named}: name {them} in .dockerignore if no step needs "
        f"{them}"
    )


def _top(root: Path) -> Path | None:
    """The folder of the Git checkout that the project lies in."""
    return next((folder for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)


def _submodules(root: Path) -> list[str]:
    """The paths of submodules below the root, relative to it."""
    for folder in (root, *root.parents):
        try:
            text = (folder / ".gitmodules").read_text("utf-8", "surrogateescape")
            break
        except OSError:
            if os.path.lexists(folder / ".git"):
                return []
    else:
        return []
    found = []
    for quoted, plain in re.findall(r'^\s*path\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s#;][^#;\n]*))', text, re.MULTILINE):
        path = os.path.relpath(folder / (re.sub(r"\\(.)", r"\1", quoted) or plain.strip()), root)
        if path != ".." and not path.startswith("../"):
            found.append(path)
    return sorted(found)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _of_this_repository(root: Path, paths: Iterable[str]) -> list[str]:
    """Those that lie in no repository of their own, such as a submodule: Git refuses to be asked about one of these."""
    own: dict[str, bool] = {"": True}

    def is_own(folder: str) -> bool:
        if folder not in own:
            own[folder] = is_own(os.path.dirname(folder)) and not os.path.lexists(root / folder / ".git")
        return own[folder]

    return [path for path in paths if is_own(os.path.dirname(path))]


def _ask_git(root: Path, paths: Collection[str]) -> list[str]:
    """Which of the paths Git ignores; none where it fails, hangs or is not there."""
    import signal
    import subprocess

    variables = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        git = subprocess.Popen(
            ["git", "-c", "core.fsmonitor=false", "check-ignore", "--stdin", "-z"],
            cwd=root, env=variables, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return []
    # Git takes a colon at the beginning for the sign of a pattern.
    question = b"".join(b"./" + path.encode() + b"\0" for path in paths)
    try:
        answer, _ = git.communicate(question, timeout=_TIME_LIMIT)
    except (subprocess.TimeoutExpired, OSError):
        return []
    finally:
        if git.returncode is None:
            # With all that it has started. It is not waited for: what hangs in the kernel does not end.
            os.killpg(git.pid, signal.SIGKILL)
    return [path[2:] for path in answer.decode("utf-8", "replace").split("\0")] if git.returncode == 0 else []


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
