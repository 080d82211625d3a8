"""``toolkit build --lock-base``: the digest of the base image that a build uses, written into the configuration."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.build.environment.base_image import find_base_image, is_absent
from toolkit.build.reference import Reference, full_name, parse_reference, registry_of
from toolkit.config.load import place_of
from toolkit.config.located import shown
from toolkit.config.written import WrittenSetting, write_setting
from toolkit.engine import EngineApi, EngineObject, connect
from toolkit.errors import BadInput, Infrastructure
from toolkit.project import Project

_SPELLINGS = ("base_image", "base")
_SETTING = "build.base_image"


def lock_base(project: Project, report: Callable[[str], None], engine: EngineApi | None = None) -> None:
    """Writes ``base_image: NAME:TAG@sha256:…`` into the configuration file, of the base image that a build of the project uses.

    A base that has no digest yet gets that of the engine's image, or, where the engine does not have it, of its registry. One
    that has a digest gets the one that its tag has in the registry now.

    Args:
        report: is given what was written, as a sentence.

    Raises:
        BadInput: no registry has the base, or the file can't be edited. Infrastructure: the engine, the registry or the disk.
    """
    engine = engine or EngineApi()
    settings = project.config.build
    source = project.config.source
    used = project.config.executor.config.image
    if used and parse_reference(used, "image").names_an_image:
        raise BadInput(
            f"the image {used} exists already, so nothing is built on a base image that could be locked: write its own digest "
            "after its name (@sha256:…)",
            place_of(project.config, ("image", "docker_image"), used),
        )
    if settings.dockerfile:
        raise BadInput(
            f"--lock-base writes build.base_image, and the base is what {settings.dockerfile} makes: write the digest into its "
            "FROM (FROM NAME:TAG@sha256:…)",
            project.config.build_places.get("dockerfile"),
        )
    try:
        name, image = find_base_image(engine, settings.base_image, settings.python)
        base = parse_reference(name, _SETTING)
        if base.digest and not base.tag:
            raise BadInput(
                f"{_SETTING} is {name}, which has no tag to look up: write {base.repository}:TAG and lock it again"
            )
        tagged = Reference(base.repository, base.tag or "latest")
        digest = None if base.digest or image is None else _digest_in_engine(engine, tagged, image)
        if digest is None:
            digest = _digest_in_registry(engine, str(tagged))
    except BadInput as error:
        raise BadInput(error.message, place_of(project.config, _SPELLINGS, settings.base_image or "")) from error
    locked = f"{tagged}@{digest}"
    if source is None:
        raise BadInput(
            f"there is no configuration file that --lock-base could write to: write a toolkit.yaml with the line "
            f'`build: {{base_image: "{locked}"}}`'
        )
    if settings.base_image == locked:
        report(f"{shown(source)}: {_SETTING} is {locked} already")
        return
    write_setting(source, WrittenSetting(_SPELLINGS, locked), settings.base_image)
    before = f" (before: {settings.base_image})" if settings.base_image else ""
    report(f"{shown(source)}: {_SETTING} is {locked} now{before}")
    if settings.python and not settings.base_image:
        report("note: build.python has no effect any more, because build.base_image names the base")


def _digest_in_engine(engine: EngineApi, base: Reference, image: EngineObject) -> str:
    """The digest by which a registry has the engine's image.

    Raises:
        BadInput: no registry is known to have it.
    """
    digests = [
        str(one).partition("@")[2]
        for one in image.get("RepoDigests") or []
        if full_name(str(one).partition("@")[0]) == full_name(base.repository)
    ]
    if digests and not (image.get("GraphDriver") or {}).get("Data"):
        # containerd's store gives each image a digest, also one that no registry ever had.
        digests = [one for one in digests if _is_in_registry(engine, f"{base.repository}@{one}")]
    if digests:
        return digests[0]
    if full_name(str(base)) not in [full_name(str(tag)) for tag in image.get("RepoTags") or []]:
        raise BadInput(
            f"{_SETTING} names an image by the id that this engine gave it, which no registry knows: name it as `docker images` "
            "shows it, NAME:TAG, and lock it again"
        )
    pushed = f"`docker push {base}`"
    if registry_of(base.repository) is None:
        pushed = f"`docker tag {base} HOST/{base}` and `docker push HOST/{base}`, name HOST/{base} in {_SETTING}"
    raise BadInput(
        f"the base image {base} was made or loaded on this engine, and neither pulled from a registry nor pushed to one, so there "
        f"is no digest to lock: {pushed}, and lock it again"
    )


def _is_in_registry(engine: EngineApi, reference: str) -> bool:
    try:
        _digest_in_registry(engine, reference)
    except BadInput:
        return False
    return True


def _digest_in_registry(engine: EngineApi, reference: str) -> str:
    """The digest that an image has in its registry. The engine asks, as it would to pull it.

    Raises:
        BadInput: the registry does not have it. Infrastructure: it can't be reached.
    """
    client = connect(engine.endpoint)
    import docker.errors

    from toolkit.build.registry_login import credentials_for_engine

    try:
        return str(client.images.get_registry_data(reference, credentials_for_engine(reference)).id)
    except (docker.errors.APIError, OSError) as error:
        explanation = getattr(error, "explanation", None)
        reason = " ".join(str(explanation or error).split())
        if is_absent(reason):
            raise BadInput(
                f"the registry does not have the base image {reference} ({reason}): fix the name in {_SETTING}, or log in with "
                "`docker login`"
            ) from error
        raise Infrastructure(
            f"the digest of the base image {reference} can't be asked for ({reason}): check the network and that its registry runs"
        ) from error
