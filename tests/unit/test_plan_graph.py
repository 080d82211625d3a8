"""A graph's edges: which step follows which and why, what each one sees, and what is refused because only time could decide it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plans import config, gets, puts, task
from tests.support.recorded_run import ENDED, STARTED
from toolkit.backends.completed_work import CompletedWork
from toolkit.backends.launcher import Job, OnEnd, Verdict
from toolkit.backends.scheduler import Cancel, Outcome, Scheduler
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    CatalogUse,
    Conditional,
    Constant,
    Loop,
    Map,
    Nested,
    Parallel,
    Pipeline,
    Source,
    Step,
    Stub,
    Takes,
    Task,
)
from toolkit.plan.plan import Plan, PlannedStep, shape_hash
from toolkit.plan.planner import plan
from toolkit.runtime.shared import layout, records
from toolkit.runtime.shared.catalog import matches
from toolkit.runtime.shared.tree import Tree, by_dependence
from toolkit.store.states import states
from toolkit.store.verdict import merge_all

if TYPE_CHECKING:
    from toolkit.store.verdict import Attempt


def graph(*steps: Step) -> Pipeline:
    return Pipeline(steps, order="graph")


def line(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def made(*steps: Step) -> Plan:
    return plan(graph(*steps), config(), (".",))


def edges(planned: Plan, scope: str = "") -> dict[str, list[str]]:
    """The names of the steps that each step of a graph follows directly; without those that follow none."""
    [found] = [each for each in planned.scopes if each.path == scope]
    assert found.after is not None
    names = [path.rsplit("/", 1)[-1] for path in found.steps]
    return {names[step]: [names[one] for one in after] for step, after in enumerate(found.after) if after}


def follows(*steps: Step) -> dict[str, list[str]]:
    return edges(made(*steps))


def refusal(*steps: Step) -> str:
    with pytest.raises(BadInput) as caught:
        made(*steps)
    assert caught.value.where == "p.py:3"
    return caught.value.message


def takes(name: str, *names: str, **more: Any) -> Task:
    return task(name, takes=names, **more)


# --- edges from values ------------------------------------------------------------------------------------------------


def test_a_step_follows_what_it_takes_wherever_that_is_defined() -> None:
    assert follows(takes("c", "x", "y"), task("a", "x"), takes("b", "x"), task("d", "y")) == {
        "c": ["a", "d"],
        "b": ["a"],
    }


def test_what_nobody_returns_is_the_run_s() -> None:
    assert follows(takes("a", "x"), task("b", "y")) == {}


def test_a_step_never_takes_its_own_return_by_name() -> None:
    assert follows(task("a", "x", takes=("x",))) == {}
    assert follows(task("b", "x"), task("a", "x", takes=("x",))) == {"a": ["b"]}


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ({"x": Source("x", "a")}, ["a"]),
        ({"x": Source("y", "b")}, ["b"]),
        ({"x": Source("z")}, ["c"]),
        ({"x": Source("x", Source.RUN)}, []),
        ({"x": Constant(1)}, []),
    ],
    ids=["a step's", "another name", "a name alone", "the run's", "constant"],
)
def test_a_binding_says_what_a_step_follows(bind: dict[str, Any], expected: list[str]) -> None:
    found = follows(takes("t", "x", bind=bind), task("a", "x"), task("b", "x", "y"), task("c", "z"))
    assert found.get("t", []) == expected


def test_a_binding_outward_and_one_inward() -> None:
    inner = Nested("n", line(takes("t", "x", bind={"x": Source("x", "a")})))
    assert follows(inner, task("a", "x"), task("b", "x")) == {"n": ["a"]}
    deep = Nested("n", line(task("t", "x")))
    assert follows(takes("u", "x", bind={"x": Source("x", "n/t")}), deep, task("b", "x")) == {"u": ["n"]}


def test_what_takes_everything_follows_only_what_it_names() -> None:
    everything = Task("t", "shell", command="env", bind={"x": Source("x", "a")}, after=("c",), line="p.py:3")
    assert follows(everything, task("a", "x"), task("b", "y"), task("c", "z")) == {"t": ["a", "c"]}
    keywords = Task("t", "python", takes=Takes((), (), True), line="p.py:3")
    assert follows(keywords, task("a", "x")) == {}


def test_what_is_inside_of_a_composite_takes_for_it() -> None:
    a, b = task("a", "x"), task("b", "y")
    taking = line(takes("t", "x"))
    assert follows(Parallel("p", (("l", taking), ("r", line(takes("u", "y"))))), a, b) == {"p": ["a", "b"]}
    assert follows(Map("m", taking, "y", "i"), a, b) == {"m": ["a", "b"]}
    # The item is the map's own, and so is an iteration's number the loop's.
    assert follows(Map("m", taking, "y", "x"), a, b) == {"m": ["b"]}
    assert follows(Loop("l", taking, 3, "y", "x"), a, b) == {"l": ["b"]}
    assert follows(Loop("l", line(task("t", "y")), 3, "y"), b) == {}
    assert follows(Conditional("c", "y", (("l", taking),)), a, b) == {"c": ["a", "b"]}


def test_what_a_composite_finds_inside_of_it_is_no_edge() -> None:
    a = task("a", "x")
    assert follows(a, Nested("n", line(task("s", "x"), takes("t", "x")))) == {}
    # The first step finds nothing before it in a line; in a graph it follows the second one.
    assert follows(a, Nested("n", line(takes("t", "x"), task("s", "x")))) == {"n": ["a"]}
    assert follows(a, Nested("n", graph(takes("t", "x"), task("s", "x")))) == {}
    # A branch that may not run may not return it.
    maybe = Conditional("c", "k", (("l", line(task("s", "x"))),))
    assert follows(a, Nested("n", line(maybe, takes("t", "x")))) == {"n": ["a"]}


def test_what_a_composite_beside_it_surely_returns_is_no_edge() -> None:
    def has_edge(giver: Step) -> bool:
        inside = Nested("inside", graph(giver, takes("t", "rows")))
        return "inside" in edges(made(task("other", "rows"), inside))

    rows = task("gives", "rows")
    handled = task("gives", "rows", on_failure=line(Stub("h")))
    assert not has_edge(Nested("n", line(task("first"), rows)))
    assert not has_edge(Nested("n", graph(Nested("m", graph(rows)))))
    assert not has_edge(Parallel("n", (("l", line(task("first"))), ("m", line(rows)))))
    assert not has_edge(Conditional("n", "x", (("l", line(rows)),), default=line(rows)))
    # These may succeed without a value of theirs.
    assert has_edge(Nested("n", line(handled)))
    assert has_edge(Nested("n", line(task("first", on_failure=line(Stub("h"))), rows)))
    assert has_edge(Nested("n", graph(task("first", on_failure=line(Stub("h"))), rows)))
    assert has_edge(Nested("n", line(task("first", terminate_with_success=True), rows)))
    assert has_edge(Conditional("n", "x", (("l", line(rows)),)))
    assert has_edge(Conditional("n", "x", (("l", line(rows)),), default=line(Stub("s"))))


def test_what_a_composite_beside_it_surely_puts_is_no_edge() -> None:
    def has_edge(putter: Step) -> bool:
        inside = Nested(
            "inside",
            graph(putter, gets("t", "a.csv", after=("putter",))),
        )
        return "inside" in edges(made(puts("other", "a.csv", "other.csv"), gets("last", "other:a.csv"), inside))

    one = puts("one", "a.csv")
    assert not has_edge(Nested("putter", line(task("first"), one)))
    assert not has_edge(Parallel("putter", (("l", line(task("first"))), ("m", line(one)))))
    # These may succeed without putting it.
    assert has_edge(Nested("putter", line(task("first", on_failure=line(Stub("h"))), one)))
    assert has_edge(Conditional("putter", "x", (("l", line(one)),)))


def test_a_handler_takes_for_its_step_and_returns_for_it() -> None:
    mended = task("b", on_failure=line(task("h", "y", takes=("x",))))
    assert follows(mended, task("a", "x"), takes("c", "y")) == {"b": ["a"], "c": ["b"]}
    own = task("b", "x", on_failure=line(takes("h", "x", bind={"x": Source("x", "b")})))
    assert follows(own) == {}


def test_a_map_and_a_conditional_may_name_the_step() -> None:
    a, b = task("a", "x"), task("b", "x")
    assert follows(Map("m", line(task("t")), "x", "i", source="b"), a, b) == {"m": ["b"]}
    assert follows(Conditional("c", "x", (("l", line(task("t"))),), source="a"), a, b) == {"c": ["a"]}


# --- edges from files and from `after` --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "put", "is_edge"),
    [
        ("x.csv", "x.csv", True),
        ("./x.csv", "x.csv/", True),
        ("out/", "out/x.csv", True),
        ("out/x.csv", "out", True),
        ("x.csv", "*.csv", True),
        ("{n}.csv", "x.csv", True),
        ("x-{n}.csv", "{m}.csv", True),
        ("x.csv", "y.csv", False),
        ("output.csv", "out", False),
        ("x.csv", "*.json", False),
        ("a:x.csv", "x.csv", True),
        ("a:*.csv", "x.csv", True),
    ],
)
def test_a_key_follows_what_puts_it(key: str, put: str, is_edge: bool) -> None:
    assert follows(gets("b", key), puts("a", put)).get("b", []) == (["a"] if is_edge else [])


def test_a_key_of_a_map_s_item_follows_the_map() -> None:
    mapped = Map("m", line(puts("t", "x.csv")), "l", "i")
    assert follows(mapped, gets("b", "m:*/x.csv")) == {"b": ["m"]}
    assert follows(mapped, gets("b", "1/x.csv")) == {"b": ["m"]}
    assert follows(mapped, gets("b", "x.csv")) == {}
    twice = Map("o", line(mapped), "k", "j")
    assert follows(twice, gets("b", "0/1/x.csv"), gets("c", "0/x.csv")) == {"b": ["o"]}
    assert follows(Loop("l", line(puts("t", "x.csv")), 2, "d"), gets("b", "x.csv")) == {"b": ["l"]}


def test_a_key_that_is_put_nearer_is_that_one() -> None:
    assert follows(puts("a", "x.csv"), Nested("n", line(puts("s", "x.csv"), gets("t", "x.csv")))) == {}
    assert follows(puts("a", "x.csv"), Nested("n", line(gets("t", "x.csv"), puts("s", "x.csv")))) == {"n": ["a"]}


def test_a_pattern_means_what_is_behind_after() -> None:
    assert follows(puts("a", "x.csv"), gets("b", "*.csv", after=("a",))) == {"b": ["a"]}
    assert follows(puts("a", "x.json"), gets("b", "*.csv")) == {}


def test_after_is_an_edge_as_well() -> None:
    assert follows(Stub("c", after=("b", "a")), Stub("a"), Stub("b", after=("a",))) == {"c": ["a", "b"], "b": ["a"]}


def test_an_inner_graph_has_edges_of_its_own() -> None:
    planned = made(Nested("n", graph(takes("t", "x", "y"), task("s", "x"))), task("a", "y"))
    assert (edges(planned), edges(planned, "n")) == ({"n": ["a"]}, {"t": ["s"]})


# --- what is refused --------------------------------------------------------------------------------------------------


def test_two_that_return_a_name_are_refused_where_somebody_takes_it() -> None:
    a, b = task("a", "x"), task("b", "x")
    assert follows(a, b, takes("c", "y")) == {}
    assert refusal(a, b, takes("c", "x")) == (
        "the step 'c' takes x, which 'a' and 'b' return, and in a graph none of them is the newer one: say which by bind, as in "
        "bind: {x: b.x}"
    )
    assert "as in bind: {z: b.x}" in refusal(a, b, takes("c", "z", bind={"z": Source("x")}))


def test_the_remedy_for_a_step_that_takes_and_returns_a_name_is_that_step() -> None:
    message = refusal(task("clean", "table", takes=("table",)), takes("c", "table"), task("load", "table"))
    assert "which 'clean' and 'load' return" in message and message.endswith("as in bind: {table: clean.table}")


@pytest.mark.parametrize(
    ("step", "remedy"),
    [
        (Map("m", line(task("t")), "x", "i", line="p.py:3"), "the map 'm' takes x, |say which, as in iterate_on: b.x"),
        (
            Conditional("k", "x", (("l", line(task("t"))),), line="p.py:3"),
            "the conditional 'k' takes x, |parameter: b.x",
        ),
        (Nested("n", line(takes("t", "x"))), "the step 't' takes x, |say which by bind, as in bind: {x: b.x}"),
    ],
)
def test_the_remedy_is_where_the_name_is_taken(step: Step, remedy: str) -> None:
    message = refusal(task("a", "x"), task("b", "x"), step)
    assert all(part in message for part in remedy.split("|"))


def test_the_remedies_work_where_a_composite_gives() -> None:
    nested, mapped = Nested("n", line(task("t", "x"), puts("p", "x.csv"))), Map("m", line(task("u", "x")), "l", "i")
    assert refusal(nested, mapped, takes("c", "x")).endswith("bind: {x: m.x}")
    for name in "mn":
        assert follows(nested, mapped, takes("c", "x", bind={"x": Source("x", name)})) == {"c": [name]}
    assert refusal(puts("a", "x.csv"), nested, gets("c", "x.csv")).endswith("say which, as in n:x.csv")
    assert follows(puts("a", "x.csv"), nested, gets("c", "n:x.csv")) == {"c": ["n"]}
    assert refusal(nested, gets("c", "*.csv")).endswith("as in n:*.csv, or list steps in `after`")
    assert follows(nested, gets("c", "n:*.csv")) == {"c": ["n"]}


def test_no_remedy_names_a_step_that_a_nearer_one_hides() -> None:
    a, b = task("a", "x", catalog=CatalogUse(put=("k",))), task("b", "x", catalog=CatalogUse(put=("k",)))
    assert refusal(a, b, Nested("n", line(Stub("b"), takes("t", "x")))).endswith(
        "return one of the two under another name"
    )
    assert refusal(a, b, Nested("n", line(Stub("c"), takes("t", "x")))).endswith("bind: {x: b.x}")
    assert refusal(a, b, Nested("n", line(Stub("b"), gets("t", "k")))).endswith("the newer one: give one another name")
    assert refusal(a, b, Nested("n", line(Stub("c"), gets("t", "k")))).endswith("say which, as in b:k")


def test_a_loop_can_not_say_whose_value_ends_it() -> None:
    message = refusal(task("a", "x"), task("b", "x"), Loop("l", line(task("t")), 2, "x", line="p.py:3"))
    assert message == (
        "the loop 'l' takes x, which 'a' and 'b' return, and in a graph none of them is the newer one: return one of the two under "
        "another name"
    )


def test_two_that_put_a_key_are_refused_where_somebody_gets_it() -> None:
    assert refusal(puts("a", "x.csv"), puts("b", "x.csv"), gets("c", "x.csv")) == (
        "the step 'c' gets x.csv, which 'a' and 'b' put, and in a graph none of them is the newer one: say which, as in b:x.csv"
    )
    assert follows(puts("a", "x.csv"), puts("b", "x.csv"), gets("c", "a:x.csv")) == {"c": ["a"]}
    # What the run has in the end is its files as well: one has to be the newer one.
    assert refusal(puts("a", "x.csv"), puts("b", "x.csv")) == (
        "the steps 'a' and 'b' put x.csv side by side, where neither is the newer one: give one of them another name than x.csv"
    )
    assert follows(puts("a", "x.csv"), puts("b", "x.csv", after=("a",))) == {"b": ["a"]}


def test_a_pattern_without_a_step_is_refused() -> None:
    assert refusal(gets("b", "*.csv"), puts("a", "x.csv")) == (
        "the step 'b' gets *.csv, a pattern, which in a graph would mean whatever has been put by then: name the step, as in "
        "a:*.csv, or list steps in `after`"
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((task("a", "x", takes=("y",)), task("b", "y", takes=("x",))), "'b' takes x of 'a', and 'a' takes y of 'b'"),
        ((puts("a", "k", after=("b",)), gets("b", "k")), "'b' gets k of 'a', and 'a' is after 'b'"),
        ((gets("a", "b:k"), puts("b", "k", after=("a",))), "'b' is after 'a', and 'a' gets k from 'b'"),
    ],
)  # fmt: skip
def test_a_cycle_is_named_with_each_use(steps: tuple[Step, ...], message: str) -> None:
    assert refusal(*steps) == f"the steps of the graph form a cycle: {message}"


def test_a_long_cycle_is_told_by_a_short_sentence() -> None:
    with pytest.raises(
        BadInput, match="'s193' is after 's194', and so on for 192 more steps, and 's0' is after"
    ) as refused:
        made(*(task(f"s{step}", after=(f"s{(step + 1) % 200}",)) for step in range(200)))
    assert len(str(refused.value)) < 400


def test_the_keys_of_a_long_graph_are_not_compared_each_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def counted(pattern: str, key: str) -> bool:
        compared.append(key)
        return matches(pattern, key)

    monkeypatch.setattr("toolkit.plan.graph.matches", counted)
    steps = [task("s0", catalog=CatalogUse(put=("d0/*.csv",)))]
    for step in range(1, 100):
        steps.append(task(f"s{step}", catalog=CatalogUse((f"d{step - 1}/rows.csv",), (f"d{step}/*.csv",))))
    assert edges(made(*steps)) == {f"s{step}": [f"s{step - 1}"] for step in range(1, 100)}
    assert len(compared) == 99


def test_a_line_s_plan_and_hash_know_nothing_of_graphs() -> None:
    document = plan(line(task("a", "x"), takes("b", "x")), config(), (".",)).document()
    assert all("after" not in scope for scope in document["scopes"].values())
    one, other = made(Stub("a"), Stub("b")), made(Stub("a"), Stub("b", after=("a",)))
    assert one.hash() != other.hash() == shape_hash(other.document())


def test_a_pattern_inside_of_a_step_is_told_whose_after_counts() -> None:
    for inner in (line(gets("t", "*.csv")), graph(gets("t", "*.csv", after=("q",)), task("q"))):
        assert refusal(Nested("n", inner), puts("o", "x.csv")).endswith(
            "as in o:*.csv, or list steps in the `after` of 'n'"
        )
        assert follows(Nested("n", inner, after=("o",)), puts("o", "x.csv")) == {"n": ["o"]}
    handled = task("s", on_failure=line(gets("h", "*.csv")))
    assert refusal(handled, puts("o", "x.csv")).endswith("or list steps in the `after` of 's'")


# --- who computes how a composite goes on -----------------------------------------------------------------------------


def emissions(planned: Plan) -> dict[str, list[str]]:
    """What each task computes, as path:when."""
    return {row.path: [f"{one.path}:{one.when}" for one in row.emits] for row in planned.steps if row.emits}


def each(name: str, on: str, *branch: Step, **more: Any) -> Map:
    return Map(name, Pipeline(branch or (task("t"),)), on, "i", line="p.py:3", **more)


def choose(name: str, by: str, **more: Any) -> Conditional:
    return Conditional(name, by, (("l", line(task("t"))),), default=line(Stub("s")), line="p.py:3", **more)


def test_a_task_that_returns_the_value_computes_it_wherever_it_is_defined() -> None:
    assert emissions(made(each("m", "x"), task("a", "x"), task("b"))) == {"a": ["m:start"]}
    # also one that follows it,
    assert emissions(made(each("m", "x", after=("b",)), task("a", "x"), takes("b", "x"))) == {"b": ["m:start"]}
    # and never one beside it, although that is nearer in the list.
    assert emissions(made(task("a", "x"), each("m", "x", after=("b",)), task("b"))) == {"a": ["m:start"]}


def test_one_task_follows_all_that_a_composite_depends_on() -> None:
    nested = each("m", "x", each("n", "y"))
    a, b, join = task("a", "x"), task("b", "y"), task("j", after=("a", "b"))
    assert refusal(a, b, nested) == (
        "the map 'm' depends on 'a' and 'b', and no task before it follows them all, so that one container holds what decides: put "
        "a task between"
    )
    assert emissions(made(a, b, join, each("m", "x", each("n", "y"), after=("j",)))) == {"j": ["m:start"]}


def test_what_follows_from_the_parameters_alone_is_computed_by_no_task() -> None:
    planned = made(choose("c", "k"), task("a"), Nested("n", graph(choose("d", "k"))))
    assert emissions(planned) == {} and planned.given == ("c", "n/d")


def test_the_named_one_of_two_steps_computes_it() -> None:
    a, b = task("a", "x"), task("b", "x")
    assert emissions(made(a, b, choose("c", "x", source="a"))) == {"a": ["c:start"]}
    nested = Nested("n", graph(task("t", "x"), task("u")))
    assert emissions(made(nested, b, choose("c", "x", source="n/t"))) == {"n/t": ["c:start"]}


def test_the_end_of_a_graph_is_where_its_value_is() -> None:
    branch = graph(task("done", "d", after=("work",)), task("work"), task("beside", after=("done",)))
    assert emissions(made(Loop("l", branch, 3, "d", line="p.py:3"))) == {"l/*/beside": ["l:again"]}
    nested = Nested("n", graph(task("one", "x"), task("two")))
    assert emissions(made(each("m", "x"), nested)) == {"n/one": ["m:start"]}


def test_a_handler_on_the_way_to_the_end_of_a_graph_is_refused() -> None:
    nested = Nested("n", graph(task("one", "x"), takes("two", "x", on_failure=line(Stub("h")))))
    assert "which is skipped where 'two' fails and its on_failure succeeds" in refusal(nested, each("m", "x"))


def test_branches_that_are_graphs_do_not_share_a_container() -> None:
    planned = made(Map("m", graph(task("t")), "x", "i"), Map("n", line(task("t")), "x", "i"))
    inside = {row.path: row.inside.grouped for row in planned.steps if row.inside is not None}
    assert inside == {"m": False, "n": True}


# --- what a step sees -------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 7)


@st.composite
def small_graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """For each step those that it follows, in any order of definition and without a cycle."""
    size = draw(SIZES)
    order = draw(st.permutations(range(size)))
    after: list[tuple[int, ...]] = [()] * size
    for place, step in enumerate(order):
        after[step] = tuple(draw(st.lists(st.sampled_from(order[:place]), unique=True))) if place else ()
    return after


def closure(after: list[tuple[int, ...]]) -> list[set[int]]:
    """All that each step depends on, by Warshall's rule."""
    reached = [set(each) for each in after]
    for middle in range(len(after)):
        for one in reached:
            if middle in one:
                one |= reached[middle]
    return reached


def of_after(after: list[tuple[int, ...]]) -> Plan:
    return made(*(task(f"s{step}", after=tuple(f"s{one}" for one in each)) for step, each in enumerate(after)))


@given(small_graphs())
def test_a_step_sees_what_it_depends_on_and_nothing_else(after: list[tuple[int, ...]]) -> None:
    planned = of_after(after)
    tree, [scope] = Tree(planned.document()), planned.scopes
    for position, (path, ancestors) in enumerate(zip(scope.steps, closure(after), strict=True)):
        assert set(scope.earlier(position)) == set(tree.earlier("", path)) == ancestors
    assert set(scope.earlier(len(after))) == set(range(len(after)))
    place = {step: number for number, step in enumerate(by_dependence(after))}
    assert len(place) == len(after)
    assert all(place[one] < place[step] for step, each in enumerate(after) for one in each)


@given(st.lists(st.tuples(st.sets(st.sampled_from("xyz")), st.sets(st.sampled_from("xyz"))), min_size=1, max_size=4))
def test_names_make_the_edges_that_they_say_or_a_refusal(steps: list[tuple[set[str], set[str]]]) -> None:
    expected = []
    for position, (taken, _) in enumerate(steps):
        givers = {name: [g for g, (_, given) in enumerate(steps) if name in given and g != position] for name in taken}
        expected.append(
            {giver for each in givers.values() for giver in each} if all(len(g) < 2 for g in givers.values()) else None
        )
    planned = None
    try:
        planned = made(
            *(task(f"s{n}", *sorted(given), takes=tuple(sorted(taken))) for n, (taken, given) in enumerate(steps))
        )
    except BadInput as refused:
        is_cyclic = "form a cycle" in refused.message
        assert is_cyclic != ("none of them is the newer one" in refused.message)
        if is_cyclic:
            known = [tuple(each) for each in expected if each is not None]
            assert len(known) == len(steps) and any(n in one for n, one in enumerate(closure(known)))
        else:
            assert None in expected
    if planned is not None:
        assert planned.scopes[0].after == tuple(tuple(sorted(each or ())) for each in expected)


# --- the order in which steps run -------------------------------------------------------------------------------------


Choice = Callable[[int], int]
"""Which of so many jobs ends next."""


class _Engine:
    """A launcher and a listener in one, whose jobs end when they are told: which of two ends first is what the tests are about.

    Attributes:
        log: what began and how it ended, in this order. asked: the steps that were to be started, in this order.
    """

    ahead = 2

    def __init__(self, folder: Path, failing: Collection[str]) -> None:
        self.folder = folder
        self.failing = failing
        self.running: list[_Job] = []
        self.prepared: set[str] = set()
        self.asked: list[str] = []
        self.log: list[tuple[str, str]] = []

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> Job:
        self.prepared.add(step.path)
        self.asked.append(step.path)
        return _Job(self, step.path, attempt, ended)

    def close(self) -> None:
        assert not self.running and not self.prepared, "something is left in the engine"

    def started(self, step: PlannedStep, attempt: int) -> None:
        self.log.append(("began", step.path))

    def ended(self, step: PlannedStep, attempt: Attempt, seconds: float) -> None:
        self.log.append((attempt.status, step.path))

    def passed(self, step: PlannedStep) -> None: ...
    def retrying(self, step: PlannedStep, attempt: int, seconds: float) -> None: ...
    def cancelling(self, kill: bool, exiting: bool = False) -> None: ...

    def held(self) -> float:
        return 0.0

    def has(self, what: str) -> set[str]:
        return {path for each, path in self.log if each == what}


class _Job:
    def __init__(self, engine: _Engine, path: str, attempt: int, ended: OnEnd) -> None:
        self.engine, self.path, self.attempt, self._ended = engine, path, attempt, ended

    def release(self, secrets: Mapping[str, str]) -> None:
        self.engine.prepared.remove(self.path)
        self.engine.running.append(self)

    def end(self) -> None:
        self.engine.running.remove(self)
        code = 3 if self.path in self.engine.failing else 0
        folder = Path(layout.attempt_folder(str(self.engine.folder), self.path, self.attempt))
        folder.mkdir(parents=True, exist_ok=True)
        status = "failed" if code else "succeeded"
        end = {"status": status, "exit_code": code, "reason": "broken" if code else "", "returns": {}, "inputs": {}}
        records.write(
            f"{folder}/end.json", {"version": 1, "started": STARTED, "ended": ENDED, "inputs_digest": "", **end}
        )
        self._ended(self, Verdict(code), None)

    def stop(self, kill: bool) -> None: ...

    def discard(self) -> None:
        self.engine.prepared.remove(self.path)

    def name(self) -> str:
        return self.path


class _Told(Scheduler):
    """A scheduler that has one of its jobs ended, by choice, whenever it waits for one."""

    def __init__(
        self, planned: Plan, engine: _Engine, slots: int, choose: Choice, done: CompletedWork | None = None
    ) -> None:
        super().__init__(
            planned, engine, engine.folder, lambda _: {}, engine, Cancel(), parallelism=slots, completed_work=done
        )
        self.engine, self.slots, self.choose = engine, slots, choose

    def _handle_next(self) -> None:
        running = self.engine.running
        if running and self._messages.empty():
            assert len(running) <= self.slots
            self.before_end()
            running[self.choose(len(running))].end()
        super()._handle_next()

    def before_end(self) -> None: ...


class _NeverIdle(_Told):
    """Of a graph of tasks: checks that no slot is free while a step could run, and that nothing waits whose turn never comes."""

    def before_end(self) -> None:
        began, succeeded = self.engine.has("began"), self.engine.has("succeeded")
        [scope] = self._plan.scopes
        assert scope.after is not None
        could = [
            path
            for path, after in zip(scope.steps, scope.after, strict=True)
            if path not in began and all(scope.steps[one] in succeeded for one in after)
        ]
        assert len(self.engine.running) == self.slots or not could, (could, self.engine.log)
        failed = self.engine.has("failed")
        for path in self.engine.prepared:
            assert not failed & {scope.steps[one] for one in scope.earlier(scope.steps.index(path))}, path


@settings(max_examples=60)
@given(small_graphs(), st.integers(1, 3), st.data())
def test_each_step_runs_once_what_it_depends_on_has_succeeded(
    after: list[tuple[int, ...]], slots: int, data: st.DataObject
) -> None:
    planned = of_after(after)
    failing = {f"s{one}" for one in data.draw(st.sets(st.integers(0, len(after) - 1), max_size=2))}
    with tempfile.TemporaryDirectory() as folder:
        engine = _Engine(Path(folder), failing)
        outcome = _NeverIdle(planned, engine, slots, lambda count: data.draw(st.integers(0, count - 1))).run()
    # Nothing begins before all that it depends on has succeeded,
    ended: set[str] = set()
    for what, path in engine.log:
        if what == "began":
            assert {f"s{one}" for one in closure(after)[int(path[1:])]} <= ended
        elif what == "succeeded":
            ended.add(path)
    # all runs that depends on nothing that failed, once, and no more;
    begun = [path for what, path in engine.log if what == "began"]
    below = {f"s{step}" for step, each in enumerate(closure(after)) if any(f"s{one}" in failing for one in each)}
    assert sorted(begun) == sorted({f"s{step}" for step in range(len(after))} - below)
    # and the first failure in order of definition is the run's.
    failed = sorted(failing & set(begun))
    expected = Outcome("failed", f"the step {failed[0]} failed: broken") if failed else Outcome("succeeded")
    assert outcome == expected


def test_what_may_run_now_is_started_before_what_is_started_ahead(tmp_path: Path) -> None:
    # a and b begin, c and d lack one of them each.
    planned = made(task("c", after=("a",)), task("d", after=("b",)), task("a"), task("b"))
    engine = _Engine(tmp_path, ())
    assert _Told(planned, engine, 2, lambda _: 0).run() == Outcome("succeeded")
    assert engine.asked == ["a", "b", "c", "d"]


def test_what_depends_on_a_step_whose_handler_succeeded_does_not_run(tmp_path: Path) -> None:
    mended = task("a", on_failure=line(task("h")))
    planned = made(task("d", after=("b",)), task("b", after=("a",)), mended, task("c"))
    engine = _Engine(tmp_path, {"a"})
    assert _Told(planned, engine, 2, lambda _: 0).run() == Outcome("succeeded")
    assert engine.has("began") == {"a", "a/on_failure/h", "c"}
    # Where the handler fails as well, its failure is the graph's.
    engine = _Engine(tmp_path / "other", {"a", "a/on_failure/h"})
    outcome = _Told(planned, engine, 2, lambda _: 0).run()
    assert outcome == Outcome("failed", "the step a/on_failure/h failed: broken")
    assert engine.has("began") == {"a", "a/on_failure/h", "c"}


@st.composite
def pipelines(draw: st.DrawFn, depth: int = 1) -> Pipeline:
    """Lines and graphs of tasks, stubs and composites, some with handlers."""
    is_graph = draw(st.booleans())
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 4))):
        after = tuple(step.name for step in steps if is_graph and draw(st.booleans()))
        kind = draw(st.sampled_from(("task", "task", "stub", *(("pipeline", "parallel") if depth else ()))))
        has_handler = kind != "stub" and draw(st.integers(0, 4)) == 4
        handler = draw(pipelines(depth=0)) if has_handler else None
        inner = [draw(pipelines(depth=depth - 1)) for _ in range({"pipeline": 1, "parallel": 2}.get(kind, 0))]
        name = f"s{number}"

        step: Step
        if kind == "task":
            step = task(name, after=after, on_failure=handler)
        elif kind == "stub":
            step = Stub(name, after=after)
        elif kind == "pipeline":
            step = Nested(name, inner[0], after=after, on_failure=handler)
        else:
            step = Parallel(name, (("l", inner[0]), ("r", inner[1])), after=after, on_failure=handler)
        steps.append(step)
    return Pipeline(tuple(steps), order="graph" if is_graph else "line")


@settings(max_examples=60)
@given(pipelines(), st.integers(1, 3), st.data())
def test_the_records_say_what_the_scheduler_did_and_a_retry_does_the_rest(
    pipeline: Pipeline, slots: int, data: st.DataObject
) -> None:
    planned = plan(pipeline, config(), (".",))
    tree, tasks = Tree(planned.document()), [step.path for step in planned.tasks()]
    failing = data.draw(st.sets(st.sampled_from(tasks), max_size=3)) if tasks else set()

    def choose(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    def check(engine: _Engine, outcome: Outcome) -> None:
        found = states(tree, lambda path: merge_all(engine.folder, path, run_active=False), {}, active=False)
        assert (found.root.status, found.root.reason) == (outcome.status, outcome.reason)
        with_attempts = {row.path for row in found.rows if row.attempts}
        assert with_attempts >= engine.has("began")
        assert all(row.status == "skipped" for row in found.rows if row.row["type"] == "task" and not row.attempts)

    with tempfile.TemporaryDirectory() as folder:
        # A run is what its records say.
        engine = _Engine(Path(folder), failing)
        outcome = _Told(planned, engine, slots, choose).run()
        check(engine, outcome)
        if outcome.status == "succeeded":
            return
        # Once all is mended, what had succeeded does not run again, and the run succeeds.
        mended = _Engine(Path(folder), ())
        done = CompletedWork(tree, Path(folder), frozenset(tree.rows), {})
        outcome = _Told(planned, mended, slots, choose, done).run()
        assert outcome.status == "succeeded"
        check(mended, outcome)
        assert not mended.has("began") & engine.has("succeeded")
