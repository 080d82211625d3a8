"""The docker-compose rendering of a ContainerSpec: every field, as keys of a service in a Compose file.

The file has no ``version``: without it docker-compose 1.28 and later, and Compose v2, accept the keys of all versions.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from toolkit.backends.yaml_text import to_yaml
from toolkit.errors import BadInput
from toolkit.runtime.shared.protocol import NEXT_ATTEMPT, RUN_FOLDER, SDK_FOLDER, WORKSPACE
from toolkit.spec.container import ContainerSpec

DEV = "dev"
"""The name of the service with a shell. The service of a step of this name is named otherwise."""
STEP_LABEL = "dev.toolkit.step"
RUN_LABEL = "dev.toolkit.compose"

ComposeService = dict[str, object]
"""A service of a Compose file, or a part of one, as the file has it."""

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CPU_PERIOD = 100_000
"""Microseconds; the period that the engine itself takes when it is given a number of cores."""
_LOG = {"driver": "json-file", "options": {"max-size": "1m", "max-file": "1"}}
_SHELL = (
    f'export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{SDK_FOLDER}"; umask 002; '
    "if command -v bash >/dev/null; then exec bash; fi; exec sh"
)
"""A shell as a step sees things: the SDK can be imported, and the group may write what is made. PYTHONPATH is set here and
not in the service's environment, where it would hide the image's own."""


@dataclass(frozen=True)
class HostFolders:
    """Folders on the engine's machine, absolute or relative to the Compose file.

    Attributes:
        volumes: by the volume's name. run: of the plan and the parameters. code: the project's root.
    """

    volumes: Mapping[str, str]
    run: str
    code: str


@dataclass(frozen=True)
class SecretNames:
    """The environment variables in which Compose finds secrets: in its own environment, else in the .env file.

    Attributes:
        given: whether steps get any secrets (not with the provider ``do-nothing``).
        prefix, suffix: the secret NAME is the variable prefix + NAME + suffix.
    """

    given: bool = True
    prefix: str = ""
    suffix: str = ""


def step_service(
    spec: ContainerSpec,
    folders: HostFolders,
    names: SecretNames,
    labels: Mapping[str, str],
    item_variables: Sequence[str] = (),
) -> ComposeService:
    """The service of one step. Each run of the service is a further attempt.

    Args:
        item_variables: those that choose a map's item or a loop's iteration. They may be missing: the step says so itself,
            because Compose would refuse the whole file.

    Raises:
        BadInput: Compose can't refer to a secret by its name.
    """
    argv = (*spec.argv[:-1], NEXT_ATTEMPT)
    secrets = (*_secrets_of_every_step(spec), *spec.own_secrets)
    run = _bind_mount(folders.run, RUN_FOLDER, True)
    items = {variable: f"${{{variable}-}}" for variable in item_variables}
    service = _common_keys(spec, argv, folders, names, secrets, labels, run, items)
    # Steps are run one by one: without a profile `up` would start all of them at once.
    service["profiles"] = ["step"]
    return service


def dev_service(
    spec: ContainerSpec, folders: HostFolders, names: SecretNames, labels: Mapping[str, str]
) -> ComposeService:
    """The service with a shell in a step's container: the project's folder over the image's code, no step's own secrets.

    Raises:
        BadInput: Compose can't refer to a secret by its name.
    """
    secrets = _secrets_of_every_step(spec)
    code = _bind_mount(folders.code, WORKSPACE, False)
    # The image may not know the steps' user, whose home would then be /.
    defaults = {"HOME": "/tmp"}
    service = _common_keys(spec, ("sh", "-c", _SHELL), folders, names, secrets, labels, code, defaults)
    service["stdin_open"] = service["tty"] = True
    service["profiles"] = [DEV]
    return service


def _secrets_of_every_step(spec: ContainerSpec) -> tuple[str, ...]:
    return tuple(secret.environment_variable for secret in spec.secrets)


def _common_keys(
    spec: ContainerSpec,
    argv: Iterable[str],
    folders: HostFolders,
    names: SecretNames,
    secrets: Iterable[str],
    labels: Mapping[str, str],
    own_mount: ComposeService,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> ComposeService:
    """What both kinds of service have.

    Args:
        secrets: names. own_mount: the mount beside the volumes. defaults: environment variables, where nothing else sets them.
    """
    mounts = [_bind_mount(folders.volumes[mount.volume], mount.path, mount.read_only) for mount in spec.mounts]
    environment = {name: _text(value) for name, value in spec.environment}
    if names.given:
        environment.update((name, _reference(name, names)) for name in secrets)
    for name, value in defaults.items():
        environment.setdefault(name, value)
    service: ComposeService = {
        "image": _text(spec.image),
        # The image was built or pulled when the file was written. An image of this name in a registry may be another's.
        "pull_policy": "never",
        # As the entry point, so that an image's own does not wrap the runtime.
        "entrypoint": [_text(argument) for argument in argv],
        "environment": environment,
        "user": f"{spec.user}:{spec.group}",
        "working_dir": _text(spec.working_folder),
        "volumes": [*mounts, own_mount],
        # The engine's default network, as in a run: in a network of Compose steps would reach each other by name.
        "network_mode": "bridge",
        "init": True,
        "read_only": spec.read_only_root,
        "cap_drop": list(spec.dropped_capabilities),
        "security_opt": ["no-new-privileges"] if spec.no_new_privileges else [],
        "pids_limit": spec.pids_limit,
        "stop_grace_period": f"{spec.stop_timeout}s",
        "logging": _LOG,
        "labels": {name: _text(value) for name, value in labels.items()},
    }
    service.update(_resource_keys(spec))
    return service


def _resource_keys(spec: ContainerSpec) -> ComposeService:
    """Limits and requests; a key is left out where the spec leaves it to the engine."""
    service: ComposeService = {}
    if spec.memory is not None:
        # Without memswap_limit the engine would add as much again in swap, which no pod has.
        service["mem_limit"] = service["memswap_limit"] = spec.memory
    if spec.memory_request is not None:
        service["mem_reservation"] = spec.memory_request
    if spec.cpu is not None:
        # `cpus` is a fraction, which docker-compose 1.29 truncates: 1.001 would be 1.000999999.
        service["cpu_period"], service["cpu_quota"] = _CPU_PERIOD, spec.cpu * _CPU_PERIOD // 1000
    if spec.cpu_request is not None:
        service["cpu_shares"] = max(2, spec.cpu_request * 1024 // 1000)
    if spec.gpu:
        reserved: dict[str, object] = {"devices": [{"capabilities": ["gpu"], "count": spec.gpu}]}
        if spec.memory_request is not None:
            # docker-compose 1.29 ignores mem_reservation when there are reservations without memory.
            reserved["memory"] = f"{spec.memory_request}b"
        service["deploy"] = {"resources": {"reservations": reserved}}
    if spec.shm_size is not None:
        service["shm_size"] = spec.shm_size
    if spec.scratch_size is not None or spec.read_only_root:
        size = f",size={spec.scratch_size}" if spec.scratch_size is not None else ""
        service["tmpfs"] = ["/tmp:rw,nosuid,nodev,exec,mode=1777" + size]
    return service


def _bind_mount(source: str, target: str, read_only: bool) -> ComposeService:
    # The long form: for the short one the engine creates a missing source, as root.
    return {"type": "bind", "source": _text(source), "target": _text(target), "read_only": read_only}


def _text(value: str) -> str:
    """A value that Compose does not change: a ``$`` would begin one of its variables."""
    return value.replace("$", "$$")


def _reference(name: str, names: SecretNames) -> str:
    """A secret by reference. Compose refuses the file while the variable is missing, and names the secret; empty is a value."""
    variable = f"{names.prefix}{name}{names.suffix}"
    if not _VARIABLE.fullmatch(variable):
        raise BadInput(
            f"the secret {name} is looked up as {variable!r}, which docker-compose can't refer to: use only letters, digits "
            "and _ in secrets.prefix and secrets.suffix"
        )
    # In the message, older versions of Compose take `-` and `:` for the beginning of a default.
    return f"${{{variable}?the secret {name} is missing}}"


def service_names(paths: Sequence[str]) -> dict[str, str]:
    """The service name of each step: its own name where Compose accepts it, else one made of it and a hash."""
    services = {path: path for path in paths if _SERVICE.fullmatch(path) and path != DEV}
    taken = {DEV, *services}
    for path in paths:
        if path in services:
            continue
        cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-._")[:40].rstrip("-._") or "step"
        digest = hashlib.sha256(path.encode()).hexdigest()
        digits = 8
        while f"{cleaned}-{digest[:digits]}" in taken:
            digits += 1
        services[path] = f"{cleaned}-{digest[:digits]}"
        taken.add(services[path])
    return {path: services[path] for path in paths}


def compose_file(services: Mapping[str, ComposeService], comments: Sequence[str]) -> str:
    """The Compose file's text.

    Args:
        services: by name, as :func:`step_service` makes them. comments: lines at its head.
    """
    head = "".join(f"# {_printable(line)}".rstrip() + "\n" for line in comments)
    return head + to_yaml({"services": services})


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in line)


def relative(folder: str | os.PathLike[str], home: str | os.PathLike[str]) -> str:
    """A folder relative to ``home``, with a dot first: else Compose would take it for the name of a volume."""
    path = os.path.relpath(folder, home)
    return path if path.split("/")[0] in (".", "..") else f"./{path}"
