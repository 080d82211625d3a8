"""What ``--explain`` says: which of an image's inputs changed since the last build, by the names that a user knows."""

from __future__ import annotations

from pathlib import Path

from toolkit.build.code.index import Code, kept_lines
from toolkit.build.environment.definition import EnvironmentDefinition
from toolkit.build.image.build_record import BuildRecord, code_file, why_no_record
from toolkit.build.image.changes import BuildInputs, CodeLines, Names, rebuild_reasons
from toolkit.build.reference import Reference
from toolkit.config.load import TOML_NAME, YAML_NAMES
from toolkit.project import Project

_DECLARING = ("pyproject.toml", "setup.cfg", "setup.py", "Pipfile")
"""Files that a tool was asked about, and that are no part of its answer."""


def explanation(
    project: Project,
    folder: Path,
    target: Reference,
    definition: EnvironmentDefinition,
    last: BuildRecord | None,
    inputs: BuildInputs,
    is_missing: bool,
    code: Code,
) -> list[str]:
    """A sentence for each change; empty where nothing changed.

    Args:
        folder: the build's, with its records. last: the record of the last build of ``target``.
        is_missing: the engine no longer has the image.
        code: the code as it is now.
    """
    names = names_of(project, definition, last)
    old, platform = last.inputs if last else None, project.config.build.platform or ""

    def code_lines() -> CodeLines:
        return kept_lines(code_file(folder, target, platform), old.code) if old else None, code.lines()

    return rebuild_reasons(old, inputs, is_missing, code_lines, names, why_no_record(folder, target, platform))


def names_of(project: Project, definition: EnvironmentDefinition, last: BuildRecord | None) -> Names:
    """The names that sentences about a build use."""
    lock = definition.lock
    answer = lock.options.get("LOCK", "")
    present = [name for name in (*YAML_NAMES, TOML_NAME) if (project.home / name).is_file()]
    is_asked = lock.file and lock.file not in lock.files and answer in lock.files
    return Names(
        definition.shown_base,
        last.base if last else "",
        present[0] if present else "",
        (lock.file, answer) if lock.file and is_asked else None,
        frozenset({*lock.files, *_DECLARING, *present[:1], *([lock.file] if lock.file else [])}),
        frozenset(definition.made_of),
    )
