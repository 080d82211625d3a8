"""Images that must exist before a build: the base that an environment starts from, and images that the user names."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.engine import EngineApi, EngineObject, connect
from toolkit.errors import BadInput, Infrastructure

DEFAULT_BASE = "python:3.12-slim-bookworm"
OWN_BASE = "toolkit-base:bookworm"
"""What `task setup` makes where no registry is in reach."""


def find_base_image(engine: EngineApi, chosen: str | None) -> tuple[str, EngineObject | None]:
    """The base image's reference and, when the engine has it, the image."""
    if chosen:
        return chosen, engine.image(chosen)
    image = engine.image(DEFAULT_BASE)
    if image is not None:
        return DEFAULT_BASE, image
    image = engine.image(OWN_BASE)
    return (OWN_BASE, image) if image is not None else (DEFAULT_BASE, None)


def pull(engine: EngineApi, reference: str, setting: str, report: Callable[[str], None]) -> EngineObject:
    """Pulls an image with the credentials that the Docker CLI has.

    Args:
        setting: which setting names it; "" for the default base.

    Raises:
        BadInput: its registry does not have it, or wants a login.
        Infrastructure: the registry cannot be reached.
    """
    report(f"pulling {reference}")
    client = connect(engine.endpoint)
    import docker.errors

    try:
        repository, tag = _split(reference)
        client.images.pull(repository, tag=tag)
    except docker.errors.APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        absent = ("not found", "does not exist", "manifest unknown", "access denied", "no such image", "unauthorized")
        if setting and any(words in reason.lower() for words in absent):
            raise BadInput(
                f"{setting}: the image {reference} is not on this engine and cannot be pulled ({reason}): "
                "mend the name, or log in with `docker login`"
            ) from error
        raise _unreachable(reference, setting, reason) from error
    except OSError as error:  # requests' own: the engine went away or says nothing for too long
        raise _unreachable(reference, setting, str(error)) from error
    image = engine.image(reference)
    if image is None:
        raise Infrastructure(f"{reference} was pulled but is not there afterwards: look into the Docker engine's log")
    return image


def _split(reference: str) -> tuple[str, str | None]:
    if "@" in reference:
        return reference, None
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def _unreachable(reference: str, setting: str, reason: str) -> Infrastructure:
    ways = "make a base image with `task setup`, or name one that this engine has in build.base_image"
    if setting and setting != "build.base_image":
        ways = "check the network, or name an image that this engine has"
    return Infrastructure(
        f"the image {reference} is not on this engine and its registry cannot be reached ({reason}): {ways}"
    )
