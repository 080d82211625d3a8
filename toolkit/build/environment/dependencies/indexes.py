"""Where a project says that its packages come from. A name that two places have is a different package in each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolkit.build.environment.dependencies.found import inside, normalize_name, read_input, read_place
from toolkit.errors import BadInput

_PUBLIC = r"https?://(?:pypi\.org|pypi\.python\.org|files\.pythonhosted\.org)(?:/|$)"
_WITHOUT_MEANING = frozenset({"package", "managed", "default-groups", "build-backend", "workspace", "required-version"})
"""Settings of uv's that say nothing of which packages are chosen from what is declared."""


def refuse_indexes(sources: Iterable[Any], tool: str, lock: str, file: str) -> None:
    """Refuses other indexes than the public one, where only their own tool knows how it takes packages from them.

    Raises:
        BadInput: there is one.
    """
    for source in sources:
        url = str(source.get("url", "")) if isinstance(source, dict) else ""
        if url and not re.match(_PUBLIC, url):
            raise BadInput(
                f"it names the index {source.get('name') or url!r}, and only {tool} knows which packages come from there: "
                f"run `{lock}`",
                file,
            )


def refuse_sources(document: dict[str, Any], lines: tuple[str, ...], file: str) -> None:
    """Refuses what Poetry's and PDM's own tables say of where packages come from; a lock says it exactly.

    Raises:
        BadInput: they say something.
    """
    tool = document.get("tool") or {}
    poetry, pdm = tool.get("poetry") or {}, tool.get("pdm") or {}
    refuse_indexes(poetry.get("source") or (), "Poetry", "poetry lock", file)
    refuse_indexes(pdm.get("source") or (), "PDM", "pdm lock", file)
    if (pdm.get("resolution") or {}).get("overrides"):
        raise BadInput("it has overrides, which only PDM reads: run `pdm lock`", file)
    if "project" in document:
        declared = _declared_names(lines)
        for name, given in (poetry.get("dependencies") or {}).items():
            if (
                normalize_name(name) in declared
                and isinstance(given, dict)
                and {"git", "url", "path", "source"} & set(given)
            ):
                raise BadInput(
                    f"tool.poetry says where {name} comes from, which only Poetry reads: run `poetry lock`", file
                )


def uv_inputs(root: Path, document: dict[str, Any], lines: tuple[str, ...], file: str) -> dict[str, bytes] | None:
    """The project's files that uv reads beside a file that declares dependencies, where settings of uv's change their meaning.

    Args:
        document: the file, parsed. lines: the requirements that it declares. file: its name.

    Returns:
        The files by their paths; None where uv has no settings there.

    Raises:
        BadInput: a source is not in the project, or is a member of a workspace, which has no lock.
    """
    settings = (document.get("tool") or {}).get("uv") or {}
    files: dict[str, bytes] = {}
    own: dict[str, Any] = {}
    if (root / "uv.toml").is_file():
        from toolkit.build.environment.dependencies.declared import parsed_toml

        files["uv.toml"] = read_input(root, "uv.toml", file)
        own = parsed_toml(files["uv.toml"], "uv.toml")
    if not (set(settings) - _WITHOUT_MEANING) and not files:
        return None
    declared = _declared_names(lines)
    for name, given in (settings.get("sources") or {}).items():
        for one in given if isinstance(given, list) else [given]:
            if normalize_name(name) not in declared or not isinstance(one, dict):
                continue
            if one.get("workspace"):
                raise BadInput(f"{name} is a member of the workspace, which has no uv.lock: run `uv lock`", file)
            if "path" in one:
                files.update(_local(root, str(one["path"]), file))
    for table in (settings, own):
        indexes = [one.get("url", "") for one in table.get("index") or () if isinstance(one, dict)]
        indexes += [table.get("index-url", ""), *(table.get("extra-index-url") or ()), *(table.get("find-links") or ())]
        for url in filter(None, map(str, indexes)):
            if "://" not in url:
                files.update(_local(root, url, file))
    return files


def _local(root: Path, path: str, file: str) -> dict[str, bytes]:
    place = inside(path, file)
    if not (root / place).exists():
        raise BadInput(f"{path} is no file or folder of this project", file)
    return read_place(root, place, file)


def _declared_names(lines: tuple[str, ...]) -> set[str]:
    return {normalize_name(found[0]) for line in lines if (found := re.match(r"[A-Za-z0-9._-]+", line))}
