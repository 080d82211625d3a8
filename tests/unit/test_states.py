"""What is shown of nested runs: each composite is what its parts come to, and what a run has not come to is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.recorded_run import CONFIG, RecordedRun, task
from toolkit import report
from toolkit.model.pipeline import Conditional, Loop, Map, Nested, Parallel, Pipeline, Step, Stub
from toolkit.plan.planner import plan
from toolkit.report.contract import StepDocument

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(report.__file__).parent / "schemas" / "show.schema.json").read_text())
)


def of(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def shown(run: RecordedRun) -> dict[str, StepDocument]:
    """The rows of a run by their paths; what is printed of it is what the schema says."""
    document = run.view()
    SCHEMA.validate(document)
    return {row["path"]: row for row in document["steps"]}


def statuses(run: RecordedRun) -> dict[str, str]:
    return {path: row["status"] for path, row in shown(run).items()}


# --- sequences and what ends them -----------------------------------------------------------------------------------


def test_a_step_that_ends_its_pipeline_leaves_the_rest_skipped(tmp_path: Path) -> None:
    inner = of(task("a", terminate_with_success=True), Stub("b"))
    other = of(Stub("c", terminate_with_failure=True), task("d"))
    run = RecordedRun(tmp_path, of(Nested("good", inner), Nested("bad", other), Stub("e")))
    run.attempt("good/a")
    run.end("failed", "the step bad/c ends its pipeline with a failure")
    rows = shown(run)
    assert {path: row["status"] for path, row in rows.items()} == {
        "good": "succeeded",
        "good/a": "succeeded",
        "good/b": "skipped",
        "bad": "failed",
        "bad/c": "succeeded",
        "bad/d": "skipped",
        "e": "skipped",
    }
    assert rows["bad"]["reason"] == "the step bad/c ends its pipeline with a failure"


def handled() -> Pipeline:
    return of(Nested("n", of(task("a", on_failure=of(task("mend"), Stub("told"))), task("b"))), task("c"))


def test_a_failed_step_whose_handler_succeeded_leaves_its_pipeline_succeeded(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, handled())
    run.attempt("n/a", "failed")
    run.attempt("n/a/on_failure/mend")
    run.attempt("c")
    run.end()
    rows = shown(run)
    assert {path: row["status"] for path, row in rows.items()} == {
        "n": "succeeded",
        "n/a": "failed",
        "n/a/on_failure/mend": "succeeded",
        "n/a/on_failure/told": "succeeded",
        "n/b": "skipped",
        "c": "succeeded",
    }
    assert rows["n/a"]["on_failure"] == "succeeded" and "on_failure" not in rows["n"]


def test_a_step_that_was_handled_does_not_end_its_pipeline_with_a_failure(tmp_path: Path) -> None:
    run = RecordedRun(
        tmp_path, of(Nested("n", of(task("a", terminate_with_failure=True, on_failure=of(task("mend"))))))
    )
    run.attempt("n/a", "failed")
    run.attempt("n/a/on_failure/mend")
    run.end()
    assert statuses(run)["n"] == "succeeded"


def test_a_handler_that_fails_says_why_its_pipeline_failed(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, handled())
    run.attempt("n/a", "failed")
    run.attempt("n/a/on_failure/mend", "failed")
    run.end("failed", "x")
    rows = shown(run)
    assert (rows["n"]["status"], rows["n/a"]["on_failure"]) == ("failed", "failed")
    assert rows["n"]["reason"] == "the step n/a/on_failure/mend failed: boom"
    assert rows["n/a/on_failure/told"]["status"] == rows["c"]["status"] == "skipped"


def test_a_handler_that_did_not_run_is_skipped_and_waits_as_long_as_it_may(tmp_path: Path) -> None:
    for active, status in ((False, "skipped"), (True, "waiting")):
        run = RecordedRun(tmp_path / status, handled(), active=active)
        run.attempt("n/a")
        run.attempt("n/b")
        run.attempt("c")
        if not active:
            run.end()
        found = statuses(run)
        assert found["n"] == "succeeded"
        assert found["n/a/on_failure/mend"] == found["n/a/on_failure/told"] == status


def test_a_cancelled_run_starts_no_handler(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, handled())
    run.attempt("n/a", "cancelled")
    run.end("cancelled", "cancelled")
    assert statuses(run) == {
        "n": "cancelled",
        "n/a": "cancelled",
        "n/a/on_failure/mend": "skipped",
        "n/a/on_failure/told": "skipped",
        "n/b": "skipped",
        "c": "skipped",
    }


def test_a_composite_that_a_run_left_unfinished_is_what_the_run_is(tmp_path: Path) -> None:
    for status, reason in (("cancelled", "cancelled"), ("failed", "the run took longer than its time limit of 1 s")):
        run = RecordedRun(tmp_path / status, of(Nested("n", of(task("a"), task("b"))), Nested("later", of(task("c")))))
        run.attempt("n/a")
        run.end(status, reason)
        rows = shown(run)
        assert (rows["n"]["status"], rows["n"]["reason"]) == (status, reason)
        assert rows["n/b"]["status"] == rows["later"]["status"] == rows["later/c"]["status"] == "skipped"


# --- side by side -----------------------------------------------------------------------------------------------------


def test_all_branches_of_a_parallel_run_to_their_end_and_it_fails_with_the_first_that_failed(tmp_path: Path) -> None:
    branches = tuple((name, of(task("a"), task("b"))) for name in ("x", "y", "z"))
    run = RecordedRun(tmp_path, of(Parallel("p", branches), Stub("end")), active=True)
    run.attempt("p/x/a")
    run.attempt("p/z/a", "failed")
    run.attempt("p/y/a", None)
    # While a branch runs, so does the whole.
    assert statuses(run) == {
        "p": "running",
        "p/x/a": "succeeded",
        "p/x/b": "waiting",
        "p/y/a": "running",
        "p/y/b": "waiting",
        "p/z/a": "failed",
        "p/z/b": "waiting",
        "end": "waiting",
    }
    run.attempt("p/x/b")
    run.attempt("p/y/a", "failed", reason="first")
    run.end("failed", "x")
    rows = shown(run)
    assert rows["p"]["reason"] == "the step p/y/a failed: first"
    assert [rows[path]["status"] for path in ("p", "p/z/b", "end")] == ["failed", "skipped", "skipped"]


def mapped(**options: Any) -> Pipeline:
    return of(task("make", "xs"), Map("m", of(task("a", "y", **options)), "xs", "x"), task("end"))


def test_the_items_of_a_map_are_there_once_their_number_is_known(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped(), active=True)
    assert statuses(run) == {"make": "waiting", "m": "waiting", "end": "waiting"}
    run.attempt("make", returns={"xs": [5, 6, 7]}, controls={"m": 3})
    assert statuses(run)["m"] == "waiting" and "m/2/a" in statuses(run)
    run.attempt("m/0/a", None)
    run.attempt("m/1/a", "failed")
    row = shown(run)["m"]
    assert (row["status"], row["items"]) == ("running", 3)
    assert row["item_status"] == {"failed": 1, "running": 1, "waiting": 1}
    run.attempt("m/0/a", returns={"y": 1})
    run.attempt("m/2/a", returns={"y": 3})
    run.end("failed", "x")
    rows = shown(run)
    assert rows["m"]["item_status"] == {"failed": 1, "succeeded": 2}
    assert rows["m"]["reason"] == "the step m/1/a failed: boom"
    assert list(rows) == ["make", "m", "m/0/a", "m/1/a", "m/2/a", "end"]


def test_an_item_that_its_handler_made_good_has_succeeded_and_so_has_the_map(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped(on_failure=of(Stub("never mind"))))
    run.attempt("make", returns={"xs": [1, 2]}, controls={"m": 2})
    run.attempt("m/0/a", "failed")
    run.attempt("m/1/a", returns={"y": 1})
    run.attempt("end", inputs={"y": ("m", "y"), "xs": ("make", "xs")})
    run.end()
    rows = shown(run)
    assert (rows["m"]["status"], rows["m/0/a"]["status"]) == ("succeeded", "failed")
    assert rows["m"]["item_status"] == {"succeeded": 2}
    assert rows["m/1/a/on_failure/never mind"]["status"] == "skipped"


def test_a_map_of_no_items_has_succeeded(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped())
    run.attempt("make", returns={"xs": []}, controls={"m": 0})
    run.attempt("end", inputs={"y": ("m", "y")})
    run.end()
    rows = shown(run)
    assert (rows["m"]["status"], rows["m"]["items"], rows["m"]["item_status"]) == ("succeeded", 0, {})
    assert rows["end"]["attempts"][0]["input_parameters"] == {"y": []}


def test_what_can_not_be_counted_fails_the_composite_with_its_sentence(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped())
    run.attempt(
        "make", returns={"xs": 3}, controls={"m": {"error": "the map m iterates on xs, which is no list but 3"}}
    )
    run.end("failed", "the map m iterates on xs, which is no list but 3")
    rows = shown(run)
    assert (rows["m"]["status"], rows["m"]["reason"]) == ("failed", "the map m iterates on xs, which is no list but 3")
    assert "items" not in rows["m"] and rows["end"]["status"] == "skipped"


# --- conditionals and loops -------------------------------------------------------------------------------------------


def chosen() -> Pipeline:
    branches = (("yes", of(task("a"))), ("no", of(task("b"))))
    return of(task("ask", "answer"), Conditional("c", "answer", branches, default=of(task("d"))))


def test_the_branches_that_a_conditional_does_not_take_are_skipped(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, chosen(), active=True)
    run.attempt("ask", None)
    assert statuses(run) == {
        "ask": "running",
        "c": "waiting",
        "c/yes/a": "waiting",
        "c/no/b": "waiting",
        "c/default/d": "waiting",
    }
    run.attempt("ask", returns={"answer": "no"}, controls={"c": "no"})
    assert statuses(run) == {
        "ask": "succeeded",
        "c": "waiting",
        "c/yes/a": "skipped",
        "c/no/b": "waiting",
        "c/default/d": "skipped",
    }
    run.attempt("c/no/b")
    run.end()
    row = shown(run)["c"]
    assert (row["status"], row["branch"]) == ("succeeded", "no")


def test_what_the_parameters_decide_is_known_from_the_beginning(tmp_path: Path) -> None:
    run = RecordedRun(
        tmp_path,
        of(Conditional("c", "answer", (("yes", of(task("a"))),), default=of(task("d")))),
        parameters={"answer": "?"},
        controls={"c": "default"},
        active=True,
    )
    assert statuses(run) == {"c": "waiting", "c/yes/a": "skipped", "c/default/d": "waiting"}


def test_a_loop_has_the_iterations_that_are_known_to_come(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Loop("l", of(task("a", "done"), Stub("s")), 5, "done", "i")), active=True)
    assert statuses(run) == {"l": "waiting", "l/0/a": "waiting", "l/0/s": "waiting"}
    run.attempt("l/0/a", returns={"done": False}, controls={"l/0": True})
    assert list(statuses(run)) == ["l", "l/0/a", "l/0/s", "l/1/a", "l/1/s"]
    assert (shown(run)["l"]["status"], shown(run)["l"]["iterations"]) == ("running", 1)
    run.attempt(
        "l/1/a", returns={"done": True}, controls={"l/1": False}, inputs={"i": ("l", "i"), "done": ("l/0/a", "done")}
    )
    run.end()
    row = shown(run)["l"]
    assert (row["status"], row["iterations"]) == ("succeeded", 2)
    assert shown(run)["l/1/a"]["attempts"][0]["input_parameters"] == {"i": 1, "done": False}
    assert run.view()["parameters"] == {"done": True}


def test_a_loop_fails_with_its_iteration_and_with_what_can_not_be_told(tmp_path: Path) -> None:
    pipeline = of(Loop("l", of(task("a", "done")), 5, "done"))
    run = RecordedRun(tmp_path / "one", pipeline)
    run.attempt("l/0/a", returns={"done": False}, controls={"l/0": True})
    run.attempt("l/1/a", "failed")
    run.end("failed", "x")
    assert shown(run)["l"]["reason"] == "the step l/1/a failed: boom"
    run = RecordedRun(tmp_path / "other", pipeline)
    run.attempt("l/0/a", returns={"done": "?"}, controls={"l/0": {"error": "neither true nor false"}})
    run.end("failed", "x")
    assert (shown(run)["l"]["status"], shown(run)["l"]["reason"]) == ("failed", "neither true nor false")


# --- attempts, and whose word counts ----------------------------------------------------------------------------------


def test_the_newest_attempt_says_how_many_items_there_are(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped())
    run.attempt("make", returns={"xs": [1]}, controls={"m": 1})
    run.attempt("make", number=2, returns={"xs": [1, 2]}, controls={"m": 2})
    run.attempt("make", "failed", number=3)
    assert [path for path in statuses(run) if path.startswith("m/")] == ["m/0/a", "m/1/a"]


def test_what_a_handler_said_counts_no_more_once_its_step_has_succeeded(tmp_path: Path) -> None:
    # Given a run that was continued: the step failed and its handler ran, and the second attempt was good,
    handler = of(task("other", "xs"))
    pipeline = of(Nested("n", of(task("make", "xs", on_failure=handler))), Map("m", of(task("a")), "xs", "x"))
    run = RecordedRun(tmp_path, pipeline)
    run.attempt("n/make", "failed")
    run.attempt("n/make/on_failure/other", returns={"xs": [1]}, controls={"m": 1})
    run.attempt("n/make", number=2, returns={"xs": [1, 2]}, controls={"m": 2})
    # when it is shown, then the map has what the step has made.
    assert shown(run)["m"]["items"] == 2


def test_a_failed_step_that_may_be_retried_still_runs_as_a_part(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", of(task("a", max_attempts=2)))), active=True)
    run.attempt("n/a", "failed")
    assert statuses(run) == {"n": "running", "n/a": "failed"}
    run.attempt("n/a", "failed", number=2)
    assert statuses(run) == {"n": "failed", "n/a": "failed"}


def test_items_that_shared_a_container_have_attempts_of_their_own(tmp_path: Path) -> None:
    # Given two items that a container ran one after the other, of which the second was there when it was killed,
    run = RecordedRun(tmp_path, mapped())
    run.attempt("make", returns={"xs": [1, 2, 3]}, controls={"m": 3})
    run.attempt("m/0/a", returns={"y": 1}, group="m/group-0/a")
    run.attempt("m/1/a", None, group="m/group-0/a")
    engine = run.folder / "steps" / "m" / "group-0" / "a" / "1"
    engine.mkdir(parents=True)
    (engine / "engine.json").write_text('{"exit_code": 137, "out_of_memory": true, "cancelled": false}')
    run.end("failed", "x")
    # when it is shown, then the first has what it has, the second what the engine saw, and the third never began.
    rows = shown(run)
    assert [rows[f"m/{item}/a"]["status"] for item in range(3)] == ["succeeded", "failed", "skipped"]
    assert rows["m/1/a"]["attempts"][0]["reason"].startswith("out of memory")
    assert rows["m"]["status"] == "failed"


# --- values -----------------------------------------------------------------------------------------------------------


def test_values_that_a_map_makes_are_shown_where_they_are_taken(tmp_path: Path) -> None:
    inner = Map("m", of(Map("n", of(task("a", "y")), "x", "z")), "xs", "x", reducer="last")
    run = RecordedRun(tmp_path, of(task("make", "xs"), inner, task("end", "xs")))
    run.attempt("make", returns={"xs": "[[1, 2], [3]]"}, controls={"m": 2, "m/0/n": 2, "m/1/n": 1})
    for path, value in (("m/0/n/0/a", 1), ("m/0/n/1/a", 2), ("m/1/n/0/a", 3)):
        run.attempt(path, returns={"y": value * 10}, inputs={"z": (path[:5], "z"), "x": ("m", "x")})
    run.attempt("end", returns={"xs": 0}, inputs={"y": ("m", "y")})
    run.end()
    rows = shown(run)
    assert rows["m/0/n/1/a"]["attempts"][0]["input_parameters"] == {"z": 2, "x": [1, 2]}
    assert rows["end"]["attempts"][0]["input_parameters"] == {"y": [30]}
    assert run.view()["parameters"] == {"xs": 0, "y": [30]}


def test_what_only_user_code_can_make_of_values_is_described(tmp_path: Path) -> None:
    from toolkit.model.pipeline import Function

    reducer = Function("functions", "total")
    run = RecordedRun(tmp_path, of(task("make", "xs"), Map("m", of(task("a", "y")), "xs", "x", reducer=reducer)))
    run.attempt("make", returns={"xs": [1, 2]}, controls={"m": 2})
    for item in range(2):
        run.attempt(f"m/{item}/a", returns={"y": item})
    run.end()
    assert run.view()["parameters"]["y"] == {"reducer": "functions.total", "items": 2}


def test_a_large_value_that_every_item_takes_is_shown_once(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, mapped())
    many = list(range(2000))
    run.attempt("make", returns={"xs": many}, controls={"m": 2000})
    run.attempt("m/7/a", returns={"y": 1}, inputs={"x": ("m", "x"), "xs": ("make", "xs")})
    run.attempt("end", inputs={"xs": ("make", "xs")})
    rows = shown(run)
    reference = {"from": "make", "name": "xs", "size": len(json.dumps(many))}
    assert rows["m/7/a"]["attempts"][0]["input_parameters"] == {"x": 7, "xs": reference}
    assert rows["end"]["attempts"][0]["input_parameters"] == {"xs": many}


# --- runs that nobody drives ------------------------------------------------------------------------------------------


def test_a_run_whose_steps_are_run_singly_is_what_they_come_to(tmp_path: Path) -> None:
    pipeline = of(task("a"), Parallel("p", (("x", of(task("b"))), ("y", of(task("c"))))), Stub("s"))
    run = RecordedRun(tmp_path, pipeline, driver=None)
    assert run.view()["status"] == "waiting"
    run.attempt("p/y/c")
    assert statuses(run) == {
        "a": "waiting",
        "p": "waiting",
        "p/x/b": "waiting",
        "p/y/c": "succeeded",
        "s": "waiting",
    }
    run.attempt("p/x/b", "failed")
    assert (run.view()["status"], run.view()["reason"]) == ("failed", "the step p/x/b failed: boom")
    for path, number in (("p/x/b", 2), ("a", 1)):
        run.attempt(path, number=number)
    assert set(statuses(run).values()) == {"succeeded"} and run.view()["status"] == "succeeded"


@pytest.mark.parametrize("active", [True, False])
def test_every_kind_of_row_is_shown_before_anything_has_run(tmp_path: Path, active: bool) -> None:
    everything = of(
        Stub("s"),
        task("t", "xs", on_failure=of(Nested("h", of(task("a"))))),
        Map("m", of(task("a"), Parallel("p", (("x", chosen()),))), "xs", "x"),
        Loop("l", of(task("a", "done")), 2, "done"),
        Nested("n", of(Stub("s"))),
    )
    run = RecordedRun(tmp_path, everything, active=active)
    if not active:
        run.end("cancelled", "cancelled")
    found = statuses(run)
    assert found.pop("s") == "succeeded"
    assert set(found.values()) == {"waiting" if active else "skipped"}
    assert list(found) == ["t", "t/on_failure/h", "t/on_failure/h/a", "m", "l", "l/0/a", "n", "n/s"]


def test_the_rows_are_those_of_the_tree_in_its_order(tmp_path: Path) -> None:
    """The plan's own walk, which leads a run, gives the same paths."""
    from toolkit.runtime.shared.tree import Tree

    pipeline = of(
        task("make", "xs"), Map("m", of(task("b"), chosen_in()), "xs", "x"), Loop("l", of(task("a", "d")), 3, "d")
    )
    controls = {"m": 2, "m/0/c": "yes", "m/1/c": "no", "l/0": True, "l/1": False}
    run = RecordedRun(tmp_path, pipeline, controls=controls, active=True)
    run.attempt("make")
    for path in ("m/0/b", "m/1/b", "m/0/c/yes/a", "m/1/c/no/b", "l/0/a", "l/1/a"):
        run.attempt(path)
    made = plan(pipeline, CONFIG, (".",)).document()
    assert list(statuses(run)) == [path for _, path in Tree(made).expand("", "", controls)]


def chosen_in() -> Conditional:
    return Conditional("c", "x", (("yes", of(task("a"))), ("no", of(task("b")))))


# --- graphs -----------------------------------------------------------------------------------------------------------


def diamond() -> Pipeline:
    """It is defined from its end: d follows b and c, which follow a; e is beside them."""
    steps = (
        task("d", after=("b", "c")),
        task("c", after=("a",)),
        task("b", after=("a",)),
        task("a"),
        Stub("e", after=("c",)),
    )
    return Pipeline(steps, order="graph")


def test_what_depends_on_a_failed_step_is_skipped_and_the_rest_counts(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", diamond()), task("z")))
    run.attempt("n/a")
    run.attempt("n/b", "failed")
    run.attempt("n/c")
    run.end("failed", "the step n/b failed: boom")
    rows = shown(run)
    # The rows are in order of definition.
    assert [(path, row["status"]) for path, row in rows.items()] == [
        ("n", "failed"),
        ("n/d", "skipped"),
        ("n/c", "succeeded"),
        ("n/b", "failed"),
        ("n/a", "succeeded"),
        ("n/e", "succeeded"),
        ("z", "skipped"),
    ]
    assert rows["n"]["reason"] == "the step n/b failed: boom"


def test_a_graph_fails_for_its_first_failed_step_in_order_of_definition(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", diamond())))
    run.attempt("n/a")
    run.attempt("n/b", "failed")
    run.attempt("n/c", "failed")
    run.end("failed", "the step n/c failed: boom")
    assert shown(run)["n"]["reason"] == "the step n/c failed: boom"


def test_a_graph_runs_until_all_that_may_run_has_ended(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", diamond()), task("z")), active=True)
    assert set(statuses(run).values()) == {"waiting"}
    run.attempt("n/a")
    assert statuses(run)["n"] == "running"
    run.attempt("n/b", "failed")
    expected = {
        "n": "running",
        "n/d": "skipped",
        "n/c": "waiting",
        "n/b": "failed",
        "n/a": "succeeded",
        "n/e": "waiting",
    }
    assert statuses(run) == {**expected, "z": "waiting"}
    run.attempt("n/c", None)
    assert statuses(run) == {**expected, "n/c": "running", "z": "waiting"}


def test_behind_a_handler_that_succeeded_a_graph_skips_and_still_succeeds(tmp_path: Path) -> None:
    handled = (task("b", after=("a",)), task("a", on_failure=of(task("h"))), task("c"))
    run = RecordedRun(tmp_path, of(Nested("n", Pipeline(handled, order="graph")), task("z")))
    run.attempt("n/a", "failed")
    run.attempt("n/a/on_failure/h")
    run.attempt("n/c")
    run.attempt("z")
    run.end()
    assert statuses(run) == {
        "n": "succeeded",
        "n/b": "skipped",
        "n/a": "failed",
        "n/a/on_failure/h": "succeeded",
        "n/c": "succeeded",
        "z": "succeeded",
    }


def test_a_cancelled_graph_is_cancelled_and_what_had_no_turn_is_skipped(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", diamond())))
    run.attempt("n/a")
    run.attempt("n/b", "cancelled")
    run.attempt("n/c")
    run.end("cancelled", "cancelled")
    found = statuses(run)
    assert (found["n"], found["n/b"], found["n/d"]) == ("cancelled", "cancelled", "skipped")


# --- what runs after the pipeline -----------------------------------------------------------------------------------


def test_what_runs_after_the_pipeline_has_its_turn_when_that_has_ended(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, Pipeline((task("a"),), on_exit=of(task("tell"), Stub("then"))), active=True)
    assert run.view()["on_exit"] == "waiting"
    run.attempt("a", status="failed")
    run.attempt("on_exit/tell", status="failed")
    assert run.view()["on_exit"] == "failed"
    run.end("failed", "the step a failed: it broke")
    document = run.view()
    SCHEMA.validate(document)
    assert (document["status"], document["on_exit"]) == ("failed", "failed")
    assert statuses(run) == {"a": "failed", "on_exit": "failed", "on_exit/tell": "failed", "on_exit/then": "skipped"}


def test_a_step_that_stays_failed_fails_what_is_around_it(tmp_path: Path) -> None:
    steps = task("a", on_failure=of(task("tells")), keep_failure=True), task("b")
    run = RecordedRun(tmp_path, of(Nested("inner", of(*steps)), Stub("c")), active=True)
    run.attempt("inner/a", status="failed")
    assert statuses(run)["inner"] == "running"
    run.attempt("inner/a/on_failure/tells")
    run.end("failed", "the step inner/a failed: it broke")
    rows = shown(run)
    assert (rows["inner/a"]["on_failure"], rows["inner/a"]["keep_failure"]) == ("succeeded", True)
    assert {path: row["status"] for path, row in rows.items()} == {
        "inner": "failed",
        "inner/a": "failed",
        "inner/a/on_failure/tells": "succeeded",
        "inner/b": "skipped",
        "c": "skipped",
    }
