"""What BuildKit makes of an environment: the base with its system packages, the layer of dependencies, answers of tools."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.build.environment import buildkit
from toolkit.build.environment.definition import (
    EnvironmentDefinition,
    commands_template,
    export_key,
    short_command,
    support,
    system_reference,
    template,
    tool_files,
)
from toolkit.build.environment.dependencies.found import Dependencies, Export, Tool
from toolkit.build.environment.failures import explain_command, explain_failure, is_transient_failure, shown_words
from toolkit.build.environment.installer_settings import (
    InstallerSettings,
    check_variables,
    installer_settings,
    origins_in_files,
    refuse_own_hosts,
    secret_values,
    variables_script,
)
from toolkit.build.environment.meaning.memory import Memory
from toolkit.build.environment.repositories import RepositoryAccess, repository_access
from toolkit.build.progress import LiveLine
from toolkit.build.state import no_space
from toolkit.config.located import shown
from toolkit.engine import EngineApi
from toolkit.errors import BadInput
from toolkit.runtime.shared.whole_files import write_whole
from toolkit.temporary import temporary_folder

if TYPE_CHECKING:
    from toolkit.build.environment.foreign.install import ForeignInstall

LOG = "environment.log"
"""The file in the build's folder that gets BuildKit's output."""
_PAUSES = (5, 20)
"""Seconds before each further attempt at a build that failed by the network."""
_LITTLE = 16 << 20
"""Bytes that are left on a disk that was full a moment ago."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class DependencyLayer:
    """The layer of the installed packages, in a file.

    Attributes:
        file: its tar, uncompressed.
        from_source: the names of the packages that were built during the installation, or in an earlier one.
    """

    file: Path
    from_source: tuple[str, ...]


class NoWheel(BadInput):
    """Something has no wheel for another platform, and nothing is built for that here.

    Attributes:
        packages: their names, as far as the installer names them.
    """

    def __init__(self, packages: tuple[str, ...], file: str | None) -> None:
        super().__init__(f"{', '.join(packages) or 'a package'} has no wheel for this platform", file)
        self.packages = packages


def ensure_system(
    engine: EngineApi,
    base: str,
    base_id: str,
    packages: tuple[str, ...],
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
    platform: str = "",
) -> str:
    """The reference of the base image with its system packages: the base image's own where there are none.

    Args:
        base, base_id, packages: as of :class:`EnvironmentDefinition`.
        secrets: the files that the build needs to reach the package index (network_files).
        folder: where the build writes (`.toolkit/build`).
        anew: whether it is built although the engine has it, and nothing is taken from a cache.
        platform: of the base image, where it is not the engine's, which then runs it by an emulator.

    Raises:
        BadInput: a package can't be installed.
        Infrastructure: there is no BuildKit, network or space, or the time limit has passed.
    """
    if not packages:
        return base
    reference = system_reference(base_id, packages)
    if anew or engine.image(reference) is None:
        report(f"installing system packages on {base} (output: {shown(folder / LOG)})")
        arguments = {"BASE": base, "SYSTEM_PACKAGES": " ".join(sorted(set(packages)))}
        failed = _run(
            engine,
            template("none"),
            {},
            arguments,
            (),
            secrets,
            folder,
            report,
            reference,
            anew=anew,
            platform=platform,
        )
        if failed is not None:
            raise explain_failure(failed, base, None, packages, shown(folder / LOG))
        report(
            f"note: {', '.join(sorted(set(packages)))}: Debian's packages are those of today, so they may differ in an image "
            "built on another day"
        )
    return reference


def run_commands(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    base: str,
    reference: str,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
) -> None:
    """Runs the commands of ``build.run`` in an environment, and tags what it is then.

    Args:
        base: the reference of the environment. reference: that of the result.
        secrets, folder, report, anew: as of :func:`ensure_system`.

    Raises:
        BadInput: a command fails. Infrastructure: as of :func:`ensure_system`.
    """
    commands = definition.commands
    report(f"running the commands of build.run (output: {shown(folder / LOG)})")
    scripts = {f"run/{number}.sh": f"{command}\n".encode() for number, command in enumerate(commands)}
    failed = _run(
        engine, commands_template(len(commands)), {}, {"BASE": base}, (), secrets, folder, report, reference, anew=anew,
        scripts=scripts, place=definition.place_files, platform=definition.platform,
    )  # fmt: skip
    if failed is not None:
        numbers = [int(one) for one in re.findall(r'^ > .*"step: build\.run\[(\d+)\]', failed, re.MULTILINE)]
        number = numbers[-1] if numbers else 0
        raise explain_command(
            failed, f"build.run[{number}]: {short_command(commands[number])}", None, shown(folder / LOG)
        )
    report("note: what the commands of build.run leave may differ in an image built on another day or machine")


@contextmanager
def dependency_layer(
    engine: EngineApi,
    definition: EnvironmentDefinition,
    base: str,
    secrets: dict[str, Path],
    folder: Path,
    report: Callable[[str], None],
    anew: bool = False,
    foreign: ForeignInstall | None = None,
) -> Iterator[DependencyLayer]:
    """Installs the dependencies; the layer of them lies in a file until the end of the block.

    Args:
        base: the reference of what they are installed on (:func:`ensure_system`).
        secrets, folder, report, anew: as of :func:`ensure_system`.
        foreign: how this machine's programs install them, where they are for another platform; None runs the base's own.

    Raises:
        NoWheel: something has no wheel for the other platform.
        BadInput: the lock does not match pyproject.toml, or its packages cannot be installed.
        Infrastructure: as of :func:`ensure_system`.
    """
    lock = definition.lock
    own = _own_settings(lock, secrets, None if lock.unlocked else report)
    access = _access(lock, secrets, None if lock.unlocked else report)
    options = {**lock.options, **({"INSTALLER": "pip"} if own.reader == "pip" else {})}
    options |= {"GIT": "ssh"} if access.has_ssh else {}
    report(f"building the environment from {lock.file} on {definition.shown_base} (output: {shown(folder / LOG)})")
    arguments = _arguments(base, definition.build_packages, options)
    if foreign is not None:
        arguments = {**_arguments(foreign.base, (), options), **foreign.arguments}
    with temporary_folder(folder, "exported-") as exported:
        failed = _run(
            engine,
            template(lock.kind, foreign is not None),
            lock.files,
            arguments,
            lock.variables,
            secrets,
            folder,
            report,
            files_to=exported / "made",
            anew=anew,
            tool=definition.tool,
            platform=definition.platform if foreign is None else "",
            quiet=foreign is not None,
            own=own,
            access=access,
        )
        if failed is not None:
            if foreign is not None:
                _raise_no_wheel(failed, lock.file, report)
            origins = {**own.origins, **origins_in_files(lock)}
            raise explain_failure(
                failed, definition.shown_base, lock.file, definition.packages, shown(folder / LOG), origins
            )
        names = (exported / "made" / "from-source.txt").read_text("utf-8").split()
        yield DependencyLayer(exported / "made" / "layer.tar", tuple(names))


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
    build_packages: tuple[str, ...] = (),
) -> Dependencies:
    """The exact dependencies that a tool gives. Its answer is kept until what it depends on changes.

    Args:
        base: the base image, on whose Python the tool runs, and its id ``base_id``. packages: the system packages.
        build_packages: those that are there only while the tool runs.
        secrets, folder, report: as of :func:`ensure_system`.
        anew: whether to ask although an answer is kept.

    Raises:
        BadInput: the tool finds no packages that fit, or refuses the file.
        Infrastructure: as of :func:`ensure_system`.
    """
    kept = kept_answer(export, base_id, packages, build_packages, folder)
    if anew or not kept.is_file():
        own = _own_settings(export, secrets, report)
        access = _access(export, secrets, report)
        system = ensure_system(engine, base, base_id, packages, secrets, folder, report)
        report(f"asking {export.tool} which packages {export.file} means on {base}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder, "exported-") as exported:
            arguments = {
                "COMMAND": export.command,
                "ANSWER": export.answer,
                **_arguments(system, build_packages, {**export.options, **({"GIT": "ssh"} if access.has_ssh else {})}),
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
                own=own,
                access=access,
            )
            if failed is not None:
                origins = {**own.origins, **origins_in_files(export)}
                raise explain_failure(failed, base, export.file, packages, shown(folder / LOG), origins)
            answer = (exported / export.answer).read_bytes()
            write_whole(str(kept), export.checked(answer) if export.checked else answer)
    if export.unlocked:
        report(f"warning: {export.unlocked}")
    return export.answered(kept.read_bytes())


def kept_answer(
    export: Export, base_id: str, packages: tuple[str, ...], build_packages: tuple[str, ...], folder: Path,
    memory: Memory | None = None,
) -> Path:  # fmt: skip
    """Where the answer of a tool is kept, whether it is there or not."""
    key = export_key(export, base_id, packages, build_packages, memory or Memory(folder))
    return folder / "exports" / f"{key}.{export.answer}"


def ask_backend(
    engine: EngineApi,
    files: dict[str, bytes],
    arguments: dict[str, str],
    key: str,
    base: str,
    base_id: str,
    packages: tuple[str, ...],
    build_packages: tuple[str, ...],
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
        base, base_id, packages, build_packages, secrets, folder, report, anew: as of :func:`ask_tool`.

    Raises:
        Infrastructure: as of :func:`ensure_system`.
    """
    kept = folder / "editable" / key
    refused = kept.with_name(f"{key}.refused")
    if anew:
        shutil.rmtree(kept, ignore_errors=True)
        refused.unlink(missing_ok=True)
    if refused.exists():
        return None
    if not kept.is_dir():
        system = ensure_system(engine, base, base_id, packages, secrets, folder, report)
        report("asking the project's build backend for its metadata")
        kept.parent.mkdir(parents=True, exist_ok=True)
        own = installer_settings(Dependencies("uv", "the build backend"), of_backend=True)
        with temporary_folder(folder, "exported-") as exported:
            failed = _run(
                engine, template("editable"), files, _arguments(system, build_packages, arguments), (), secrets, folder, report,
                files_to=exported / "made", own=own,
            )  # fmt: skip
            if failed is not None:
                error = explain_failure(failed, base, "pyproject.toml" if "pyproject.toml" in files else "setup.py")
                if not isinstance(error, BadInput):
                    raise error
                refused.touch()
                return None
            (exported / "made").rename(kept)
    return kept


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
    scripts: Mapping[str, bytes] | None = None,
    place: Callable[[Path], None] | None = None,
    own: InstallerSettings | None = None,
    access: RepositoryAccess | None = None,
    platform: str = "",
    quiet: bool = False,
) -> str | None:
    """Runs a build; returns its output where it failed.

    Args:
        files: of the project, by their paths in the build's context. variables: as of :class:`Dependencies`.
        tool: what is installed beside uv.
        tag, files_to: as ``tag`` and ``files`` of :class:`buildkit.BuildRequest`.
        anew: whether nothing is taken from BuildKit's cache.
        scripts: further files beside toolkit's own. place: puts further files of the project into a folder.
        own: the settings of pip and uv that it gets. access: the logins for Git.
        platform: as of :class:`buildkit.BuildRequest`.
        quiet: whether the last words of a build that failed are left to the caller.
    """
    own, access = own or InstallerSettings(), access or RepositoryAccess()
    client = buildkit.find_build_client(engine.endpoint)
    with temporary_folder(folder, "context-") as made:
        context = made / "context"
        for name, content in [
            *((f"project/{name}", content) for name, content in files.items()),
            *((f"toolkit/{name}", content) for name, content in {**support(), **(scripts or {})}.items()),
            *((f"tool/{name}", content) for name, content in tool_files(tool).items()),
        ]:
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name in ("project", "tool"):
            (context / name).mkdir(exist_ok=True)
        if place is not None:
            place(context / "project")
        dockerfile = made / "Dockerfile"
        dockerfile.write_bytes(dockerfile_text)
        if tool != "uv":
            arguments = {"TOOL": tool, **arguments}
        if anew:
            arguments = {"ANEW": os.urandom(16).hex(), **arguments}
        if own.parts:
            # What a secret holds is no part of BuildKit's cache, and another index may have other packages.
            parts = json.dumps(dict(own.parts), sort_keys=True)
            arguments = {"INDEXES": hashlib.sha256(parts.encode()).hexdigest(), **arguments}
        texts = {"variables": variables_script(variables, own), "pip_config": own.pip_config, **access.secrets}
        request = buildkit.BuildRequest(
            dockerfile=dockerfile,
            context=context,
            tag=tag,
            output=folder / LOG,
            arguments=arguments,
            passed_on=passed_on(),
            secrets={name: path for name, path in secrets.items() if name != "ssh"},
            ssh=access.ssh,
            secret_texts={name: text for name, text in texts.items() if text},
            hidden=secret_values(variables, own) | access.hidden,
            files=files_to,
            platform=platform,
        )
        failed = attempt(client, request, folder, report)
    if failed is not None and not quiet:
        _show_words(failed, report)
    return failed


def _show_words(output: str, report: Callable[[str], None]) -> None:
    for line in shown_words(output):
        report("  " + line)


def _raise_no_wheel(output: str, file: str | None, report: Callable[[str], None]) -> None:
    from toolkit.build.environment.foreign.install import without_wheel

    names = without_wheel(output)
    if names is not None:
        raise NoWheel(names, file)
    _show_words(output, report)


def passed_on() -> tuple[str, ...]:
    """The names of the variables of proxies that are set here."""
    return tuple(name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name))


def attempt(
    client: buildkit.BuildClient, request: buildkit.BuildRequest, folder: Path, report: Callable[[str], None]
) -> str | None:
    """Runs a build, again where the network failed it; returns its output where it failed for good.

    Raises:
        Infrastructure: as of :func:`buildkit.run_build`, or there is no space in ``folder``.
    """
    outcome = buildkit.run_build(client, request, report)
    for pause in _PAUSES:
        if outcome.succeeded or not is_transient_failure(outcome.text):
            break
        report(f"the build failed because of the network: trying again in {pause} s")
        with LiveLine(report, "waiting"):
            time.sleep(pause)
        outcome = buildkit.run_build(client, request, report)
    # The command line says only that it was cancelled.
    is_cancelled = not outcome.succeeded and "error from receiver" in outcome.text
    if is_cancelled and shutil.disk_usage(folder).free < _LITTLE:
        raise no_space(folder)
    if outcome.succeeded:
        return None
    return outcome.text


def _own_settings(
    found: Dependencies | Export, secrets: Mapping[str, Path], report: Callable[[str], None] | None
) -> InstallerSettings:
    """The settings of pip and uv that an installation gets, checked.

    Args:
        report: gets what is said of them; None where it was said.

    Raises:
        BadInput: a variable that an address names is not set, or an index can't be reached from a build.
    """
    check_variables(found)
    refuse_own_hosts(found)
    own = installer_settings(found, secrets.get("pip_config"))
    if report is not None:
        for note in own.notes:
            report(note)
    return own


def _access(
    found: Dependencies | Export, secrets: Mapping[str, Path], report: Callable[[str], None] | None
) -> RepositoryAccess:
    """The logins for the Git repositories of an installation. report: as of :func:`_own_settings`."""
    access = repository_access(found, secrets.get("netrc"), secrets.get("ssh"))
    if report is not None:
        for note in access.notes:
            report(note)
    return access


def _arguments(base: str, build_packages: tuple[str, ...], options: Mapping[str, str]) -> dict[str, str]:
    arguments = {"BASE": base, "BUILD_PACKAGES": " ".join(sorted(set(build_packages))), **options}
    return {name: value for name, value in arguments.items() if value}
