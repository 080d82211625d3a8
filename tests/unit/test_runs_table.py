"""Values of many runs side by side: names, order and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from toolkit.errors import BadInput
from toolkit.report.contract import RunRow
from toolkit.report.runs_table import TabledRun, parse_columns, sort, table, to_csv


def run(run_id: str, values: Any, *declared: str, status: str = "succeeded") -> TabledRun:
    summary: RunRow = {
        "run_id": run_id,
        "pipeline": "p",
        "environment": "local",
        "tag": "",
        "status": status,
        "reason": "",
        "started": f"2026-01-01T00:00:0{len(run_id)}.000Z",
        "ended": None,
    }
    return TabledRun(summary, values, frozenset(declared))


RUNS = [
    run("a", {"accuracy": 0.9, "scores": {"rmse": 9, "at.5": {"x": 1}, "list": [{"y": 2}, 3]}, "n": 10}, "accuracy"),
    run("bb", {"accuracy": 0.25, "scores": {"rmse": 10}, "n": "ten"}, "accuracy"),
    run("ccc", {"n": None}, "accuracy", status="failed"),
]


def values(*columns: str) -> list[Any]:
    return [row["values"] for row in table(RUNS, columns)]


def test_a_dot_leads_into_mappings_and_lists_and_the_longest_key_counts() -> None:
    assert values("accuracy", "scores.rmse") == [
        {"accuracy": 0.9, "scores.rmse": 9},
        {"accuracy": 0.25, "scores.rmse": 10},
        {},
    ]
    assert values("scores.at.5.x", "scores.list.0.y", "scores.list.1")[0] == {
        "scores.at.5.x": 1,
        "scores.list.0.y": 2,
        "scores.list.1": 3,
    }
    # A null is a value; what is missing is none.
    assert values("n") == [{"n": 10}, {"n": "ten"}, {"n": None}]
    dotted = [run("a", {"a": {"b": 1}, "a.b": 2})]
    assert table(dotted, ["a.b"])[0]["values"] == {"a.b": 2}


def test_nothing_lies_inside_an_object_or_a_value_that_was_not_read() -> None:
    described = {"model": {"object": "M", "sha256": "0", "size": 1}, "big": {"kind": "json", "sha256": "0", "size": 1}}
    for name in ("model.size", "big.kind", "model.object"):
        with pytest.raises(BadInput, match="none of these runs has a value"):
            table([run("a", described)], [name])
    assert table([run("a", described)], ["model"])[0]["values"] == {"model": described["model"]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acuracy", "did you mean accuracy?"),
        ("scores.rsme", "did you mean scores.rmse?"),
        ("zzz", "they have accuracy, n, scores"),
        ("scores.list.7", "none of these runs has a value scores.list.7"),
    ],
)
def test_a_name_that_no_run_has_is_refused(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        values(name)


def test_a_name_that_a_step_returns_is_a_name_also_when_no_run_got_so_far() -> None:
    failed = [run("a", {"n": 1}, "accuracy", status="failed")]
    assert table(failed, ["accuracy", "accuracy.of"])[0]["values"] == {}
    assert table([], ["anything"]) == []
    # But not what is missing in the value of a run that did.
    got = run("b", {"accuracy": {"eu": 1}}, "accuracy")
    with pytest.raises(BadInput, match=r"did you mean accuracy\.eu\?"):
        table([*failed, got], ["accuracy.ue"])


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("accuracy", ["bb", "a", "ccc"]),
        ("-accuracy", ["a", "bb", "ccc"]),
        ("scores.rmse", ["a", "bb", "ccc"]),
        ("n", ["a", "bb", "ccc"]),
        ("-run_id", ["ccc", "bb", "a"]),
        ("status", ["ccc", "a", "bb"]),
    ],
)
def test_numbers_are_sorted_as_numbers_and_what_is_missing_comes_last(by: str, order: list[str]) -> None:
    columns = ("accuracy", "scores.rmse", "n")
    assert [row["run_id"] for row in sort(table(RUNS, columns), columns, by)] == order


def test_equal_ones_stay_in_their_order_both_ways() -> None:
    runs = [run(name, {"x": x}) for name, x in (("a", 1), ("b", 2), ("c", 1.0), ("d", True), ("e", float("nan")))]
    rows = table(runs, ["x"])
    assert [row["run_id"] for row in sort(rows, ["x"], "x")] == ["a", "c", "b", "d", "e"]
    assert [row["run_id"] for row in sort(rows, ["x"], "-x")] == ["d", "b", "a", "c", "e"]


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="no column 'acuracy' to sort by; did you mean accuracy"):
        sort(table(RUNS, ["accuracy"]), ["accuracy"], "acuracy")
    for text in ("", "a,", ","):
        with pytest.raises(BadInput, match="--table needs"):
            parse_columns(text)
    assert parse_columns("b, a,b") == ("b", "a")


def test_csv_is_read_back_as_it_was() -> None:
    texts = ["=1+1", 'a "b", c', "two\nlines", "", "ünï", None, True, {"k": [1, "x,y"]}, 1e-7]
    runs = [run(f"r{number}", {"x": text, "y,z": number}) for number, text in enumerate(texts)]
    rows = table(runs, ["x", "y,z"])
    head, *read = list(csv.reader(io.StringIO(to_csv(rows, ["x", "y,z"]))))
    assert head == ["run_id", "pipeline", "environment", "tag", "status", "started", "ended", "x", "y,z"]
    assert [row[7] for row in read] == [*texts[:5], "null", "true", '{"k":[1,"x,y"]}', "1e-07"]
    assert [row[8] for row in read] == [str(number) for number in range(len(texts))]
