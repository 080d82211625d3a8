"""Rewrites what a configuration or a pipeline in YAML has that toolkit does not. All else of it stays byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from toolkit.config.load import DEFAULT_VOLUME, YAML_NAMES, load
from toolkit.config.located import Located, read_yaml
from toolkit.config.settings import CatalogStore, RunLogStore
from toolkit.errors import BadInput
from toolkit.migrate.migrated import Migrated
from toolkit.migrate.python_code import named_reducer
from toolkit.model.yaml_form.pipeline_file import read as read_pipeline

_SERVICES = (
    "executor",
    "pipeline-executor",
    "pipeline_executor",
    "run_log_store",
    "run-log-store",
    "catalog",
    "secrets",
)
_PATHS = {"log_folder": RunLogStore().log_folder, "catalog_location": CatalogStore().catalog_location}
"""The keys whose value has to lie on a volume, and the defaults."""


def migrate_yaml(path: Path, text: str) -> Migrated:
    """The file as a configuration; of a pipeline, and of any other YAML, only what is left to do.

    Raises:
        BadInput: it can't be read as YAML.
    """
    tree = read_yaml(path)
    entries = tree.value if isinstance(tree.value, dict) else {}
    if "dag" in entries:
        migrated = Migrated(text)
        _name_reducers(migrated, tree, set())
        return migrated
    if {"type", "command"} <= set(entries):
        return Migrated(
            text, left=[(1, "a job in YAML: call ShellJob, PythonJob or NotebookJob in Python, or make it a step")]
        )
    if not any(key in entries for key in _SERVICES):
        return Migrated(text)
    return _migrate_services(entries, text)


def left_of_yaml(path: Path) -> list[tuple[int, str]]:
    """What toolkit still refuses of a pipeline or a configuration, once the file is rewritten."""
    tree = read_yaml(path)
    if isinstance(tree.value, dict) and "dag" in tree.value:
        return _refusal(lambda: read_pipeline(path))
    if not isinstance(tree.value, dict) or not any(key in tree.value for key in _SERVICES):
        return []
    left = _refusal(lambda: load(path, path.parent))
    if path.name not in YAML_NAMES:
        left.append((1, f"toolkit finds {YAML_NAMES[0]} by itself: rename this file, or give --config {path.name}"))
    return left


def _refusal(check: Callable[[], object]) -> list[tuple[int, str]]:
    """What a check refuses; it names one thing at a time."""
    try:
        check()
    except BadInput as error:
        line = (error.where or "").rpartition(":")[2]
        return [(int(line) if line.isdigit() else 1, error.message)]
    return []


def _migrate_services(entries: dict[str, Located], text: str) -> Migrated:
    migrated = Migrated(text)
    mounts = _mount_paths(entries)
    for service in _SERVICES:
        fields = _mapping(entries.get(service))
        kind = fields.get("type")
        if service.startswith("run") and kind is not None and kind.value == "buffered":
            _replace_value(migrated, fields, "type", "file-system")
        config = _mapping(fields.get("config"))
        for key, default in _PATHS.items():
            value = config.get(key)
            if value is not None and isinstance(value.value, str) and not _lies_on(value.value, mounts):
                name = PurePosixPath(default).name
                _replace_value(migrated, config, key, f"{mounts[0]}/{name}" if mounts else default)
    return migrated


def _name_reducers(migrated: Migrated, tree: Located, lines: set[int]) -> None:
    """Writes the reducers that are lambdas, and do what one of ours does, by its name.

    Args:
        lines: those that are written already. A branch behind an anchor is met as often as it is used.
    """
    if isinstance(tree.value, tuple):
        for item in tree.value:
            _name_reducers(migrated, item, lines)
    if isinstance(tree.value, dict):
        for key, item in tree.value.items():
            ours = named_reducer(item.value) if key == "reducer" and isinstance(item.value, str) else None
            if ours is not None and item.line not in lines:
                lines.add(item.line)
                _replace_value(migrated, tree.value, key, ours)
            _name_reducers(migrated, item, lines)


def _mount_paths(entries: dict[str, Located]) -> list[str]:
    """Where volumes are mounted; the default's path where the file names none."""
    for service in _SERVICES[:3]:
        volumes = _mapping(_mapping(entries.get(service)).get("config")).get("persistent_volumes")
        if volumes is not None and isinstance(volumes.value, tuple):
            paths = [_mapping(volume).get("mount_path") for volume in volumes.value]
            return [path.value.rstrip("/") for path in paths if path is not None and isinstance(path.value, str)]
    return [DEFAULT_VOLUME.mount_path]


def _lies_on(path: str, mounts: list[str]) -> bool:
    return "$" in path or any(PurePosixPath(path).is_relative_to(mount) for mount in mounts)


def _mapping(tree: Located | None) -> dict[str, Located]:
    return tree.value if tree is not None and isinstance(tree.value, dict) else {}


def _replace_value(migrated: Migrated, entries: dict[str, Located], key: str, value: str) -> None:
    """Replaces a scalar where it stands; what is written in another way than ``key: value`` is left to do."""
    scalar = entries[key]
    lines = migrated.text.splitlines(keepends=True)
    spelled = re.escape(scalar.text or "")
    pattern = re.compile(rf"""(["']?{re.escape(key)}["']?\s*:\s*)(["']?){spelled}\2(?=\s|,|\}}|$)""")
    changed, count = pattern.subn(lambda match: match[1] + value, lines[scalar.line - 1], count=1)
    if not count:
        migrated.left.append((scalar.line, f"{key} should be {value}"))
        return
    lines[scalar.line - 1] = changed
    migrated.text = "".join(lines)
    migrated.changes += 1
