"""Why an image is built again: the differences between the inputs of the last build and of this one, as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toolkit.build.environment.definition import BASE_IMAGE, OPTION

_NAMED = 10
"""Changes of one kind that are named; the rest is counted."""


@dataclass(frozen=True)
class BuildInputs:
    """Everything that an image depends on.

    Attributes:
        target: the repository that the image is tagged in.
        environment: what the environment depends on, by the names that sentences begin with; values are as
            :mod:`toolkit.build.environment.meaning.parts` has them.
        code: a digest of the user's code. The record has no line for each file: a large project has a hundred thousand.
        runtime: a digest of the runtime and the SDK of this installation of toolkit.
    """

    target: str
    environment: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    runtime: str = ""


_OPTIONS = {
    "CATEGORIES": "the chosen categories",
    "FOLDER": "the folder of the project",
    "GIT": "whether Git is needed",
    "INSTALLER": "what installs the packages",
    "LEFT_OUT": "what uv leaves out",
    "LOCK": "the file that is installed from",
    "PIP_OPTIONS": "how pip is called",
    "REQUIREMENTS": "the file that is installed from",
    "SYNC_OPTIONS": "how uv is called",
    "UV_OPTIONS": "how uv is called",
    "UV_REQUIREMENT": "the version of uv",
}
"""What the options of the templates are to a user."""

CodeLines = tuple[Mapping[str, str] | None, Mapping[str, str]]
"""One line for each entry of the code, by its path in the project: of the last build, None where they are not known, and now."""


@dataclass(frozen=True)
class Names:
    """The names that sentences use for what the inputs name otherwise.

    Attributes:
        base: the base image's reference, and ``old_base`` that of the last build.
        settings: the configuration's file, in which the settings lie that begin with ``build.``.
        asked: the file whose meaning a tool was asked for, and the file that its answer is in.
        made_of: the parts of what the base image is made of, where the project makes it itself.
        declaring: the files that the environment is read from, as far as they are code too.
    """

    base: str = ""
    old_base: str = ""
    settings: str = ""
    asked: tuple[str, str] | None = None
    declaring: frozenset[str] = frozenset()
    made_of: frozenset[str] = frozenset()


def rebuild_reasons(
    old: BuildInputs | None,
    new: BuildInputs,
    is_missing: bool,
    code_lines: Callable[[], CodeLines],
    names: Names | None = None,
    without_record: str = "this machine has no record of an earlier build of this project",
) -> list[str]:
    """One sentence for each difference; empty when nothing changed.

    Args:
        is_missing: the engine no longer has the image.
        code_lines: is asked for the lines when the code changed.
        without_record: why there is no ``old``.
    """
    if old is None:
        return [without_record]
    names = names or Names()
    reasons: list[str] = []
    if old.target != new.target:
        reasons.append(f"the image's name changed from {old.target} to {new.target}")
    changed = environment_changes(old.environment, new.environment, names)
    reasons += changed
    if old.code != new.code:
        before, now = code_lines()
        only_code = _only_code(changed, names)
        reasons += ["the code changed"] if before is None else _file_changes(before, now, only_code)
    if old.runtime != new.runtime:
        reasons.append("toolkit's own runtime or SDK changed")
    if is_missing and not reasons:
        reasons.append("the engine no longer has the image")
    return reasons


def environment_changes(old: Mapping[str, str], new: Mapping[str, str], names: Names) -> list[str]:
    """One sentence for each part of the environment that differs; a file that came or went is one."""
    by_file: dict[str, list[str]] = {}
    old_files, new_files = (_files(one, names) for one in (old, new))
    # Then the base image is another one because of that.
    is_base_told = any(old.get(key) != new.get(key) for key in names.made_of)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or (key == BASE_IMAGE and is_base_told):
            continue
        if key.startswith(OPTION):
            shown = _OPTIONS.get(key[len(OPTION) :], key)
            by_file[shown] = [f"{shown} {_verb(old.get(key, ''), new.get(key, ''))}"]
            continue
        shown = _shown(key, names)
        file = shown.partition(": ")[0]
        if not key.startswith("build.") and (file not in old_files or file not in new_files):
            by_file[file] = [f"{file} was {'removed' if file in old_files else 'added'}"]
            continue
        if key == BASE_IMAGE:
            is_other = names.old_base and names.old_base != names.base
            sentence = f"changed from {names.old_base} to {names.base}" if is_other else "changed"
            by_file[key] = [f"{key} {sentence if is_other else f'{names.base} {sentence}'.strip()}"]
            continue
        by_file.setdefault(file, []).append(f"{shown} {_verb(old.get(key), new.get(key))}")
    reasons = []
    for file, sentences in by_file.items():
        reasons += sentences[:_NAMED]
        if len(sentences) > _NAMED:
            reasons.append(f"{file}: and {len(sentences) - _NAMED} more changes")
    return reasons


def _shown(key: str, names: Names) -> str:
    if key.startswith("build."):
        return f"{names.settings}: {key}" if names.settings else key
    if names.asked is not None:
        file, answer = names.asked
        if key == answer or key.startswith(f"{answer}: "):
            return file + key[len(answer) :]
    return key


def _files(parts: Mapping[str, str], names: Names) -> set[str]:
    return {_shown(key, names).partition(": ")[0] for key in parts}


def _verb(old: str | None, new: str | None) -> str:
    if old is None or new is None:
        return "was added" if old is None else "was removed"
    before, after = old.partition("\n")[0], new.partition("\n")[0]
    if before != after and before and after:
        return f"changed from {before} to {after}"
    if before and before == after:
        return f"changed (still {before}: its files, its source or what it needs)"
    return "changed"


def _only_code(changed: list[str], names: Names) -> frozenset[str]:
    """The files that the environment is read from, and that changed without changing it."""
    if names.asked is not None and changed:
        return frozenset()  # any of them may have changed what the tool was asked
    return frozenset(one for one in names.declaring if not any(_is_of(sentence, one) for sentence in changed))


def _is_of(sentence: str, file: str) -> bool:
    return sentence.startswith((f"{file}: ", f"{file} "))


def _file_changes(old: Mapping[str, str], new: Mapping[str, str], only_code: frozenset[str]) -> list[str]:
    changes = [f"{path} was added" for path in sorted(new.keys() - old.keys())]
    changes += [f"{path} was removed" for path in sorted(old.keys() - new.keys())]
    for path in sorted(old.keys() & new.keys()):
        if old[path] != new[path]:
            changes.append(f"{path} changed{' (only the code layer)' if path in only_code else ''}")
    # A name may hold the end of a line, and would make two sentences of one.
    named = ["".join(sign if sign.isprintable() else "\ufffd" for sign in one) for one in changes[:_NAMED]]
    return [*named, *([f"and {len(changes) - _NAMED} more files"] if len(changes) > _NAMED else [])]
