"""The plan: pure, without anything of a run in it, linear in its steps, and with what can't be known to the runtime settled."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from tests.support.plans import planned, task
from toolkit.config.settings import (
    Override,
)
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    CatalogUse,
    Constant,
    Function,
    Loop,
    Map,
    Nested,
    Pipeline,
    Return,
    Source,
    Step,
    Stub,
)
from toolkit.plan.plan import Plan
from toolkit.plan.planner import missing_parameters


def test_the_same_model_and_configuration_give_the_same_bytes() -> None:
    def made() -> Plan:
        return planned(task("a", "x", "y"), Stub("b"), task("c", takes=("x",), bind={"x": Source("y", "a")}))

    assert made().to_json() == made().to_json()
    assert made().hash() == made().hash()


def test_a_plan_grows_with_its_steps_and_no_faster() -> None:
    def size(count: int) -> int:
        steps = [
            task(f"step-{number:04}", "x", takes=("x",), catalog=CatalogUse(("x",), ("x",))) for number in range(count)
        ]
        return len(planned(*steps).to_json())

    assert size(1_000) / size(100) == pytest.approx(10, rel=0.2)


def test_each_setting_is_in_the_plan() -> None:
    made = planned(task("a"))
    written = made.document()["settings"][0]
    assert set(written) == {field.name for field in fields(made.settings[0])}
    resources, retry = made.settings[0].resources, made.settings[0].retry
    assert set(written["resources"]) == set(resources._fields)
    assert set(written["resources"]["limits"]) == set(resources.limits._fields)
    assert set(written["retry"]) == set(retry._fields)
    assert set(written["retry"]["back_off"]) == set(retry.back_off._fields)


def test_steps_with_equal_settings_share_them() -> None:
    overrides = {"large": Override(max_step_duration_in_seconds=60)}
    made = planned(
        task("a"),
        task("b"),
        task("c", overrides={"argo": "large"}),
        task("d", overrides={"local": "x"}),
        overrides=overrides,
    )
    assert [step.settings for step in made.steps] == [0, 0, 1, 0]
    assert [one.time_limit for one in made.settings][1] == 60


def test_what_a_retry_may_mend_is_not_in_the_hash_and_the_shape_is() -> None:
    first, second = task("a", "x"), Stub("b")
    same = planned(first, second).hash()
    assert planned(replace(first, function=Function("other", "g"), secrets=("s",)), second).hash() == same
    changes: list[list[Step]] = [
        [task("a", "y"), Stub("b")],
        [task("a", "x"), Stub("c")],
        [Stub("b"), task("a", "x")],
        [task("a", "x")],
        [task("a", "x"), task("b")],
        [replace(task("a"), returns=(Return("x", "metric"),)), Stub("b")],
        [replace(task("a", "x"), kind="shell", function=None, command="true"), Stub("b")],
    ]
    assert same not in [planned(*changed).hash() for changed in changes]


def test_candidates_for_a_name_are_the_steps_before_newest_first() -> None:
    made = planned(task("a", "x"), task("b", "y", catalog=CatalogUse((), ("f",))), Stub("c"), task("d", "x"))
    [scope] = json.loads(made.to_json())["scopes"].values()
    assert scope["returns"] == {"x": [0, 3], "y": [1]}
    assert scope["positions"] == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert scope["puts"] == [1]


@pytest.mark.parametrize(
    ("names", "key", "expected"),
    [
        (["a"], "a:data.csv", ("a", "data.csv")),
        (["a"], "data.csv", (None, "data.csv")),
        (["a"], "b:data.csv", (None, "b:data.csv")),
        (["a", "a:b"], "a:b:data.csv", ("a:b", "data.csv")),
        (["a:b"], "a:b:c:d", ("a:b", "c:d")),
        (["caf\u00e9"], "cafe\u0301:x", ("caf\u00e9", "x")),
    ],
)
def test_a_key_may_name_the_step_that_put_it(names: list[str], key: str, expected: tuple[str | None, str]) -> None:
    made = planned(*(task(name) for name in names), task("last", catalog=CatalogUse((key,))))
    [get] = made.steps[-1].get
    assert (get.step, get.key) == expected


def test_a_key_may_name_a_step_before_what_is_around_the_step_and_a_handler_the_failed_one() -> None:
    getting = task("g", catalog=CatalogUse(("a:x", "b:x", "p:x")))
    handled = replace(task("p"), on_failure=Pipeline((getting,)))
    looped = Loop("l", Pipeline((task("b", "done"), handled)), 2, "done")
    made = planned(task("a"), Map("m", Pipeline((task("b"), looped)), "xs", "x"))
    [row] = [row for row in made.steps if row.name == "g"]
    assert [get.step for get in row.get] == ["a", "m/*/l/*/b", "m/*/l/*/p"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([task("a", takes=("x",), bind={"x": Source("y", "b")}), task("b", "y")], "'b', which does not run before it"),
        ([task("a", "x", takes=("x",), bind={"x": Source("x", "a")})], "'a', which does not run before it"),
        ([task("a", takes=("x",), bind={"x": Source("y", "no")})], "the step 'no', which does not exist"),
        ([Stub("s"), task("a", takes=("x",), bind={"x": Source("y", "s")})], "'s', which does not return it"),
        ([task("a", bind={"x": Constant(1)})], "binds x, which its function does not take"),
        ([task("a", catalog=CatalogUse((), ("../x",)))], "leads out of the step's folder"),
        ([task("a", catalog=CatalogUse(("b:x",))), task("b")], "'b', which does not run before it"),
        (
            [Nested("n", Pipeline((task("a", catalog=CatalogUse(("b:x",))),))), task("b")],
            "'b', which does not run before it",
        ),
        ([task("b"), task("a", catalog=CatalogUse(("b:/x",)))], "is absolute"),
        ([task("a", overrides={"argo": "none"})], "asks for the override 'none'"),
        (
            [task("a", secrets=("KEY",))],
            "KEY is a secret of the step 'a' and an environment variable of the configuration",
        ),
        (
            [task("a", terminate_with_success=True, terminate_with_failure=True)],
            "both terminate_with_success and terminate_with_failure",
        ),
        ([Map("m", Pipeline((Stub("s"),)), "x", "i", "product", line="p.py:3")], "has the reducer 'product'"),
        ([Loop("l", Pipeline((Stub("s"),)), 3, "x", line="p.py:3")], "nothing in the branch of the loop 'l' decides"),
        (
            [
                task("a", "list"),
                Map("m", Pipeline((task("b", "x"),)), "list", "i", "max"),
                Map("n", Pipeline((task("c"),)), "x", "i", line="p.py:3"),
            ],
            "depends on 'x', which several containers of the map 'm' before it make together",
        ),
    ],
)
def test_what_can_not_be_planned_is_bad_input_with_its_line(steps: list[Step], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        planned(*steps, environment={"KEY": "x"})
    assert message in caught.value.message
    assert caught.value.where == "p.py:3"


@pytest.mark.parametrize(
    ("steps", "given", "missing"),
    [
        ([task("a", takes=("x",))], {}, [("a", "x")]),
        ([task("a", takes=("x",))], {"x": None}, []),
        ([task("a", "x"), task("b", takes=("x",))], {}, []),
        ([task("b", takes=("x",)), task("a", "x")], {}, [("b", "x")]),
        ([task("a", "x", takes=("x",))], {}, [("a", "x")]),
        ([task("a", takes=("x", "y"), bind={"x": Constant(1), "y": Source("z")})], {}, [("a", "z")]),
        ([task("a", takes=("y",), bind={"y": Source("z")})], {"z": 1}, []),
        # what the run itself must give is not given by a step
        ([task("a", "x"), task("b", takes=("x",), bind={"x": Source("x", Source.RUN)})], {}, [("b", "x")]),
        ([task("a", "x"), task("b", takes=("x",), bind={"x": Source("x", Source.RUN)})], {"x": 1}, []),
    ],
)
def test_arguments_that_nothing_gives_are_known_before_the_run(
    steps: list[Step], given: dict[str, object], missing: list[tuple[str, str]]
) -> None:
    assert [(step.path, name) for step, name in missing_parameters(planned(*steps), given)] == missing
