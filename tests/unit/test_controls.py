"""Who computes how a composite goes on: the task that ended last before it, whatever stands between; and what nobody could."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.plans import planned, task
from toolkit.errors import BadInput
from toolkit.model.pipeline import Conditional, Loop, Map, Nested, Parallel, Pipeline, Step, Stub
from toolkit.plan.plan import Plan
from toolkit.runtime.shared.controls import Controls, control_error, group_ranges
from toolkit.runtime.shared.scope import RecordReader
from toolkit.runtime.shared.scope import RunPlan as RuntimePlan

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EndRecord, FunctionRow, StoredValue


def of(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def emissions(made: Plan) -> dict[str, list[str]]:
    """What each task computes, as path:when."""
    return {row.path: [f"{one.path}:{one.when}" for one in row.emits] for row in made.steps if row.emits}


def each(name: str, on: str, *branch: Step, item: str = "i", **more: Any) -> Map:
    return Map(name, Pipeline(branch or (task("t"),)), on, item, line="p.py:9", **more)


def choose(name: str, by: str) -> Conditional:
    return Conditional(name, by, (("a", of(task("t"))), ("b", of(Stub("s")))), line="p.py:9")


def test_the_task_right_before_computes_it_also_when_another_one_returned_the_value() -> None:
    made = planned(task("a", "x"), task("b"), Stub("s"), each("m", "x"))
    assert emissions(made) == {"b": ["m:start"]}


def test_what_follows_from_the_parameters_is_computed_by_no_task() -> None:
    made = planned(Stub("s"), each("m", "x", each("n", "i", item="j")), choose("c", "y"), task("a"), each("o", "x"))
    assert made.given == ("m", "c") and emissions(made) == {"a": ["o:start"]}
    assert next(row for row in made.steps if row.path == "m").inside.parts == ("m/*/n",)  # type: ignore[union-attr]


def test_where_a_branch_begins_with_a_composite_the_map_around_it_has_it_computed() -> None:
    deep = each("m", "x", each("n", "i", each("o", "j", item="k"), task("u"), item="j"), choose("c", "i"))
    made = planned(task("a", "x"), deep)
    assert emissions(made) == {"a": ["m:start"]}
    parts = {row.path: row.inside.parts for row in made.steps if row.inside is not None and row.inside.parts}
    assert parts == {"m": ("m/*/n", "m/*/c"), "m/*/n": ("m/*/n/*/o",)}


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (Nested("n", of(task("b", "x"), task("c"))), {"n/c": ["m:start"]}),
        (Parallel("p", (("l", of(task("b"))), ("r", of(task("c", "x"))))), {"p/r/c": ["m:start"]}),
        # Both return it: the later one in order of definition wins.
        (Parallel("p", (("l", of(task("b", "x"))), ("r", of(task("c", "x"))))), {"p/r/c": ["m:start"]}),
        (Parallel("p", (("l", of(task("b"))), ("r", of(task("c", "z"))))), {"a": ["m:start"]}),
        (
            Conditional("k", "y", (("l", of(task("b", "x"))), ("r", of(Stub("s"))))),
            {"a": ["k:start", "m:start"], "k/l/b": ["m:start"]},
        ),
        (
            Loop("l", of(task("b", "x", "done")), 3, "done"),
            {"l/*/b": ["l:again", "m:start"]},
        ),
        (
            Nested("n", of(task("b", "x", on_failure=of(task("h", "x"))), task("c"))),
            {"n/b/on_failure/h": ["m:start"], "n/c": ["m:start"]},
        ),
        (
            Nested("n", of(task("b", "x", terminate_with_success=True), task("c", "x"))),
            {"n/b": ["m:start"]},
        ),
        (
            Nested("n", of(task("b", "x"), Stub("e", terminate_with_success=True), task("c", "x"))),
            {"n/b": ["m:start"]},
        ),
        (
            Parallel("p", (("l", of(task("b"))), ("r", of(task("c")))), on_failure=of(task("h", "x"))),
            {"a": ["m:start"]},
        ),
    ],
    ids=["nested", "branch", "both", "neither", "conditional", "loop", "handler", "ended", "stub", "its-handler"],
)
def test_a_composite_that_returns_the_value_computes_it_at_each_of_its_ends(
    between: Step, expected: dict[str, list[str]]
) -> None:
    found = emissions(planned(task("a", "x", "y"), between, each("m", "x")))
    assert {path: sorted(one) for path, one in found.items()} == expected


def test_a_map_right_after_a_map_is_as_long_as_that_one() -> None:
    made = planned(task("a", "x"), each("m", "x", task("t", "y")), each("n", "y", task("t", "z")), each("o", "z"))
    assert sorted(emissions(made)["a"]) == ["m:start", "n:start", "o:start"]
    plan = RuntimePlan(made.document(), {})
    record: EndRecord = {"returns": {"x": {"kind": "json", "value": [7, 8]}}}
    values, files = Controls(plan, RecordReader("", {"a": record}), no_reducer).of_emissions(
        [["m", "start"], ["n", "start"], ["o", "start"]], "a"
    )
    assert values == {"m": 2, "n": 2, "o": 2}
    assert sorted(files.values()) == ["0", "0", "0", "2", "2", "2"]


def test_a_map_in_a_nested_pipeline_is_as_long_as_the_one_before_that() -> None:
    inner = Nested("n", of(Nested("o", of(each("k", "y")))))
    made = planned(task("a", "x"), each("m", "x", task("t", "y"), each("l", "i", item="j")), inner)
    assert sorted(emissions(made)["a"]) == ["m:start", "n/o/k:start"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [task("a", "x"), each("m", "x", task("t", "y"), reducer="list", on_failure=of(task("h"))), each("n", "y")],
            "the map 'n' depends on 'y', which several containers of the map 'm' before it make",
        ),
        ([task("a", "x"), each("m", "x", task("t", "y"), reducer="max"), choose("c", "y")], "put a task between the two"),
        (
            [
                task("a", "x"),
                Parallel("p", (("l", of(task("b", "x"))), ("r", of(Conditional("k", "x", (("a", of(task("t", "x"))),)))))),
                each("m", "x"),
            ],
            "the map 'm' depends on 'x', which several containers of the parallel 'p' before it make",
        ),
        ([Loop("l", of(Stub("s")), 2, "x", line="p.py:9")], "nothing in the branch of the loop 'l' decides"),
    ],
)  # fmt: skip
def test_what_no_task_could_compute_is_refused_with_the_line(steps: list[Step], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        planned(*steps)
    assert "p.py:9" in str(caught.value)


# --- values -------------------------------------------------------------------------------------------------------------


def no_reducer(reducer: FunctionRow, items: list[StoredValue]) -> object:
    raise AssertionError(reducer, items)


def given(made: Plan, **parameters: Any) -> tuple[dict[str, Any], dict[str, str]]:
    return Controls(RuntimePlan(made.document(), parameters), RecordReader(""), no_reducer).given(list(made.given))


@pytest.mark.parametrize(
    ("value", "count"),
    [([], 0), ([1], 1), (["a.csv", 0.1, {"k": 1}, "a.csv"], 4), ("[1, 2]", 2)],
)
def test_a_map_counts_its_list(value: Any, count: int) -> None:
    values, files = given(planned(each("m", "x")), x=value)
    assert values == {"m": count} and files == {"c0": str(count), "g0": "0"}


@pytest.mark.parametrize("value", [None, 3, "text", {"k": 1}, True])
def test_what_is_no_list_fails_the_map_and_is_named(value: Any) -> None:
    values, files = given(planned(each("m", "x")), x=value)
    assert "iterates on x, which is no list but" in control_error(values["m"])
    assert files["c0"].startswith("error: ") and files["g0"] == "0"


@pytest.mark.parametrize(
    ("value", "label"), [("a", "a"), ("b", "b"), (True, "True"), (1, "1"), (1.5, "1.5"), (None, "null")]
)
def test_a_conditional_chooses_by_the_text_of_its_value(value: Any, label: str) -> None:
    branches = tuple((one, of(task("t"))) for one in ("a", "b", "True", "1", "1.5", "null"))
    assert given(planned(Conditional("c", "y", branches)), y=value)[0] == {"c": label}


def test_a_value_without_a_branch_is_named_or_takes_the_default() -> None:
    values, _ = given(planned(choose("c", "y")), y="c")
    assert 'has no branch for y = "c": it has a, b' in control_error(values["c"])
    other = Conditional("c", "y", (("a", of(task("t"))),), default=of(task("d")))
    assert given(planned(other), y="c")[0] == {"c": "default"}


def test_three_maps_deep_each_item_has_its_own_count() -> None:
    made = planned(each("m", "x", each("n", "i", each("o", "j", item="k"), item="j")))
    values, files = given(made, x=[[[1, 2], []], [], [[3]]])
    assert values == {
        "m": 3, "m/0/n": 2, "m/0/n/0/o": 2, "m/0/n/1/o": 0, "m/1/n": 0, "m/2/n": 1, "m/2/n/0/o": 1,
    }  # fmt: skip
    assert set(files) == {"c0"}


def test_more_items_than_pods_are_grouped_in_order_and_other_branches_are_refused_with_the_number() -> None:
    values, files = given(planned(each("m", "x"), pods_per_map=3), x=list(range(10)))
    assert values == {"m": 10} and files == {"c0": "0", "g0": "3"}
    assert [list(one) for one in group_ranges(10, 3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [len(one) for one in group_ranges(100_000, 500)] == [200] * 500
    values, _ = given(planned(each("m", "x", choose("c", "i"), task("t")), pods_per_map=3), x=list(range(10)))
    assert "the map m has 10 items, and 3 is the most" in control_error(values["m"])


def test_a_handler_that_only_tells_computes_nothing_for_what_comes_after_it() -> None:
    telling: dict[str, Any] = {"on_failure": of(Stub("tells")), "keep_failure": True}
    loop = Loop("l", of(task("a", "done", **telling)), 3, "done")
    assert emissions(planned(loop, task("b", "x", **telling), each("m", "x"))) == {
        "l/*/a": ["l:again"],
        "b": ["m:start"],
    }
