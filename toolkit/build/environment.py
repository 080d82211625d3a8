"""Builds the environment image where the engine does not have it, and says what a failed build means."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from toolkit.build import buildkit
from toolkit.build.bases import Image
from toolkit.build.locks import refuse_stranger
from toolkit.build.wanted import UV_REQUIREMENT, Wanted
from toolkit.data import data_path
from toolkit.engine import Raw
from toolkit.errors import BadInput, Infrastructure, ToolkitError

_PAUSES = (5, 20)
"""Seconds before a build is tried again that the network failed: what is lost on the way once is mostly there soon after."""
_TAIL = 30
"""Lines of a failed build that are shown."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def ensure(raw: Raw, wanted: Wanted, secrets: dict[str, Path], folder: Path, report: Callable[[str], None]) -> Image:
    """The environment's image, built when the engine does not have it.

    Args:
        secrets: what it needs to reach the package index (network_files).
        folder: where the build may write (`.toolkit/build`).

    Raises:
        BadInput: the lock does not match, or what it names cannot be installed.
        Infrastructure: no BuildKit, no network, no space, no time.
    """
    reference = wanted.reference
    image = raw.image(reference)
    if image is None:
        _build(raw, wanted, secrets, folder, report)
        image = raw.image(reference)
    if image is None:
        raise Infrastructure(
            f"BuildKit ended well, but the engine does not have {reference}: look into the engine's log"
        )
    return image


def _build(raw: Raw, wanted: Wanted, secrets: dict[str, Path], folder: Path, report: Callable[[str], None]) -> None:
    client = buildkit.probe(raw.endpoint)
    output = folder / "environment.log"
    report(f"building the environment from {wanted.lock.file or 'system packages'} on {wanted.base} (output: {output})")
    context = Path(tempfile.mkdtemp(prefix="context-", dir=folder))
    try:
        for name, content in wanted.lock.files.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        request = buildkit.Request(
            dockerfile=data_path(f"dockerfiles/{wanted.template}.Dockerfile"),
            context=context,
            tag=wanted.reference,
            output=output,
            arguments=_arguments(wanted),
            passed_on=tuple(name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)),
            secrets=secrets,
        )
        outcome = buildkit.run(client, request, report)
        for pause in _PAUSES:
            if outcome.succeeded or not failed_in_passing(outcome.text):
                break
            report(f"the network failed the build: trying again in {pause} s")
            time.sleep(pause)
            outcome = buildkit.run(client, request, report)
    finally:
        shutil.rmtree(context, ignore_errors=True)
    if not outcome.succeeded:
        for line in outcome.text.splitlines()[-_TAIL:]:
            report("  " + line)
        raise explain_failure(outcome.text, wanted)


def _arguments(wanted: Wanted) -> dict[str, str]:
    arguments = {"BASE": wanted.base, "SYSTEM_PACKAGES": " ".join(sorted(set(wanted.packages)))}
    if wanted.lock.kind == "uv":
        arguments |= {"UV_REQUIREMENT": UV_REQUIREMENT, "FOLDER": os.path.dirname(wanted.lock.file or "") or "."}
    elif wanted.lock.kind == "requirements":
        arguments |= {
            "REQUIREMENTS": wanted.lock.file or "",
            "PIP_OPTIONS": "--require-hashes" if wanted.lock.hashes else "",
        }
    return arguments


_PASSING = (
    r"Temporary failure in name resolution|Temporary failure resolving|NewConnectionError|ConnectTimeout|Read timed out|"
    r"dns error|tcp connect error|error sending request|Could not connect to|Connection timed out|Connection failed|"
    r"Connection reset by peer|502 +Bad Gateway|503 +Service Unavailable"
)
"""What a network says that may be well a moment later."""
_STANDING = r"Network is unreachable|Connection refused|CERTIFICATE_VERIFY_FAILED|UnknownIssuer|ProxyError"
"""What it says that will be the same: trying again would only cost time."""
_NETWORK = rf"{_PASSING}|{_STANDING}|Name or service not known"
# pip's warning of a try that another one follows: what failed for good warns of a try with none left (total=0) as well.
_PASSED_OVER = re.compile(r"^.*Retrying \(Retry\(total=[1-9].*$", re.MULTILINE)
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


def failed_in_passing(text: str) -> bool:
    """Whether a failed build's output speaks of a network that may be well a moment later, and of nothing that is certain."""
    final = _PASSED_OVER.sub("", text)
    first = next((pattern for pattern, _, _ in _FAILURES if re.search(pattern, final)), None)
    return first is _NETWORK and bool(re.search(_PASSING, final)) and not re.search(_STANDING, final)


def explain_failure(text: str, wanted: Wanted) -> ToolkitError:
    """What a failed build's output means, as one sentence that names the file and what mends it."""
    lock = wanted.lock.file
    where = lock or wanted.base
    if "toolkit-refused:" in text.replace('echo "toolkit-refused:', ""):
        return refuse_stranger(where)
    final = _PASSED_OVER.sub("", text)
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
