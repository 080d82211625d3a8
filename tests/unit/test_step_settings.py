"""A step's own settings: decoded and checked as the configuration's, and above the override, which is above the configuration."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import config, planned, task
from toolkit.config.settings import (
    BackOff,
    Override,
    ResourceList,
    Resources,
    Retries,
    RetryStrategy,
    SecretReference,
    StepSettings,
)
from toolkit.errors import BadInput
from toolkit.model.description import to_pipeline
from toolkit.model.pipeline import Map, Nested, Pipeline, Task
from toolkit.model.step_settings import decode_settings, located
from toolkit.model.yaml_form import pipeline_file
from toolkit.plan.plan import Settings
from toolkit.plan.planner import plan
from toolkit.plan.step_settings import overrides_without_effect, retries_without_effect
from toolkit.sdk.refusal import Refusal
from toolkit.sdk.steps import PythonTask, ShellTask, Stub

ALL: dict[str, Any] = {
    "resources": {"limits": {"cpu": 2, "memory": "2Gi", "gpu": 1}, "requests": {"cpu": "500m"}},
    "timeout": 60,
    "retries": {"limit": 3, "delay": 10, "factor": 2, "max_duration": 600, "policy": "OnError"},
    "image": "other:1",
    "environment": {"A": "1"},
    "user": 1234,
}
MEANT = StepSettings(
    Resources(ResourceList("2", "2Gi", 1), ResourceList("500m")),
    60,
    Retries(3, 10, 2.0, 600, "OnError"),
    "other:1",
    {"A": "1"},
    1234,
)


def decoded(**settings: Any) -> StepSettings:
    return decode_settings(located(json.loads(json.dumps(settings))), "a", "p.py:3")


def only_settings(*tasks: Task, **configuration: Any) -> Settings:
    (settings,) = planned(*tasks, **configuration).settings
    return settings


def of_yaml(tmp_path: Path, text: str) -> Task:
    file = tmp_path / "p.yaml"
    file.write_text(f"dag:\n  start_at: a\n  steps:\n    a:\n      command_type: shell\n      command: x\n{text}")
    (step,) = to_pipeline(pipeline_file.read(file), "p.yaml").steps
    assert isinstance(step, Task)
    return step


def test_all_forms_give_the_same_settings(tmp_path: Path) -> None:
    described = ShellTask("a", "x", **ALL).describe()
    pipeline = to_pipeline(json.loads(json.dumps({"name": "", "steps": [described]})), "p.py")
    assert [step.settings for step in pipeline.steps if isinstance(step, Task)] == [MEANT]
    written = "".join(f"      {key}: {json.dumps(value)}\n" for key, value in ALL.items())
    assert of_yaml(tmp_path, written).settings == MEANT
    assert decoded(**ALL) == MEANT


def test_a_step_without_them_is_described_as_ever(tmp_path: Path) -> None:
    assert "settings" not in ShellTask("a", "x", timeout=None).describe()
    assert of_yaml(tmp_path, "").settings is None
    assert planned(task("a")).to_json() == planned(task("a", settings=StepSettings())).to_json()


def test_what_is_said_beside_the_step_counts_first_then_its_override() -> None:
    strategy = RetryStrategy(1, "OnFailure", BackOff(5, 3.0))
    settings = only_settings(
        task(
            "a", overrides="large", settings=StepSettings(retries=Retries(limit=4), environment={"C": "3"}, timeout=9)
        ),
        environment={"A": "1", "B": "1", "C": "1"},
        user=1,
        shm_size="1Mi",
        max_step_duration_in_seconds=1,
        retry_strategy=strategy,
        overrides={
            "large": Override(
                image="big", environment={"B": "2", "C": "2"}, user=2, shm_size="2Mi", max_step_duration_in_seconds=2
            )
        },
    )
    assert settings.environment == {"A": "1", "B": "2", "C": "3"}
    assert (settings.image, settings.user, settings.shm_size, settings.time_limit) == ("big", 2, "2Mi", 9)
    assert settings.retry == RetryStrategy(4, "OnFailure", BackOff(5, 3.0))


def test_all_of_them_take_the_place_of_the_configurations() -> None:
    settings = only_settings(task("a", settings=MEANT), image="mine", user=1, resources=Resources(ResourceList("1")))
    assert (settings.image, settings.user, settings.time_limit, settings.resources) == (
        "other:1",
        1234,
        60,
        MEANT.resources,
    )
    assert settings.retry == RetryStrategy(3, "OnError", BackOff(10, 2.0, 600))


_AMOUNT = st.none() | st.integers(1, 9).map(str)
_LIST = st.builds(ResourceList, _AMOUNT, _AMOUNT.map(lambda amount: amount and amount + "Gi"))


@given(_LIST, _LIST)
def test_no_amount_is_lost_that_the_step_does_not_say(general: ResourceList, own: ResourceList) -> None:
    step = task("a", settings=StepSettings(resources=Resources(own)))
    merged = only_settings(step, resources=Resources(general)).resources.limits
    for amount, said, other in zip(merged, own, general, strict=True):
        assert amount == (said if said is not None else other)


def test_a_mapped_step_has_its_own() -> None:
    branch = Pipeline((task("a", settings=StepSettings(timeout=5)), task("b")))
    made = planned(Map("m", branch, "xs", "x"))
    assert {step.path: made.settings_of(step).time_limit for step in made.tasks()} == {"m/*/a": 5, "m/*/b": None}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0}, "timeout must be at least 1, not 0"),
        ({"timeout": "60"}, "timeout must be a whole number, but this is the text '60'; write it without quotes"),
        ({"timeout": True}, "timeout must be a whole number"),
        ({"retries": -1}, "retries must be at least 0, not -1"),
        ({"retries": True}, "retries is the number of attempts after the first, or a mapping of limit, delay, factor"),
        ({"retries": "3"}, "but this is the text '3'"),
        ({"retries": {"count": 3}}, "unknown key 'count' in retries; the known keys are delay, factor, limit"),
        ({"retries": {"retry_policy": "Always"}}, "did you mean 'policy'?"),
        ({"retries": {"policy": "always"}}, "retries.policy can't be 'always'; did you mean Always?"),
        ({"retries": {"factor": 0.5}}, "retries.factor must be at least 1"),
        ({"retries": {"delay": -1}}, "retries.delay must be at least 0"),
        ({"resources": {"memory": "2Gi"}}, "unknown key 'memory' in resources; it belongs under limits or requests"),
        ({"resources": {"limits": {"memory": "2GB"}}}, "resources.limits.memory has the unknown unit GB"),
        ({"resources": {"limits": {"memory": "1Mi"}}}, "resources.limits.memory must be at least 6Mi"),
        ({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": 2}}}, "the cpu request 2 is more than the limit 1"),
        ({"resources": {"requests": {"gpu": 1}}}, "a gpu request must equal the gpu limit"),
        ({"image": "a b"}, "image must not contain white space"),
        ({"environment": {"A": 1}}, "environment.A must be a text"),
        ({"environment": {"TOOLKIT_X": "1"}}, "the key 'TOOLKIT_X' of environment"),
        ({"user": "root"}, "user must be a whole number"),
        ({"user": -1}, "user must be at least 0"),
    ],
)
def test_what_is_wrong_is_said_with_the_pipelines_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        decoded(**settings)
    assert message in caught.value.message and caught.value.message.startswith("the step 'a': ")
    assert caught.value.where == "p.py:3"
    # In YAML it is the line of the setting itself.
    (entry,) = settings.items()
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        of_yaml(tmp_path, f"      {entry[0]}:\n        {json.dumps(entry[1])}\n")
    assert str(caught.value.where).endswith("p.yaml:8")


def test_the_configuration_says_the_same_of_what_belongs_elsewhere(tmp_path: Path) -> None:
    from toolkit.config.load import load

    (tmp_path / "toolkit.yaml").write_text("executor:\n  config:\n    resources:\n      cpu: 1\n")
    with pytest.raises(BadInput, match=r"4: unknown key 'cpu' in .*resources; it belongs under limits or requests"):
        load(None, tmp_path)


def test_a_step_that_is_called_as_what_runs_after_the_pipeline_is_none_of_it() -> None:
    (settings,) = planned(Nested("on_exit", Pipeline((task("a"),)))).settings
    assert settings.time_limit is None


def test_retries_and_max_attempts_are_one_thing(tmp_path: Path) -> None:
    assert only_settings(
        task("a", max_attempts=3, settings=StepSettings(retries=Retries(delay=2)))
    ).retry == RetryStrategy(2, "Always", BackOff(2))
    with pytest.raises(BadInput, match="both max_attempts and retries: keep one"):
        of_yaml(tmp_path, "      max_attempts: 3\n      retries: 2\n")


@pytest.mark.parametrize(
    ("step", "configuration", "message"),
    [
        (
            task("a", secrets=("KEY",), settings=StepSettings(environment={"KEY": "x"})),
            {},
            "KEY is a secret of the step 'a' and an environment variable beside it",
        ),
        (
            task("a", secrets=("KEY",), overrides="o"),
            {"overrides": {"o": Override(environment={"KEY": "x"})}},
            "KEY is a secret of the step 'a' and an environment variable of its override",
        ),
        (
            task("a", settings=StepSettings(environment={"KEY": "x"})),
            {"secrets_from_k8s": (SecretReference("KEY", "s", "k"),)},
            "KEY is both in executor.config.secrets_from_k8s and in the environment of the step 'a'",
        ),
        (
            task("a", settings=StepSettings(resources=Resources(ResourceList(memory="1Gi")))),
            {"resources": Resources(requests=ResourceList(memory="2Gi"))},
            "the step 'a': the memory request 2Gi is more than the limit 1Gi",
        ),
        (task("a", overrides="none"), {"overrides": {"o": Override()}}, "asks for the override 'none'"),
    ],
)
def test_what_contradicts_the_configuration_is_refused(step: Task, configuration: Any, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        planned(step, **configuration)
    assert caught.value.where == "p.py:3"


@pytest.mark.parametrize(
    ("overrides", "kind", "limit"),
    [
        ("large", "argo", 60),
        ("large", "local", 60),
        ({"argo": "large"}, "argo", 60),
        ({"argo": "large"}, "local-container", None),
        ({"process": "large"}, "local", 60),
        ({"process": "none", "local": "large"}, "local", 60),
        ({"process": "large"}, "local-container", None),
        ({"local": "large"}, "local-container", None),
    ],
)
def test_an_override_is_chosen_by_the_type_or_for_every_one(overrides: Any, kind: Any, limit: int | None) -> None:
    made = config(overrides={"large": Override(max_step_duration_in_seconds=60)})
    made = made._replace(executor=made.executor._replace(type=kind))
    planned = plan(Pipeline((task("a", overrides=overrides), task("plain"))), made, (".",))
    assert planned.settings_of(planned.steps[0]).time_limit == limit
    # A choice without effect is said.
    said = overrides_without_effect(planned, made.executor)
    assert len(said) == (limit is None)
    for sentence in said:
        assert "the step 'a' runs without an override: 'large' for" in sentence and kind in sentence


def test_waits_between_attempts_that_never_are_is_said() -> None:
    waits = task("a", settings=StepSettings(retries=Retries(delay=3, policy="OnError")))
    once = task("b", settings=StepSettings(retries=Retries(limit=0, delay=3)))
    (sentence,) = retries_without_effect(planned(waits, once))
    assert sentence.startswith("the step 'a' is attempted once") and "(delay, policy) has no effect" in sentence
    # Where the configuration or max_attempts gives the number, they have one.
    assert retries_without_effect(planned(waits, retry_strategy=RetryStrategy(2))) == []
    assert retries_without_effect(planned(replace(waits, max_attempts=2))) == []


def test_many_steps_without_their_override_are_one_line() -> None:
    made = planned(*(task(f"s{number}", overrides={"local": "x"}) for number in range(9)))
    (sentence,) = overrides_without_effect(made, config().executor)
    assert sentence.startswith("the steps 's0', 's1', 's2' and 6 more run without an override: 'x' for local")


@pytest.mark.parametrize("overrides", [{"lokal": "x"}, {"argo": 3}, {"argo": " "}, " ", ["x"], 3])
def test_overrides_that_name_nothing_are_refused(overrides: Any) -> None:
    description: Any = {
        "steps": [{"type": "task", "kind": "shell", "name": "a", "command": "x", "line": 4, "overrides": overrides}]
    }
    with pytest.raises(BadInput, match="overrides of the step 'a'") as caught:
        to_pipeline(description, "p.py")
    assert caught.value.where == "p.py:4"


@pytest.mark.parametrize(
    "overrides", ["x", {}, {"local-container": "x", "argo": "y", "local": "x", "mocked": "x", "process": "x"}]
)
def test_every_type_and_environment_may_be_named(tmp_path: Path, overrides: Any) -> None:
    step = of_yaml(tmp_path, f"      overrides: {json.dumps(overrides)}\n")
    assert step.overrides == overrides


class Given:
    total_seconds = 3


@pytest.mark.parametrize("value", [Path("x"), {1}, float("nan"), {1: "x"}, [object()], b"x"])
def test_the_sdk_refuses_what_is_no_json(value: Any) -> None:
    with pytest.raises(Refusal, match=r"image of the step f is given .*, which JSON can't hold"):
        PythonTask("m.f", image=value)
    with pytest.raises(Refusal, match="overrides of the step f is a name, or names by executor type"):
        PythonTask("m.f", overrides={"argo": value})


def test_the_sdk_takes_a_copy_and_says_how_a_duration_is_given() -> None:
    variables = {"A": "1"}
    step = PythonTask("m.f", environment=variables, resources={"limits": {"gpu": 1}})
    variables["A"] = "2"
    assert step.settings == {"environment": {"A": "1"}, "resources": {"limits": {"gpu": 1}}}
    with pytest.raises(Refusal, match="give the seconds, as a number"):
        PythonTask("m.f", timeout=Given())  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="takes no option 'retry_strategy': did you mean 'retries'"):
        PythonTask("m.f", retry_strategy=3)  # type: ignore[call-arg]
    with pytest.raises(Refusal, match="takes no option 'time_out': did you mean 'timeout'"):
        PythonTask("m.f", time_out=3)  # type: ignore[call-arg]
    with pytest.raises(Refusal, match="the step 'f' takes no option 'on_exit': it is an option of the pipeline"):
        PythonTask("m.f", on_exit=Stub("s").as_pipeline())  # type: ignore[call-arg]
    assert Stub("s", **ALL).describe()["name"] == "s"


def test_the_page_names_each_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs/pipelines.md").read_text(encoding="utf-8")
    section = page.split("## A step's own settings")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert named >= {*StepSettings._fields, *Retries._fields}
