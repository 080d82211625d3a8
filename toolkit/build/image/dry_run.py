"""What a build would do: nothing is pulled, asked, built or loaded, and no file changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.build.code.hashes import FileHashes
from toolkit.build.code.index import CODE_INDEX, look_at
from toolkit.build.code.layer import code_digest, runtime_entries
from toolkit.build.environment.apt_file import with_apt_packages
from toolkit.build.environment.base_image import DEFAULT_BASE, OWN_BASE, find_base_image, find_tool_base
from toolkit.build.environment.builder import kept_answer
from toolkit.build.environment.definition import EnvironmentDefinition, check_packages, network_files
from toolkit.build.environment.dependencies.found import Dependencies, Export
from toolkit.build.environment.dependencies.search import find_dependencies
from toolkit.build.environment.meaning.memory import Memory
from toolkit.build.environment.python_version import base_for, check_python
from toolkit.build.image.build_record import PROTOCOL_LABEL, BuildRecord, read_build_record
from toolkit.build.image.builder import (
    code_walk,
    engine_id,
    foreign_definition,
    foreign_platform,
    nothing_installed,
    pipeline_file,
    with_commands,
)
from toolkit.build.image.changes import BuildInputs, environment_changes
from toolkit.build.image.explanation import explanation, names_of
from toolkit.build.image.own_dockerfile import OwnDockerfile, find_own_dockerfile
from toolkit.build.interpreter import known_interpreter
from toolkit.build.reference import Reference, parse_reference, repository_for
from toolkit.engine import EngineApi, EngineObject
from toolkit.errors import BadInput
from toolkit.platforms import Platform
from toolkit.project import Project
from toolkit.runtime.shared.protocol import PROTOCOL

_NAMED = 3
"""Changes that are named in one sentence; ``--explain`` names more."""


@dataclass(frozen=True)
class Foreseen:
    """What is known of the image without building it.

    Attributes:
        repository: its name without a tag.
        reference: of the image, where the engine has it already and nothing would be done; None else.
        existing: whether it is the user's own, and used as it is.
    """

    repository: str
    reference: str | None = None
    existing: bool = False


def dry_run(
    project: Project,
    *,
    report: Callable[[str], None],
    explain: bool = False,
    anew: bool = False,
    engine: EngineApi | None = None,
) -> Foreseen:
    """Says what a build would do.

    Args:
        report, explain, anew, engine: as of :func:`toolkit.build.image.builder.build`.

    Raises:
        BadInput: what a build would refuse before it does anything. Infrastructure: the engine can't be reached.
    """
    chosen = project.config.executor.config.image
    target = parse_reference(chosen, "image") if chosen else Reference(repository_for(project.root.name))
    project = project if target.names_an_image else with_apt_packages(project, report)
    foresight = _Foresight(project, engine or EngineApi(), report, explain, anew)
    return foresight.on_existing(target) if target.names_an_image else foresight.on_environment(target)


class _Foresight:
    def __init__(
        self, project: Project, engine: EngineApi, report: Callable[[str], None], explain: bool, anew: bool
    ) -> None:
        self._project = project
        self._engine = engine
        self._report = report
        self._explain = explain
        self._anew = anew
        self._folder: Path = project.state / "build"
        self._platform = project.config.build.platform or ""
        self._memory = Memory(self._folder, writes=False)

    def on_existing(self, target: Reference) -> Foreseen:
        reference = str(target)
        image = self._engine.image(reference)
        if image is None:
            self._report(f"{reference} would be pulled: whether the code is put on it is known then")
            return Foreseen(target.repository)
        labels = (image.get("Config") or {}).get("Labels") or {}
        if labels.get(PROTOCOL_LABEL) == str(PROTOCOL):
            self._report(f"nothing would be built: {reference} exists and carries the runtime, so it is used as it is")
            return Foreseen(target.repository, reference, existing=True)
        if PROTOCOL_LABEL in labels:
            raise BadInput(
                f"image: the runtime in {reference} has protocol {labels[PROTOCOL_LABEL]}, but this toolkit has {PROTOCOL}: build "
                "the image again with this toolkit, or install the toolkit that built it"
            )
        if sentence := nothing_installed(self._project, reference):
            self._report(sentence)
        derived = Reference(f"{target.repository}-toolkit")
        definition = EnvironmentDefinition(reference, str(image["Id"]), (), Dependencies("none"))
        return self._on(derived, definition, read_build_record(self._folder, derived, self._platform))

    def on_environment(self, target: Reference) -> Foreseen:
        settings = self._project.config.build
        check_packages(settings.system_packages)
        check_packages(settings.build_packages, "build.build_packages")
        last = read_build_record(self._folder, target, self._platform)
        found = find_dependencies(
            self._project.root, settings, self._report, self._memory.accepted(), pipeline_file(self._project)
        )
        platform = foreign_platform(self._project, self._engine)
        made_of: dict[str, str] = {}
        if settings.dockerfile:
            walk = code_walk(self._project, network_files(settings.network, self._project.home), lambda _: None)
            own = find_own_dockerfile(self._project, self._engine, walk, self._folder, keep=False, platform=platform)
            made_of = own.parts
            if self._engine.image(own.reference) is None or self._anew:
                self._report(f"the base image would be built from {own.file}{self._why(last, own)}")
                self._report("what is installed on it follows from that")
                return Foreseen(target.repository)
            base, image = own.reference, self._engine.image(own.reference)
            if platform is not None:
                return self._on_foreign(target, found, last, platform, base, base, image, made_of)
        elif platform is not None:
            from toolkit.build.environment.foreign.base import find_foreign_base

            known = find_foreign_base(self._engine, settings.base_image, settings.python, platform)
            return self._on_foreign(target, found, last, platform, *known)
        elif settings.python and not settings.base_image:
            unknown = self._unknown(OWN_BASE) if self._engine.image(base_for(settings.python)) is None else []
            if unknown:
                self._report(
                    f"{OWN_BASE} would be asked whether its Python is {settings.python}: the rest follows from that"
                )
                return Foreseen(target.repository)
        if not settings.dockerfile:
            base, image = find_base_image(self._engine, settings.base_image, settings.python)
        base_id = str(image["Id"]) if image else ""
        if not base_id and last and last.base == base:
            base_id = last.base_id
        from_file = found.file or "system packages"
        if not base_id or (isinstance(found, Export) and image is None):
            self._report(f"{base} would be pulled")
            if found.file or settings.system_packages:
                asked = (
                    f"{found.tool} would be asked which packages {found.file} means, and "
                    if isinstance(found, Export)
                    else ""
                )
                self._report(f"{asked}the environment would be built from {from_file} on {base}")
            self._report("the code layer would be put on it")
            return Foreseen(target.repository)
        if isinstance(found, Export):
            answer = self._answer(found, base, base_id)
            if answer is None:
                self._report(
                    f"{found.tool} would be asked which packages {found.file} means on {base}: the rest follows from that"
                )
                return Foreseen(target.repository)
            if found.unlocked:
                self._report(f"warning: {found.unlocked}")
            found = found.answered(answer)
        meaning = self._memory.of(found.files, found.reading)
        pip_config = network_files(settings.network, self._project.home).get("pip_config")
        definition = EnvironmentDefinition(
            base, base_id, settings.system_packages, found, meaning, settings.build_packages, made_of, pip_config
        )
        return self._on(target, with_commands(definition, self._project, self._folder, keep=False), last)

    def _why(self, last: BuildRecord | None, own: OwnDockerfile) -> str:
        """Why the project's Dockerfile would be built."""
        if self._anew:
            return ", because everything is installed again (--no-cache)"
        if last is None:
            return ""
        names = names_of(
            self._project, EnvironmentDefinition("", "", (), Dependencies("none"), {}, (), own.parts), last
        )
        # Of the last build, what may be the Dockerfile's: other parts of it are not known yet.
        of_it = ("build.args: ", "build.target")
        old = {
            key: value
            for key, value in last.inputs.environment.items()
            if key in own.parts or key.startswith(of_it) or key.endswith(f" (read by {own.file})")
        }
        why = environment_changes(old, own.parts, names)
        more = f"; and {len(why) - _NAMED} more" if len(why) > _NAMED else ""
        return f", because: {'; '.join(why[:_NAMED])}{more}" if why else ""

    def _on_foreign(
        self, target: Reference, found: Dependencies | Export, last: BuildRecord | None, platform: Platform, base: str,
        named: str, image: EngineObject | None, made_of: Mapping[str, str] | None = None,
    ) -> Foreseen:  # fmt: skip
        if image is None:
            self._report(f"{named} would be pulled for {platform}: the rest follows from that")
            return Foreseen(target.repository)
        if isinstance(found, Export):
            self._report(
                f"{found.tool} would be asked which packages {found.file} means for {platform}, unless it was asked before"
            )
            return Foreseen(target.repository)
        meaning = self._memory.of(found.files, found.reading)
        definition = foreign_definition(
            self._project, found, meaning, base, named, str(image["Id"]), platform, made_of or {}
        )
        return self._on(target, with_commands(definition, self._project, self._folder, keep=False), last)

    def _unknown(self, *names: str) -> list[str]:
        """Those of these images whose Python would have to be asked, in a container."""
        found = [(name, self._engine.image(name)) for name in names]
        return [name for name, image in found if image is not None and known_interpreter(str(image["Id"])) is None]

    def _answer(self, export: Export, base: str, base_id: str) -> bytes | None:
        """What a tool answered to this question before; None where it would be asked."""
        settings = self._project.config.build
        packages, build_packages = settings.system_packages, settings.build_packages
        if export.python:
            packages = build_packages = ()
            if self._unknown(base, DEFAULT_BASE, OWN_BASE):
                return None
            found = find_tool_base(self._engine, base, base_id, export.python)
            if found is None:
                return None
            base, base_id = found
        kept = kept_answer(export, base_id, packages, build_packages, self._folder, self._memory)
        return kept.read_bytes() if kept.is_file() and not self._anew else None

    def _on(self, target: Reference, definition: EnvironmentDefinition, last: BuildRecord | None) -> Foreseen:
        hashes = FileHashes(self._folder / "hashes.json")
        network = network_files(self._project.config.build.network, self._project.home)
        code = look_at(
            code_walk(self._project, network, self._report), self._folder / CODE_INDEX, self._report, keep=False
        )
        runtime = code_digest(runtime_entries(hashes))
        inputs = BuildInputs(target.repository, definition.inputs(), code.digest, runtime)
        is_unchanged = last is not None and last.inputs == inputs
        has_image = last is not None and is_unchanged and engine_id(self._engine, last.result) is not None
        reasons = explanation(self._project, self._folder, target, definition, last, inputs, not has_image, code)
        if self._explain:
            for reason in reasons or ["nothing changed"]:
                self._report(reason)
        if last is not None and has_image and not self._anew:
            self._report(f"nothing would be done: the engine has {last.result.reference}")
            return Foreseen(target.repository, last.result.reference)
        self._say_environment(definition, last)
        size = sum(1 for file in code.files() if file.kind == "file")
        is_same = last is not None and last.inputs.code == code.digest and last.inputs.runtime == runtime
        what = "is unchanged, and would be put on it" if is_same else "would be written and put on it"
        self._report(f"the code layer ({size} file{'' if size == 1 else 's'}) {what}")
        self._report("the image would be loaded into the engine, unless it has the same one already")
        return Foreseen(target.repository)

    def _say_environment(self, definition: EnvironmentDefinition, last: BuildRecord | None) -> None:
        if definition.is_base:
            self._report(f"the environment is {definition.base} as it is")
            return
        reference = definition.reference
        if self._engine.image(reference) is not None and not self._anew:
            self._report(f"the environment exists ({reference})")
            return
        base = self._engine.image(definition.base)
        if base is None:
            self._report(f"{definition.base} would be pulled")
        elif definition.lock.kind != "conda":
            known = known_interpreter(str(base["Id"]))
            if known is not None:
                check_python(self._project.root, definition.base, known.version, self._report)
        why = ["everything is installed again (--no-cache)"] if self._anew else []
        if last is not None and not why:
            why = environment_changes(
                last.inputs.environment, definition.inputs(), names_of(self._project, definition, last)
            )
        more = f"; and {len(why) - _NAMED} more" if len(why) > _NAMED else ""
        because = (
            "; ".join(why[:_NAMED]) + more
            or f"the engine {'no longer has' if last is not None else 'does not have'} it"
        )
        self._report(
            f"the environment would be built from {definition.lock.file or 'system packages'} on {definition.shown_base}, because: "
            f"{because}"
        )
