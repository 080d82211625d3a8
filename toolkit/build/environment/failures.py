"""What a failed build of an environment means: whether trying again helps, and the sentence for the user."""

from __future__ import annotations

import re

from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.locks import refuse_foreign_distribution
from toolkit.errors import BadInput, Infrastructure, ToolkitError

_TRANSIENT = (
    r"Temporary failure in name resolution|Temporary failure resolving|NewConnectionError|ConnectTimeout|Read timed out|"
    r"dns error|tcp connect error|error sending request|Could not connect to|Connection timed out|Connection failed|"
    r"Connection reset by peer|502 +Bad Gateway|503 +Service Unavailable"
)
"""What a network says that may be well a moment later."""
_PERMANENT = r"Network is unreachable|Connection refused|CERTIFICATE_VERIFY_FAILED|UnknownIssuer|ProxyError"
"""What it says that will be the same: trying again would only cost time."""
_NETWORK = rf"{_TRANSIENT}|{_PERMANENT}|Name or service not known"
# pip's warning of a try that another one follows: what failed for good warns of a try with none left (total=0) as well.
_RETRY_WARNING = re.compile(r"^.*Retrying \(Retry\(total=[1-9].*$", re.MULTILINE)
_FAILURES: tuple[tuple[str, str, bool], ...] = (
    # (what its output says, what the user is told, whether it is the user's input); {lock} is the lock file. The first
    # one that matches is told: a lock's fault is certain, while without a network packages are "not found" as well.
    (r"[Ll]ockfile .{0,80}needs to be updated", "{lock} does not match pyproject.toml: run `uv lock`", True),
    (r"Failed to parse `?uv\.lock|Failed to parse lockfile", "{lock} cannot be read by uv: run `uv lock`", True),
    (
        r"DO NOT MATCH THE HASHES|Hash mismatch|hashes? mismatch",
        "a package does not match its hash in {lock}: if the change is meant, write the file again with "
        "`uv pip compile --generate-hashes` (or `pip-compile --generate-hashes`), or run `uv lock`",
        True,
    ),
    (
        r"require-hashes mode",
        "{lock} gives hashes for some packages and not for all: write it with `uv pip compile --generate-hashes`",
        True,
    ),
    (
        _NETWORK,
        "the environment cannot be built because the network or the package index cannot be reached from the build: "
        "check the connection, and behind a proxy set build.network (docs/build.md)",
        False,
    ),
    (r"No space left on device", "the Docker engine's disk is full: make room (`docker system df`)", False),
    (
        r"Unable to locate package|has no installation candidate",
        "build.system_packages names a package that the base image's Debian does not have",
        True,
    ),
    (r"python3: (command )?not found", "the base image has no python3: name another in build.base_image", True),
    (r"ensurepip is not|No module named '?venv", "the base image's Python has no venv: add python3-venv to it", True),
    (r"apt-get: not found", "the base image is not a Debian one, so build.system_packages cannot be installed", True),
    (
        r"requires-python|Requires-Python|requires a different Python|project's Python requirement|No interpreter found",
        "{lock} wants another Python than the base image has: name a base image with that one in build.base_image",
        True,
    ),
)


def is_transient_failure(text: str) -> bool:
    """Whether a failed build's output speaks of a network that may be well a moment later, and of nothing that is certain."""
    final = _RETRY_WARNING.sub("", text)
    first = next((pattern for pattern, _, _ in _FAILURES if re.search(pattern, final)), None)
    return first is _NETWORK and bool(re.search(_TRANSIENT, final)) and not re.search(_PERMANENT, final)


def explain_failure(text: str, wanted: EnvironmentDefinition) -> ToolkitError:
    """What a failed build's output means, as one sentence that names the file and what mends it."""
    lock = wanted.lock.file
    where = lock or wanted.base
    if "toolkit-refused:" in text.replace('echo "toolkit-refused:', ""):
        return refuse_foreign_distribution(where)
    final = _RETRY_WARNING.sub("", text)
    for pattern, sentence, input_is_wrong in _FAILURES:
        if re.search(pattern, final):
            message = sentence.replace("{lock}", lock or "the lock")
            return BadInput(message, where) if input_is_wrong else Infrastructure(message)
    if re.search(
        r"No matching distribution|No solution found|Invalid requirement|did not complete successfully|executor failed",
        text,
    ):
        return BadInput(f"the dependencies cannot be installed on {wanted.base}: the output above says why", where)
    return Infrastructure("BuildKit failed: the output above says why")
