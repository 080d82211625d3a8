"""The base image that an environment starts from, and pulling images that the engine lacks."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.build.environment.python_version import base_for
from toolkit.build.interpreter import interpreter_of
from toolkit.build.reference import parse_reference
from toolkit.engine import EngineApi, EngineObject, connect
from toolkit.errors import BadInput, Infrastructure

DEFAULT_BASE = "python:3.12-slim-bookworm"
OWN_BASE = "toolkit-base:bookworm"
"""The base image that `task setup` makes where no registry can be reached."""
CONDA_PYTHON = "3.10"
"""The lowest Python of py-rattler in dockerfiles/tools/conda.txt."""


def find_base_image(
    engine: EngineApi, chosen: str | None, python: str | None = None
) -> tuple[str, EngineObject | None]:
    """The base image's reference, and the image as `docker inspect` shows it; None when the engine does not have it.

    Args:
        chosen: the setting build.base_image. python: the setting build.python.

    Raises:
        BadInput: what is chosen is not the name of an image.
    """
    if chosen:
        parse_reference(chosen, "build.base_image")
        return chosen, image_in_engine(engine, chosen)
    if python:
        named = base_for(python)
        image = engine.image(named)
        own = engine.image(OWN_BASE) if image is None else None
        if own is not None and interpreter_of(engine, str(own["Id"]), OWN_BASE).version.startswith(f"{python}."):
            return OWN_BASE, own
        return named, image
    image = engine.image(DEFAULT_BASE)
    if image is not None:
        return DEFAULT_BASE, image
    image = engine.image(OWN_BASE)
    return (OWN_BASE, image) if image is not None else (DEFAULT_BASE, None)


def image_in_engine(engine: EngineApi, reference: str) -> EngineObject | None:
    """An image as `docker inspect` shows it; None when the engine does not have it.

    One that is named by its digest is this very image, also where its tag means another one by now.
    """
    if "@" not in reference:
        return engine.image(reference)
    repository, digest = _split(reference)
    image = engine.image(f"{repository}@{digest}")
    known = {str(one).partition("@")[2] for one in (image or {}).get("RepoDigests") or []}
    return image if digest in known else None


def find_tool_base(
    engine: EngineApi, base: str, base_id: str, python: str, others: bool = True
) -> tuple[str, str] | None:
    """A base image, and its id, whose Python is not older than ``python`` (``3.10``).

    It is ``base``, else with ``others`` one that the engine has. None where there is none.
    """
    wanted = tuple(map(int, python.split(".")))
    known = [(name, engine.image(name)) for name in (DEFAULT_BASE, OWN_BASE) if others and name != base]
    for name, image_id in [(base, base_id), *((name, str(image["Id"])) for name, image in known if image is not None)]:
        version = interpreter_of(engine, image_id, name).version
        if tuple(map(int, version.split(".")[:2])) >= wanted:
            return name, image_id
    return None


def pull(
    engine: EngineApi, reference: str, setting: str, report: Callable[[str], None], where: str | None = None,
    platform: str | None = None,
) -> EngineObject:  # fmt: skip
    """Pulls an image with the Docker CLI's credentials. Returns it as `docker inspect` shows it.

    Args:
        setting: the setting that names the image; "" for the default base image. where: its file and line.
        platform: of the image, where its registry has it for several; None is the engine's own.

    Raises:
        BadInput: its registry does not have it, or requires a login.
        Infrastructure: the registry cannot be reached.
    """
    report(f"pulling {reference}")
    client = connect(engine.endpoint)
    import docker.errors

    from toolkit.build.progress import LiveLine
    from toolkit.build.registry_login import credentials_for_engine

    # docker-py's own look into config.json fails for a helper that is not installed, and waits for one without a limit.
    credentials = credentials_for_engine(reference)
    try:
        repository, tag = _split(reference)
        with LiveLine(report, f"pulling {reference}"):
            client.images.pull(repository, tag=tag, platform=platform, auth_config=credentials)
    except docker.errors.APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        if setting and is_absent(reason):
            raise BadInput(
                f"{setting}: the image {reference} is not on this engine and cannot be pulled ({reason}): "
                f"fix the {'digest or the name' if '@' in reference else 'name'}, or log in with `docker login`",
                where,
            ) from error
        raise _unreachable(reference, setting, reason) from error
    except OSError as error:  # of requests: the engine broke off the connection, or sent nothing for too long
        raise _unreachable(reference, setting, str(error)) from error
    image = image_in_engine(engine, reference)
    if image is None:
        raise Infrastructure(f"{reference} was pulled, but the Docker engine does not have it: see the engine's log")
    return image


def is_absent(reason: str) -> bool:
    """Whether the engine's word on a failed request to a registry means that there is no such image for this user."""
    words = ("not found", "does not exist", "manifest unknown", "access denied", "no such image", "unauthorized")
    return any(one in reason.lower() for one in words)


def _split(reference: str) -> tuple[str, str]:
    """The repository, and the digest or else the tag."""
    name, at, digest = reference.partition("@")
    if at:
        return _split(name)[0], digest
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def _unreachable(reference: str, setting: str, reason: str) -> Infrastructure:
    remedy = "make a base image with `task setup`, or name one that this engine has in build.base_image"
    if setting and setting != "build.base_image":
        remedy = "check the network, or name an image that this engine has"
    return Infrastructure(
        f"the image {reference} is not on this engine and its registry cannot be reached ({reason}): {remedy}"
    )
