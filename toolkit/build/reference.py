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
        """Whether it has a tag or a digest: then it is an image that exists, else a repository that toolkit tags in."""
        return self.tag is not None or self.digest is not None

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str, setting: str) -> Reference:
    """Parses ``text``; ``setting`` names where it stands in an error.

    Raises:
        BadInput: it is no valid reference.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        lower = _REFERENCE.fullmatch(text.lower())
        mend = (
            f"write {text.lower()!r}"
            if lower and text != text.lower()
            else "write [host[:port]/]name[:tag], in lower case"
        )
        raise BadInput(f"{setting}: {text!r} is no valid image reference: {mend}")
    repository = f"{found['domain']}/{found['path']}" if found["domain"] else found["path"]
    if len(repository) > _LONGEST:
        raise BadInput(f"{setting}: the image's name has {len(repository)} characters, and Docker allows {_LONGEST}")
    return Reference(repository, found["tag"], found["digest"])


def repository_for(folder: str) -> str:
    """A valid repository for a project whose root has this name."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return name[:100].rstrip("-") or "project"


def full_name(reference: str) -> str:
    """The reference with registry and namespace spelt out, as containerd stores it."""
    if registry_of(reference):
        return reference
    return f"docker.io/{reference}" if "/" in reference else f"docker.io/library/{reference}"


def registry_of(reference: str) -> str | None:
    """The host, with its port, of the registry that a reference or a repository names; None where it names none."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return first if named else None
