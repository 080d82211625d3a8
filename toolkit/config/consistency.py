"""What must hold between several values of a configuration: volumes, the paths on them, names and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from toolkit.config.located import Located
from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.rules import lies_in
from toolkit.config.settings import Config, ExecutorConfig, PersistentVolume, Resources
from toolkit.errors import BadInput

_Step = str | int


class SettingLocations:
    """Where the settings stand in their file, by their canonical names."""

    def __init__(self, file: str | None, services: Mapping[str, Located]) -> None:
        self.file = file
        self.services = services

    def of(self, service: str, *path: _Step) -> str | None:
        """The place of a setting, or of the nearest thing around it that the file has."""
        tree = self.services.get(service)
        if tree is None:
            return f"{self.file}:1" if self.file else None
        where = tree.where
        for step in path:
            if isinstance(step, str) and isinstance(tree.value, dict) and step in tree.value:
                where, tree = tree.key_where(step), tree.value[step]
            elif isinstance(step, int) and isinstance(tree.value, tuple):
                tree = tree.value[step]
                where = tree.where
            else:
                break
        return where


def volume_of(path: str, volumes: Iterable[PersistentVolume]) -> PersistentVolume | None:
    """The volume on which a container's path lies; None when it lies on none."""
    return next((volume for volume in volumes if lies_in(path, volume.mount_path)), None)


def check_consistency(config: Config, places: SettingLocations) -> None:
    """Raises BadInput, with the place, for the first thing that does not fit the rest."""
    executor = config.executor.config
    _check_volumes(executor, places)
    _check_stores(config, places)
    _check_secrets(executor, places)
    _check_resources(executor.resources, places, "resources")
    for name, override in executor.overrides.items():
        if override.resources is not None:
            _check_resources(override.resources, places, "overrides", name, "resources")
    _check_tolerations(executor, places)
    if executor.patches and config.executor.type != "mocked":
        message = "executor.config.patches is for the executor of type mocked, whose steps are stubs but for those"
        raise BadInput(message, places.of("executor", "config", "patches"))


def _check_volumes(executor: ExecutorConfig, places: SettingLocations) -> None:
    volumes = executor.persistent_volumes
    scratch = executor.scratch_size is not None or any(
        each.scratch_size is not None for each in executor.overrides.values()
    )
    names: set[str] = set()
    mounted: dict[str, str] = {}
    for number, volume in enumerate(volumes):
        at = ("config", "persistent_volumes", number)
        where = places.of("executor", *at, "mount_path")
        if scratch and lies_in(volume.mount_path, "/tmp"):
            message = f"the volume {volume.name} is mounted at {volume.mount_path}, but scratch_size makes /tmp private"
            raise BadInput(message, where)
        if volume.name in names:
            raise BadInput(f"the volume {volume.name} is given twice", places.of("executor", *at, "name"))
        if volume.mount_path in mounted:
            both = f"{mounted[volume.mount_path]} and {volume.name}"
            raise BadInput(f"the volumes {both} are both mounted at {volume.mount_path}", where)
        names.add(volume.name)
        mounted[volume.mount_path] = volume.name
    for number, volume in enumerate(volumes):
        for parent in PurePosixPath(volume.mount_path).parents:
            if str(parent) in mounted:
                message = f"the mount path {volume.mount_path} lies in another, {parent}; mount them side by side"
                raise BadInput(message, places.of("executor", "config", "persistent_volumes", number, "mount_path"))


def _check_stores(config: Config, places: SettingLocations) -> None:
    volumes = config.executor.config.persistent_volumes
    log_folder, location = config.run_log_store.log_folder, config.catalog.catalog_location
    paths = [("run_log_store", "log_folder", log_folder)]
    if config.catalog.type != "do-nothing":
        paths.append(("catalog", "catalog_location", location))
    for service, key, path in paths:
        if volume_of(path, volumes) is None:
            known = ", ".join(f"{volume.name} at {volume.mount_path}" for volume in volumes)
            has = f"the volumes are {known}" if known else "executor.config.persistent_volumes has none"
            message = f"{service}.config.{key} is {path}, which lies on no volume ({has})"
            raise BadInput(message, _place_of_path(places, service, key))
    if len(paths) == 2 and (lies_in(log_folder, location) or lies_in(location, log_folder)):
        message = f"the run log ({log_folder}) and the catalog ({location}) must be folders apart, neither in the other"
        service, key, _ = paths[1 if "catalog" in places.services else 0]
        raise BadInput(message, _place_of_path(places, service, key))


def _place_of_path(places: SettingLocations, service: str, key: str) -> str | None:
    """Where the path is set; for one that is a default, where the volumes are, which it then fails to suit."""
    if service in places.services:
        return places.of(service, "config", key)
    return places.of("executor", "config", "persistent_volumes")


def _check_secrets(executor: ExecutorConfig, places: SettingLocations) -> None:
    others = {name: "environment" for name in executor.environment}
    for override, setting in executor.overrides.items():
        others.update({name: f"the environment of the override {override}" for name in setting.environment})
    seen: set[str] = set()
    for number, reference in enumerate(executor.secrets_from_k8s):
        name = reference.environment_variable
        where = places.of("executor", "config", "secrets_from_k8s", number, "environment_variable")
        if name in seen:
            raise BadInput(f"the environment variable {name} is given by two entries of secrets_from_k8s", where)
        seen.add(name)
        if name in others:
            raise BadInput(f"{name} is both in secrets_from_k8s and in {others[name]}; keep one", where)


def _check_resources(resources: Resources, places: SettingLocations, *path: str) -> None:
    limits, requests = resources.limits, resources.requests
    parse = {"cpu": parse_cpu, "memory": parse_memory}
    for key in ("cpu", "memory"):
        limit, request = getattr(limits, key), getattr(requests, key)
        if limit is not None and request is not None and parse[key](request) > parse[key](limit):
            message = f"the {key} request {request} is more than the limit {limit}"
            raise BadInput(message, places.of("executor", "config", *path, "requests", key))
    if requests.gpu is not None and requests.gpu != limits.gpu:
        message = "a gpu request must equal the gpu limit; give the limit alone"
        raise BadInput(message, places.of("executor", "config", *path, "requests", "gpu"))


def _check_tolerations(executor: ExecutorConfig, places: SettingLocations) -> None:
    lists = [(executor.tolerations, ("config", "tolerations"))]
    for name, override in executor.overrides.items():
        lists.append((override.tolerations or (), ("config", "overrides", name, "tolerations")))  # type: ignore[arg-type]
    for tolerations, path in lists:
        for number, toleration in enumerate(tolerations):
            where = places.of("executor", *path, number)
            if toleration.operator == "Exists" and toleration.value is not None:
                raise BadInput("a toleration whose operator is Exists takes no value", where)
            if toleration.operator == "Equal" and toleration.key is None:
                raise BadInput("a toleration without a key needs the operator Exists", where)
