"""The docker-compose rendering of a ContainerSpec: every field, as keys of a service in a Compose file.

The file has no ``version``: docker-compose 1.28 and later, and Compose v2, then take the keys of all versions alike.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.backends.yaml_text import to_yaml
from toolkit.errors import BadInput
from toolkit.runtime.shared.protocol import NEXT_ATTEMPT, RUN_FOLDER, SDK_FOLDER, WORKSPACE
from toolkit.spec.container import ContainerSpec

DEV = "dev"
"""The service with a shell; a step of this name gets another."""
STEP_LABEL = "dev.toolkit.step"
RUN_LABEL = "dev.toolkit.compose"

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CPU_PERIOD = 100_000
"""Microseconds; the engine's own when it is given a number of cores."""
_LOG = {"driver": "json-file", "options": {"max-size": "1m", "max-file": "1"}}
_SHELL = (
    f'export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{SDK_FOLDER}"; umask 002; '
    "if command -v bash >/dev/null; then exec bash; fi; exec sh"
)
"""As a step sees it: the SDK can be imported, and what is made is the group's. Not in the environment's PYTHONPATH,
which would hide the image's own."""


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
    """How secrets are spelt where Compose finds them: in its own environment, else in the .env file.

    Attributes:
        given: whether steps get any at all (not with the provider ``do-nothing``).
        prefix, suffix: the secret NAME is the variable prefix + NAME + suffix.
    """

    given: bool = True
    prefix: str = ""
    suffix: str = ""


def step_service(
    spec: ContainerSpec, places: HostFolders, names: SecretNames, labels: Mapping[str, str]
) -> dict[str, Any]:
    """The service of one step: each time that it is run it is the next attempt.

    Raises:
        BadInput: a secret can't be asked for by its name.
    """
    argv = (*spec.argv[:-1], NEXT_ATTEMPT)
    known = _common(spec, argv, places, names, (*_every(spec), *spec.own_secrets), labels)
    known["volumes"].append(_bind(places.run, RUN_FOLDER, True))
    # Steps are run singly: `up` would start all of them at once.
    known["profiles"] = ["step"]
    return known


def dev_service(
    spec: ContainerSpec, places: HostFolders, names: SecretNames, labels: Mapping[str, str]
) -> dict[str, Any]:
    """The service with a shell in a step's container: the project's folder over the image's code, no step's own secrets.

    Raises:
        BadInput: a secret can't be asked for by its name.
    """
    known = _common(spec, ("sh", "-c", _SHELL), places, names, _every(spec), labels)
    # The steps' user need not be one that the image knows, and would have / for its home.
    known["environment"].setdefault("HOME", "/tmp")
    known["volumes"].append(_bind(places.code, WORKSPACE, False))
    known["stdin_open"] = known["tty"] = True
    known["profiles"] = [DEV]
    return known


def _every(spec: ContainerSpec) -> tuple[str, ...]:
    return tuple(one.environment_variable for one in spec.secrets)


def _common(
    spec: ContainerSpec,
    argv: Iterable[str],
    places: HostFolders,
    names: SecretNames,
    secrets: Iterable[str],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    environment = {name: _text(value) for name, value in spec.environment}
    if names.given:
        environment.update((name, _reference(name, names)) for name in secrets)
    known: dict[str, Any] = {
        "image": _text(spec.image),
        # Never a stranger's of the same name: the image was built or pulled when this file was written.
        "pull_policy": "never",
        # As the entry point, so that an image's own does not wrap the runtime.
        "entrypoint": [_text(one) for one in argv],
        "environment": environment,
        "user": f"{spec.user}:{spec.group}",
        "working_dir": _text(spec.working_folder),
        "volumes": [_bind(places.volumes[one.volume], one.path, one.read_only) for one in spec.mounts],
        # The engine's own network, as in a run: Compose's would give steps names to find each other by.
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
    known.update(_amounts(spec))
    return known


def _amounts(spec: ContainerSpec) -> dict[str, Any]:
    """What is limited or asked for; a key is left out where the spec leaves it to the engine."""
    known: dict[str, Any] = {}
    if spec.memory is not None:
        # Without memswap_limit the engine would add as much again in swap, which no pod has.
        known["mem_limit"] = known["memswap_limit"] = spec.memory
    if spec.memory_request is not None:
        known["mem_reservation"] = spec.memory_request
    if spec.cpu is not None:
        # `cpus` is a fraction, which docker-compose 1.29 cuts off: 1.001 would be 1.000999999.
        known["cpu_period"], known["cpu_quota"] = _CPU_PERIOD, spec.cpu * _CPU_PERIOD // 1000
    if spec.cpu_request is not None:
        known["cpu_shares"] = max(2, spec.cpu_request * 1024 // 1000)
    if spec.gpu:
        reserved: dict[str, Any] = {"devices": [{"capabilities": ["gpu"], "count": spec.gpu}]}
        if spec.memory_request is not None:
            # docker-compose 1.29 forgets mem_reservation where there are reservations without it.
            reserved["memory"] = f"{spec.memory_request}b"
        known["deploy"] = {"resources": {"reservations": reserved}}
    if spec.shm_size is not None:
        known["shm_size"] = spec.shm_size
    if spec.scratch_size is not None or spec.read_only_root:
        size = f",size={spec.scratch_size}" if spec.scratch_size is not None else ""
        known["tmpfs"] = ["/tmp:rw,nosuid,nodev,exec,mode=1777" + size]
    return known


def _bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    # The long form, of which docker-compose 1.29 refuses a missing source, where the short one would make it, as root.
    return {"type": "bind", "source": _text(source), "target": _text(target), "read_only": read_only}


def _text(value: str) -> str:
    """A value that Compose leaves as it is: a ``$`` begins one of its variables."""
    return value.replace("$", "$$")


def _reference(name: str, names: SecretNames) -> str:
    """The value by reference; Compose refuses the file, naming the secret, while there is none (an empty one is one)."""
    spelt = f"{names.prefix}{name}{names.suffix}"
    if not _VARIABLE.fullmatch(spelt):
        raise BadInput(
            f"the secret {name} is looked up as {spelt!r}, which docker-compose can't refer to: in secrets.prefix and "
            "secrets.suffix it takes letters, digits and _ alone"
        )
    # Older Compose takes `-` and `:` in the message for the beginning of a default.
    return f"${{{spelt}?the secret {name} is missing}}"


def service_names(paths: Sequence[str]) -> dict[str, str]:
    """The name of each step's service: the step's own where Compose can have it, else one made from it with a hash."""
    found = {path: path for path in paths if _SERVICE.fullmatch(path) and path != DEV}
    taken = {DEV, *found}
    for path in paths:
        if path in found:
            continue
        cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-._")[:40].rstrip("-._") or "step"
        digest = hashlib.sha256(path.encode()).hexdigest()
        digits = 8
        while f"{cleaned}-{digest[:digits]}" in taken:
            digits += 1
        found[path] = f"{cleaned}-{digest[:digits]}"
        taken.add(found[path])
    return {path: found[path] for path in paths}


def compose_file(services: Mapping[str, Mapping[str, Any]], comments: Sequence[str]) -> str:
    """The Compose file's text.

    Args:
        services: by name, as :func:`step_service` makes them. comments: lines at its head.
    """
    head = "".join(f"# {_printable(line)}".rstrip() + "\n" for line in comments)
    return head + to_yaml({"services": services})


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in line)


def relative(folder: str | os.PathLike[str], home: str | os.PathLike[str]) -> str:
    """A folder as it is spelt in a file that lies in ``home``: with a dot first, or it would be a volume's name."""
    path = os.path.relpath(folder, home)
    return path if path.split("/")[0] in (".", "..") else f"./{path}"
