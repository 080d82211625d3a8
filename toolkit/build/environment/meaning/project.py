"""What a pyproject.toml and a uv.toml mean to the tool that reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit.build.environment.dependencies.found import normalize_name
from toolkit.build.environment.meaning.parts import Parts, of_requirements, of_value, requirement, without_credentials

_ADDRESSES = frozenset({"index", "index-url", "extra-index-url", "default-index", "find-links"})
_WITHOUT_EFFECT = frozenset(
    {"build-backend", "publish-url", "trusted-publishing", "check-url", "dev-dependencies", "sources"}
)
"""Tables of uv's that say nothing of what is installed, or that are read by themselves."""
_OTHER_TOOLS = frozenset(
    (
        *(
            "autopep8",
            "bandit",
            "basedpyright",
            "black",
            "bumpversion",
            "cibuildwheel",
            "codespell",
            "commitizen",
            "coverage",
            "deptry",
        ),
        *(
            "djlint",
            "flake8",
            "interrogate",
            "isort",
            "mypy",
            "nox",
            "poe",
            "pydocstyle",
            "pylint",
            "pyrefly",
            "pyright",
            "pytest",
            "ruff",
        ),
        *("semantic_release", "taskipy", "toolkit", "towncrier", "tox", "ty", "vulture", "yapf"),
    )
)
"""Tables of tools that build nothing."""
_ABOUT = frozenset(
    (
        *(
            "version",
            "description",
            "readme",
            "authors",
            "maintainers",
            "keywords",
            "classifiers",
            "urls",
            "scripts",
            "gui-scripts",
        ),
        *("entry-points", "license", "license-files", "homepage", "repository", "documentation", "plugins"),
    )
)
"""What a project says of itself, which says nothing of what it depends on."""


def default_groups(documents: Iterable[dict[str, Any]]) -> tuple[str, ...] | None:
    """The groups that uv installs without being asked; None for all. A build never asks for ``dev``."""
    found: list[str] = []
    for document in documents:
        named = _table(document, "tool", "uv").get("default-groups") or []
        if named == "all":
            return None
        found += map(str, named if isinstance(named, list) else [named])
    return tuple(one for one in found if one != "dev")


def of_uv_project(
    name: str,
    document: dict[str, Any],
    extras: tuple[str, ...],
    groups: tuple[str, ...] | None,
    addresses: bool,
) -> Parts:
    """What uv reads of a pyproject.toml for an installation.

    Args:
        extras, groups: those that may be installed; None for all groups.
        addresses: whether it matters where packages come from.
    """
    project = _table(document, "project")
    parts = {
        f"{name}: project.{key}": of_value(project[key])
        for key in ("name", "requires-python", "dynamic")
        if key in project
    }
    if "build-system" in document:
        # That there is one makes the project a package. It is not built for its dependencies.
        parts[f"{name}: build-system"] = ""
    lines = list(map(str, project.get("dependencies") or ()))
    parts |= of_requirements(f"{name}: project.dependencies: ", lines)
    optional = project.get("optional-dependencies") or {}
    chosen = _chosen(optional, extras)
    own = normalize_name(str(project.get("name") or ""))
    if any(requirement(line)[0] == own for line in [*lines, *(str(one) for key in chosen for one in optional[key])]):
        chosen = set(optional)  # one of its extras asks for others of its own
    for key in chosen:
        parts |= of_requirements(f"{name}: project.optional-dependencies: {key}: ", map(str, optional[key]))
    table = document.get("dependency-groups") or {}
    for key in _included(table, set(table) if groups is None else _chosen(table, groups)):
        named = [str(one) for one in table[key] if not isinstance(one, dict)]
        parts |= of_requirements(f"{name}: dependency-groups: {key}: ", named)
        others = [one for one in table[key] if isinstance(one, dict)]
        if others:
            parts[f"{name}: dependency-groups: {key}"] = of_value(others)
    settings = _table(document, "tool", "uv")
    parts |= of_uv_settings(f"{name}: tool.uv.", settings, addresses)
    if groups is None or "dev" in map(normalize_name, groups):
        parts |= of_requirements(
            f"{name}: tool.uv.dev-dependencies: ", map(str, settings.get("dev-dependencies") or ())
        )
    return parts


def of_uv_settings(prefix: str, settings: dict[str, Any], addresses: bool) -> Parts:
    """What uv's own settings mean for an installation, of a ``[tool.uv]`` or a uv.toml."""
    left_out = _WITHOUT_EFFECT if addresses else _WITHOUT_EFFECT | _ADDRESSES
    parts = {
        f"{prefix}{key}": of_value(without_credentials(value)) for key, value in settings.items() if key not in left_out
    }
    for package, source in (settings.get("sources") or {}).items():
        parts[f"{prefix}sources: {normalize_name(package)}"] = of_value(without_credentials(source))
    return parts


def of_script(name: str, document: dict[str, Any]) -> Parts:
    """What uv reads of the block of a script (PEP 723)."""
    parts = of_requirements(f"{name}: dependencies: ", map(str, document.get("dependencies") or ()))
    for key in document:
        if key not in ("dependencies", "tool"):
            parts[f"{name}: {key}"] = of_value(document[key])
    return {name: "", **parts, **of_uv_settings(f"{name}: tool.uv.", _table(document, "tool", "uv"), True)}


def builds_from_source(settings: dict[str, Any]) -> bool:
    """Whether uv's settings keep it from wheels, so that hashes do not say all that is installed."""
    return any("no-binary" in key for key in [*settings, *(settings.get("pip") or {})])


def uv_table(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """uv's settings in a pyproject.toml or a uv.toml."""
    return document if name.endswith("uv.toml") else _table(document, "tool", "uv")


def of_backend(name: str, document: dict[str, Any], is_built: bool) -> Parts:
    """What a tool reads of a pyproject.toml that is asked about the project: a build backend, Poetry or PDM.

    Only the tables of tools that build nothing are left out, because a backend may read any other.

    Args:
        is_built: whether a build backend is asked, which knows what the project says of itself. Poetry and PDM are asked which
            packages they lock.
    """
    parts: Parts = {}
    about = frozenset() if is_built else _ABOUT
    for key, table in document.items():
        if key == "tool":
            for tool, settings in table.items():
                if tool not in _OTHER_TOOLS:
                    parts |= _settings(
                        f"{name}: tool.{tool}", settings, about if tool in ("poetry", "pdm") else frozenset()
                    )
        else:
            parts |= _settings(f"{name}: {key}", table, about if key == "project" else frozenset())
    return parts


def of_pipfile(name: str, document: dict[str, Any]) -> Parts:
    """What Pipenv reads of a Pipfile."""
    parts: Parts = {}
    for key, table in document.items():
        if key != "scripts":
            parts |= _settings(f"{name}: {key}", table, frozenset())
    return parts


def _settings(prefix: str, table: Any, left_out: frozenset[str]) -> Parts:
    if not isinstance(table, dict):
        return {prefix: of_value(without_credentials(table))}
    parts = {prefix: ""}
    for key, value in table.items():
        if key not in left_out:
            parts[f"{prefix}.{key}"] = of_value(without_credentials(value))
    return parts


def _chosen(table: dict[str, Any], names: Iterable[str]) -> set[str]:
    wanted = {normalize_name(one) for one in names}
    return {key for key in table if normalize_name(key) in wanted}


def _included(table: dict[str, Any], chosen: set[str]) -> list[str]:
    """The chosen groups and those that they include."""
    unread, found = list(chosen), set(chosen)
    while unread:
        for entry in table[unread.pop()]:
            if isinstance(entry, dict):
                new = _chosen(table, [str(entry.get("include-group"))]) - found
                found |= new
                unread += new
    return sorted(found)


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        found = document.get(key)
        document = found if isinstance(found, dict) else {}
    return document
