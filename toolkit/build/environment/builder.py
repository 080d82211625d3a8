"""Builds the environment image where the engine does not have it, and says what a failed build means."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from toolkit.build.environment import buildkit
from toolkit.build.environment.definition import UV_REQUIREMENT, EnvironmentDefinition
from toolkit.build.environment.failures import explain_failure, is_transient_failure
from toolkit.data import data_path
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import Infrastructure

_PAUSES = (5, 20)
"""Seconds before a build is tried again that the network failed: what is lost on the way once is mostly there soon after."""
_TAIL = 30
"""Lines of a failed build that are shown."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def ensure_environment(
    engine: EngineApi,
    wanted: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
) -> EngineObject:
    """The environment's image, built when the engine does not have it.

    Args:
        secrets: what it needs to reach the package index (network_files).
        folder: where the build may write (`.toolkit/build`).

    Raises:
        BadInput: the lock does not match, or what it names cannot be installed.
        Infrastructure: no BuildKit, no network, no space, no time.
    """
    reference = wanted.reference
    image = engine.image(reference)
    if image is None:
        _build(engine, wanted, secrets, folder, report)
        image = engine.image(reference)
    if image is None:
        raise Infrastructure(
            f"BuildKit ended well, but the engine does not have {reference}: look into the engine's log"
        )
    return image


def _build(
    engine: EngineApi,
    wanted: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
) -> None:
    client = buildkit.find_build_client(engine.endpoint)
    output = folder / "environment.log"
    report(f"building the environment from {wanted.lock.file or 'system packages'} on {wanted.base} (output: {output})")
    context = Path(tempfile.mkdtemp(prefix="context-", dir=folder))
    try:
        for name, content in wanted.lock.files.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        request = buildkit.BuildRequest(
            dockerfile=data_path(f"dockerfiles/{wanted.template}.Dockerfile"),
            context=context,
            tag=wanted.reference,
            output=output,
            arguments=_arguments(wanted),
            passed_on=tuple(name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)),
            secrets=secrets,
        )
        outcome = buildkit.run_build(client, request, report)
        for pause in _PAUSES:
            if outcome.succeeded or not is_transient_failure(outcome.text):
                break
            report(f"the network failed the build: trying again in {pause} s")
            time.sleep(pause)
            outcome = buildkit.run_build(client, request, report)
    finally:
        shutil.rmtree(context, ignore_errors=True)
    if not outcome.succeeded:
        for line in outcome.text.splitlines()[-_TAIL:]:
            report("  " + line)
        raise explain_failure(outcome.text, wanted)


def _arguments(wanted: EnvironmentDefinition) -> dict[str, str]:
    arguments = {"BASE": wanted.base, "SYSTEM_PACKAGES": " ".join(sorted(set(wanted.packages)))}
    if wanted.lock.kind == "uv":
        arguments |= {"UV_REQUIREMENT": UV_REQUIREMENT, "FOLDER": os.path.dirname(wanted.lock.file or "") or "."}
    elif wanted.lock.kind == "requirements":
        arguments |= {
            "REQUIREMENTS": wanted.lock.file or "",
            "PIP_OPTIONS": "--require-hashes" if wanted.lock.hashes else "",
        }
    return arguments
