"""A run whose volume can't be read is what the cluster says of it; what only the volume knows is unknown, and said to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.argo_cases import sequence, task
from tests.support.recorded_cluster import NO_RIGHT, RecordedRuns, dag_node, pod_node
from toolkit import report
from toolkit.backends.argo.cluster import ApiError, Forbidden
from toolkit.backends.argo.volume.reader_pod import ReaderPod
from toolkit.errors import Infrastructure
from toolkit.model.pipeline import Conditional, Loop, Map, Nested, Parallel, Step, Stub

SCHEMA = json.loads((Path(report.__file__).parent / "schemas" / "show.schema.json").read_text())
TWO = (task("first", returns="x"), task("second"))
BOTH = [pod_node("first"), pod_node("second")]
OF_SUCCESS: dict[str, Any] = {
    "started": None,
    "ended": None,
    "exit_code": 0,
    "reason": "",
    "status": "succeeded",
    "input_parameters": {},
    "output_parameters": {},
    "catalog": {"get": [], "put": []},
    "unknown": ["started", "ended", "input_parameters", "output_parameters", "catalog", "left", "log"],
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedRuns:
    return RecordedRuns(tmp_path, monkeypatch)


def shown(runs: RecordedRuns, run_id: str = "run") -> dict[str, Any]:
    """A run as JSON, which is what the schema says."""
    document = runs.show(run_id)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


# --- what a run is shown as -------------------------------------------------------------------------------------------


def test_the_steps_of_a_run_that_succeeded_have_succeeded(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH, parameters={"given": 1})
    document = shown(runs)
    assert (document["status"], document["reason"], document["ended"]) == ("succeeded", "", "2026-01-02T03:05:00.000Z")
    for step in document["steps"]:
        assert step["status"] == "succeeded"
        assert OF_SUCCESS.items() <= step["attempts"][0].items()
    assert (document["parameters"], document["unknown"]) == ({"given": 1}, ["parameters"])
    assert NO_RIGHT in document["unread"]
    # One sentence says which right is missing, and what is unknown because of it.
    assert runs.err.count("\n") == 1
    assert "can't be read, so what only it knows of the run is unknown (values, files, output and times)" in runs.err
    assert "(it takes the rights create, get and delete on pods)" in runs.err

    assert runs.toolkit("show", "run") == 0
    assert "failed" not in runs.out and runs.out.count("unknown") == 7
    assert "(unknown: what the steps returned)" in runs.out


REFUSALS = {
    "quota": ApiError("pods is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3", 403),
    "standard": Forbidden('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', 403),
    "policy": ApiError('admission webhook "policy.example" denied the request: no such pods here', 400),
    "right": Forbidden(NO_RIGHT, 403),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_whatever_refuses_the_pod_is_named_and_changes_nothing_else(runs: RecordedRuns, kind: str) -> None:
    runs.submit(TWO, BOTH)
    runs.cluster.refusal = REFUSALS[kind]
    assert [step["status"] for step in shown(runs)["steps"]] == ["succeeded"] * 2
    assert REFUSALS[kind].message in runs.err


@pytest.mark.parametrize("why", ["no node takes it", "the pod said nothing for 60 s", "pods/exec is forbidden"])
def test_a_pod_that_cannot_read_is_as_good_as_none(
    runs: RecordedRuns, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def fail(*_: object) -> None:
        raise Infrastructure(why)

    monkeypatch.setattr(ReaderPod, "exec", fail)
    runs.submit(TWO, BOTH)
    assert [step["status"] for step in shown(runs)["steps"]] == ["succeeded"] * 2
    assert why in runs.err


def test_a_step_that_failed_has_failed_with_the_engines_reason_and_the_rest_is_skipped(runs: RecordedRuns) -> None:
    broke = pod_node("first", phase="Failed", code=1, message="Error (exit code 1): ValueError: no")
    runs.submit(TWO, [broke], "Failed")
    document = shown(runs)
    assert (document["status"], document["reason"]) == ("failed", "the step first failed: ValueError: no")
    first, second = document["steps"]
    assert (first["status"], first["attempts"][0]["reason"], second["status"]) == (
        "failed",
        "ValueError: no",
        "skipped",
    )


def test_a_run_that_goes_on_is_shown_as_it_is_now(runs: RecordedRuns) -> None:
    nodes = [
        pod_node("first", phase="Failed", code=1, message="Error (exit code 1)"),
        pod_node("first", number=2),
        pod_node("second", phase="Running", code=None),
    ]
    runs.submit((task("first"), task("second"), task("third")), nodes, "Running")
    document = shown(runs)
    assert (document["status"], document["ended"]) == ("running", None)
    assert [step["status"] for step in document["steps"]] == ["succeeded", "running", "waiting"]
    assert [attempt["status"] for attempt in document["steps"][0]["attempts"]] == ["failed", "succeeded"]
    assert document["steps"][1]["attempts"][0]["unknown"] == ["started", "log"]
    assert runs.toolkit("show", "run") == 0


def test_what_composites_came_to_is_read_from_what_their_tasks_told_the_engine(runs: RecordedRuns) -> None:
    # Given composites of each kind, whose control values are outputs of tasks. The numbers are those of the plan's rows.
    inner = Conditional("c", "x", (("a", sequence(task("ca"))), ("b", sequence(task("cb")))))
    again = Loop("l", sequence(task("body", returns="done")), 5, "done", "i")
    steps: list[Step] = [
        task("give", returns="xs"),
        Map("m", sequence(inner, task("after")), "xs", "x"),
        again,
        Parallel("p", (("one", sequence(task("q"))), ("two", sequence(Stub("s"))))),
        Nested("n", sequence(task("bad", on_failure=sequence(task("tell"))))),
    ]
    items = json.dumps([{"i": "0", "c2": "1"}, {"i": "1", "c2": "0"}])
    nodes = [
        pod_node("give", c1=items),
        pod_node("m/*/c/b/cb", "m/0/c/b/cb"),
        pod_node("m/*/after", "m/0/after"),
        pod_node("m/*/c/a/ca", "m/1/c/a/ca"),
        pod_node("m/*/after", "m/1/after"),
        pod_node("l/*/body", "l/0/body", a6="true"),
        pod_node("l/*/body", "l/1/body", a6="false"),
        pod_node("p/one/q"),
        pod_node("n/bad", phase="Failed", code=3, message="Error (exit code 3)"),
        pod_node("n/bad/on_failure/tell"),
    ]
    runs.submit(steps, nodes)
    document = shown(runs)
    found = {step["path"]: step for step in document["steps"]}
    assert (found["m"]["items"], found["m"]["item_status"]) == (2, {"succeeded": 2})
    assert (found["m/0/c"]["branch"], found["m/1/c"]["branch"]) == ("b", "a")
    assert (found["l"]["iterations"], found["n/bad"]["on_failure"]) == (2, "succeeded")
    others = {"m/0/c/a/ca": "skipped", "m/1/c/b/cb": "skipped", "n/bad": "failed"}
    assert {path: step["status"] for path, step in found.items() if step["status"] != "succeeded"} == others


def test_what_a_later_task_told_the_engine_replaces_what_an_earlier_one_did(runs: RecordedRuns) -> None:
    change = Conditional("c", "k", (("x", sequence(task("a", returns="k"))),))
    steps: list[Step] = [task("pick", returns="k"), change, Conditional("d", "k", (("y", sequence(task("b"))),))]
    nodes = [
        pod_node("pick", c1="0", c3="error: the conditional d has no branch for k = x"),
        pod_node("c/x/a", c3="0"),
        pod_node("d/y/b"),
    ]
    runs.submit(steps, nodes)
    assert set(runs.statuses().values()) == {"succeeded"}


def test_of_items_that_share_pods_only_the_map_is_known(runs: RecordedRuns) -> None:
    steps: list[Step] = [task("give", returns="xs"), Map("m", sequence(task("a")), "xs", "x"), task("after")]
    nodes = [pod_node("give", c1="0", g1="2"), dag_node("m"), pod_node("m/*/a", "m/group-0/a"), pod_node("after")]
    runs.submit(steps, nodes, executor={"pods_per_map": 2})
    document = shown(runs)
    assert [(step["path"], step["status"]) for step in document["steps"]] == [
        ("give", "succeeded"),
        ("m", "succeeded"),
        ("after", "succeeded"),
    ]
    assert "items" not in document["steps"][1]
    # And of one that failed, why.
    failed = pod_node("m/*/a", "m/group-0/a", phase="Failed", code=1, message="Error (exit code 1): ValueError: odd")
    runs.submit(steps, [nodes[0], dag_node("m", "Failed"), failed], "Failed", "bad", executor={"pods_per_map": 2})
    document = shown(runs, "bad")
    assert (document["steps"][1]["status"], document["steps"][2]["status"]) == ("failed", "skipped")
    assert document["steps"][1]["reason"] == "the step m/group-0/a failed: ValueError: odd"


def test_what_an_earlier_part_of_the_run_did_is_unknown(runs: RecordedRuns) -> None:
    # Given a run that was resumed: its Workflow has only what was left to do.
    steps = (task("first"), Map("m", sequence(task("a")), "xs", "x"), task("last"))
    nodes = [pod_node("last")]
    runs.submit(steps, nodes, part=1, attempts={"last": 2}, parameters={"xs": [1]})
    document = shown(runs)
    assert {step["path"]: step["status"] for step in document["steps"]} == {
        "first": "unknown",
        "m": "unknown",
        "last": "succeeded",
    }
    assert document["status"] == "succeeded" and document["steps"][2]["attempts"][0]["number"] == 2
    assert runs.toolkit("show", "run") == 0 and "failed" not in runs.out


def test_nodes_that_the_workflow_does_not_have_are_unknown(runs: RecordedRuns) -> None:
    workflow = runs.submit(TWO, [])
    workflow["status"]["offloadNodeStatusVersion"] = "fnv:1"
    assert [step["status"] for step in shown(runs)["steps"]] == ["unknown", "unknown"]


def test_a_run_of_which_nothing_is_known_is_an_error(runs: RecordedRuns) -> None:
    # Given a Workflow whose ConfigMap this user can't read either.
    runs.submit(TWO, BOTH)
    del runs.cluster.objects[runs.cluster.path("api/v1", "configmaps", "run")]
    assert runs.toolkit("show", "run") == 3
    assert "(it takes the rights create, get and delete on pods)" in runs.err and runs.err.count("\n") == 1
    assert runs.toolkit("show", "absent") == 3


# --- what the mirror has ----------------------------------------------------------------------------------------------


RETURNED = {"returns": {"x": {"kind": "json", "value": 5}}}
TOOK = {"inputs": {"x": {"from": "first", "name": "x", "kind": "json", "sha256": ""}}}


def test_what_was_read_before_is_known_and_the_rest_is_the_engines(runs: RecordedRuns) -> None:
    # Given a run that was looked at when its first step had ended.
    runs.submit(TWO, [BOTH[0], pod_node("second", phase="Running", code=None)], "Running")
    runs.record("run", {"first": RETURNED})
    runs.readable = True
    assert "unread" not in shown(runs)
    # When it has ended, and the volume can't be read any more,
    runs.readable = False
    runs.submit(TWO, BOTH)
    document = shown(runs)
    # then the first step's values are there.
    first, second = (step["attempts"][0] for step in document["steps"])
    assert first["output_parameters"] == {"x": 5} and "unknown" not in first
    assert second["status"] == "succeeded" and "catalog" in second["unknown"]
    assert document["parameters"] == {"x": 5}
    # What is known of the part that was read does not make a catalog of the whole.
    assert runs.toolkit("catalog", "run") == 3


def test_a_value_whose_producer_can_not_be_read_is_unknown(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    shown(runs)
    runs.record("run", {"second": TOOK})
    (mirrored,) = (runs.local.root / ".toolkit" / "cluster").glob("*/volume/log/run")
    shutil.copytree(runs.log / "run" / "steps", mirrored / "steps", dirs_exist_ok=True)
    second = shown(runs)["steps"][1]["attempts"][0]
    assert second["input_parameters"] == {"x": None} and second["unknown"] == ["input_parameters"]


def test_once_the_volume_can_be_read_all_is_known(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    assert "unread" in shown(runs)
    runs.record("run", {"first": RETURNED, "second": TOOK}, ended=True)
    runs.readable = True
    document = shown(runs)
    assert "unread" not in document and document["parameters"] == {"x": 5}
    assert document["steps"][1]["attempts"][0]["input_parameters"] == {"x": 5}
    # With its output it is here whole, and no pod is needed any more.
    assert runs.toolkit("logs", "run") == 0
    runs.readable = False
    assert shown(runs) == document


def test_what_this_machine_saw_of_a_run_is_shown_when_its_workflow_is_gone_too(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    before = shown(runs)
    del runs.cluster.objects[runs.cluster.path("apis/argoproj.io/v1alpha1", "workflows", "run")]
    assert shown(runs) == before
    # Of one whose end nobody has seen nothing is said.
    runs.submit(TWO, [BOTH[0]], "Running", "other")
    shown(runs, "other")
    del runs.cluster.objects[runs.cluster.path("apis/argoproj.io/v1alpha1", "workflows", "other")]
    assert runs.toolkit("show", "other") == 3 and NO_RIGHT in runs.err


def test_a_volume_that_can_be_read_and_not_written_is_read(runs: RecordedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.submit(TWO, BOTH)
    runs.record("run", {"first": RETURNED, "second": TOOK})
    runs.readable = True

    def refuse(*_: object) -> None:
        raise Infrastructure("Read-only file system")

    monkeypatch.setattr("toolkit.backends.argo.volume.mirror.Mirror.publish", refuse)
    document = shown(runs)
    assert "unread" not in document and document["parameters"] == {"x": 5}
    assert "can't be written to the volume: Read-only file system" in runs.err


# --- the other commands -----------------------------------------------------------------------------------------------


def test_runs_are_those_that_the_cluster_knows(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.submit(TWO, [BOTH[0]], "Running", "later", started="2026-01-03T03:04:05.678Z")
    assert runs.toolkit("runs", "--json") == 0
    listed = [(run["run_id"], run["status"]) for run in json.loads(runs.out)]
    assert listed == [("run", "succeeded"), ("later", "running")]
    assert "these are only the runs that the cluster has a Workflow of" in runs.err
    # It was not tried with an image that would have had to be built for it.
    assert not [path for method, path in runs.cluster.asked if method == "POST" and path.endswith("/pods")]
    # The newest of them is the one that is meant where none is named, and why is said once.
    assert runs.toolkit("show") == 0
    assert "later" in runs.out and runs.err.count(NO_RIGHT) + runs.err.count("may not create pods") == 1


@pytest.mark.parametrize("command", [("catalog",), ("catalog", "--json"), ("fetch",), ("catalog", "--get", "a.txt")])
def test_what_a_run_put_is_not_said_to_be_nothing(runs: RecordedRuns, command: tuple[str, ...]) -> None:
    runs.submit(TWO, BOTH)
    name, *options = command
    assert runs.toolkit(name, "run", *options) == 3
    assert "what the run run put into the catalog is unknown: " in runs.err
    assert runs.out == ""


def test_two_runs_are_neither_the_same_nor_different(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.submit(TWO, [pod_node("first", phase="Failed", code=1)], "Failed", "other")
    assert runs.toolkit("diff", "run", "other") == 3
    assert runs.out == ""
    assert "the run run can't be compared, because only the cluster's word is known: the pod that reads" in runs.err


def test_a_run_is_resumed_only_with_its_records(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    assert runs.local.toolkit("retry", "run", "--namespace", "lab") == 2
    assert "the run run has succeeded: there is nothing left to run" in runs.err
    runs.submit(TWO, [pod_node("first", phase="Running", code=None)], "Running", "busy")
    assert runs.local.toolkit("retry", "busy", "--namespace", "lab") == 2
    assert "the run busy is running" in runs.err
    runs.submit(TWO, [pod_node("first", phase="Failed", code=1)], "Failed", "broken", source=SOURCE)
    runs.local.write("pipeline.py", "")
    for options in (("--namespace", "lab"), ("--namespace", "lab", "--env", "local")):
        assert runs.local.toolkit("retry", "broken", *options) == 3
        assert "what the steps of the run broken have done is only on the volume, which can't be read: " in runs.err
        assert NO_RIGHT in runs.err


SOURCE: dict[str, Any] = {"file": "pipeline.py", "name": None, "nth": None, "arguments": []}


# --- logs -------------------------------------------------------------------------------------------------------------

ARGO = b'time="2026-01-02T03:04:20.000Z" level=info msg="sub-process exited" argo=true error="<nil>"\n'


def test_logs_are_those_of_the_containers(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.cluster.logs = {"pod-of-run-0": b"one\ntime=mine\n" + ARGO, "pod-of-run-1": b"no end of line\n" + ARGO}
    assert runs.toolkit("logs", "run") == 0, runs.err
    assert runs.out == "==> first\none\ntime=mine\n==> second\nno end of line\n"
    assert "this is what the cluster has kept of the output; it may have cut it" in runs.err
    assert runs.toolkit("logs", "run", "second") == 0 and runs.out == "no end of line\n"
    assert runs.toolkit("logs", "run", "--json") == 0
    assert [(one["step"], one["output"]) for one in json.loads(runs.out)][1] == ("second", "no end of line\n")
    assert runs.toolkit("logs", "run", "absent") == 2


def test_output_that_only_the_volume_has_is_named(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.cluster.logs = {"pod-of-run-0": b"one\n"}
    assert runs.toolkit("logs", "run") == 3
    assert runs.out.startswith("==> first\none\n")
    assert "is on the volume alone, which can't be read: second (its pod is gone)" in runs.err
    assert runs.toolkit("logs", "run", "first") == 0


def test_the_output_of_items_that_share_pods_is_on_the_volume_alone(runs: RecordedRuns) -> None:
    steps: list[Step] = [task("give", returns="xs"), Map("m", sequence(task("a")), "xs", "x")]
    nodes = [pod_node("give", c1="0", g1="2"), dag_node("m"), pod_node("m/*/a", "m/group-0/a")]
    runs.submit(steps, nodes, executor={"pods_per_map": 2})
    runs.cluster.logs = {"pod-of-run-0": b"give\n"}
    assert runs.toolkit("logs", "run") == 3 and "m (the cluster does not say what ran in it)" in runs.err
    assert runs.toolkit("logs", "run", "m/3/a") == 3 and "m/3/a" in runs.err


def test_logs_of_a_run_that_goes_on_are_followed_to_its_end(
    runs: RecordedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.runs.cluster_logs._PAUSE", 0.0)
    runs.submit(TWO, [pod_node("first", phase="Running", code=None)], "Running")
    runs.cluster.logs = {"pod-of-run-0": b"one\n", "pod-of-run-1": b"two\n"}
    log = runs.cluster.log

    def following(pod: str, container: str, follow: bool, seconds: float = 3600.0) -> Iterator[bytes]:
        assert follow
        yield from log(pod, container, follow)
        # The container has ended when its log has.
        runs.submit(TWO, BOTH)

    monkeypatch.setattr(runs.cluster, "log", following)
    assert runs.toolkit("logs", "run", "-f") == 0, runs.err
    assert runs.out == "==> first\none\n==> second\ntwo\n"
