"""Catalog keys in a plan: names in braces, keys of branches side by side, and what executed notebooks are called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.plans import gets, planned, puts, task
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
    Task,
)
from toolkit.plan.keys import names_in
from toolkit.plan.planner import missing_parameters
from toolkit.runtime.shared.catalog import BadKey
from toolkit.runtime.shared.keys import escape_braces, fill_key, names_in_key, text_in_key
from toolkit.runtime.shared.nearby import what_is_there

if TYPE_CHECKING:
    from toolkit.runtime.shared.nearby import Sources


def both(*branches: Step | tuple[Step, ...], **more: Any) -> Parallel:
    """A parallel with the branches a, b, c and so on."""
    pipelines = [Pipeline(branch if isinstance(branch, tuple) else (branch,)) for branch in branches]
    return Parallel("both", tuple(zip("abcdef", pipelines, strict=False)), line="p.py:1", **more)


# --- names in braces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "filled", "is_name"),
    [
        ("model-{x}.pkl", "model-1*2.pkl", True),
        ("{x}{y}/{x}", "1*2[y]/1*2", True),
        ("{{x}}", "{x}", True),
        ("{{{x}}}", "{1*2}", True),
        ("*/{x}-{y}.csv", "*/1[*]2-[[]y].csv", False),
        ("*.csv", "*.csv", False),
    ],
)
def test_a_value_stands_in_place_of_its_name_and_is_never_a_pattern(key: str, filled: str, is_name: bool) -> None:
    assert fill_key(key, {"x": "1*2", "y": "[y]"}.__getitem__) == (filled, is_name)


@pytest.mark.parametrize("name", ["a{b", "}", "{x}", "{{", "plain"])
def test_a_name_with_braces_has_a_key_that_stands_for_it(name: str) -> None:
    assert fill_key(escape_braces(name), str)[0] == name


@pytest.mark.parametrize(
    "key", ["{", "a}b", "{}", "{a.b}", "{a!r}", "{a:>3}", "{ a}", "{0}", "{a", "{a}}", "{a-b}", "{ä}"]
)
def test_braces_around_something_else_are_one_sentence_with_the_line(key: str) -> None:
    for use in (CatalogUse((), (key,)), CatalogUse((key,), ())):
        with pytest.raises(BadInput, match="in braces stands the name of a parameter") as caught:
            planned(task("a", catalog=use))
        assert caught.value.where == "p.py:3"


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}])
def test_only_text_and_numbers_can_be_part_of_a_key(value: object) -> None:
    with pytest.raises(BadKey, match="only text and numbers"):
        text_in_key("{x}", "x", value)
    with pytest.raises(BadInput, match="names x, which is"):
        planned(task("a", catalog=CatalogUse((), ("{x}.csv",)), bind={"x": Constant(value)}))


@pytest.mark.parametrize("key", ["{x}/../../y", "/{x}", "../{x}"])
def test_a_key_with_names_stays_inside_the_folder(key: str) -> None:
    with pytest.raises(BadInput):
        planned(puts("a", key))
    with pytest.raises(BadInput, match="leads out"):
        planned(puts("a", "{x}/y", bind={"x": Constant("..")}))


@pytest.mark.parametrize(
    ("steps", "given", "missing"),
    [
        ([puts("a", "{x}.csv")], {}, [("a", "x")]),
        ([puts("a", "{x}.csv")], {"x": 1}, []),
        ([gets("a", "{x}.csv")], {}, [("a", "x")]),
        ([task("a", "x"), puts("b", "{x}.csv")], {}, []),
        ([replace(puts("a", "{x}.csv"), returns=task("a", "x").returns)], {}, [("a", "x")]),
        ([puts("a", "{{x}}.csv")], {}, []),
        ([puts("a", "{x}.csv", bind={"x": Source("y")})], {"y": 1}, []),
        ([puts("a", "{x}.csv", bind={"x": Source("y")})], {"x": 1}, [("a", "y")]),
        ([puts("a", "{x}.csv", bind={"x": Constant("y")})], {}, []),
        ([replace(puts("a", "{x}.csv"), kind="shell", function=None, command="true", takes=None)], {}, [("a", "x")]),
        ([Map("m", Pipeline((puts("a", "{i}.csv"),)), "list", "i")], {"list": []}, []),
        ([Map("m", Pipeline((puts("a", "{j}.csv"),)), "list", "i")], {"list": []}, [("m/*/a", "j")]),
        ([Loop("l", Pipeline((task("a", "b"), puts("c", "{i}.csv"))), 2, "b", "i")], {}, []),
    ],
)
def test_a_name_in_a_key_is_one_that_the_step_takes(
    steps: list[Step], given: dict[str, object], missing: list[tuple[str, str]]
) -> None:
    assert [(step.path, name) for step, name in missing_parameters(planned(*steps), given)] == missing


def test_the_plan_says_which_names_a_step_has_in_its_keys() -> None:
    [first, second] = planned(
        task("{x}"), task("a", catalog=CatalogUse(("{x}:{y}/{z}", "{y}"), ("{v}", "{{w}}")))
    ).steps
    assert names_in(first) == () and names_in(second) == ("y", "z", "v")
    assert names_in_key("{a}{b}{a}") == ["a", "b"]


# --- keys side by side ------------------------------------------------------------------------------------------------

LOOPED = Loop("l", Pipeline((task("done", "b"), puts("w", "x"))), 2, "b")
ALLOWED: list[list[Step]] = [
    # Each get says whose it means, or one of them is the newer file for it.
    [both(puts("w", "x"), puts("v", "x")), gets("g", "both/a/w:x", "both/b/v:x")],
    [both((puts("w", "x"), gets("g", "x")), (puts("w", "x"), gets("g", "x")))],
    [puts("s", "x"), both(*[task("w", catalog=CatalogUse(("x",), ("x",)))] * 2), gets("g", "both/a/w:x", "both/b/w:x")],
    [both(*[replace(puts("w", "x"), on_failure=Pipeline((gets("g", "x"),)))] * 2)],
    [both(puts("w", "x"), puts("w", "x")), replace(gets("g", "both/a/w:x"), catalog=CatalogUse(("both/a/w:x",), ("x",))),
     gets("h", "x")],
    [both(puts("w", "x"), puts("w", "x")), Nested("n", Pipeline((gets("g", "y"), puts("w", "x"), gets("h", "x")))),
     gets("i", "both/b/w:x")],
    [both(puts("w", "x"), puts("w", "x")), Map("m", Pipeline((gets("g", "both/a/w:x"),)), "ns", "n")],
    [both(puts("w", "x"), puts("w", "x"), on_failure=Pipeline((gets("g", "both/a/w:x"),)))],
    # Another name.
    [both(puts("w", "x"), puts("w", "y")), gets("g", "x")],
    [both(puts("w", "x"), puts("w", "x/y"))],
    [both(puts("w", "{{x}}"), puts("w", "{x}"))],
    # What only the run can tell.
    [both(puts("w", "*.x"), puts("w", "*.x")), gets("g", "a.x")],
    [both(puts("w", "*.x"), puts("w", "a.x")), gets("g", "a.x")],
    [both(puts("w", "x/"), puts("w", "x/")), gets("g", "x")],
    [both(puts("w", "{n}"), puts("w", "x")), gets("g", "x")],
    [both((task("t", "n"), puts("w", "{n}")), puts("w", "{n}")), gets("g", "x")],
    [both(puts("w", "{n}", bind={"n": Constant("x")}), puts("w", "{n}", bind={"n": Constant("y")})), gets("g", "x")],
    [both(puts("w", "{n}", bind={"n": Source("o")}), puts("w", "{n}")), gets("g", "x")],
    [both(Map("m", Pipeline((puts("w", "x"),)), "ns", "n"), Map("m", Pipeline((puts("w", "x"),)), "ns", "n")), gets("g", "0/x")],
    [both(Conditional("c", "p", (("a", Pipeline((puts("w", "x"),))),)), puts("w", "x")), gets("g", "x")],
    [both(replace(task("t"), on_failure=Pipeline((puts("w", "x"),))), puts("w", "x")), gets("g", "x")],
    [both((Stub("s", terminate_with_success=True), puts("w", "x")), puts("w", "x")), gets("g", "x")],
    # Only one of two branches runs.
    [Conditional("c", "p", (("a", Pipeline((puts("w", "x"),))), ("b", Pipeline((puts("w", "x"),))))), gets("g", "x")],
]  # fmt: skip
REFUSED: list[tuple[list[Step], str]] = [
    ([both(puts("w", "x"), puts("v", "x")), gets("g", "x")], "'both/a/w' and 'both/b/v' put x"),
    ([both(puts("w", "x"), puts("v", "x")), gets("g", "x")], "as in both/a/w:x in that of g"),
    # No get says which is meant: whoever looks for the file finds one of two.
    ([both(puts("w", "x"), puts("w", "x"))], "give one of them another name than x"),
    ([puts("s", "x"), both(*[task("w", catalog=CatalogUse(("x",), ("x",)))] * 2)], "give one of them another name than x"),
    ([both(puts("w", "x"), Stub("s"), puts("w", "x"))], "'both/a/w' and 'both/c/w'"),
    ([both(puts("w", "./a//x"), puts("w", "a/x")), gets("g", "a/x")], "put a/x"),
    ([both(puts("w", "a/x"), puts("w", "a/x")), gets("g", "a")], "put a/x"),
    ([both(puts("w", "x.csv"), puts("w", "x.csv")), gets("g", "*.csv")], "in that of g"),
    ([both(puts("w", "x"), puts("w", "x")), gets("g", "both/a/w:x"), gets("h", "x")], "in that of h"),
    ([both(puts("w", "x"), puts("w", "x")), gets("g", "both:x")], "in that of g"),
    ([both(replace(puts("w", "x"), catalog=CatalogUse((), ("x",), False)), puts("w", "x"))], "put x"),
    ([both(puts("w", "{n}.csv"), puts("w", "{n}.csv")), gets("g", "{n}.csv")], "put {n}.csv"),
    ([both(puts("w", "{n}", bind={"n": Constant("x")}), puts("w", "x")), gets("g", "x")], "put x"),
    # Inside of other composites.
    ([both(Nested("n", Pipeline((puts("w", "x"),))), LOOPED), gets("g", "x")], "'both/a/n/w' and 'both/b/l/*/w'"),
    ([both(both(puts("w", "x"), puts("w", "x")), puts("v", "y"))], "'both/a/both/a/w' and 'both/a/both/b/w'"),
    ([both(both(puts("w", "x"), puts("w", "y")), puts("v", "x"))], "'both/a/both/a/w' and 'both/b/v'"),
    ([Map("m", Pipeline((both(puts("w", "x"), puts("w", "x")),)), "ns", "n"), gets("g", "0/x")], "which g gets"),
    ([Map("m", Pipeline((both(puts("w", "x"), puts("w", "x")),)), "ns", "n"), gets("g", "*/x")], "which g gets"),
    ([Nested("n", Pipeline((both(puts("w", "x"), puts("w", "x")),))), gets("g", "x")], "as in n/both/a/w:x"),
    ([both(puts("w", "x"), puts("w", "x")), Nested("n", Pipeline((gets("g", "x"),)))], "as in both/a/w:x in that of n/g"),
    ([both(puts("w", "x"), puts("w", "x")), Nested("n", Pipeline((both(puts("w", "y")), gets("g", "x"))))], "which n/g gets"),
    ([both(puts("w", "x"), puts("w", "x"), on_failure=Pipeline((gets("g", "x"),)))], "as in both/a/w:x in that of both/on"),
    ([Loop("l", Pipeline((task("t", "b"), gets("g", "x"), both(puts("w", "x"), puts("w", "x")))), 2, "b")], "which l/*/g gets"),
]  # fmt: skip


@pytest.mark.parametrize("steps", ALLOWED)
def test_one_key_of_two_branches_is_fine_where_each_get_says_whose_or_only_the_run_can_tell(steps: list[Step]) -> None:
    planned(*steps)


@pytest.mark.parametrize(("steps", "message"), REFUSED)
def test_two_branches_that_put_one_key_are_refused_with_both_and_a_remedy(steps: list[Step], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        planned(*steps)
    assert message in caught.value.message
    assert caught.value.where == "p.py:3"


def test_a_thousand_branches_that_put_one_key_are_checked_in_no_time() -> None:
    branches = tuple((f"b{number}", Pipeline((puts("w", "x"),))) for number in range(1000))
    planned(Parallel("both", branches), gets("g", "both/b7/w:x"))


# --- notebooks --------------------------------------------------------------------------------------------------------


def book(name: str, notebook: str = "nb/report.ipynb", *keys: str) -> Task:
    return Task(name, "notebook", command=notebook, catalog=CatalogUse((), (*keys, "report_out.ipynb")), line="p.py:3")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([book("one")], {"one": ("", ["report_out.ipynb"])}),
        ([book("one"), book("two", "nb/report.ipynb", "x")],
         {"one": ("one_out.ipynb", ["one_out.ipynb"]), "two": ("two_out.ipynb", ["x", "two_out.ipynb"])}),
        ([book("one"), book("two", "other/report.ipynb")],
         {"one": ("one_out.ipynb", ["one_out.ipynb"]), "two": ("two_out.ipynb", ["two_out.ipynb"])}),
        ([book("one", "nb/report.py"), book("two")],
         {"one": ("one_out.ipynb", ["one_out.ipynb"]), "two": ("two_out.ipynb", ["two_out.ipynb"])}),
        ([replace(book("one", "nb/report.md", "report_out.html"), html=True), book("two")],
         {"one": ("one_out.ipynb", ["one_out.html", "one_out.ipynb"]), "two": ("two_out.ipynb", ["two_out.ipynb"])}),
        ([both(book("one"), book("two"))],
         {"both/a/one": ("one_out.ipynb", ["one_out.ipynb"]), "both/b/two": ("two_out.ipynb", ["two_out.ipynb"])}),
        ([both(book("one"), book("one"))],
         {"both/a/one": ("both-a-one_out.ipynb", ["both-a-one_out.ipynb"]),
          "both/b/one": ("both-b-one_out.ipynb", ["both-b-one_out.ipynb"])}),
        ([both(book("{x}"), Stub("s")), book("{x}")],
         {"both/a/{x}": ("{x}_out.ipynb", ["{{x}}_out.ipynb"]), "{x}": ("{x}_out.ipynb", ["{{x}}_out.ipynb"])}),
    ],
)  # fmt: skip
def test_an_executed_notebook_is_named_by_its_step_where_several_share_it(
    steps: list[Step], expected: dict[str, tuple[str, list[str]]]
) -> None:
    rows = {row["path"]: row for row in planned(*steps).document()["steps"] if row["type"] == "task"}
    assert {path: (row.get("executed", ""), row["catalog"]["put"]) for path, row in rows.items()} == expected


# --- a get that finds nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("m.pkl", ["0/m.pkl", "1/m.pkl"], "get 0/m.pkl (of that item) or */m.pkl (of all items)"),
        ("m.pkl", ["3/0/m.pkl"], "get 3/0/m.pkl (of that item) or */*/m.pkl (of all items)"),
        ("*.pkl", ["0/m.pkl"], "get 0/*.pkl (of that item) or */*.pkl (of all items)"),
        ("out", ["0/out/a", "1/out/b"], "get 0/out (of that item) or */out/** (of all items)"),
        ("m.pkl", ["a/m.pkl", "b/m.pkl", "other"], "there is a/m.pkl, b/m.pkl"),
        ("modle.pkl", ["model.pkl", "x"], "there is model.pkl"),
        ("m.pkl", ["a", "b", "c", "d"], "there is a, b, c and 1 more"),
        ("step:m.pkl", ["m.pkl"], "w put m.pkl, and 'step' is no step that this one can name"),
        ("m.pkl", [], "they put nothing"),
    ],
)
def test_a_get_of_nothing_says_what_there_is(name: str, files: list[str], words: str) -> None:
    sources: Sources = {file: [({"name": file, "sha256": "", "size": 0}, "w")] for file in files}
    assert words in what_is_there(name, sources, sources, False)
