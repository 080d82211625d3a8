"""A value keeps its spelling where steps find it, and a large one lies beside its record, undamaged or reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.plans import planned
from tests.support.recorded_run import RecordedRun, task
from toolkit.model.pipeline import Conditional, Constant, Function, Map, Pipeline, Step, Stub
from toolkit.report.diff import compare
from toolkit.report.diff_text import shorten_pair
from toolkit.report.facts import facts_of
from toolkit.report.view import view
from toolkit.run.preparation import initial_controls
from toolkit.runtime.shared import records
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.runtime.shared.layout import attempt_folder
from toolkit.runtime.shared.protocol import LARGEST_IN_RECORD
from toolkit.runtime.shared.run_files import is_file_of_run
from toolkit.runtime.shared.scope import RecordReader, RunPlan, Scope
from toolkit.runtime.shared.stored_values import load_value, publish_values, store_value, value_digest
from toolkit.runtime.shared.values import encode_value

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import StoredValue

LARGE = {"z": "x" * LARGEST_IN_RECORD, "a": 1}


def of(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def stored_by(run: RecordedRun, path: str, **values: Any) -> dict[str, StoredValue]:
    """Records an attempt that returned these values, as the runtime does; returns what the record has of them."""
    folder = attempt_folder(str(run.folder), path, 1)
    Path(folder).mkdir(parents=True, exist_ok=True)
    returns = {name: store_value(folder, "json", value, encode_value(value)) for name, value in values.items()}
    publish_values(folder, {"inputs": {}, "returns": returns})
    run.attempt(path)
    end = records.read(f"{folder}/end.json")
    assert end is not None
    records.write(f"{folder}/end.json", {**end, "returns": returns})
    return returns


def scope_of(run: RecordedRun, path: str, **spellings: str) -> Scope:
    record = run.log.run(run.id).record
    plan = RunPlan(records.parse_plan(record["plan"]), record["parameters"], spellings or record.get("spellings"))
    return Scope(plan, RecordReader(str(run.folder)), path)


# --- large values -----------------------------------------------------------------------------------------------------


def test_a_large_value_lies_beside_its_record_and_is_read_from_there(tmp_path: Path) -> None:
    # Given a step that returns a small value and two large ones,
    run = RecordedRun(tmp_path, of(task("a", "x", "y", "z"), task("b")))
    returns = stored_by(run, "a", x=1, y=LARGE, z=[LARGE])
    # when they are recorded, then the record has kind, size and hash of the large ones,
    assert returns["x"] == {"kind": "json", "value": 1}
    assert "value" not in returns["y"] and returns["y"]["size"] == len(encode_value(LARGE))
    assert (run.folder / "steps/a/1/end.json").stat().st_size < 2000
    assert is_file_of_run("steps/a/1/values.jsonl") and not list((run.folder / "steps/a/1").glob(".*"))
    # and a later step gets them, with their keys in their order.
    resolved = scope_of(run, "b").parameter("y")
    assert resolved is not None and json.dumps(load_value(resolved[1])) == json.dumps(LARGE)
    resolved = scope_of(run, "b").parameter("z")
    assert resolved is not None and load_value(resolved[1]) == [LARGE]


def test_where_a_value_is_written_makes_no_difference_to_its_hash(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(task("a", "x"), task("b")))
    [stored] = stored_by(run, "a", x=LARGE).values()
    assert value_digest(stored) == value_digest({"kind": "json", "value": LARGE})
    items: StoredValue = {"kind": "list", "items": [stored], "reducer": None, "map": "m", "name": "x"}
    elsewhere: StoredValue = {**stored, "offset": 7, "file": "/elsewhere"}
    assert value_digest(items) == value_digest({**items, "items": [elsewhere]})


def test_a_hash_sees_the_order_of_keys_and_the_spelling() -> None:
    digests = {
        value_digest({"kind": "json", "value": {"a": 1.1, "b": 2}}),
        value_digest({"kind": "json", "value": {"b": 2, "a": 1.1}}),
        value_digest({"kind": "json", "value": 1.1}),
        value_digest({"kind": "json", "value": 1.1, "spelling": "1.10"}),
        value_digest({"kind": "json", "value": "1.10"}),
    }
    assert len(digests) == 5
    # A value that the version before recorded has the hash that it had.
    assert value_digest({"kind": "json", "value": {"a": 1}}) == (
        "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    )


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "record"])
def test_a_large_value_that_is_missing_or_damaged_is_reported(tmp_path: Path, damage: str) -> None:
    run = RecordedRun(tmp_path, of(task("a", "x"), Map("m", of(task("c")), "x", "i")))
    [stored] = stored_by(run, "a", x=[LARGE]).values()
    file = run.folder / "steps/a/1/values.jsonl"
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "other":
        file.write_bytes(file.read_bytes().replace(b"x", b"y", 1))
    else:
        end = records.read(str(run.folder / "steps/a/1/end.json"))
        assert end is not None
        # What a record says of the file's place does not count.
        end["returns"] = {"x": {**stored, "offset": -5, "file": str(tmp_path / "other")}}
        records.write(str(run.folder / "steps/a/1/end.json"), end)
    with pytest.raises(StoreFault, match=r"values\.jsonl"):
        resolved = scope_of(run, "m").parameter("x")
        assert resolved is not None
        load_value(resolved[1])
    # The run can be shown, without the value.
    run.end()
    document = run.view()
    assert document["parameters"]["x"] == {"kind": "json", "size": stored["size"], "sha256": stored["sha256"]}
    with pytest.raises(StoreFault):
        view(run.log, run.log.run(run.id), whole=True)


def test_an_attempt_that_returns_nothing_large_leaves_no_file(tmp_path: Path) -> None:
    store_value(str(tmp_path), "json", LARGE, encode_value(LARGE))
    publish_values(str(tmp_path), {"inputs": {}, "returns": {"x": {"kind": "json", "value": 1}}})
    assert not list(tmp_path.iterdir())


def test_a_large_value_is_shown_by_kind_size_and_hash_unless_it_is_asked_for(tmp_path: Path) -> None:
    # Given large values from a step, from the run's parameters and from the items of a map,
    inner = Map("m", of(task("c", "item")), "few", "i")
    run = RecordedRun(
        tmp_path, of(task("a", "x"), inner, task("b")), parameters={"p": LARGE, "few": [1, 2]}, controls={"m": 2}
    )
    [stored] = stored_by(run, "a", x=LARGE).values()
    run.attempt("m/0/c", returns={"item": "y" * LARGEST_IN_RECORD})
    run.attempt("m/1/c", returns={"item": 1})
    run.attempt("b", inputs={"x": ("a", "x"), "p": ("", "p"), "items": ("m", "item")})
    run.end()
    large = {"kind": "json", "size": stored["size"], "sha256": stored["sha256"]}
    # when the run is shown, then they are described,
    document = run.view()
    rows = {step["path"]: step["attempts"][0] for step in document["steps"] if step["attempts"]}
    taken = rows["b"]["input_parameters"]
    assert rows["a"]["output_parameters"] == {"x": large}
    assert taken["x"] == taken["p"] == document["parameters"]["p"] == document["parameters"]["x"] == large
    for described in (taken["items"], rows["m/0/c"]["output_parameters"]["item"]):
        assert isinstance(described, dict) and set(described) == {"kind", "size", "sha256"}
    # and with --values they are there.
    whole = view(run.log, run.log.run(run.id), whole=True)
    rows = {step["path"]: step["attempts"][0] for step in whole["steps"] if step["attempts"]}
    assert rows["b"]["input_parameters"] == {"x": LARGE, "p": LARGE, "items": ["y" * LARGEST_IN_RECORD, 1]}
    assert whole["parameters"]["x"] == rows["a"]["output_parameters"]["x"] == LARGE


# --- spellings --------------------------------------------------------------------------------------------------------


def test_a_spelling_goes_with_its_value_into_every_scope(tmp_path: Path) -> None:
    # Given a parameter and returns that came as text,
    steps = (task("a", "x"), Map("m", of(task("b", "y"), task("c")), "x", "i"), task("d"))
    run = RecordedRun(tmp_path, of(*steps), parameters={"v": 1.1})
    run.attempt("a")
    end = records.read(str(run.folder / "steps/a/1/end.json"))
    assert end is not None
    end["returns"] = {"x": {"kind": "json", "value": [1.0, 2.5], "spelling": "[1.00, 2.5]"}}
    records.write(str(run.folder / "steps/a/1/end.json"), end)
    for item, spelling in enumerate(("3.10", "3.1")):
        run.attempt(f"m/{item}/b")
        path = str(run.folder / f"steps/m/{item}/b/1/end.json")
        end = records.read(path)
        assert end is not None
        end["returns"] = {"y": {"kind": "json", "value": 3.1, "spelling": spelling}}
        records.write(path, end)

    def found(path: str, name: str) -> Any:
        resolved = scope_of(run, path, v="1.10").parameter(name)
        assert resolved is not None
        return resolved[1].get("spelling", resolved[1]["value"])

    # when steps find them, then each has its spelling; a list has those of its items, and an item its part of the list's.
    assert (found("a", "v"), found("m/0/c", "v"), found("d", "x")) == ("1.10", "1.10", "[1.00, 2.5]")
    assert (found("m/0/c", "i"), found("m/1/c", "i")) == ("1.00", 2.5)
    assert (found("m/0/c", "y"), found("d", "y")) == ("3.10", "[3.10, 3.1]")


@pytest.mark.parametrize(
    ("reducer", "spelling"), [(None, "[3.10, 3.20]"), ("last", "3.20"), ("max", "3.20"), ("min", "3.10"), ("sum", None)]
)
def test_what_a_reducer_makes_of_spelled_values(tmp_path: Path, reducer: str | None, spelling: str | None) -> None:
    run = RecordedRun(
        tmp_path, of(Map("m", of(task("b", "y")), "x", "i", reducer=reducer), task("d")), parameters={"x": [1, 2]}
    )
    for item, text in enumerate(("3.10", "3.20")):
        run.attempt(f"m/{item}/b")
        path = str(run.folder / f"steps/m/{item}/b/1/end.json")
        end = records.read(path)
        assert end is not None
        end["returns"] = {"y": {"kind": "json", "value": float(text), "spelling": text}}
        records.write(path, end)
    resolved = scope_of(run, "d").parameter("y")
    assert resolved is not None and resolved[1].get("spelling") == spelling


@pytest.mark.parametrize(
    ("value", "spelling", "branch"),
    [(1.1, "1.10", "1.10"), (1.1, None, "1.1"), (1.1, " 1.10\n", "1.10"), ("1.10", None, "1.10"), (1000.0, "1e3", "1e3"),
     (1000.0, None, "1000.0"), (None, "null", "null"), (True, " true", "true"), (2.0, "2.00", "default")],
)  # fmt: skip
def test_a_conditional_chooses_by_the_spelling(value: Any, spelling: str | None, branch: str) -> None:
    labels = ("1.1", "1.10", "1e3", "1000.0", "2.0", "null", "true")
    choice = Conditional("c", "x", tuple((label, of(Stub("s"))) for label in labels), default=of(Stub("s")))
    given = {"x": spelling} if spelling is not None else {}
    assert initial_controls(planned(choice), {"x": value}, given)[0] == {"c": branch}


# --- what functions reduce --------------------------------------------------------------------------------------------


def test_what_a_reducer_made_is_shown_where_a_step_or_the_last_item_recorded_it(tmp_path: Path) -> None:
    # Given a map whose values a function reduces, and a step that took the result,
    reducer = Function("functions", "total")
    pipeline = of(Map("m", of(task("a", "x", "y")), "xs", "i", reducer=reducer), task("b"))
    run = RecordedRun(tmp_path, pipeline, parameters={"xs": [1, 2]}, controls={"m": 2})
    for item in range(2):
        run.attempt(f"m/{item}/a", returns={"x": item, "y": item})
    run.attempt("b")
    described = {"reducer": "functions.total", "items": 2}
    assert run.view()["parameters"] == {"x": described, "xs": [1, 2], "y": described}
    # (the hashes of what is reduced)
    digests = {}
    for name in ("x", "y"):
        resolved = scope_of(run, "b").parameter(name)
        assert resolved is not None
        digests[name] = value_digest(resolved[1])
    taken = {"from": "m", "name": "x", "kind": "list", "sha256": digests["x"], "reduced": {"kind": "json", "value": 41}}
    run.attempt("b", number=2)
    path = str(run.folder / "steps/b/2/end.json")
    end = records.read(path)
    assert end is not None
    records.write(path, {**end, "inputs": {"x": taken}})
    reduced = {
        digests["y"]: {"kind": "json", "value": {"z": 1, "a": 2}},
        "0" * 64: {"kind": "json", "value": "of earlier values"},
    }
    records.write(str(run.folder / "steps/m/1/a/1/reduced.json"), {"version": 1, "reduced": reduced})
    run.end()
    # when the run is shown, then the results are values, those of what the items returned at last.
    document = run.view()
    assert document["parameters"]["x"] == 41
    assert json.dumps(document["parameters"]["y"]) == '{"z": 1, "a": 2}'
    assert document["steps"][-1]["attempts"][1]["input_parameters"] == {"x": 41}
    shutil.rmtree(run.folder / "steps/m/1/a/1")
    run.attempt("m/1/a", returns={"x": 1, "y": 7})
    assert run.view()["parameters"]["y"] == described


# --- diff -------------------------------------------------------------------------------------------------------------


def differences(folder: Path, *sides: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """What two runs of one step differ in.

    Args:
        sides: for each run its ``value``, and how it was ``given``, with the text that spelled it.
    """
    facts = []
    for number, side in enumerate(sides):
        bound = task("a", "x", bind={"b": Constant(side.get("bound"))})
        given = {"parameters": {"p": side.get("given")}, "spellings": side.get("spellings", {})}
        folder.mkdir(exist_ok=True)
        run = RecordedRun(folder / str(number), of(bound), **given)
        stored_by(run, "a", x=side.get("value"))
        run.end()
        facts.append(facts_of(run.log, run.log.run(run.id), None))
    return [(found.field, found.where, found.a, found.b) for found in compare(*facts)]


@pytest.mark.parametrize(
    ("a", "b", "field", "where"),
    [
        ({"value": {"a": 1, "b": 2}}, {"value": {"b": 2, "a": 1}}, "returns", "x"),
        ({"value": [{"a": 1, "b": [{}]}]}, {"value": [{"b": [{}], "a": 1}]}, "returns", "x"),
        ({"value": LARGE}, {"value": dict(reversed(LARGE.items()))}, "returns", "x"),
        ({"value": 0.0}, {"value": -0.0}, "returns", "x"),
        ({"value": 2**53}, {"value": 2**53 + 1}, "returns", "x"),
        ({"given": {"a": 1, "b": 2}}, {"given": {"b": 2, "a": 1}}, "parameters", "p"),
        ({"given": 1.1}, {"given": 1.1, "spellings": {"p": "1.10"}}, "parameters", "p"),
        ({"bound": {"a": 1, "b": 2}}, {"bound": {"b": 2, "a": 1}}, "plan", "bind.b.value"),
    ],
)
def test_diff_sees_the_order_of_keys_and_the_spelling(
    tmp_path: Path, a: dict[str, Any], b: dict[str, Any], field: str, where: str
) -> None:
    assert [found[:2] for found in differences(tmp_path, a, b)] == [(field, where)]
    assert differences(tmp_path / "same", a, a) == []


def test_what_an_earlier_version_did_not_record_is_no_difference(tmp_path: Path) -> None:
    # Given the same run twice, once with a large value in its record and without spellings and what was reduced,
    pipeline = of(task("a", "x"), Map("m", of(task("c", "y")), "p", "i", reducer=Function("f", "total")), task("b"))
    facts = []
    for version in ("before", "now"):
        spellings: dict[str, Any] = {"spellings": {"p": "[1,2]"}} if version == "now" else {}
        run = RecordedRun(tmp_path / version, pipeline, parameters={"p": [1, 2]}, controls={"m": 2}, **spellings)
        stored_by(run, "a", x=LARGE) if version == "now" else run.attempt("a", returns={"x": LARGE})
        for item in range(2):
            run.attempt(f"m/{item}/c", returns={"y": item})
        run.attempt("b")
        taken: dict[str, Any] = {"from": "m", "name": "y", "kind": "list", "sha256": "0" * 64}
        if version == "now":
            taken["reduced"] = {"kind": "json", "value": 1}
        path = str(run.folder / "steps/b/1/end.json")
        end = records.read(path)
        assert end is not None
        records.write(path, {**end, "inputs": {"y": taken}})
        run.end()
        facts.append(facts_of(run.log, run.log.run(run.id), None))
    # when they are compared, in either order, then they are the same.
    assert compare(*facts) == [] and compare(*reversed(facts)) == []


def test_diff_shows_values_in_their_order() -> None:
    assert shorten_pair({"b": 1, "a": 2}, {"a": 2, "b": 1}) == ('{"b": 1, "a": 2}', '{"a": 2, "b": 1}')
