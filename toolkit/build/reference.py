"""Image references: repository, tag and digest, by the grammar of github.com/distribution/reference."""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolkit.errors import BadInput

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    Attributes:
        repository: everything before tag and digest, a registry's host and port included.
    """

    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def names_an_image(self) -> bool:
        """Whether it has a tag or a digest, so that it names an existing image. Else it is a repository that toolkit tags in."""
        return self.tag is not None or self.digest is not None

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str, setting: str) -> Reference:
    """Parses a reference.

    Args:
        setting: the setting that holds it, for an error.

    Raises:
        BadInput: it is not a valid reference.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        is_valid_in_lower_case = _REFERENCE.fullmatch(text.lower()) and text != text.lower()
        remedy = (
            f"write {text.lower()!r}" if is_valid_in_lower_case else "write [host[:port]/]name[:tag], in lower case"
        )
        raise BadInput(f"{setting}: {text!r} is not a valid image reference: {remedy}")
    repository = f"{match['domain']}/{match['path']}" if match["domain"] else match["path"]
    if len(repository) > _LONGEST:
        raise BadInput(f"{setting}: the image's name has {len(repository)} characters, and Docker allows {_LONGEST}")
    return Reference(repository, match["tag"], match["digest"])


def repository_for(folder: str) -> str:
    """A valid repository name for a project whose root folder has this name."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return name[:100].rstrip("-") or "project"


def full_name(reference: str) -> str:
    """The reference with its registry and namespace, as containerd stores it."""
    if registry_of(reference):
        return reference
    return f"docker.io/{reference}" if "/" in reference else f"docker.io/library/{reference}"


def registry_of(reference: str) -> str | None:
    """The host, with its port, of the registry in a reference or repository; None where there is none."""
    first, slash, _ = reference.partition("/")
    is_registry = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return first if is_registry else None
