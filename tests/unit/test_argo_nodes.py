"""What a Workflow's nodes say of composites: which instance a pod was, and why a run failed that no step of it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from toolkit.backends.argo.compile.dag import handler_task
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.follow.nodes import TaskPaths, node_attempts, succeeded_tasks
from toolkit.backends.argo.follow.outcome import outcome_of, was_shut_down

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import EngineRecord

TASKS = ["first", "m/*/a", "m/*/l/*/b", "m/on_failure/mend", "{{x}}/*/c", "last"]
RECORD: EngineRecord = {"exit_code": 1, "message": "it broke", "out_of_memory": False, "cancelled": False}


def node(name: str, type: str = "Pod", phase: str = "Failed", **inputs: str) -> dict[str, Any]:
    parameters = [{"name": key, "value": value} for key, value in inputs.items()]
    return {
        "id": f"{name}-{inputs}",
        "displayName": name,
        "name": f"run.{name}",
        "type": type,
        "phase": phase,
        "inputs": {"parameters": parameters},
    }


def workflow(*nodes: dict[str, Any], phase: str = "Failed") -> dict[str, Any]:
    status = {"phase": phase, "nodes": {one["id"]: one for one in nodes}}
    return {"metadata": {"name": "run"}, "status": status}


def test_an_attempt_is_known_by_its_path_or_by_its_name_and_positions() -> None:
    found = node_attempts(
        workflow(
            node(task_name("m/*/a"), path="m/3/a"),
            node(task_name("m/*/a"), path="m/group-2/a"),
            node(task_name("{{x}}/*/c") + "(1)", p0="7"),
            node(task_name("first")),
            node("not-ours", "DAG", path="first"),
        ),
        TASKS,
    )
    assert [(one.path, one.number) for one in found] == [
        ("first", 1),
        ("m/3/a", 1),
        ("m/group-2/a", 1),
        ("{{x}}/7/c", 2),
    ]


def test_paths_are_found_in_the_plan_and_in_its_order() -> None:
    paths = TaskPaths(TASKS)
    assert paths.template("m/3/l/10/b") == "m/*/l/*/b"
    assert paths.template("m/group-3/a") == "m/*/a"
    assert paths.template("m/on_failure/mend") == "m/on_failure/mend"
    assert paths.template("m/x/a") is paths.template("m/3") is paths.template("absent") is None
    ran = ["last", "m/10/a", "m/2/l/10/b", "m/2/l/9/b", "m/2/a", "m/on_failure/mend", "first"]
    assert sorted(ran, key=paths.order) == [
        "first",
        "m/2/a",
        "m/2/l/9/b",
        "m/2/l/10/b",
        "m/10/a",
        "m/on_failure/mend",
        "last",
    ]


def test_a_run_failed_of_its_first_step_whose_failure_nothing_mended() -> None:
    records = {("last", 1): RECORD, ("m/10/a", 1): RECORD, ("m/2/a", 1): RECORD}
    assert outcome_of(workflow(), TASKS, records, None).reason == "the step m/2/a failed: it broke"
    mended = workflow(node(handler_task("m"), "DAG", "Succeeded"))
    assert outcome_of(mended, TASKS, records, None).reason == "the step last failed: it broke"
    # of one item
    mended = workflow(node(handler_task("m/*/a"), "DAG", "Succeeded", p0="2"))
    assert outcome_of(mended, TASKS, records, None).reason == "the step m/10/a failed: it broke"
    # Of a handler that failed itself its own step is the reason,
    broken = workflow(node(handler_task("m"), "DAG", "Failed"))
    records = {("m/2/a", 1): RECORD, ("m/on_failure/mend", 1): RECORD}
    assert outcome_of(broken, TASKS, records, None).reason == "the step m/on_failure/mend failed: it broke"
    # and one that was left out mends nothing.
    left_out = workflow(node(handler_task("m"), "Skipped", "Omitted"))
    assert outcome_of(left_out, TASKS, records, None).reason == "the step m/2/a failed: it broke"


def test_what_has_succeeded_is_known_in_a_run_that_resumes() -> None:
    """There the pipeline is itself a task."""
    entry = {**node("part-1", "DAG", "Running"), "templateName": "pipeline"}
    inner = [{**node(name, phase="Succeeded"), "name": f"run.part-1.{name}"} for name in ("first", "m")]
    deeper = {**node("last", phase="Succeeded"), "name": "run.part-1.m.last"}
    assert succeeded_tasks(workflow(entry, *inner, deeper)) == {"first", "m"}
    assert succeeded_tasks(workflow(node("first", phase="Succeeded"), node("last"))) == {"first"}


def test_a_run_that_succeeded_did_so_whatever_failed_in_it() -> None:
    assert outcome_of(workflow(phase="Succeeded"), TASKS, {("first", 1): RECORD}, None).status == "succeeded"


def test_what_a_composite_lacked_is_the_reason() -> None:
    lacking = node(task_name("m"), "DAG", "Error", c1='error: the map m iterates on \\"x\\"')
    assert outcome_of(workflow(lacking), TASKS, {}, None).reason == 'the map m iterates on "x"'
    mended = workflow(lacking, node(handler_task("m"), "DAG", "Succeeded"))
    assert "iterates" not in outcome_of(mended, TASKS, {}, None).reason


def test_a_step_that_ends_its_pipeline_with_a_failure_is_the_reason() -> None:
    ends = {**node("x", "DAG", "Error", path="m/2/a"), "templateName": "fails"}
    assert outcome_of(workflow(ends), TASKS, {}, None).reason == "the step m/2/a ends its pipeline with a failure"


@pytest.mark.parametrize(
    ("message", "seconds", "stopped"),
    [
        ("Step exceeded its deadline", 15, True),
        ("Step exceeded its deadline", 14, True),
        # Kubernetes counts in whole seconds from the pod's start, and may be earlier than the run's own limit.
        ("Pod was active on the node longer than the specified deadline", 14, True),
        # A step's own backstop, long before the run's limit.
        ("Pod was active on the node longer than the specified deadline", 9, False),
        ("main: Error (exit code 1)", 14, False),
    ],
)
def test_a_pod_that_kubernetes_ends_with_its_run_is_out_of_time(message: str, seconds: int, stopped: bool) -> None:
    ended = f"2026-01-01T00:00:{seconds:02}Z"
    node = {"id": "r-1", "type": "Pod", "phase": "Failed", "message": message, "finishedAt": ended}
    status = {"phase": "Failed", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": ended, "nodes": {"r-1": node}}
    assert was_shut_down({"metadata": {}, "spec": {}, "status": status}, 15) is stopped


def test_a_step_that_argo_fails_at_the_runs_deadline_is_out_of_time_before_argo_says_when() -> None:
    node = {"id": "r-1", "type": "Pod", "phase": "Failed", "message": "Step exceeded its deadline", "finishedAt": None}
    status = {"phase": "Running", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": None, "nodes": {"r-1": node}}
    running: dict[str, object] = {"metadata": {}, "spec": {}, "status": status}
    assert was_shut_down(running, 15)
    assert not was_shut_down(running, None)
