"""What the files of an installation mean, or those of a question to a tool: each as its reader does, and else by its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.build.environment.dependencies.found import ReadAs
from toolkit.build.environment.meaning.parts import Parts, of_bytes

_LOCKS = ("uv-lock", "pylock")
_SETTINGS = ("uv-project", "uv-settings")


def meaning_of(files: Mapping[str, bytes], reading: ReadAs) -> Parts:
    """What counts of these files, by names for sentences. A file that can't be read as what it is counts as it is."""
    documents = {
        name: _toml(files[name], form) for name, form in reading.forms.items() if form in _TOML and name in files
    }
    groups = _groups(reading, documents)
    parts: Parts = {}
    # The lock says whether it matters where packages come from, and the settings say where they do. What is built of files
    # takes from an index what no lock names.
    addresses = not any(form in _LOCKS for form in reading.forms.values()) or any(
        not reading.forms.get(name) and not name.endswith(".whl") for name in files
    )
    if not addresses:
        from toolkit.build.environment.meaning.project import builds_from_source, uv_table

        settings = [uv_table(name, one) for name, one in documents.items() if reading.forms[name] in _SETTINGS and one]
        addresses = any(map(builds_from_source, settings))
    for name in sorted(files, key=lambda one: (reading.forms.get(one, "") not in _LOCKS, one)):
        form = reading.forms.get(name, "")
        try:
            found, matters = _parts(name, form, files[name], documents.get(name), reading, groups, addresses)
        except Exception:  # what is broken is refused elsewhere, and here it only counts
            found, matters = {name: of_bytes(files[name])}, form in _LOCKS
        parts |= found
        addresses = addresses or matters
    return parts


_TOML = ("uv-lock", "pylock", "uv-project", "uv-settings", "backend", "locking", "tool-lock", "pipfile", "script")


def _parts(
    name: str,
    form: str,
    content: bytes,
    document: dict[str, Any] | None,
    reading: ReadAs,
    groups: tuple[str, ...] | None,
    addresses: bool,
) -> tuple[Parts, bool]:
    if form in _TOML:
        if document is None:
            raise ValueError("no TOML")
        if form in _LOCKS:
            from toolkit.build.environment.meaning.uv import of_pylock, of_uv_lock

            if form == "uv-lock":
                return of_uv_lock(name, document, reading.extras, groups)
            return of_pylock(name, document)
        if form == "tool-lock":
            from toolkit.build.environment.meaning.locks import of_tool_lock

            return of_tool_lock(name, document), False
        return _of_project(name, form, document, reading, groups, addresses), False
    if form == "requirements":
        from toolkit.build.environment.meaning.requirements import of_requirements_file

        return of_requirements_file(name, content), False
    if form in ("pipfile-lock", "conda-lock", "pixi-lock", "environment"):
        from toolkit.build.environment.meaning import locks

        if form == "conda-lock":
            return locks.of_conda_lock(name, content, reading.groups), False
        read = {
            "pipfile-lock": locks.of_pipfile_lock,
            "pixi-lock": locks.of_pixi_lock,
            "environment": locks.of_environment,
        }
        return read[form](name, content), False
    if form == "unread":
        return {}, False
    return {name: of_bytes(content)}, False


def _of_project(
    name: str, form: str, document: dict[str, Any], reading: ReadAs, groups: tuple[str, ...] | None, addresses: bool
) -> Parts:
    from toolkit.build.environment.meaning import project

    if form == "uv-project":
        return {name: "", **project.of_uv_project(name, document, reading.extras, groups, addresses)}
    if form == "uv-settings":
        prefix = f"{name}: " if name.endswith("uv.toml") else f"{name}: tool.uv."
        return project.of_uv_settings(prefix, project.uv_table(name, document), addresses)
    if form == "pipfile":
        return project.of_pipfile(name, document)
    if form == "script":
        return project.of_script(name, document)
    return project.of_backend(name, document, is_built=form == "backend")


def _groups(reading: ReadAs, documents: Mapping[str, dict[str, Any] | None]) -> tuple[str, ...] | None:
    """The groups that may be installed; None for all."""
    from toolkit.build.environment.meaning.project import default_groups

    projects = [document for name, document in documents.items() if reading.forms[name] == "uv-project"]
    named = default_groups(one for one in projects if one is not None)
    return None if named is None else (*reading.groups, *named)


def _toml(content: bytes, form: str) -> dict[str, Any] | None:
    import tomli

    if form == "script":
        from toolkit.build.environment.dependencies.declared import script_block

        lines = content.splitlines(keepends=True)
        content = script_block(b"".join(line for line in lines if not line.startswith(b"# ///")))

    try:
        return tomli.loads(content.decode("utf-8"))
    except ValueError:
        return None
