"""The checks that concern several settings of a configuration: volumes and the paths on them, secrets, limits, tolerations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from toolkit.config.located import Located
from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.rules import lies_in
from toolkit.config.settings import Config, ExecutorConfig, PersistentVolume, Resources
from toolkit.errors import BadInput
from toolkit.runtime.shared.protocol import volume_variable

_Part = str | int
"""A key of a mapping, or a position in a list."""


class SettingLocations:
    """Where the settings stand in their file, by their canonical names.

    Args:
        file: the configuration file; None when there is none.
        services: the trees of the services that the file has, by their canonical names.
    """

    def __init__(self, file: str | None, services: Mapping[str, Located]) -> None:
        self.file = file
        self.services = services

    def of(self, service: str, *path: _Part) -> str | None:
        """The place of a setting as ``file:line``; of the innermost mapping or list around it, when the file lacks it."""
        tree = self.services.get(service)
        if tree is None:
            return f"{self.file}:1" if self.file else None
        where = tree.where
        for part in path:
            if isinstance(part, str) and isinstance(tree.value, dict) and part in tree.value:
                where, tree = tree.key_where(part), tree.value[part]
            elif isinstance(part, int) and isinstance(tree.value, tuple):
                tree = tree.value[part]
                where = tree.where
            else:
                break
        return where


def volume_of(path: str, volumes: Iterable[PersistentVolume]) -> PersistentVolume | None:
    """The volume that holds a path of the container; None when none does."""
    return next((volume for volume in volumes if lies_in(path, volume.mount_path)), None)


def check_consistency(config: Config, locations: SettingLocations) -> None:
    """Checks the settings against each other.

    Raises:
        BadInput: with the place, for the first setting that contradicts another.
    """
    executor = config.executor.config
    _check_volumes(executor, locations)
    _check_stores(config, locations)
    _check_secrets(executor, locations)
    _check_dockerfile(config)
    _check_resources(executor.resources, locations, "resources")
    for name, override in executor.overrides.items():
        if override.resources is not None:
            _check_resources(override.resources, locations, "overrides", name, "resources")
    _check_tolerations(executor, locations)
    if executor.patches and config.executor.type != "mocked":
        message = (
            "executor.config.patches needs executor.type mocked, which runs these steps and makes stubs of all others"
        )
        raise BadInput(message, locations.of("executor", "config", "patches"))


def _check_volumes(executor: ExecutorConfig, locations: SettingLocations) -> None:
    volumes = executor.persistent_volumes
    scratch = executor.scratch_size is not None or any(
        override.scratch_size is not None for override in executor.overrides.values()
    )
    names: set[str] = set()
    mounted: dict[str, str] = {}
    variables: dict[str, str] = {}
    for number, volume in enumerate(volumes):
        at = ("config", "persistent_volumes", number)
        where = locations.of("executor", *at, "mount_path")
        if scratch and lies_in(volume.mount_path, "/tmp"):
            message = f"the volume {volume.name} is mounted at {volume.mount_path}, but scratch_size makes /tmp private"
            raise BadInput(message, where)
        if volume.name in names:
            raise BadInput(f"the volume {volume.name} is given twice", locations.of("executor", *at, "name"))
        variable = volume_variable(volume.name)
        if variable in variables:
            both = f"{variables[variable]} and {volume.name}"
            message = (
                f"the volumes {both} would both be named by the variable {variable}: give one of them another name"
            )
            raise BadInput(message, locations.of("executor", *at, "name"))
        variables[variable] = volume.name
        if volume.mount_path in mounted:
            both = f"{mounted[volume.mount_path]} and {volume.name}"
            raise BadInput(f"the volumes {both} are both mounted at {volume.mount_path}", where)
        names.add(volume.name)
        mounted[volume.mount_path] = volume.name
    for number, volume in enumerate(volumes):
        for parent in PurePosixPath(volume.mount_path).parents:
            if str(parent) in mounted:
                message = f"the mount path {volume.mount_path} lies inside another, {parent}; mount them side by side"
                raise BadInput(message, locations.of("executor", "config", "persistent_volumes", number, "mount_path"))


def _check_stores(config: Config, locations: SettingLocations) -> None:
    volumes = config.executor.config.persistent_volumes
    log_folder, location = config.run_log_store.log_folder, config.catalog.catalog_location
    paths = [("run_log_store", "log_folder", log_folder)]
    if config.catalog.type != "do-nothing":
        paths.append(("catalog", "catalog_location", location))
    for service, key, path in paths:
        volume = volume_of(path, volumes)
        if volume is not None and volume.read_only:
            message = (
                f"the volume {volume.name} can't be read_only, because {service}.config.{key} is {path}, where steps write: "
                "put it on another volume"
            )
            at = ("config", "persistent_volumes", volumes.index(volume), "read_only")
            raise BadInput(message, locations.of("executor", *at))
        if volume is None:
            listed = ", ".join(f"{volume.name} at {volume.mount_path}" for volume in volumes)
            available = f"the volumes are {listed}" if listed else "executor.config.persistent_volumes has none"
            message = f"{service}.config.{key} is {path}, which lies on no volume ({available})"
            raise BadInput(message, _location_of_path(locations, service, key))
    if len(paths) == 2 and (lies_in(log_folder, location) or lies_in(location, log_folder)):
        message = f"the run log ({log_folder}) and the catalog ({location}) must be separate folders, neither inside the other"
        service, key, _ = paths[1 if "catalog" in locations.services else 0]
        raise BadInput(message, _location_of_path(locations, service, key))


def _location_of_path(locations: SettingLocations, service: str, key: str) -> str | None:
    """Where the path is set; where the volumes are set, when the path is a default."""
    if service in locations.services:
        return locations.of(service, "config", key)
    return locations.of("executor", "config", "persistent_volumes")


def _check_secrets(executor: ExecutorConfig, locations: SettingLocations) -> None:
    other_settings = {name: "environment" for name in executor.environment}
    for override, setting in executor.overrides.items():
        other_settings.update({name: f"the environment of the override {override}" for name in setting.environment})
    seen: set[str] = set()
    for number, reference in enumerate(executor.secrets_from_k8s):
        name = reference.environment_variable
        where = locations.of("executor", "config", "secrets_from_k8s", number, "environment_variable")
        if name in seen:
            raise BadInput(f"the environment variable {name} is set by two entries of secrets_from_k8s", where)
        seen.add(name)
        if name in other_settings:
            raise BadInput(f"{name} is both in secrets_from_k8s and in {other_settings[name]}; keep one", where)


def _check_dockerfile(config: Config) -> None:
    build, places = config.build, config.build_places
    if build.dockerfile is None:
        for key in ("target", "args"):
            if getattr(build, key):
                raise BadInput(f"build.{key} is for a Dockerfile: name it in build.dockerfile", places.get(key))
    else:
        for key in ("base_image", "base", "python"):
            if key in places and getattr(build, "base_image" if key == "base" else key) is not None:
                raise BadInput(
                    f"build.{key} chooses the base image, and what {build.dockerfile} makes takes its place "
                    f"(build.dockerfile, {places.get('dockerfile')}): keep one",
                    places[key],
                )
    if build.files and not build.run:
        raise BadInput("build.files are for the commands of build.run, and there are none", places.get("files"))


def _check_resources(resources: Resources, locations: SettingLocations, *path: str) -> None:
    found = contradiction(resources)
    if found is not None:
        key, message = found
        raise BadInput(message, locations.of("executor", "config", *path, "requests", key))


def contradiction(resources: Resources) -> tuple[str, str] | None:
    """The request that contradicts a limit, by its key, and a sentence about it; None where none does."""
    limits, requests = resources.limits, resources.requests
    parse = {"cpu": parse_cpu, "memory": parse_memory}
    for key in ("cpu", "memory"):
        limit, request = getattr(limits, key), getattr(requests, key)
        if limit is not None and request is not None and parse[key](request) > parse[key](limit):
            return key, f"the {key} request {request} is more than the limit {limit}"
    if requests.gpu is not None and requests.gpu != limits.gpu:
        return "gpu", "a gpu request must equal the gpu limit; give the limit alone"
    return None


def _check_tolerations(executor: ExecutorConfig, locations: SettingLocations) -> None:
    lists = [(executor.tolerations, ("config", "tolerations"))]
    for name, override in executor.overrides.items():
        lists.append((override.tolerations or (), ("config", "overrides", name, "tolerations")))  # type: ignore[arg-type]
    for tolerations, path in lists:
        for number, toleration in enumerate(tolerations):
            where = locations.of("executor", *path, number)
            if toleration.operator == "Exists" and toleration.value is not None:
                raise BadInput("a toleration whose operator is Exists takes no value", where)
            if toleration.operator == "Equal" and toleration.key is None:
                raise BadInput("a toleration without a key needs the operator Exists", where)
