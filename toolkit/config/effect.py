"""Which settings have no effect in an environment, so that a run can report them."""

from __future__ import annotations

from toolkit.config.settings import EnvironmentName, ExecutorConfig

PLACEMENT = (
    "name",
    "namespace",
    "context",
    "annotations",
    "node_selector",
    "tolerations",
    "service_account_name",
    "output_file",
    "expose_parameters_as_inputs",
    "schedules",
    "start_timeout_in_seconds",
    "step_secret_name",
    "image_pull_secrets",
    "image_pull_policy",
)
"""The placement keys: settings for a cluster alone."""
CONTAINER = (
    "image",
    "user",
    "resources",
    "shm_size",
    "scratch_size",
    "read_only_root",
    "pids_limit",
    "labels",
)
"""Settings of a container; a plain process can't have them."""
ALWAYS = ("auto_remove_container",)
"""A setting of runnable, which is accepted without effect: containers are always removed, and their output and records stay."""


def without_effect(config: ExecutorConfig, environment: EnvironmentName) -> tuple[str, ...]:
    """The keys of ``executor.config`` that are set but have no effect in this environment, in the order of the settings."""
    # On Kubernetes, the node limits how many processes a container may have.
    ignored = {"argo": ("pids_limit", *ALWAYS), "local": PLACEMENT + ALWAYS, "process": PLACEMENT + CONTAINER + ALWAYS}[
        environment
    ]
    default = ExecutorConfig()
    return tuple(name for name in config._fields if name in ignored and getattr(config, name) != getattr(default, name))
