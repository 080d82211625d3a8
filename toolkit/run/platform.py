"""Whether the engine runs an image, before anything is started of it."""

from __future__ import annotations

from dataclasses import replace

from toolkit.build.image.build_record import BuiltImage
from toolkit.engine import EngineApi
from toolkit.errors import BadInput
from toolkit.platforms import emulation_remedy, of_engine, parse_platform
from toolkit.project import Project
from toolkit.run.request import Note


def runs_here(engine: EngineApi, image: BuiltImage, note: Note) -> bool:
    """Whether the engine runs an image: by itself, or by an emulator, which takes a container to know."""
    if not image.platform:
        return True  # nothing tells
    platform, own = parse_platform(image.platform, "image"), of_engine(engine)
    if own.runs(platform):
        return True
    from toolkit.build.environment.foreign.base import can_run
    from toolkit.build.interpreter import interpreter_of

    if not can_run(engine, image.id, interpreter_of(engine, image.id, image.reference).executable):
        return False
    note(f"the image is for {platform}, and the engine is {own}: it runs by an emulator, which takes longer")
    return True


def wrong_platform(engine: EngineApi, image: BuiltImage) -> BadInput:
    """The error of an image that the engine does not run."""
    platform, own = parse_platform(image.platform, "image"), of_engine(engine)
    remedy = (
        f"name one for {own} in executor.config.image"
        if image.existing
        else f"set build.platform to {own}, or remove it"
    )
    return BadInput(
        f"the image {image.reference} is for {platform}, and the engine runs {own}: {remedy} (or install an emulator: "
        f"{emulation_remedy(platform)})"
    )


def for_this_machine(project: Project) -> Project:
    """The project, whose image is to be for the engine's own platform."""
    config = project.config
    return replace(project, config=config._replace(build=config.build._replace(platform=None)))
