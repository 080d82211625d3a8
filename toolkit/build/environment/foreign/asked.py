"""What is asked for another platform: on an image of this machine's own platform, with the same version of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolkit.build.environment.dependencies.found import Export
from toolkit.build.environment.foreign.base import counterpart
from toolkit.build.environment.foreign.install import MACHINES, uv_platform
from toolkit.build.foreign.filesystem import files_of
from toolkit.build.foreign.interpreter import libc_of
from toolkit.build.interpreter import interpreter_of
from toolkit.engine import EngineApi
from toolkit.errors import BadInput
from toolkit.platforms import Platform

_COMPILE = "uv pip compile "


def own_base(engine: EngineApi, base_id: str, shown: str, report: Callable[[str], None]) -> tuple[str, str]:
    """The image, and its id, that is asked in place of a base image of another platform.

    Args:
        base_id, shown: of that base image.

    Raises:
        BadInput: there is none with the same version of Python.
    """
    found = counterpart(engine, interpreter_of(engine, base_id, shown).version, (shown,), report)
    assert found is not None  # it pulls one, or raises
    return found


def for_platform(
    engine: EngineApi, export: Export, base_id: str, shown: str, platform: Platform, report: Callable[[str], None]
) -> tuple[Export, str, str]:
    """A question to a tool, as it is asked for another platform, and the image with its id that the tool runs on.

    Args:
        base_id, shown: of the base image of that platform.

    Raises:
        BadInput: the tool has no option for that platform, or as of :func:`own_base`.
    """
    if _COMPILE in export.command:
        machine = MACHINES.get(platform.architecture)
        if machine is None or platform.variant:
            raise BadInput(
                f"uv can't choose versions for {platform}: lock them (`toolkit lock`), which is for all platforms",
                export.file,
            )
        with files_of(engine, base_id, shown) as files:
            option = f"--python-platform {uv_platform(machine, libc_of(files, platform.architecture))} "
        export = replace(export, command=export.command.replace(_COMPILE, _COMPILE + option))
    return export, *own_base(engine, base_id, shown, report)
