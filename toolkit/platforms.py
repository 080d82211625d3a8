"""Platforms of images and machines, as ``linux/arm64``: spelled in one way, and compared."""

from __future__ import annotations

import re
from typing import NamedTuple

from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput

_ALIASES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armhf": "arm", "armel": "arm",
    "armv7l": "arm", "armv6l": "arm",
}  # fmt: skip
"""Other names of architectures: the kernel's, Debian's and those that containerd takes."""
_IMPLIED = {"armhf": "v7", "armv7l": "v7", "armel": "v6", "armv6l": "v6"}
_ARCHITECTURES = ("amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le")


class Platform(NamedTuple):
    """An operating system and an architecture, by the names of OCI's image specification.

    Attributes:
        variant: of the architecture, as ``v7``; "" where it is the usual one, as v8 of arm64 is.
    """

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    def runs(self, image: Platform) -> bool:
        """Whether a machine of this platform runs programs of an image without an emulator."""
        if not image.architecture or not self.architecture or image.os != self.os:
            return image.os == self.os  # what does not say what it is can't be judged
        # 64-bit kernels most often run their 32-bit relatives; no name tells where they do not.
        return (self.architecture, image.architecture) in {
            (image.architecture, image.architecture), ("amd64", "386"), ("arm64", "arm"),
        }  # fmt: skip

    def is_of(self, image: EngineObject) -> bool:
        """Whether an image, as `docker inspect` shows it, is of this platform. Some do not say their variant."""
        theirs = of_image(image)
        return theirs[:2] == self[:2] and (theirs.variant == self.variant or not image.get("Variant"))


def parse_platform(text: str, setting: str) -> Platform:
    """A platform as it is written: ``linux/arm64``, ``linux/arm/v7``, ``arm64``, ``linux/x86_64``.

    Args:
        setting: what names it, for an error.

    Raises:
        BadInput: it is none, or one that no step can run on.
    """
    parts = text.strip().lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    known = len(parts) in (2, 3) and _ALIASES.get(parts[1], parts[1]) in _ARCHITECTURES
    if not known or not re.fullmatch(r"(v?\d+)?", parts[2] if len(parts) == 3 else ""):
        raise BadInput(
            f"{setting}: {text[:60]!r} is no platform: write OS/ARCHITECTURE, as linux/arm64 (or linux/amd64, linux/arm/v7)"
        )
    if parts[0] != "linux":
        raise BadInput(f"{setting}: steps run on linux alone, and this is {text[:60]!r}: write linux/{parts[1]}")
    return normalized(*parts)


def normalized(os: str, architecture: str, variant: str = "") -> Platform:
    """The platform by its usual names: ``aarch64`` is arm64, arm64's ``v8`` is not said, and arm without a variant is v7."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    variant = variant or _IMPLIED.get(architecture, "")
    architecture = _ALIASES.get(architecture, architecture)
    if variant and not variant.startswith("v"):
        variant = f"v{variant}"
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return Platform(os, architecture, variant or ("v7" if architecture == "arm" else ""))


def of_image(image: EngineObject) -> Platform:
    """The platform of an image, as `docker inspect` shows it."""
    return normalized(
        str(image.get("Os") or "linux"), str(image.get("Architecture") or ""), str(image.get("Variant") or "")
    )


def of_engine(engine: EngineApi) -> Platform:
    """The platform of the machine that an engine runs on.

    Raises:
        Infrastructure: it does not answer.
    """
    version = engine.json("/version") or {}
    return normalized(str(version.get("Os") or "linux"), str(version.get("Arch") or ""))


def is_foreign(engine: EngineApi, image: EngineObject) -> bool:
    """Whether the engine's machine can run an image by an emulator alone."""
    return not of_engine(engine).runs(of_image(image))


def emulation_remedy(platform: Platform) -> str:
    """The command that teaches an engine's machine to run programs of a platform."""
    return f"`docker run --privileged --rm tonistiigi/binfmt --install {platform.architecture}`"
