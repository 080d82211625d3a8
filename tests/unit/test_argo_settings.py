"""Every setting of the executor is honoured on Argo, is the client's own matter, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import argo_cases as cases
from toolkit.backends.argo.compile.manifest import to_text
from toolkit.backends.argo.compile.workflow import Image, Manifests
from toolkit.config.effect import without_effect
from toolkit.config.settings import ExecutorConfig, Override
from toolkit.errors import BadInput

# Where each is seen, of those that are in the objects: another value of it changes them.
IN_THE_OBJECTS = {
    "environment", "persistent_volumes", "secrets_from_k8s", "resources", "user", "shm_size", "scratch_size",
    "read_only_root", "grace_period_in_seconds", "image_pull_secrets", "image_pull_policy", "overrides",
    "max_workflow_duration_in_seconds", "max_step_duration_in_seconds", "retry_strategy", "parallelism", "annotations",
    "labels", "node_selector", "tolerations", "service_account_name", "schedules", "step_secret_name",
    "start_timeout_in_seconds",
}  # fmt: skip
# The client's: which image is built, what objects are called, where they go, a file beside them.
OF_THE_CLIENT = {"image", "name", "namespace", "context", "output_file"}
# The plan's own, and seen in the objects of a map only (tests/golden/argo/ has one), or in its text.
OF_THE_PLAN = {"pods_per_map", "strict", "max_on_exit_step_duration_in_seconds"}
# Said to be without effect by `toolkit show --json`; docs/sameness.md has why.
WITHOUT_EFFECT = {"pids_limit", "auto_remove_container"}
REFUSED = {"expose_parameters_as_inputs"}
# Of an executor of the type mocked alone: it changes the pipeline before there is a plan.
OF_THE_MODEL = {"patches"}
# Of the executor of type mocked alone, and refused beside another type.
OF_ANOTHER = {"patches"}

STEPS = [cases.task("a", ("token",)), cases.task("b", override="o")]
# The start of a pod is waited for by the client, too; in the objects it is a part of a step's last limit.
NEEDED: dict[str, dict[str, Any]] = {"start_timeout_in_seconds": {"max_step_duration_in_seconds": 60}}
OVERRIDE = {**cases.OVERRIDES["other"], **cases.OVERRIDES["large"]}


def objects(executor: dict[str, Any], override: dict[str, Any] | None = None) -> Manifests:
    given = {**executor, "overrides": {**executor.get("overrides", {}), "o": override or {}}}
    return (cases.schedule if "schedules" in given else cases.run)(STEPS, given)


def test_no_setting_is_forgotten() -> None:
    lists = (IN_THE_OBJECTS, OF_THE_CLIENT, OF_THE_PLAN, WITHOUT_EFFECT, REFUSED, OF_ANOTHER)
    assert sorted(ExecutorConfig._fields) == sorted(name for one in lists for name in one)
    assert set(ExecutorConfig._fields) == set(cases.EVERYTHING) | set(cases.NEVER_TOGETHER) | OF_THE_MODEL | OF_ANOTHER
    assert set(OVERRIDE) == set(Override._fields)


@pytest.mark.parametrize("name", sorted(IN_THE_OBJECTS - {"overrides"}))
def test_a_setting_changes_what_is_compiled(name: str) -> None:
    value = {**cases.EVERYTHING, **cases.NEVER_TOGETHER}[name]
    volumes = {"persistent_volumes": [{"name": "other", "mount_path": "/mnt"}]}
    given = {**NEEDED.get(name, {}), name: value}
    assert to_text(objects({**volumes, **given})) != to_text(objects({**volumes, **NEEDED.get(name, {})}))


@pytest.mark.parametrize("name", sorted(Override._fields))
def test_an_override_changes_its_steps_template_alone(name: str) -> None:
    plain, changed = objects({}), objects({}, {name: OVERRIDE[name]})
    before, after = (one.workflow["spec"]["templates"][1:] for one in (plain, changed))
    assert after[0] == before[0]
    assert after[1:] != before[1:]


def test_what_has_no_effect_is_said_to_have_none() -> None:
    config = cases.configured(cases.EVERYTHING).executor.config
    assert set(without_effect(config, "argo")) == WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ({"expose_parameters_as_inputs": True}, "expose_parameters_as_inputs is not supported"),
        ({"annotations": {"note": "{{x}}"}}, "the annotation note contains"),
        ({"persistent_volumes": [{"name": "v", "mount_path": "/mnt"}, {"name": "w", "mount_path": "/{{x}}"}]}, "the mount path"),
        ({"labels": {"dev.toolkit/run": "x"}}, "the label dev.toolkit/run is reserved for toolkit or Argo"),
        ({"labels": {"workflows.argoproj.io/completed": "true"}}, "is reserved for toolkit or Argo"),
        ({"labels": {"app.kubernetes.io/managed-by": "me"}}, "is reserved for toolkit or Argo"),
        ({"annotations": {"dev.toolkit/attempt": "7"}}, "the annotation dev.toolkit/attempt is"),
        ({"retry_strategy": {"limit": 1, "back_off": {"duration_in_seconds": 1, "factor": 1.5}}}, "back_off.factor is 1.5"),
        (
            {"tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "toleration_seconds": 9}]},
            "toleration_seconds must have the effect NoExecute",
        ),
        ({"schedules": ["whenever"]}, "the schedule 'whenever' can't be read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_can_not_be_honoured_is_refused_by_name(executor: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        objects(executor)


def test_an_image_that_is_on_no_registry_is_never_pulled() -> None:
    images = {None: Image("app:1", True)}
    pod = cases.run([cases.task("a")], images=images).workflow["spec"]["templates"][1]
    assert pod["container"]["imagePullPolicy"] == "Never"
    with pytest.raises(BadInput, match="image_pull_policy is Always, but the image app:1 is in no registry"):
        cases.run([cases.task("a")], {"image_pull_policy": "Always"}, images=images)


def test_a_limit_for_a_step_is_kept_by_its_runtime_and_last_of_all_by_kubernetes() -> None:
    given = {"max_step_duration_in_seconds": 60, "grace_period_in_seconds": 10, "start_timeout_in_seconds": 300}
    pod = cases.run([cases.task("a")], given).workflow["spec"]["templates"][1]
    # Later than any end of the runtime's own: the limit, the grace, the start, and some seconds for each.
    assert 60 + 10 + 300 < int(pod["activeDeadlineSeconds"]) < 60 + 10 + 300 + 60
    assert "activeDeadlineSeconds" not in cases.run([cases.task("a")]).workflow["spec"]["templates"][1]
