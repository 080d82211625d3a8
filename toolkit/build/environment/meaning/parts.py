"""Named parts of what files mean, in one form each: equal where the installation is, whatever the files' bytes are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

Parts = dict[str, str]
"""What counts, by a name that a sentence can begin with (``uv.lock: numpy``).

A value is what a sentence shows (a version), then, after a line break, the hash of all that counts beside it. Either may be
missing.
"""

_SHOWN = 100
"""Characters of a value that is kept as it is."""
_TOKENS = (
    r"(?i)(?:.*(?:token|secret|passw|auth|credential|signature|api[-_]?key).*|(?:x-amz|x-goog|x-ms)-.*|sig|key|expires)"
)
"""The names of parameters of an address that say who asks, and not what for."""


def canonical(value: Any) -> str:
    """A value of a parsed file in one spelling, whatever the order of its tables."""
    # A date is no string: it is spelled so that no string can be equal to it.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=lambda other: {"": repr(other)})


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def of_bytes(content: bytes) -> str:
    """The part that a file is which counts as it is."""
    return "\n" + hashlib.sha256(content).hexdigest()


def of_value(value: Any) -> str:
    """The part that a setting is: shown where it is short, and by its hash where it is not."""
    text = value if isinstance(value, str) else canonical(value)
    if len(text) <= _SHOWN and "\n" not in text and (isinstance(value, str) or not isinstance(value, (dict, list))):
        return text
    return "\n" + digest(value)


def of_package(version: str, rest: Any) -> str:
    """The part that a package is: its version, and the hash of its files, its source and what it depends on."""
    return f"{version}\n{digest(rest)}"


def of_lock(file: str, key: str) -> str:
    """The name of what a lock says of itself. It has a space, which no package's name has."""
    return f"{file}: {key} of the lock"


def unordered(values: Iterable[Any]) -> list[Any]:
    """A list whose order says nothing, in one order."""
    return sorted(values, key=canonical)


def without_credentials(value: Any) -> Any:
    """A value of a parsed file, with its addresses stripped of user names, passwords and tokens."""
    if isinstance(value, str):
        return _address(value) if "://" in value else value
    if isinstance(value, dict):
        return {key: without_credentials(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_credentials(one) for one in value]
    return value


def _address(text: str) -> str:
    text = re.sub(r"://[^/\s\"'?#]*@", "://", text)

    def kept(found: re.Match[str]) -> str:
        words = [one for one in found[1].split("&") if not re.fullmatch(_TOKENS, one.partition("=")[0])]
        return "?" + "&".join(words) if words else ""

    return re.sub(r"\?([^#\s\"']*)", kept, text)


def file_name(address: str) -> str:
    """The name of the file that an address or a path leads to. It says on which machines a wheel is installed."""
    return re.sub(r"[?#].*", "", address).rsplit("/", 1)[-1]


def of_requirements(prefix: str, lines: Iterable[str]) -> Parts:
    """The parts of requirements (PEP 508), by the names of their packages, whatever their order and spelling."""
    found: dict[str, set[str]] = {}
    for line in lines:
        name, rest = requirement(line)
        found.setdefault(name, set()).add(rest)
    return {f"{prefix}{name}": of_value(" | ".join(sorted(rests))) for name, rests in found.items()}


def requirement(line: str) -> tuple[str, str]:
    """The name of a requirement's package, and the rest in one spelling. What can't be read is a name of its own."""
    from packaging.requirements import InvalidRequirement, Requirement

    from toolkit.build.environment.dependencies.found import normalize_name

    try:
        read = Requirement(line)
    except InvalidRequirement:
        return str(without_credentials(re.sub(r"\s+", " ", line.strip()))), ""
    extras = f"[{','.join(sorted(set(map(normalize_name, read.extras))))}]" if read.extras else ""
    target = f" @ {without_credentials(read.url)}" if read.url else str(read.specifier)
    return normalize_name(read.name), f"{extras}{target}{f' ; {read.marker}' if read.marker else ''}"
