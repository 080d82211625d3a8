"""The base image of a platform that is not this machine's, and the own one beside it, whose Python does the work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing

from toolkit.build.environment.base_image import DEFAULT_BASE, OWN_BASE, image_in_engine, is_absent, pull
from toolkit.build.environment.python_version import base_for
from toolkit.build.interpreter import interpreter_of
from toolkit.engine import EngineApi, EngineObject, connect
from toolkit.errors import BadInput, Infrastructure
from toolkit.platforms import Platform, emulation_remedy, of_engine, of_image

KEPT = "toolkit-base-of"
"""The repository in which a pulled base of another platform keeps a name: an engine has one platform under a tag at a time."""
_TIME_LIMIT = 60.0
"""Seconds. An emulated machine takes a few."""


def find_foreign_base(
    engine: EngineApi, chosen: str | None, python: str | None, platform: Platform
) -> tuple[str, str, EngineObject | None]:
    """The base image of a platform: the name under which the engine has it, the one by which it was chosen, and the image.

    The image is None where the engine does not have it; an image of another platform under its name does not count.

    Args:
        chosen: the setting build.base_image. python: the setting build.python.
    """
    names = [chosen] if chosen else [base_for(python)] if python else [DEFAULT_BASE, OWN_BASE]
    for name in names:
        for known in (name, kept_name(name, platform)):
            image = image_in_engine(engine, known)
            if image is not None and platform.is_of(image):
                return known, name, image
    return kept_name(names[0], platform), names[0], None


def pull_foreign_base(
    engine: EngineApi, name: str, platform: Platform, setting: str, report: Callable[[str], None], where: str | None
) -> EngineObject:
    """Pulls an image of a platform, and keeps it by a name of its own. The name itself means again what it meant before.

    Args:
        setting, where: as of :func:`pull`.

    Raises:
        BadInput: the registry does not have it, or has it for other platforms alone.
        Infrastructure: the registry can't be reached.
    """
    before = image_in_engine(engine, name)
    report(f"{name} is needed for {platform}" + (f": the engine has {of_image(before)}" if before is not None else ""))
    try:
        image = pull(engine, name, setting, report, where, platform=str(platform))
    except BadInput:
        raise
    except Infrastructure as error:
        if is_absent(error.message) or "no match" in error.message:
            raise _not_for(name, platform, where) from error
        reason = str(error.message).partition("cannot be reached ")[2].partition(": make ")[0] or f"({error.message})"
        raise Infrastructure(
            f"the image {name} is not on this engine for {platform}, and its registry cannot be reached {reason}: check the "
            "network, or load the image of this platform (docker load) and name it in build.base_image"
        ) from error
    finally:
        if before is not None and "@" not in name:
            _tag(engine, str(before["Id"]), name)
    if not platform.is_of(
        image
    ):  # a registry with one image for a tag gives that, and a failed pull leaves what was there
        raise _not_for(name, platform, where)
    _tag(engine, str(image["Id"]), kept_name(name, platform))
    return image


def _not_for(name: str, platform: Platform, where: str | None) -> BadInput:
    return BadInput(
        f"build.base_image: the registry has no {name} for {platform}: name a base image that is for it", where
    )


def counterpart(
    engine: EngineApi, version: str, names: Iterable[str], report: Callable[[str], None] | None = None
) -> tuple[str, str] | None:
    """An image of this machine's own platform with the same minor version of Python: its name, and its id.

    Args:
        version: of Python. names: of images that are looked at first.
        report: is told what is pulled where the engine has none; None pulls nothing.
    """
    own, minor = of_engine(engine), ".".join(version.split(".")[:2])
    official = base_for(minor)
    for name in dict.fromkeys((*names, official, DEFAULT_BASE, OWN_BASE)):
        image = image_in_engine(engine, name)
        if image is None or not own.is_of(image):
            continue
        try:
            if interpreter_of(engine, str(image["Id"]), name).version.startswith(f"{minor}."):
                return name, str(image["Id"])
        except BadInput:
            pass  # it has no Python
    if report is None:
        return None
    try:
        return official, str(pull(engine, official, "", report, platform=str(own))["Id"])
    except Infrastructure as error:
        raise BadInput(
            f"packages are installed for another platform by a Python of this machine's own, and this engine has no image of {own} "
            f"with Python {minor}, nor can {official} be pulled: load one and name it {official} (docker tag)"
        ) from error


def can_run(engine: EngineApi, image: str, python: str) -> bool:
    """Whether the engine's machine runs an image's Python, by itself or by an emulator.

    Args:
        image: its id. python: the path of its Python.
    """
    import docker

    with closing(connect(engine.endpoint)) as client:
        api = client.api
        container = ""
        try:
            container = api.create_container(
                image=image, entrypoint=[python, "-I", "-c", "pass"], user="0", working_dir="/",
                labels={"dev.toolkit.interpreter": ""}, use_config_proxy=False,
                host_config={"NetworkMode": "none", "SecurityOpt": ["no-new-privileges"]},
            )["Id"]  # fmt: skip
            api.start(container)
            return bool(api.wait(container, timeout=_TIME_LIMIT)["StatusCode"] == 0)
        except docker.errors.APIError:
            return False
        finally:
            if container:
                api.remove_container(container, force=True, v=True)


def must_run(what: str, platform: Platform, instead: str = "") -> BadInput:
    """The error of what has to run on a platform that this engine does not run.

    Args:
        what: the package or the setting, and why it must run, as the beginning of a sentence.
        instead: another way out.
    """
    return BadInput(
        f"{what} on {platform}, which this engine can't do: {instead}build on a machine of this platform, or install an emulator "
        f"there ({emulation_remedy(platform)})"
    )


def kept_name(name: str, platform: Platform) -> str:
    """The name under which a pulled image of another platform is kept."""
    return f"{KEPT}:{str(platform).replace('/', '-')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _tag(engine: EngineApi, image: str, name: str) -> None:
    from urllib.parse import quote

    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    engine.call("POST", f"/images/{image}/tag?repo={quote(repository, safe='')}&tag={quote(tag, safe='')}")
