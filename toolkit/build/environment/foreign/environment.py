"""The environment of another platform: installed by this machine's programs, and by an emulator where something must run there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.build.environment.builder import DependencyLayer, NoWheel, dependency_layer
from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.foreign.base import can_run, must_run
from toolkit.build.environment.foreign.install import foreign_install
from toolkit.build.environment.installer_settings import installer_settings
from toolkit.build.environment.places import FaultyRequirement
from toolkit.build.interpreter import interpreter_of
from toolkit.engine import EngineApi
from toolkit.platforms import parse_platform


def require_emulation(engine: EngineApi, definition: EnvironmentDefinition, what: str, instead: str = "") -> None:
    """Refuses what has to run on the platform, as apt has to for system packages, where it can't.

    Args:
        what, instead: as of :func:`must_run`.

    Raises:
        BadInput: the engine doesn't run programs of the platform.
    """
    if not _runs(engine, definition):
        raise must_run(what, parse_platform(definition.platform, "--platform"), instead)


@contextmanager
def foreign_layer(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    base: str,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> Iterator[DependencyLayer]:
    """As :func:`dependency_layer`, for another platform than the engine's.

    Raises:
        BadInput: something must run on that platform, and the engine doesn't do it. Others as of :func:`dependency_layer`.
    """
    platform = parse_platform(definition.platform, "--platform")
    lock = definition.lock
    with_pip = "pip_config" in secrets or installer_settings(lock).reader == "pip"
    how = foreign_install(engine, definition, platform, with_pip, report)
    package = ""
    why = f"what installs from {lock.file} has no option for this platform, so it has to run"
    if how is not None:
        report(f"the packages are installed for {platform} by Python of this machine, in {how.base}")
        installing = dependency_layer(engine, definition, base, secrets, folder, report, anew, how)
        try:
            made = installing.__enter__()
        except NoWheel as error:
            named = ", ".join(error.packages) or "a package"
            package = error.packages[0] if error.packages else ""
            why = f"{named} has no wheel for this platform and Python, so it has to be built"
        else:
            try:
                yield made
            finally:
                installing.__exit__(None, None, None)
            return
    if not _runs(engine, definition):
        message = must_run(why, platform, "give a wheel of it, " if how is not None else "").message
        raise FaultyRequirement(message, lock.file or "", package)
    report(f"note: {why} on {platform}, by an emulator: that takes longer")
    with dependency_layer(engine, definition, base, secrets, folder, report, anew) as made:
        yield made


def _runs(engine: EngineApi, definition: EnvironmentDefinition) -> bool:
    python = interpreter_of(engine, definition.base_id, definition.shown_base).executable
    return can_run(engine, definition.base_id, python)
