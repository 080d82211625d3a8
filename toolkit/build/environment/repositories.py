"""How a build logs in to the Git repositories that packages come from: with the logins of whoever builds, for their hosts alone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.build.environment.dependencies.found import Dependencies, Export

_HTTPS = r"git\+(https?://[^\s\"'#;]+)|\bgit\s*=\s*[\"'](https?://[^\"'#]+)|type = \"git\", url = \"(https?://[^\"]+)"
_SSH = r"git\+(?:ssh://|\w+@)|\bgit\s*=\s*[\"'](?:ssh://|[\w.-]+@)|type = \"git\", url = \"ssh://"
_PATIENCE = 5
"""Seconds that Git's credential helpers have for one host."""
_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class RepositoryAccess:
    """What a build gets.

    Attributes:
        has_ssh: whether a repository's address is one of SSH.
        ssh: BuildKit's option for its mounts of SSH; empty where there is nothing to log in with.
        secrets: texts, by the secret's id: ``git``, in the form of Git's own store, and ``known_hosts``.
        hidden: the passwords.
        notes: what is said of them.
    """

    has_ssh: bool = False
    ssh: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def repository_access(found: Dependencies | Export, netrc: Path | None, ssh: Path | None) -> RepositoryAccess:
    """The logins for the repositories that files name.

    Args:
        netrc: the file of logins by machine, as Git reads it. ssh: a key, or the socket of an agent; None is SSH_AUTH_SOCK's.
    """
    if "GIT" not in found.options:
        return RepositoryAccess()
    text = "\n".join(content.decode("utf-8", "replace") for content in found.files.values())
    secrets: dict[str, str] = {}
    notes: list[str] = []
    hosts, lines, hidden = [], [], set()
    for scheme, host in https_hosts(text):
        login = _of_netrc(netrc, host) or _of_git(scheme, host)
        if login is not None:
            from urllib.parse import quote

            user, password = login
            lines.append(f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}\n")
            hosts.append(host)
            hidden |= {one for one in (password, quote(password, safe="")) if len(one) > 5}
    if lines:
        secrets["git"] = "".join(lines)
        notes.append(f"note: the build has this machine's login for the Git repositories of {', '.join(hosts)}")
    has_ssh = re.search(_SSH, text) is not None
    option = ""
    if has_ssh:
        known = [
            path.read_text("utf-8", "replace") for path in map(_expanded, _KNOWN_HOSTS) if os.access(path, os.R_OK)
        ]
        secrets |= {"known_hosts": "\n".join(known)} if known else {}
        if ssh is not None:
            option = f"default={ssh}"
        elif os.path.exists(os.environ.get("SSH_AUTH_SOCK", "")):
            option = "default"
            notes.append(
                "note: the build asks this machine's SSH agent (SSH_AUTH_SOCK) for the login to Git repositories"
            )
    return RepositoryAccess(has_ssh, option, secrets, frozenset(hidden), tuple(notes))


def _expanded(path: str) -> Path:
    return Path(path).expanduser()


def https_hosts(text: str) -> list[tuple[str, str]]:
    """Scheme and host, with its port, of the repositories whose address has no login of its own."""
    found = []
    for groups in re.findall(_HTTPS, text):
        scheme, _, rest = "".join(groups).partition("://")
        login, at, host = rest.split("/")[0].rpartition("@")
        if not at or ("$" not in login and ":" not in login and login == "git"):
            found.append((scheme, host))
    return list(dict.fromkeys(found))


def _of_netrc(path: Path | None, host: str) -> tuple[str, str] | None:
    if path is None:
        return None
    from netrc import NetrcParseError, netrc

    try:
        login = netrc(str(path)).authenticators(host.partition(":")[0])
    except (OSError, NetrcParseError, UnicodeDecodeError):
        return None
    return (login[0] or "", login[2] or "") if login is not None else None


def _of_git(scheme: str, host: str) -> tuple[str, str] | None:
    """What Git's own credential helpers have for a host, without a question to anybody."""
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_ASKPASS", "SSH_ASKPASS")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never"}
    try:
        done = subprocess.run(
            ["git", "-c", "core.askPass=", "credential", "fill"], input=f"protocol={scheme}\nhost={host}\n\n", env=environment,
            capture_output=True, text=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return (said["username"], said["password"]) if done.returncode == 0 and said.get("password") else None
