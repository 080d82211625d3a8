"""The state of the Git repository that a project lies in: its commit, whether files of code differ from it, and where it is from.

The state is for records alone. So nothing fails, waits or changes because of it: a repository that can't be read is as none.

A repository is not trusted. What its own configuration lets Git start is off: hooks, a file system monitor, filters of files, the
fetch of a missing object. Git itself does not read the repository of another user.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

TIME_LIMIT = 2.0
"""Seconds for all questions together."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SSH = re.compile(r"(?:[^@/\s]+@)?([A-Za-z0-9.-]+):(?!//)(\S+)")
_FILTER = re.compile(r"filter\.(.+)\.[a-z]+", re.DOTALL)
_LFS = "lfs.extension."
"""What a repository may add to the filter `lfs` of git-lfs: commands as well."""
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_OF_THE_USER = ("GIT_CONFIG_", "GIT_CEILING_DIRECTORIES", "GIT_EXEC_PATH")
"""How the names of variables begin that say how Git is set up here, and not which repository a caller, such as a hook, works on."""
_OF_CI = (
    # the commit, the folder of the checkout, and the parts of its address
    ("GITHUB_SHA", "GITHUB_WORKSPACE", ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")),
    ("CI_COMMIT_SHA", "CI_PROJECT_DIR", ("CI_PROJECT_URL",)),
)


class Revision(NamedTuple):
    """The commit that a project's files are of.

    Attributes:
        commit: its whole hash. committed: when it was made, in RFC 3339 and UTC; "" where that is not known.
        uncommitted: whether a file of the project's code is not as it is in the commit; None where that is not known. What Git
            ignores does not count.
        repository: the address that it was cloned from, without credentials; "" where there is none.
    """

    commit: str
    committed: str = ""
    uncommitted: bool | None = None
    repository: str = ""


def read_revision(
    root: Path, is_code: Callable[[str], bool], environ: Mapping[str, str] | None = None
) -> Revision | None:
    """The revision of a project; None where it lies in no repository, or Git does not tell it in time.

    Where Git tells nothing, as in a checkout without it, the variables of GitHub Actions and GitLab are taken, of a project that
    lies in their checkout.

    Args:
        root: the project's root. is_code: whether a file, by its path relative to the root, is code. It may be gone.
        environ: the environment variables; None takes those of this process.
    """
    environ = os.environ if environ is None else environ
    try:
        return _of_git(root, is_code, environ) or _of_ci(root, environ)
    except Exception:  # it is a remark in a record, which nothing may fail for
        return None


def ask_revision(root: Path, is_code: Callable[[str], bool]) -> Callable[[], Revision | None]:
    """Reads the revision beside other work. The function that is returned waits for it."""
    found: list[Revision | None] = []
    reader = threading.Thread(target=lambda: found.append(read_revision(root, is_code)), daemon=True)
    reader.start()

    def wait() -> Revision | None:
        reader.join(TIME_LIMIT + 1)
        return found[0] if found else None

    return wait


def without_credentials(address: str) -> str:
    """The address of a repository as others may see it; "" for a path on this machine."""
    address = address.strip()
    if "://" not in address:
        match = _SSH.fullmatch(address)
        return f"ssh://{match[1]}/{match[2].lstrip('/')}" if match else ""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if parts.scheme not in ("https", "http", "ssh", "git", "git+ssh") or not parts.hostname:
        return ""
    # A query may hold a token.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _of_git(root: Path, is_code: Callable[[str], bool], environ: Mapping[str, str]) -> Revision | None:
    # Most folders without a repository are seen as such without a process.
    if not any(os.path.lexists(folder / ".git") for folder in (root, *root.parents)):
        return None
    git = _Git(root, environ)
    # The last one is the folder in the commit: of a project that is not in it, the commit says nothing.
    position = git.start("rev-parse", "--show-prefix", "HEAD", "HEAD:./")
    listing = git.start("config", "--null", "--list", "--show-scope")
    prefix, commit, *_ = [*(git.answer(position) or "").split("\n"), "", ""]
    settings = _settings(git.answer(listing))
    if not _COMMIT.fullmatch(commit):
        return None
    header = git.start("cat-file", "commit", commit)
    uncommitted = _is_uncommitted(git, prefix, is_code, settings) if settings else None
    return Revision(commit, _committed(git.answer(header)), uncommitted, _repository(settings))


def _settings(listing: str | None) -> list[tuple[str, str, str]]:
    """Git's configuration: for each setting its scope, name and value, in order."""
    parts = (listing or "").split("\0")
    return [(scope, *entry.partition("\n")[::2]) for scope, entry in zip(parts[::2], parts[1::2], strict=False)]


def _is_uncommitted(
    git: _Git, prefix: str, is_code: Callable[[str], bool], settings: list[tuple[str, str, str]]
) -> bool | None:
    own = [name for scope, name, _ in settings if scope in ("local", "worktree")]
    filters = {match[1] for name in own if (match := _FILTER.fullmatch(name))}
    filters |= {"lfs" for name in own if name.startswith(_LFS)}
    if any("=" in name for name in filters):
        return None  # Git has no way to be told of it
    options = [f"filter.{name}.{key}=" for name in sorted(filters) for key in ("clean", "process", "smudge")]
    options += [f"filter.{name}.required=false" for name in sorted(filters)]
    status = git.start(
        "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=dirty", "--", ".",
        options=options,
    )  # fmt: skip
    changed = git.answer(status)
    if changed is None:
        return None
    for line in changed.split("\0"):
        path = line[3:].rstrip("/")
        if path.startswith(prefix) and path != prefix and is_code(path[len(prefix) :]):
            return True
        if git.is_late:
            return None
    return False


class _Git:
    """Questions to Git about a repository. All together have TIME_LIMIT seconds."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._end = time.monotonic() + TIME_LIMIT
        self._environ = {
            **{
                name: value
                for name, value in environ.items()
                if not name.startswith("GIT_") or name.startswith(_OF_THE_USER)
            },
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",  # what versions before 2.44 know in its place
            "LC_ALL": "C",
        }

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._end

    def start(self, *arguments: str, options: Sequence[str] = ()) -> subprocess.Popen[bytes] | None:
        """Begins a question.

        Args:
            options: settings of Git's for it, as ``name=value``.
        """
        given = [word for option in options for word in ("-c", option)]
        try:
            return subprocess.Popen(
                ["git", *_OPTIONS, *given, "-C", str(self._root), *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=self._environ, start_new_session=True,
            )  # fmt: skip
        except OSError:
            return None

    def answer(self, question: subprocess.Popen[bytes] | None) -> str | None:
        """What Git has printed; None where it failed, or the time is over."""
        if question is None:
            return None
        try:
            output, _ = question.communicate(timeout=max(self._end - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            os.killpg(question.pid, signal.SIGKILL)  # Git's own children hold its output open
            question.communicate()
            return None
        return output.decode("utf-8", "surrogateescape") if question.returncode == 0 else None


def _committed(header: str | None) -> str:
    match = re.search(r"^committer .* (\d+) [-+]\d{4}$", (header or "").partition("\n\n")[0], re.MULTILINE)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(match[1]))) if match else ""


def _repository(settings: list[tuple[str, str, str]]) -> str:
    """The address of the remote ``origin``, else of the only one."""
    remotes: dict[str, str] = {}
    for _, name, value in settings:
        if name.startswith("remote.") and name.endswith(".url"):
            remotes.setdefault(name[len("remote.") : -len(".url")], value)
    chosen = remotes.get("origin") or (next(iter(remotes.values())) if len(remotes) == 1 else "")
    return without_credentials(chosen)


def _of_ci(root: Path, environ: Mapping[str, str]) -> Revision | None:
    for commit, checkout, address in _OF_CI:
        folder = environ.get(checkout)
        if not folder or not _COMMIT.fullmatch(environ.get(commit, "")):
            continue
        if not root.is_relative_to(os.path.realpath(folder)):
            continue
        parts = [environ.get(name, "") for name in address]
        return Revision(environ[commit], repository=without_credentials("/".join(parts)) if all(parts) else "")
    return None
