"""The reasons for which the build of an environment fails: whether another attempt may succeed, and the sentence for the user."""

from __future__ import annotations

import re

from toolkit.build.environment.dependencies.found import foreign_distribution_error
from toolkit.errors import BadInput, Infrastructure, ToolkitError

_TRANSIENT = (
    r"Temporary failure in name resolution|Temporary failure resolving|NewConnectionError|ConnectTimeout|Read timed out|"
    r"dns error|tcp connect error|error sending request|Could not connect to|Connection timed out|Connection failed|"
    r"Connection reset by peer|502 +Bad Gateway|503 +Service Unavailable"
)
"""Errors of a network that may work again a moment later."""
_PERMANENT = r"Network is unreachable|Connection refused|CERTIFICATE_VERIFY_FAILED|UnknownIssuer|ProxyError"
"""Errors of a network that will be the same at the next attempt."""
_NETWORK = rf"{_TRANSIENT}|{_PERMANENT}|Name or service not known"
# pip's warning of an attempt that another one follows. The last attempt has no further one left (total=0).
_RETRY_WARNING = re.compile(r"^.*Retrying \(Retry\(total=[1-9].*$", re.MULTILINE)
_FAILURES: tuple[tuple[str, str, bool], ...] = (
    # (pattern in the output, sentence for the user, whether the user's input is at fault); {lock} is the lock file. The first
    # match counts, so the lock comes before the network: without a network, packages are "not found" as well.
    (r"[Ll]ockfile .{0,80}needs to be updated", "{lock} does not match pyproject.toml: run `uv lock`", True),
    (r"pyproject\.toml changed significantly", "{lock} does not match pyproject.toml: run `poetry lock`", True),
    (
        r"Lockfile doesn't satisfy the project",
        "{lock} does not match pyproject.toml: run `pdm lock --lockfile {lock}`",
        True,
    ),
    (r"Pipfile\.lock is out-of-date", "{lock} does not match the Pipfile: run `pipenv lock`", True),
    (
        r"[Ll]ock ?file is not compatible",
        "{lock} was written by a version of its tool that is too old or too new to be read: write it again with the tool's "
        "current version",
        True,
    ),
    (
        r"Group\(s\) not found|Extra \[.*\] is not specified",
        "build.groups or build.extras names what the project does not have: the output above says which",
        True,
    ),
    (r"Failed to parse `?uv\.lock|Failed to parse lockfile", "{lock} cannot be read by uv: run `uv lock`", True),
    (
        r"DO NOT MATCH THE HASHES|Hash mismatch|hashes? mismatch",
        "a package does not match its hash in {lock}: if the package was meant to change, write the file again with "
        "`uv pip compile --generate-hashes` (or `pip-compile --generate-hashes`), or run `uv lock`",
        True,
    ),
    (
        r"require-hashes mode",
        "{lock} has hashes for some packages but not for all: write it with `uv pip compile --generate-hashes`",
        True,
    ),
    (
        _NETWORK,
        "the environment cannot be built because the network or the package index cannot be reached from the build: "
        "check the connection, and behind a proxy set build.network (docs/build.md)",
        False,
    ),
    (r"No space left on device", "the Docker engine's disk is full: free some space (`docker system df`)", False),
    (
        r"Unable to locate package|has no installation candidate",
        "build.system_packages or build.build_packages names a package that the base image's Debian does not have",
        True,
    ),
    (r"python3: (command )?not found", "the base image has no python3: name another image in build.base_image", True),
    (r"ensurepip is not|No module named '?venv", "the base image's Python has no venv: add python3-venv to it", True),
    (
        r"apt-get: not found",
        "the base image is not based on Debian, so build.system_packages and build.build_packages cannot be installed",
        True,
    ),
    (
        r"requires-python|Requires-Python|requires a different Python|project's Python requirement|No interpreter found",
        "{lock} requires another version of Python than the base image has: name a base image with that version in "
        "build.base_image",
        True,
    ),
)


def is_transient_failure(text: str) -> bool:
    """Whether the build failed only by a network that may work again a moment later, as its output shows."""
    final = _RETRY_WARNING.sub("", text)
    first = next((pattern for pattern, _, _ in _FAILURES if re.search(pattern, final)), None)
    return first is _NETWORK and bool(re.search(_TRANSIENT, final)) and not re.search(_PERMANENT, final)


def explain_failure(text: str, base: str, lock: str | None) -> ToolkitError:
    """The error of a failed build, from its output: one sentence that names the file and what to do.

    Args:
        base: the base image's reference. lock: the file that the dependencies are declared in.
    """
    location = lock or base
    if "toolkit-refused:" in text.replace('echo "toolkit-refused:', ""):
        return foreign_distribution_error(location)
    said = re.findall(r"toolkit-says: (.+)", text)
    if said:
        return BadInput(said[-1].strip(), location)
    final = _RETRY_WARNING.sub("", text)
    for pattern, sentence, input_is_wrong in _FAILURES:
        if re.search(pattern, final):
            message = sentence.replace("{lock}", lock or "the lock")
            return BadInput(message, location) if input_is_wrong else Infrastructure(message)
    if re.search(
        r"No matching distribution|No solution found|Invalid requirement|did not complete successfully|executor failed",
        text,
    ):
        return BadInput(f"the dependencies cannot be installed on {base}: the output above says why", location)
    return Infrastructure("BuildKit failed: the output above says why")
