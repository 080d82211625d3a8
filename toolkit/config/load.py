"""Finds, reads and decodes the configuration, and finds the project's root."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.config.consistency import SettingLocations, check_consistency
from toolkit.config.decode import decode, decode_fields, expect_mapping, nearest, unknown_key
from toolkit.config.located import Located, read_toml, read_yaml, shown
from toolkit.config.root import find_root
from toolkit.config.rules import RULES, check_line
from toolkit.config.settings import (
    Build,
    CatalogStore,
    Config,
    Executor,
    ExecutorConfig,
    PersistentVolume,
    RunLogStore,
    Secrets,
)
from toolkit.config.variables import replace_variables
from toolkit.errors import BadInput
from toolkit.project import Project

YAML_NAMES = ("toolkit.yaml", "toolkit.yml")
TOML_NAME = "pyproject.toml"
TABLE = "tool.toolkit"
MAX_VALUES = 10_000
"""Values in a configuration file. Real files have far fewer."""

DEFAULT_VOLUME = PersistentVolume("toolkit", "/mnt")
"""The volume of a configuration that names no volume and keeps the default paths of run log and catalog."""


class _Service(NamedTuple):
    """How one service is written in the file.

    Attributes:
        spellings: its keys, the canonical one first.
        cls: the named tuple of its settings.
        types: for each accepted type, the canonical one.
        refused: for types of runnable that are not accepted, the reason.
        bare: types that take no config.
    """

    spellings: tuple[str, ...]
    cls: Any
    types: Mapping[str, str]
    refused: Mapping[str, str]
    bare: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The canonical key."""
        return self.spellings[0]


_SERVICES = (
    _Service(
        ("executor", "pipeline-executor", "pipeline_executor"),
        ExecutorConfig,
        {"argo": "argo", "local-container": "local-container", "local": "local", "mocked": "mocked"},
        {
            "retry": "a run is retried by `toolkit retry RUN`",
        },
    ),
    _Service(
        ("run_log_store", "run-log-store"),
        RunLogStore,
        {"file-system": "file-system", "chunked-fs": "chunked-fs"},
        {"buffered": "a run log in memory would be lost with the step's container, it must lie on a volume"},
    ),
    _Service(
        ("catalog",),
        CatalogStore,
        {"file-system": "file-system", "do-nothing": "do-nothing"},
        {"s3": "the catalog must lie on a volume, object stores are not supported"},
        ("do-nothing",),
    ),
    _Service(
        ("secrets",),
        Secrets,
        {
            "env-secrets": "env-secrets",
            "env-secrets-manager": "env-secrets",
            "env": "env-secrets",
            "dotenv": "dotenv",
            "do-nothing": "do-nothing",
        },
        {},
        ("do-nothing",),
    ),
)


def load(path: Path | None, start: Path, environ: Mapping[str, str] | None = None) -> Project:
    """The project that a command works on.

    Args:
        path: the value of ``--config``; None takes TOOLKIT_CONFIG, else looks for a file from ``start`` upward.
        start: the folder of the pipeline's file, or the current folder.
        environ: the environment variables; None takes those of this process.

    Raises:
        BadInput: with file and line, for anything wrong in the configuration.
    """
    environ = os.environ if environ is None else environ
    try:
        os.getcwd()
    except OSError:
        raise BadInput("the current folder no longer exists; change to one that does") from None
    start = start.resolve()
    if path is None and environ.get("TOOLKIT_CONFIG"):
        path = Path(environ["TOOLKIT_CONFIG"])
    configuration = _read(path) if path is not None else _find(start)
    if configuration is None:
        config = _decode(Located(None, "", 1), None, environ)
        root = find_root(None, start, None, None)
        return Project(root=root, home=root, config=config)
    source, tree = configuration
    home = source.parent.resolve()
    config = _decode(tree, home / source.name, environ)
    root = find_root(home, start, config.build.context, _location_of_context(tree))
    return Project(root=root, home=home, config=config)


def _read(path: Path) -> tuple[Path, Located]:
    if path.suffix != ".toml":
        return path, read_yaml(path, MAX_VALUES)
    tree = read_toml(path, TABLE)
    if tree is None:
        raise BadInput(f"this file has no table [{TABLE}]", shown(path))
    return path, tree


def _find(start: Path) -> tuple[Path, Located] | None:
    for folder in (start, *start.parents):
        present: list[tuple[Path, Located | None]] = [
            (folder / name, None) for name in YAML_NAMES if os.path.isfile(folder / name)
        ]
        if os.path.isfile(folder / TOML_NAME):
            table = read_toml(folder / TOML_NAME, TABLE)
            if table is not None:
                present.append((folder / TOML_NAME, table))
        if len(present) > 1:
            names = " and ".join(file.name for file, _ in present)
            raise BadInput(f"both {names} hold a configuration; keep one, or choose with --config", shown(folder))
        if present:
            file, tree = present[0]
            return file, tree if tree is not None else read_yaml(file, MAX_VALUES)
    return None


def _decode(tree: Located, source: Path | None, environ: Mapping[str, str]) -> Config:
    tree = replace_variables(tree, environ)
    entries = expect_mapping(tree, "the configuration")
    _check_top_keys(tree, entries)
    located = {service.name: item for service in _SERVICES if (item := _entry_of(service, tree, entries))}
    decoded = {service.name: _decode_service(service, located.get(service.name)) for service in _SERVICES}

    executor_type, executor = decoded["executor"]
    run_log_store = _build(RunLogStore, *decoded["run_log_store"])
    catalog = _build(CatalogStore, *decoded["catalog"])
    paths_are_default = (run_log_store.log_folder, catalog.catalog_location) == (
        RunLogStore().log_folder,
        CatalogStore().catalog_location,
    )
    if "persistent_volumes" not in executor and paths_are_default:
        executor["persistent_volumes"] = (DEFAULT_VOLUME,)
    settings: ExecutorConfig = _build(ExecutorConfig, None, executor)
    locations = SettingLocations(tree.file or None, located)
    config = Config(
        executor=Executor(
            type=executor_type if executor_type is not None else Executor().type,  # type: ignore[arg-type]
            config=settings,
            type_given=executor_type is not None,
            patch_places=_patch_locations(located.get("executor")),
            host_path_places=_host_path_locations(settings.persistent_volumes, locations),
        ),
        run_log_store=run_log_store,
        catalog=catalog,
        secrets=_build(Secrets, *decoded["secrets"]),
        build=decode(entries["build"], Build, "build", RULES) if "build" in entries else Build(),
        pipeline=_pipeline(entries.get("pipeline")),
        source=source,
        build_places=_places(entries.get("build")),
        hidden_arguments=_hidden_arguments(entries.get("build")),
    )
    check_consistency(config, locations)
    return config


def _patch_locations(executor: Located | None) -> dict[str, str]:
    tree = executor
    for key in ("config", "patches"):
        tree = tree.value.get(key) if tree is not None and isinstance(tree.value, dict) else None
    return patch_locations(tree)


def patch_locations(tree: Located | None) -> dict[str, str]:
    """Where each patch of a mapping stands, as ``file:line``, and as ``PATCH: returns: NAME`` each value and file of it."""
    places = _places(tree)
    for name in list(places):
        assert tree is not None and isinstance(tree.value, dict)
        entries = tree.value[name].value
        for part, inner in entries.items() if isinstance(entries, dict) else ():
            places.update((f"{name}: {part}: {key}", place) for key, place in _places(inner).items())
    return places


def _places(tree: Located | None) -> dict[str, str]:
    """Where each key of a mapping stands, as ``file:line``."""
    return {key: tree.key_where(key) for key in tree.value} if tree is not None and isinstance(tree.value, dict) else {}


def _hidden_arguments(build: Located | None) -> tuple[str, ...]:
    args = build.value.get("args") if build is not None and isinstance(build.value, dict) else None
    entries = args.value if args is not None and isinstance(args.value, dict) else {}
    return tuple(name for name, item in entries.items() if item.variable)


def _host_path_locations(volumes: tuple[PersistentVolume, ...], locations: SettingLocations) -> dict[str, str]:
    """Where each ``host_path`` stands, as ``file:line``, by the volume's name."""
    places = {
        volume.name: locations.of("executor", "config", "persistent_volumes", number, "host_path")
        for number, volume in enumerate(volumes)
        if volume.host_path is not None
    }
    return {name: place for name, place in places.items() if place is not None}


def _check_top_keys(tree: Located, entries: Mapping[str, Located]) -> None:
    canonical = [service.name for service in _SERVICES]
    known = {spelling for service in _SERVICES for spelling in service.spellings} | {"build", "pipeline"}
    elsewhere = {key: "executor.config" for key in ExecutorConfig._fields}
    elsewhere.update({"docker_image": "executor.config", "log_folder": "run_log_store.config"})
    elsewhere.update(
        {"catalog_location": "catalog.config", "compute_data_folder": "catalog.config", "ignore": "catalog.config"}
    )
    for key in entries:
        if key not in known:
            # Without a suggestion, the message lists the canonical names and not all of their spellings.
            names = known if nearest(key, known) else [*canonical, "build", "pipeline"]
            raise unknown_key(tree, key, "", names, elsewhere)


def _entry_of(service: _Service, tree: Located, entries: Mapping[str, Located]) -> Located | None:
    """The service's entry, under whichever of its spellings; None when the file has none."""
    used = [key for key in entries if key in service.spellings]
    if len(used) > 1:
        raise BadInput(f"{used[1]!r} and {used[0]!r} are the same service; keep one", tree.key_where(used[1]))
    return entries[used[0]] if used else None


def _decode_service(service: _Service, tree: Located | None) -> tuple[str | None, dict[str, object]]:
    """The service's type (None when it is not given) and its settings, as arguments of its named tuple."""
    name = service.name
    if tree is None:
        return None, {}
    entries = expect_mapping(tree, name)
    omit = ("type",) if "type" in service.cls._fields else ()
    settings = [key for key in service.cls._fields if key not in omit]
    for key in entries:
        if key not in ("type", "config"):
            raise unknown_key(tree, key, name, ("type", "config"), dict.fromkeys(settings, f"{name}.config"))
    kind = _type(service, entries["type"]) if "type" in entries else None
    if "config" not in entries:
        return kind, {}
    config = entries["config"]
    if kind in service.bare and expect_mapping(config, f"{name}.config"):
        raise BadInput(f"{name} of type {kind} takes no config", tree.key_where("config"))
    return kind, decode_fields(config, service.cls, f"{name}.config", RULES, omit)


def _type(service: _Service, tree: Located) -> str:
    name = f"{service.name}.type"
    accepted = ", ".join(service.types)
    if not isinstance(tree.value, str):
        raise BadInput(f"{name} must be one of {accepted}, but this is {tree.described()}", tree.where)
    if tree.value in service.types:
        return service.types[tree.value]
    text = tree.value[:60]
    if text in service.refused:
        raise BadInput(f"{name} can't be {text}: {service.refused[text]} (one of {accepted})", tree.where)
    suggestion = nearest(text, service.types)
    hint = f"; did you mean {suggestion}?" if suggestion else ""
    raise BadInput(f"{name} can't be {text!r}{hint} (one of {accepted})", tree.where)


def _build(cls: Any, kind: str | None, settings: dict[str, object]) -> Any:
    """The service's named tuple; its type is the default when ``kind`` is None."""
    return cls(**settings) if kind is None else cls(type=kind, **settings)


def _pipeline(tree: Located | None) -> str | None:
    if tree is None:
        return None
    if not isinstance(tree.value, str):
        raise BadInput(f"pipeline must be a text such as file.py:name, but this is {tree.described()}", tree.where)
    try:
        check_line(tree.value)
    except ValueError as error:
        raise BadInput(f"pipeline {error}", tree.where) from None
    return tree.value


def _location_of_context(tree: Located) -> str | None:
    """Where build.context stands; the file, when it has none."""
    build = tree.value.get("build") if isinstance(tree.value, dict) else None
    context = build.value.get("context") if build is not None and isinstance(build.value, dict) else None
    return context.where if context is not None else tree.file


def place_of(config: Config, keys: Collection[str], value: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Where the configuration gives this value to a setting, as ``file:line``, for an error that is found later.

    Args:
        keys: all spellings of the setting's key, at whatever depth. environ: as of :func:`load`.
    """
    if config.source is None:
        return None
    try:
        _, tree = _read(config.source)
        level = [replace_variables(tree, os.environ if environ is None else environ)]
    except BadInput:
        return None  # the file has changed meanwhile
    while level:
        mappings = [item.value for item in level if isinstance(item.value, dict)]
        for mapping in mappings:
            for key, item in mapping.items():
                if key in keys and item.value == value:
                    return item.where
        level = [item for mapping in mappings for item in mapping.values()]
    return None
