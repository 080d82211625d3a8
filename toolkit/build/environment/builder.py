"""Builds the environment image, if the engine does not have it."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from toolkit.build.environment import buildkit
from toolkit.build.environment.definition import EnvironmentDefinition, export_key, support, template, tool_files
from toolkit.build.environment.dependencies.found import Dependencies, Export, Tool
from toolkit.build.environment.failures import explain_failure, is_transient_failure, shown_words
from toolkit.build.progress import LiveLine
from toolkit.config.located import shown
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput, Infrastructure
from toolkit.runtime.shared.whole_files import write_whole
from toolkit.temporary import temporary_folder

_LOG = "environment.log"
"""The file, in the folder that the build writes into, that gets BuildKit's whole output."""
_PAUSES = (5, 20)
"""Seconds before each further attempt at a build that failed by the network."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def ensure_environment(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> EngineObject:
    """The environment image. It is built when the engine does not have it.

    Args:
        secrets: the files that the build needs to reach the package index (network_files).
        folder: where the build writes (`.toolkit/build`).
        anew: whether it is built although the engine has it, and nothing is taken from a cache.

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
    if image is None or anew:
        _build(engine, definition, secrets, folder, report, anew)
        image = engine.image(reference)
    if image is None:
        raise Infrastructure(f"BuildKit succeeded, but the engine does not have {reference}: see the engine's log")
    return image


def ask_tool(
    engine: EngineApi,
    export: Export,
    base: str,
    base_id: str,
    packages: tuple[str, ...],
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> Dependencies:
    """The exact dependencies that a tool gives. Its answer is kept until what it depends on changes.

    Args:
        base: the base image, on whose Python the tool runs, and its id ``base_id``. packages: the system packages.
        secrets, folder, report: as of :func:`ensure_environment`.
        anew: whether to ask although an answer is kept.

    Raises:
        BadInput: the tool finds no packages that fit, or refuses the file.
        Infrastructure: as of :func:`ensure_environment`.
    """
    kept = folder / "exports" / f"{export_key(export, base_id, packages)}.{export.answer}"
    if anew or not kept.is_file():
        report(f"asking {export.tool} which packages {export.file} means on {base}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder, "exported-") as exported:
            arguments = {
                "COMMAND": export.command,
                "ANSWER": export.answer,
                **_arguments(base, packages, export.options),
            }
            failed = _run(
                engine,
                template("export"),
                {**export.beside, **export.files},
                arguments,
                export.variables,
                secrets,
                folder,
                report,
                files_to=exported,
                tool=export.tool,
            )
            if failed is not None:
                raise explain_failure(failed, base, export.file, packages, shown(folder / _LOG))
            answer = (exported / export.answer).read_bytes()
            write_whole(str(kept), export.checked(answer) if export.checked else answer)
    if export.unlocked:
        report(f"warning: {export.unlocked}")
    return export.answered(kept.read_bytes())


def ask_backend(
    engine: EngineApi,
    files: dict[str, bytes],
    arguments: dict[str, str],
    key: str,
    base: str,
    packages: tuple[str, ...],
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> Path | None:
    """The files of an editable install of the project, as its build backend makes them. They are kept under ``key``.

    None is that the backend refuses the project, which is kept as well: it is not asked again for each line of code.

    Args:
        files: the project's, by their paths in the image's working folder.
        arguments: FOLDER of the project, and the PROJECT_VERSION for backends that take it from Git.
        base, packages, secrets, folder, report, anew: as of :func:`ask_tool`.

    Raises:
        Infrastructure: as of :func:`ensure_environment`.
    """
    kept = folder / "editable" / key
    refused = kept.with_name(f"{key}.refused")
    if anew:
        shutil.rmtree(kept, ignore_errors=True)
        refused.unlink(missing_ok=True)
    if refused.exists():
        return None
    if not kept.is_dir():
        report("asking the project's build backend for its metadata")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder, "exported-") as exported:
            failed = _run(
                engine, template("editable"), files, _arguments(base, packages, arguments), (), secrets, folder, report,
                files_to=exported / "made",
            )  # fmt: skip
            if failed is not None:
                error = explain_failure(failed, base, "pyproject.toml" if "pyproject.toml" in files else "setup.py")
                if not isinstance(error, BadInput):
                    raise error
                refused.touch()
                return None
            (exported / "made").rename(kept)
    return kept


def _build(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool,
) -> None:
    lock = definition.lock
    report(
        f"building the environment from {lock.file or 'system packages'} on {definition.base} "
        f"(output: {shown(folder / _LOG)})"
    )
    arguments = _arguments(definition.base, definition.packages, lock.options)
    failed = _run(
        engine,
        definition.template(),
        lock.files,
        arguments,
        lock.variables,
        secrets,
        folder,
        report,
        definition.reference,
        anew=anew,
        tool=definition.tool,
    )
    if failed is not None:
        raise explain_failure(failed, definition.base, lock.file, definition.packages, shown(folder / _LOG))


def _run(
    engine: EngineApi,
    dockerfile_text: bytes,
    files: Mapping[str, bytes],
    arguments: dict[str, str],
    variables: tuple[str, ...],
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    tag: str = "",
    files_to: Path | None = None,
    anew: bool = False,
    tool: Tool = "uv",
) -> str | None:
    """Runs a build; returns its output where it failed.

    Args:
        files: of the project, by their paths in the build's context. variables: as of :class:`Dependencies`.
        tool: what is installed beside uv.
        tag, files_to, anew: as ``tag``, ``files`` and ``anew`` of :class:`buildkit.BuildRequest`.
    """
    client = buildkit.find_build_client(engine.endpoint)
    with temporary_folder(folder, "context-") as made:
        context = made / "context"
        for name, content in [
            *((f"project/{name}", content) for name, content in files.items()),
            *((f"toolkit/{name}", content) for name, content in support().items()),
            *((f"tool/{name}", content) for name, content in tool_files(tool).items()),
        ]:
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name in ("project", "tool"):
            (context / name).mkdir(exist_ok=True)
        dockerfile = made / "Dockerfile"
        dockerfile.write_bytes(dockerfile_text)
        if tool != "uv":
            arguments = {"TOOL": tool, **arguments}
        request = buildkit.BuildRequest(
            dockerfile=dockerfile,
            context=context,
            tag=tag,
            output=folder / _LOG,
            arguments=arguments,
            passed_on=tuple(name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)),
            secrets={**secrets, **_variables(made, variables)},
            files=files_to,
            anew=anew,
        )
        outcome = buildkit.run_build(client, request, report)
        for pause in _PAUSES:
            if outcome.succeeded or not is_transient_failure(outcome.text):
                break
            report(f"the build failed because of the network: trying again in {pause} s")
            with LiveLine(report, "waiting"):
                time.sleep(pause)
            outcome = buildkit.run_build(client, request, report)
    if outcome.succeeded:
        return None
    for line in shown_words(outcome.text):
        report("  " + line)
    return outcome.text


def _variables(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """A secret that sets the environment variables which addresses name, as far as they are set here."""
    lines = [f"export {name}={shlex.quote(os.environ[name])}\n" for name in names if name in os.environ]
    if not lines:
        return {}
    file = folder / "variables.sh"
    file.touch(mode=0o600)
    file.write_text("".join(lines))
    return {"variables": file}


def _arguments(base: str, packages: tuple[str, ...], options: Mapping[str, str]) -> dict[str, str]:
    arguments = {"BASE": base, "SYSTEM_PACKAGES": " ".join(sorted(set(packages))), **options}
    return {name: value for name, value in arguments.items() if value or name == "SYSTEM_PACKAGES"}
