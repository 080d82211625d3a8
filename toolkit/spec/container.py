"""ContainerSpec: the container of a step, which Docker, Argo and docker-compose each have a rendering of. Pure.

Each rendering renders a field or refuses it by name. What only one engine can have is in the closed table of docs/sameness.md: of
the fields here that is ``pids_limit`` alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from toolkit.config.quantity import parse_cpu, parse_memory
from toolkit.config.settings import ExecutorConfig, SecretReference
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.runtime.shared.protocol import IMAGE_VARIABLE, PROTOCOL, RUNTIME_MAIN, WORKSPACE

ORDINARY_USER = 1000
"""The user id of the steps when the client runs as root: the user's code does not get root because the client has it."""
GROUP = 1000
"""The group of every step in every environment; on Kubernetes it is the fsGroup of the volumes."""
ENGINE_MARGIN = 5
"""Seconds that the engine waits longer than the grace period, so that the runtime can write its record."""
DROPPED_CAPABILITIES = ("ALL",)
NO_NEW_PRIVILEGES = True
"""What every container of ours is denied, the steps' and those that look into an image or at a volume."""


@dataclass(frozen=True)
class Mount:
    """A volume by its name in the configuration; each engine knows the folder or the claim behind it."""

    volume: str
    path: str
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """One step's container.

    Attributes:
        image: what the engine is given: an id, a digest, or a name that holds one. A tag may be given to another image.
        environment: names and values in the order of the names; no secrets.
        secrets: those that every step gets. own_secrets: the names of the step's own.
        memory, memory_request, shm_size, scratch_size: bytes; None is the engine's default. Swap is never added.
        cpu, cpu_request: thousandths of a core.
        scratch_size: size of a private /tmp.
        stop_timeout: seconds between SIGTERM and SIGKILL when the engine stops the container.
    """

    image: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    user: int
    group: int
    working_folder: str
    memory: int | None
    memory_request: int | None
    cpu: int | None
    cpu_request: int | None
    gpu: int | None
    shm_size: int | None
    scratch_size: int | None
    read_only_root: bool
    stop_timeout: int
    pids_limit: int
    image_pull_secrets: tuple[str, ...]
    secrets: tuple[SecretReference, ...]
    own_secrets: tuple[str, ...]
    dropped_capabilities: tuple[str, ...] = DROPPED_CAPABILITIES
    no_new_privileges: bool = NO_NEW_PRIVILEGES


def driver_user() -> int:
    """The user id of the steps when no setting names one: the client's own, or :data:`ORDINARY_USER` when that is root."""
    own = os.getuid()
    return own if own != 0 else ORDINARY_USER


def steps_user(executor: ExecutorConfig) -> int:
    """The user id of the steps where no setting of their own names one: the configuration's, else :func:`driver_user`."""
    return executor.user if executor.user is not None else driver_user()


def container_spec(
    plan: Plan, step: PlannedStep, run_id: str, attempt: int, image: str, user: int, expectation: str = ""
) -> ContainerSpec:
    """The container of one attempt of a step.

    Args:
        image: as the spec has it. user: the user id where the step's settings name none (see :func:`steps_user`).
        expectation: what the runtime compares with the image that it finds itself in; empty compares nothing.
    """
    assert step.task is not None
    settings = plan.settings_of(step)
    limits, requests = settings.resources.limits, settings.resources.requests
    # A fixed seed makes pickled sets and dicts of two runs the same bytes.
    environment = {"PYTHONHASHSEED": "0", **settings.environment}
    if expectation:
        environment[IMAGE_VARIABLE] = expectation
    return ContainerSpec(
        image=image,
        argv=("python3", RUNTIME_MAIN, str(PROTOCOL), run_id, step.path, str(attempt)),
        environment=tuple(sorted(environment.items())),
        mounts=tuple(Mount(*volume) for volume in settings.volumes),
        user=settings.user if settings.user is not None else user,
        group=GROUP,
        working_folder=WORKSPACE,
        memory=_memory(limits.memory),
        memory_request=_memory(requests.memory),
        cpu=_cpu(limits.cpu),
        cpu_request=_cpu(requests.cpu),
        gpu=limits.gpu,
        shm_size=_memory(settings.shm_size),
        scratch_size=_memory(settings.scratch_size),
        read_only_root=settings.read_only_root,
        stop_timeout=settings.grace_period + ENGINE_MARGIN,
        pids_limit=settings.pids_limit,
        image_pull_secrets=settings.image_pull_secrets,
        secrets=settings.secrets,
        own_secrets=step.task.secrets,
    )


def _memory(text: str | None) -> int | None:
    return parse_memory(text) if text is not None else None


def _cpu(text: str | None) -> int | None:
    return parse_cpu(text) if text is not None else None
