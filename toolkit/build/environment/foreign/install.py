"""How dependencies are installed for a platform that this machine is not of: by the installer's own option, with wheels alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.environment.foreign.base import counterpart
from toolkit.build.foreign.filesystem import files_of
from toolkit.build.foreign.interpreter import libc_of
from toolkit.build.interpreter import interpreter_of
from toolkit.engine import EngineApi
from toolkit.errors import Infrastructure
from toolkit.platforms import Platform

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The architectures for which uv knows every version of glibc, by its names."""
_GLIBCS = (17, 28, *range(31, 41))
"""The minor versions of glibc 2 that uv has a platform for."""
_NO_WHEEL = (
    r"toolkit-foreign: (.+)",
    r"(?:[Dd]istribution|[Pp]ackage) `([\w.-]+)[^`]*` can't be installed because it is marked as `?--no-build",
    r"Wheels are required for `([\w.-]+)`",
    r"Building source distributions for `([\w.-]+)` is disabled",
    r"Building source distributions is disabled()",
)
"""What uv and our own checks say where something is there as source alone, with its names."""


class ForeignInstall(NamedTuple):
    """An installation by this machine's programs.

    Attributes:
        base: the image of this machine's platform in which they run.
        arguments: of the template, beside those of an installation here.
        platform: that of the packages.
    """

    base: str
    arguments: Mapping[str, str]
    platform: Platform


def foreign_install(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    platform: Platform,
    with_pip: bool,
    report: Callable[[str], None],
) -> ForeignInstall | None:
    """How an environment is installed for a platform; None where no installer can do it without running something there.

    Args:
        with_pip: whether pip installs requirements, because it has settings of its own.
        report: is told what is pulled.

    Raises:
        BadInput: there is no Python of this machine's to do it, or none in the base image.
    """
    if definition.lock.kind == "conda" or platform.architecture not in MACHINES or platform.variant:
        return None
    python = interpreter_of(engine, definition.base_id, definition.shown_base)
    with files_of(engine, definition.base_id, definition.shown_base) as files:
        glibc = libc_of(files, platform.architecture)
    machine = MACHINES[platform.architecture]
    options = definition.lock.options
    by_pip = definition.lock.kind == "pip" and (with_pip or options.get("INSTALLER") != "uv")
    if glibc is None and by_pip:
        return None
    found = counterpart(engine, python.version, (definition.shown_base,), report)
    if found is None:
        raise Infrastructure("the engine lost the image that installs the packages: build again")
    name = uv_platform(machine, glibc)
    arguments = {"FOREIGN_PYTHON": python.executable, "FOREIGN_VERSION": python.version}
    if definition.lock.kind == "uv":
        arguments["UV_OPTIONS"] = f"{options.get('UV_OPTIONS', '')} --python-platform {name} --no-build".strip()
    elif definition.lock.kind == "sync":
        arguments["SYNC_OPTIONS"] = f"{options.get('SYNC_OPTIONS', '')} --python-platform {name} --no-build".strip()
    else:
        arguments["PIP_OPTIONS"] = f"{options.get('PIP_OPTIONS', '')} --only-binary=:all:".strip()
        arguments["UV_PIP_OPTIONS"] = f"--python-platform {name}"
        if glibc is not None:
            arguments["PIP"] = f"/toolkit/foreign.py pip {machine} {glibc[0]}.{glibc[1]}"
    return ForeignInstall(found[0], arguments, platform)


def uv_platform(machine: str, glibc: tuple[int, int] | None) -> str:
    """uv's name of a platform: the highest that it knows up to this version of glibc; None is musl."""
    if glibc is None:
        return f"{machine}-unknown-linux-musl"
    fitting = [one for one in _GLIBCS if (2, one) <= glibc]
    return f"{machine}-manylinux_2_{max(fitting, default=_GLIBCS[0])}"


def without_wheel(output: str) -> tuple[str, ...] | None:
    """The packages that an installation lacked wheels of, as far as it named them; None where it failed by something else."""
    output = re.sub(r"(?m)^#\d+ [\d.]+ ?", "", re.sub(r"\x1b\[[0-9;]*m", "", output))
    for pattern in _NO_WHEEL:
        found = re.findall(pattern, output)
        if found:
            return tuple(dict.fromkeys(name for names in found for name in names.split()))
    return None
