"""A setting that an environment does not act on is said by name, and every setting is of one class."""

from __future__ import annotations

from toolkit.config.effect import ALWAYS, CONTAINER, PLACEMENT, without_effect
from toolkit.config.settings import ExecutorConfig, ResourceList, Resources

RUN = {
    "environment",
    "persistent_volumes",
    "secrets_from_k8s",
    "grace_period_in_seconds",
    "overrides",
    "max_workflow_duration_in_seconds",
    "max_step_duration_in_seconds",
    "max_on_exit_step_duration_in_seconds",
    "retry_strategy",
    "parallelism",
    "pods_per_map",
    "strict",
    "patches",
}


def test_every_setting_is_of_one_class() -> None:
    classes = [set(PLACEMENT), set(CONTAINER), set(ALWAYS), RUN]
    assert sorted(name for one in classes for name in one) == sorted(ExecutorConfig._fields)


def test_what_is_said_of_each_environment() -> None:
    config = ExecutorConfig(
        image="image_to_use",
        node_selector={"disk": "fast"},
        resources=Resources(limits=ResourceList(memory="1Gi")),
    )
    assert without_effect(config, "argo") == ()
    assert without_effect(config, "local") == ("node_selector",)
    assert without_effect(config, "process") == ("image", "resources", "node_selector")


def test_defaults_are_not_mentioned() -> None:
    assert without_effect(ExecutorConfig(), "process") == ()
