"""A Workflow with an exit handler: its pipeline's end counts, whatever becomes of the handler, and who asks it for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.plans import planned, task
from toolkit.backends.argo.compile.dag import Graph, handler_task, on_exit_template
from toolkit.backends.argo.compile.names import task_name
from toolkit.backends.argo.compile.workflow import ASKED_ANNOTATION
from toolkit.backends.argo.follow.nodes import NodeAttempt, succeeded_tasks
from toolkit.backends.argo.follow.outcome import engine_record, outcome_of, was_shut_down
from toolkit.backends.argo.shutdown import GAVE_UP_ANNOTATION, shut_down_run
from toolkit.model.pipeline import Pipeline

if TYPE_CHECKING:
    from toolkit.backends.argo.cluster import Cluster
    from toolkit.runtime.shared.documents import EngineRecord

TASKS = ["a", "on_exit/b"]
BROKE: EngineRecord = {"exit_code": 1, "message": "it broke", "out_of_memory": False, "cancelled": False}
FINE: EngineRecord = {"exit_code": 0, "message": "", "out_of_memory": False, "cancelled": False}
STOPPED = "workflow shutdown with strategy:  Stop"


def workflow(
    pipeline: str, handler: str = "", phase: str = "Failed", shutdown: str = "", asked: str = "", message: str = ""
) -> dict[str, Any]:
    """A Workflow with a task ``a`` and a handler with a task ``b``, by Argo's words for the states of the two."""
    nodes = [
        {"id": "1", "name": "run", "displayName": "run", "type": "DAG", "phase": pipeline},
        {
            "id": "2",
            "name": "run.a",
            "displayName": task_name("a"),
            "type": "Pod",
            "phase": pipeline,
            "message": message,
        },
    ]
    if handler:
        name = task_name("on_exit/b")
        nodes += [
            {"id": "3", "name": "run.onExit", "displayName": "run.onExit", "type": "DAG", "phase": handler},
            {"id": "4", "name": f"run.onExit.{name}", "displayName": name, "type": "Pod", "phase": handler},
        ]
    return {
        "metadata": {"name": "run", "annotations": {ASKED_ANNOTATION: asked}},
        "spec": {"onExit": "handler", **({"shutdown": shutdown} if shutdown else {})},
        "status": {"phase": phase, "nodes": {node["id"]: node for node in nodes}},
    }


@pytest.mark.parametrize(
    ("given", "records", "expected"),
    [
        # Argo's phase of the whole is that of the handler, where only that has failed.
        (workflow("Succeeded", "Failed"), (FINE, BROKE), ("succeeded", "", "the step on_exit/b failed: it broke")),
        (workflow("Succeeded", "Succeeded", "Succeeded"), (FINE, FINE), ("succeeded", "", "")),
        (workflow("Failed", "Succeeded"), (BROKE, FINE), ("failed", "the step a failed: it broke", "")),
        (
            workflow("Failed", "Failed"),
            (BROKE, BROKE),
            ("failed", "the step a failed: it broke", "the step on_exit/b failed: it broke"),
        ),
        (workflow("Failed", "Succeeded", shutdown="Stop", asked="yes"), (BROKE, FINE), ("cancelled", "cancelled", "")),
        # Somebody else has stopped it.
        (
            workflow("Failed", "Succeeded", shutdown="Stop", message=STOPPED),
            (BROKE, FINE),
            ("cancelled", "cancelled", ""),
        ),
        # A kill that met the handler alone.
        (
            workflow("Failed", "Failed", shutdown="Terminate"),
            (BROKE, BROKE),
            ("failed", "the step a failed: it broke", "cancelled"),
        ),
        (workflow("Succeeded", "Failed", shutdown="Terminate"), (FINE, BROKE), ("succeeded", "", "cancelled")),
    ],
)
def test_the_pipelines_end_is_the_runs(
    given: dict[str, Any], records: tuple[EngineRecord, EngineRecord], expected: tuple[str, str, str]
) -> None:
    outcome = outcome_of(given, TASKS, {("a", 1): records[0], ("on_exit/b", 1): records[1]}, None)
    assert (outcome.status, outcome.reason, outcome.on_exit) == expected


def test_a_kill_of_the_handler_leaves_the_pipelines_attempts_as_they_were() -> None:
    killed = workflow("Failed", "Failed", shutdown="Terminate")
    assert not was_shut_down(killed, None)
    attempts = [NodeAttempt(path, 1, "Failed", "", 1, 1.0, number) for path, number in (("a", "2"), ("on_exit/b", "4"))]
    assert [engine_record(attempt, None, killed, None)["cancelled"] for attempt in attempts] == [False, True]


class AnsweringCluster:
    """Has one Workflow, and keeps what it is asked to change. What Argo makes of that, the cases on a cluster show."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        self._workflow = workflow
        self.changes: list[dict[str, Any]] = []

    def find(self, *_: object) -> dict[str, Any]:
        return self._workflow

    def patch(self, group: object, kind: str, name: str, change: dict[str, Any]) -> None:
        self.changes.append(change)

    def list(self, *_: object, **__: object) -> dict[str, Any]:
        return {"items": []}


ASKED = {"annotations": {ASKED_ANNOTATION: "yes"}}
GAVE_UP = {"annotations": {GAVE_UP_ANNOTATION: "no image"}}
PLAIN = {"metadata": {"name": "run"}, "spec": {}}


@pytest.mark.parametrize(
    ("given", "kill", "why", "asked"),
    [
        (PLAIN, False, "", {"spec": {"shutdown": "Terminate"}}),
        (workflow("Running", phase="Running"), False, "", {"spec": {"shutdown": "Stop"}, "metadata": ASKED}),
        (workflow("Running", phase="Running"), True, "", {"spec": {"shutdown": "Terminate"}, "metadata": ASKED}),
        (
            workflow("Running", phase="Running"),
            False,
            "no image",
            {"spec": {"shutdown": "Terminate"}, "metadata": GAVE_UP},
        ),
        # Only the handler goes on: a first cancel asks for nothing, and a kill is none of the pipeline.
        (workflow("Failed", "Running", "Running"), False, "", None),
        (workflow("Failed", "Running", "Running"), True, "", {"spec": {"shutdown": "Terminate"}}),
        # Nobody takes back a kill.
        (
            workflow("Running", phase="Running", shutdown="Terminate"),
            False,
            "",
            {"spec": {"shutdown": "Terminate"}, "metadata": ASKED},
        ),
    ],
)
def test_a_first_cancel_leaves_the_handler_to_argo(
    given: dict[str, Any], kill: bool, why: str, asked: dict[str, Any] | None
) -> None:
    cluster = AnsweringCluster(given)
    strategy = shut_down_run(cast("Cluster", cluster), "run", kill, why)
    assert cluster.changes == ([asked] if asked is not None else [])
    assert strategy == (asked["spec"]["shutdown"] if asked is not None else "")


def test_a_handler_that_only_tells_is_waited_for_and_passes_the_failure_on() -> None:
    helps = Pipeline((task("helps"),))
    plan = planned(task("a", on_failure=helps, keep_failure=True), task("b", on_failure=helps))
    [pipeline, *_] = Graph(plan, {}, lambda step: "step").templates()
    [end] = [each for each in pipeline["dag"]["tasks"] if each["name"] == task_name("/end")]
    tells, mends, last = handler_task("a"), handler_task("b"), task_name("b")
    ended = " || ".join(f"{tells}.{phase}" for phase in ("Succeeded", "Failed", "Errored", "Skipped", "Omitted"))
    assert end["depends"] == f"({last}.Succeeded || {mends}.Succeeded) && ({ended})"


def test_what_the_handler_has_done_is_known_apart_from_the_pipeline() -> None:
    both = workflow("Succeeded", "Succeeded", "Succeeded")
    both["status"]["nodes"]["3"]["templateName"] = on_exit_template()
    assert succeeded_tasks(both) == {task_name("a")}
    assert succeeded_tasks(both, on_exit_template()) == {task_name("on_exit/b")}
