"""The Docker rendering of a ContainerSpec: every field, as arguments of the Engine API's create."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolkit.engine import EngineObject
from toolkit.runtime.shared.protocol import RUN_FOLDER
from toolkit.spec.container import DROPPED_CAPABILITIES, NO_NEW_PRIVILEGES, ContainerSpec

_LOG = {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}
"""The record of the output is output.log on the volume. The engine keeps only the end, for a runtime that could not start."""


def security_options(
    dropped_capabilities: Iterable[str] = DROPPED_CAPABILITIES, no_new_privileges: bool = NO_NEW_PRIVILEGES
) -> EngineObject:
    """What a container is denied, as entries of its host configuration; by default what every container of ours is denied."""
    return {
        "CapDrop": list(dropped_capabilities),
        "SecurityOpt": ["no-new-privileges"] if no_new_privileges else [],
    }


def docker_options(
    spec: ContainerSpec, name: str, volumes: Mapping[str, str], run_folder: str, labels: Mapping[str, str]
) -> EngineObject:
    """Keyword arguments for docker-py's ``create_container``.

    Args:
        volumes: host folder by volume name. run_folder: host folder of the plan.
    """
    # Mounts and not Binds: of a mount the engine refuses a missing source, which it would create for a bind, as root.
    mounts = [_bind_mount(volumes[mount.volume], mount.path, mount.read_only) for mount in spec.mounts]
    mounts.append(_bind_mount(run_folder, RUN_FOLDER, True))
    host: EngineObject = {
        **security_options(spec.dropped_capabilities, spec.no_new_privileges),
        "Mounts": mounts,
        "Init": True,
        "PidsLimit": spec.pids_limit,
        "ReadonlyRootfs": spec.read_only_root,
        "LogConfig": _LOG,
        "NetworkMode": "default",
    }
    if spec.memory is not None:
        # Without MemorySwap the engine would add as much again in swap, which no pod has.
        host["Memory"] = host["MemorySwap"] = spec.memory
    if spec.memory_request is not None:
        host["MemoryReservation"] = spec.memory_request
    if spec.cpu is not None:
        host["NanoCpus"] = spec.cpu * 1_000_000
    if spec.cpu_request is not None:
        host["CpuShares"] = max(2, spec.cpu_request * 1024 // 1000)
    if spec.gpu:
        host["DeviceRequests"] = [{"Driver": "", "Count": spec.gpu, "Capabilities": [["gpu"]]}]
    if spec.shm_size is not None:
        host["ShmSize"] = spec.shm_size
    if spec.scratch_size is not None or spec.read_only_root:
        size = f",size={spec.scratch_size}" if spec.scratch_size is not None else ""
        host["Tmpfs"] = {"/tmp": "rw,nosuid,nodev,exec,mode=1777" + size}
    return {
        "image": spec.image,
        "name": name,
        # As the entry point, so that an image's own does not wrap the runtime.
        "entrypoint": list(spec.argv),
        # The proxy settings of the user's Docker client are no part of the step's environment.
        "use_config_proxy": False,
        "environment": dict(spec.environment),
        "user": f"{spec.user}:{spec.group}",
        "working_dir": spec.working_folder,
        "stdin_open": True,
        "labels": dict(labels),
        "stop_timeout": spec.stop_timeout,
        "host_config": host,
    }


def _bind_mount(source: str, target: str, read_only: bool) -> EngineObject:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
