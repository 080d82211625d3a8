"""The configuration as named tuples, which is all that other modules see of it.

They are not dataclasses, because those of this module alone would add 30 ms to the start of every command.

Each field's docstring gives its unit and its default. A field has the name of its key in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

EnvironmentName = Literal["local", "argo", "process"]
ExecutorType = Literal["local", "local-container", "argo", "mocked"]


_NOTHING: Any = {}
"""The default of every mapping. It is shared: nothing writes into a configuration."""


class PersistentVolume(NamedTuple):
    """A shared volume: on Kubernetes the claim of this name, on this machine the folder ``.toolkit/volumes/NAME``."""

    name: str
    mount_path: str
    host_path: str | None = None
    """On this machine, the folder that is the volume: absolute, below ``~``, or relative to the configuration file."""
    read_only: bool = False
    """Whether steps may only read: in every container, also on Kubernetes."""


class SecretReference(NamedTuple):
    """An environment variable of every step: on Kubernetes a key of a Secret, elsewhere a value of the secrets provider."""

    environment_variable: str
    secret_name: str
    secret_key: str


class ResourceList(NamedTuple):
    """Amounts in Kubernetes' notation, as written (``500m``, ``2Gi``, ``1``); None is no request or no limit."""

    cpu: str | None = None
    memory: str | None = None
    gpu: int | None = None
    """Whole devices. On Kubernetes it is the resource nvidia.com/gpu, on Docker a device request."""


class Resources(NamedTuple):
    limits: ResourceList = ResourceList()
    requests: ResourceList = ResourceList()


class BackOff(NamedTuple):
    duration_in_seconds: int = 0
    """The wait before the second attempt, in seconds."""
    factor: float = 1.0
    """Each further wait is the previous one times this."""
    max_duration: int | None = None
    """The upper bound on all waits and attempts of a step together, in seconds; None is no bound."""


class RetryStrategy(NamedTuple):
    limit: int = 0
    """How many attempts may follow the first."""
    retry_policy: Literal["Always", "OnFailure", "OnError"] = "Always"
    back_off: BackOff = BackOff()


class Toleration(NamedTuple):
    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Override(NamedTuple):
    """Settings of single steps, in place of those of all steps.

    Named in ``executor.config.overrides`` and chosen by a step's ``overrides``.
    """

    image: str | None = None
    environment: dict[str, str] = _NOTHING
    resources: Resources | None = None
    user: int | None = None
    shm_size: str | None = None
    scratch_size: str | None = None
    max_step_duration_in_seconds: int | None = None
    retry_strategy: RetryStrategy | None = None
    node_selector: dict[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    service_account_name: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None


class Retries(NamedTuple):
    """What is said of attempts beside a step. None leaves it to the override and the configuration (``retry_strategy``)."""

    limit: int | None = None
    """How many attempts may follow the first."""
    delay: int | None = None
    """The wait before the second attempt, in seconds."""
    factor: float | None = None
    """Each further wait is the previous one times this."""
    max_duration: int | None = None
    """The upper bound on all waits and attempts of the step together, in seconds."""
    policy: Literal["Always", "OnFailure", "OnError"] | None = None


class StepSettings(NamedTuple):
    """What is said beside a step. It counts more than the override, which counts more than the configuration."""

    resources: Resources | None = None
    timeout: int | None = None
    """The longest time of one attempt, in seconds (``max_step_duration_in_seconds``)."""
    retries: Retries | None = None
    image: str | None = None
    environment: dict[str, str] = _NOTHING
    user: int | None = None


class PatchFile(NamedTuple):
    """What a patch gives under a key that its step puts: the bytes of a file, or a text. It has one of the two."""

    path: str | None = None
    """Relative to the folder of the file that has the patch."""
    text: str | None = None


class Patch(NamedTuple):
    """What a task does instead: it runs another command, or it gives returns and files and runs nothing."""

    command: str | None = None
    """Of the task's own kind: a function's dotted path, a shell command, or a notebook's path."""
    returns: dict[str, Any] | None = None
    files: dict[str, PatchFile] | None = None


class ExecutorConfig(NamedTuple):
    # Spec keys: every container backend renders them or refuses them by name.
    image: str | None = None
    """Without tag or digest: the repository that toolkit builds and tags by content. With one: an existing image."""
    environment: dict[str, str] = _NOTHING
    persistent_volumes: tuple[PersistentVolume, ...] = ()
    secrets_from_k8s: tuple[SecretReference, ...] = ()
    resources: Resources = Resources()
    user: int | None = None
    """The numeric user id of the steps; None is the client's own, or 1000 when the client is root."""
    shm_size: str | None = None
    """The size of /dev/shm, in Kubernetes' notation; None is the engine's default of 64Mi."""
    scratch_size: str | None = None
    """A private, empty /tmp of at most this size, in Kubernetes' notation; None leaves /tmp in the image's layer."""
    read_only_root: bool = False
    grace_period_in_seconds: int = 10
    """The seconds between SIGTERM and SIGKILL when a step is cancelled or reaches its time limit."""
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    overrides: dict[str, Override] = _NOTHING

    # Run keys: every environment honours them.
    max_workflow_duration_in_seconds: int | None = None
    max_step_duration_in_seconds: int | None = None
    max_on_exit_step_duration_in_seconds: int = 600
    """The longest time of one attempt of a step of on_exit, which the time limit of the run does not end."""
    retry_strategy: RetryStrategy = RetryStrategy()
    parallelism: int | None = None
    """How many steps may run at once; None is no limit on a cluster, and the number of processors elsewhere."""
    strict: bool = False
    """Whether shell steps that do not say it themselves run in ``bash -euo pipefail``."""
    patches: dict[str, Patch] = _NOTHING
    """Only for the type mocked: by name or path, the tasks that run, each with another command."""
    pods_per_map: int = 500
    """The largest number of pods of each step of a map's branch. On a cluster, a longer map runs several items in each pod."""

    # Local engine only (the closed table in docs/sameness.md).
    pids_limit: int = 4096
    auto_remove_container: bool = True

    # Placement keys: argo only; without effect elsewhere.
    name: str | None = None
    namespace: str | None = None
    context: str | None = None
    annotations: dict[str, str] = _NOTHING
    labels: dict[str, str] = _NOTHING
    node_selector: dict[str, str] = _NOTHING
    tolerations: tuple[Toleration, ...] = ()
    service_account_name: str | None = None
    output_file: str | None = None
    expose_parameters_as_inputs: bool = False
    schedules: tuple[str, ...] = ()
    start_timeout_in_seconds: int = 300
    """The seconds within which a pod must start. After them, the run is ended, with the reason."""
    step_secret_name: str = "toolkit-secrets"
    """The Kubernetes Secret that holds those secrets of single steps that no entry of secrets_from_k8s names."""


class Executor(NamedTuple):
    type: ExecutorType = "local-container"
    config: ExecutorConfig = ExecutorConfig()
    type_given: bool = False
    """Not a key of the file: whether the file sets the type. A type that is set chooses the environment if nothing else does."""
    patch_places: dict[str, str] = _NOTHING
    """Not a key of the file: where each patch stands, as ``file:line``."""
    host_path_places: dict[str, str] = _NOTHING
    """Not a key of the file: where the ``host_path`` of each volume stands, as ``file:line``, by the volume's name."""


class RunLogStore(NamedTuple):
    type: Literal["file-system", "chunked-fs"] = "file-system"
    log_folder: str = "/mnt/run_log_store"


class CatalogStore(NamedTuple):
    type: Literal["file-system", "do-nothing"] = "file-system"
    catalog_location: str = "/mnt/catalog"
    compute_data_folder: str = "."
    """The folder, relative to the step's own, that catalog keys are relative to."""
    ignore: tuple[str, ...] = ()
    """Patterns of files that a step may leave without putting them; none by default."""


class Secrets(NamedTuple):
    type: Literal["env-secrets", "dotenv", "do-nothing"] = "env-secrets"
    location: str = ".env"
    """The .env file, relative to the configuration file's folder."""
    prefix: str = ""
    suffix: str = ""
    """A secret NAME is looked up as prefix + NAME + suffix."""


class BuildNetwork(NamedTuple):
    """What a build needs to reach its package index. It is used during the build and never left in the image."""

    ca_bundle: str | None = None
    """A PEM file; None takes the host's SSL_CERT_FILE, REQUESTS_CA_BUNDLE or PIP_CERT when one is set."""
    pip_config: str | None = None
    """A pip.conf with index addresses and credentials."""
    netrc: str | None = None
    """None takes the host's, which NETRC names or which is ~/.netrc."""
    ssh: str | None = None
    """A private key without a passphrase, or the socket of an agent, for Git; None takes the agent of SSH_AUTH_SOCK."""


class Build(NamedTuple):
    base_image: str | None = None
    """None is the default base image, or the one that `task setup` made because none can be pulled.

    With a digest (``NAME:TAG@sha256:…``) it is that image, whatever the tag means.
    """
    python: str | None = None
    """The version of Python, as ``3.12``: it chooses the base image where base_image names none."""
    platform: str | None = None
    """The platform of the image, as ``linux/arm64``; None is the engine's own."""
    system_packages: tuple[str, ...] = ()
    """Debian packages to install into the environment."""
    dockerfile: str | None = None
    """The project's own Dockerfile, relative to its root. What it makes takes the place of the base image."""
    target: str | None = None
    """The stage of the Dockerfile; None is the last one."""
    args: dict[str, str] = _NOTHING
    """The values of the Dockerfile's ``ARG``."""
    run: tuple[str, ...] = ()
    """Shell commands that are run as root once the dependencies are installed. What they change is in the image."""
    files: tuple[str, ...] = ()
    """Files and folders of the project, relative to its root, that lie in the working folder of the commands of ``run``."""
    build_packages: tuple[str, ...] = ()
    """Debian packages that only the installation of the dependencies needs. They are not in the image."""
    lock: str | None = None
    """The lock file, relative to the project's root; None detects it, and `none` means that there is none."""
    extras: tuple[str, ...] = ()
    """The extras of the project to install, by their names."""
    groups: tuple[str, ...] = ()
    """The dependency groups of the project to install, by their names."""
    wheelhouse: str | None = None
    """A folder of packages, relative to the root. All are installed from it, and no index is asked."""
    version: str | None = None
    """The version of the project's own distribution, where its build backend takes it from Git or computes it."""
    context: str | None = None
    """The project's root, relative to the configuration file; None finds it (docs/configuration.md)."""
    network: BuildNetwork = BuildNetwork()
    registry: str | None = None
    sbom: bool = False
    """Whether each push attaches the image's bill of materials to it."""
    """HOST[:PORT][/PREFIX] to push to when the image's name has no registry. A leading http:// means without TLS."""


class Config(NamedTuple):
    """A whole configuration.

    Attributes:
        source: the file that it was read from; None when there was none, and all settings are defaults.
        pipeline: the pipeline to run when the command names none: ``file.py``, ``file.py:name`` or ``file.yaml``.
        build_places: where each setting of ``build`` stands that the file has, as ``file:line``, by its name.
        hidden_arguments: the names in ``build.args`` whose value comes from a variable of the environment. It is never shown.
    """

    executor: Executor
    run_log_store: RunLogStore
    catalog: CatalogStore
    secrets: Secrets
    build: Build
    pipeline: str | None = None
    source: Path | None = None
    build_places: dict[str, str] = _NOTHING
    hidden_arguments: tuple[str, ...] = ()
