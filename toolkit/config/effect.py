"""Which settings of a configuration have no effect in an environment, so that a run can say so instead of keeping quiet."""

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
"""Where and how pods are placed and pulled: for argo alone."""
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
"""What only a container can have: waived by plain processes."""
ALWAYS = ("auto_remove_container",)
"""Accepted because runnable has it; containers are removed in any case, their output and records stay."""


def without_effect(config: ExecutorConfig, environment: EnvironmentName) -> tuple[str, ...]:
    """The keys of ``executor.config`` that are set, and that this environment does not act on, in the order of the settings."""
    # How many processes a container may have is the node's own matter on Kubernetes.
    idle = {"argo": ("pids_limit", *ALWAYS), "local": PLACEMENT + ALWAYS, "process": PLACEMENT + CONTAINER + ALWAYS}[
        environment
    ]
    default = ExecutorConfig()
    return tuple(name for name in config._fields if name in idle and getattr(config, name) != getattr(default, name))
