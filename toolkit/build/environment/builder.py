"""Builds the environment image, if the engine does not have it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from toolkit.build.environment import buildkit
from toolkit.build.environment.definition import UV_REQUIREMENT, EnvironmentDefinition
from toolkit.build.environment.failures import explain_failure, is_transient_failure
from toolkit.data import data_path
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import Infrastructure
from toolkit.temporary import temporary_folder

_PAUSES = (5, 20)
"""Seconds before each further attempt at a build that failed by the network."""
_TAIL = 30
"""Lines of a failed build that are shown."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def ensure_environment(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
) -> EngineObject:
    """The environment image. It is built when the engine does not have it.

    Args:
        secrets: the files that the build needs to reach the package index (network_files).
        folder: where the build writes (`.toolkit/build`).

    Raises:
        BadInput: the lock does not match pyproject.toml, or its packages cannot be installed.
        Infrastructure: there is no BuildKit, network or space, or the time limit has passed.
    """
    if definition.is_base:
        # It was resolved already, and its name may mean another image by now.
        base = engine.image(definition.base_id)
        if base is None:
            raise Infrastructure(f"the image {definition.base} was removed from the engine meanwhile: build again")
        return base
    reference = definition.reference
    image = engine.image(reference)
    if image is None:
        _build(engine, definition, secrets, folder, report)
        image = engine.image(reference)
    if image is None:
        raise Infrastructure(f"BuildKit succeeded, but the engine does not have {reference}: see the engine's log")
    return image


def _build(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
) -> None:
    client = buildkit.find_build_client(engine.endpoint)
    output = folder / "environment.log"
    report(
        f"building the environment from {definition.lock.file or 'system packages'} on {definition.base} (output: {output})"
    )
    with temporary_folder(folder, "context-") as context:
        for name, content in definition.lock.files.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        request = buildkit.BuildRequest(
            dockerfile=data_path(f"dockerfiles/{definition.template}.Dockerfile"),
            context=context,
            tag=definition.reference,
            output=output,
            arguments=_arguments(definition),
            passed_on=tuple(name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)),
            secrets=secrets,
        )
        outcome = buildkit.run_build(client, request, report)
        for pause in _PAUSES:
            if outcome.succeeded or not is_transient_failure(outcome.text):
                break
            report(f"the build failed because of the network: trying again in {pause} s")
            time.sleep(pause)
            outcome = buildkit.run_build(client, request, report)
    if not outcome.succeeded:
        for line in outcome.text.splitlines()[-_TAIL:]:
            report("  " + line)
        raise explain_failure(outcome.text, definition)


def _arguments(definition: EnvironmentDefinition) -> dict[str, str]:
    arguments = {"BASE": definition.base, "SYSTEM_PACKAGES": " ".join(sorted(set(definition.packages)))}
    if definition.lock.kind == "uv":
        arguments |= {"UV_REQUIREMENT": UV_REQUIREMENT, "FOLDER": os.path.dirname(definition.lock.file or "") or "."}
    elif definition.lock.kind == "requirements":
        arguments |= {
            "REQUIREMENTS": definition.lock.file or "",
            "PIP_OPTIONS": "--require-hashes" if definition.lock.hashes else "",
        }
    return arguments
