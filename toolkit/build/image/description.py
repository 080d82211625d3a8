"""What an image of the engine is made of: its layers and what each is, what is installed, and the project's files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.build.image.build_record import BASE_NAME_LABEL, ENVIRONMENT_LABEL, PROTOCOL_LABEL, read_build_record
from toolkit.build.inventory.packages import Inventory, Package
from toolkit.build.inventory.reading import read_inventory
from toolkit.build.reference import Reference, parse_reference, repository_for
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput
from toolkit.project import Project

_OWN = "toolkit: "
"""How the history of an image that toolkit built begins for each of its layers; what follows says what the layer is."""
_COMMAND_STEP = '"step: build.run['
_OWN_LAYERS = ("runtime", "large files", "data", "programs", "code")
_SYSTEM_STEP = "step: system packages"
"""What the part of the template that installs system packages says while it runs."""
_NO_LAYER = re.compile(
    r"(/bin/sh -c #\(nop\) +)?(ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL|USER|VOLUME) ?"
)


@dataclass(frozen=True)
class Layer:
    """A layer of an image.

    Attributes:
        holds: what it is: ``base``, ``system packages``, ``dependencies``, or what toolkit wrote into the image's history. "" where
            nothing says so.
        digest: of its content, before any compression; "" where the engine's history does not fit the layers.
        size: in bytes, unpacked. made_by: the command that made it.
    """

    holds: str
    digest: str
    size: int
    made_by: str


@dataclass(frozen=True)
class ImageDescription:
    """An image.

    Attributes:
        reference: the name that was asked for. image: as `docker inspect` shows it.
        is_built: whether toolkit built it.
        layers: from the bottom up.
        added: the names of the operating system's packages that the base image does not have; None where nobody knows.
    """

    reference: str
    image: EngineObject
    is_built: bool
    layers: tuple[Layer, ...]
    inventory: Inventory
    added: frozenset[str] | None

    @property
    def config(self) -> EngineObject:
        return self.image.get("Config") or {}

    @property
    def platform(self) -> str:
        """As ``linux/arm64/v8``."""
        return "/".join(str(self.image[key]) for key in ("Os", "Architecture", "Variant") if self.image.get(key))


def last_built(project: Project) -> str:
    """The reference of the project's last build, or the existing image that its configuration names.

    Raises:
        BadInput: nothing was built, and no image is named.
    """
    chosen = project.config.executor.config.image
    target = parse_reference(chosen, "image") if chosen else Reference(repository_for(project.root.name))
    folder, platform = project.state / "build", project.config.build.platform or ""  # nothing is written there
    if target.names_an_image:
        record = read_build_record(folder, Reference(f"{target.repository}-toolkit"), platform)
        return record.result.reference if record is not None and record.base == str(target) else str(target)
    record = read_build_record(folder, target, platform)
    if record is None:
        raise BadInput(
            "this project has no built image: build one with `toolkit build`, or name an image (toolkit image REF)"
        )
    return record.result.reference


def describe_image(engine: EngineApi, reference: str) -> ImageDescription:
    """What an image of the engine is made of.

    Args:
        reference: its name or its id.

    Raises:
        BadInput: the engine does not have it, or it is no name of an image.
        Infrastructure: as of :func:`read_inventory`.
    """
    if not re.fullmatch("(sha256:)?[0-9a-f]{1,64}", reference):
        parse_reference(reference, "REF")
    image = engine.image(reference)
    if image is None:
        raise BadInput(
            f"the Docker engine has no image {reference!r}: `toolkit build` builds the project's, and `docker pull` "
            "gets one from a registry"
        )
    image_id = str(image["Id"])
    labels = (image.get("Config") or {}).get("Labels") or {}
    inventory = read_inventory(engine, image_id, reference)
    base = engine.image(str(labels.get(BASE_NAME_LABEL) or "")) if labels.get(BASE_NAME_LABEL) else None
    if base is not None and not _is_below(base, image):
        base = None  # its name was given to another image
    added = None
    if base is not None:
        before = {_key(one) for one in read_inventory(engine, str(base["Id"]), reference).of("deb", "apk")}
        added = frozenset(one.name for one in inventory.of("deb", "apk") if _key(one) not in before)
    layers = _layers(engine, image, str(labels.get(ENVIRONMENT_LABEL) or ""), base)
    return ImageDescription(reference, image, PROTOCOL_LABEL in labels, layers, inventory, added)


def _key(package: Package) -> tuple[str, str]:
    return package.name, package.architecture


def _diff_ids(image: EngineObject) -> list[str]:
    return [str(one) for one in (image.get("RootFS") or {}).get("Layers") or []]


def _is_below(base: EngineObject, image: EngineObject) -> bool:
    below = _diff_ids(base)
    return bool(below) and _diff_ids(image)[: len(below)] == below


def _layers(engine: EngineApi, image: EngineObject, environment: str, base: EngineObject | None) -> tuple[Layer, ...]:
    """The layers with what the history says of each.

    Args:
        environment: the id of the environment image, whose own history says what its layers are.
    """
    digests = _diff_ids(image)
    rows = _history(engine, str(image["Id"]), len(digests))
    made_by = [made for made, _ in rows]
    below = engine.image(environment) if environment else None
    if below is not None and _is_below(below, image):
        count = len(_diff_ids(below))
        made_by[:count] = [made for made, _ in _history(engine, environment, count)]
    holds = what_layers_hold(made_by, len(_diff_ids(base)) if base is not None else None)
    if len(rows) != len(digests):
        digests = [""] * len(rows)
    return tuple(
        Layer(what, digest, size, " ".join(made.split()))
        for what, digest, (_, size), made in zip(holds, digests, rows, made_by, strict=True)
    )


def what_layers_hold(made_by: Sequence[str], of_base: int | None) -> list[str]:
    """What each layer is, from the bottom up, as far as the commands that made them tell.

    Args:
        of_base: how many layers the base image has; None where nobody knows.
    """
    holds = [made.removeprefix(_OWN) if made.startswith(_OWN) else "" for made in made_by]
    own = [number for number, what in enumerate(holds) if what in _OWN_LAYERS]
    if len(own) > 1 and holds[own[0]] == "code":
        # Earlier versions wrote the same of each.
        holds[own[0]] = "runtime"
        for number in own[1:-1]:
            holds[number] = "large files"
    system = next((number for number, made in enumerate(made_by) if _SYSTEM_STEP in made), None)
    if of_base is None:
        of_base = system
    if of_base is not None and own:
        holds[:of_base] = ["base"] * of_base
        for number in range(of_base, own[0]):
            if holds[number] in ("", "base"):
                holds[number] = "system packages" if system in (None, number) else "dependencies"
    return ["build.run" if _COMMAND_STEP in made else what for what, made in zip(holds, made_by, strict=True)]


def _history(engine: EngineApi, image: str, layers: int) -> list[tuple[str, int]]:
    """What made each layer, and its size, from the bottom up. The engine lists instructions, of which some make no layer."""
    rows = [
        (str(row.get("CreatedBy") or ""), int(row.get("Size") or 0))
        for row in engine.json(f"/images/{image}/history") or []
    ]
    rows.reverse()
    if len(rows) > layers:
        rows = [row for row in rows if row[1] or not _NO_LAYER.match(row[0])]
    if len(rows) > layers:
        rows = [row for row in rows if row[1]]
    return rows
