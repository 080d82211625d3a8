"""Runs whose records lack something, and what is not ours on a cluster: each is shown as far as it goes, and hides no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.argo_cases import task
from tests.support.local_project import LocalProject
from tests.support.recorded_cluster import RecordedRuns, pod_node
from toolkit import report
from toolkit.runtime.shared import records

SCHEMAS = Path(report.__file__).parent / "schemas"
TWO = (task("first", returns="x"), task("second"))
BOTH = [pod_node("first"), pod_node("second")]
FILE = {"name": "a.txt", "sha256": "0" * 64, "size": 3}
ENDS = {"first": {"returns": {"x": {"kind": "json", "value": 5}}, "catalog": {"put": [FILE]}}, "second": {}}
BY_THE_DAY = "nightly-1767323044"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedRuns:
    found = RecordedRuns(tmp_path, monkeypatch)
    found.readable = True
    return found


def check(command: str, output: str) -> None:
    """The output is what the command's schema says."""
    schema = json.loads((SCHEMAS / f"{command}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(output))


# --- a schedule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", [True, False])
def test_a_run_of_a_schedule_is_like_any_other(runs: RecordedRuns, driver: bool) -> None:
    # Given a run of a schedule, beside another one,
    runs.submit(TWO, BOTH)
    runs.record("run", ENDS, ended=True)
    runs.submit(TWO, BOTH, run_id=BY_THE_DAY, schedule="nightly")
    folder = runs.record(BY_THE_DAY, ENDS)
    record = json.loads((folder / "run.json").read_bytes())
    assert record["driver"] == {"workflow": BY_THE_DAY}
    if not driver:
        # as images of older versions write its record,
        del record["driver"]
        records.write(str(folder / "run.json"), record)
    # then every command takes it like the other.
    for command in ("runs", "show", "logs", "catalog"):
        named = [] if command == "runs" else [BY_THE_DAY]
        assert runs.toolkit(command, *named, "--json") == 0, runs.err
        check(command, runs.out)
        assert runs.toolkit(command, *named) == 0, runs.err
    assert runs.toolkit("runs", "--json") == 0
    assert {run["run_id"]: run["status"] for run in json.loads(runs.out)} == {
        "run": "succeeded",
        BY_THE_DAY: "succeeded",
    }
    assert set(runs.statuses(BY_THE_DAY).values()) == {"succeeded"}
    assert runs.toolkit("diff", "run", BY_THE_DAY) == 0, runs.err
    assert runs.toolkit("cancel", BY_THE_DAY) == 2 and "has ended (succeeded)" in runs.err
    assert runs.local.toolkit("retry", BY_THE_DAY, "--namespace", "lab") == 2 and "has succeeded" in runs.err
    assert runs.toolkit("fetch", BY_THE_DAY, "absent") == 2


@pytest.mark.parametrize(("phase", "status"), [("Pending", "running"), ("Failed", "failed")])
def test_a_run_of_a_schedule_is_there_before_its_first_step(runs: RecordedRuns, phase: str, status: str) -> None:
    stuck = pod_node("first", phase="Pending" if phase == "Pending" else "Error", message="no node takes it", code=None)
    runs.submit(TWO, [stuck], phase, BY_THE_DAY, schedule="nightly")
    shown = runs.show(BY_THE_DAY)
    check("show", runs.out)
    assert (shown["status"], shown["started"]) == (status, "2026-01-02T03:04:04.000Z")
    assert shown["context"] == {"context": "lab", "namespace": "lab"}
    assert runs.toolkit("runs") == 0 and BY_THE_DAY in runs.out


def test_a_run_of_a_schedule_whose_workflow_is_gone_and_that_has_no_end_is_lost(runs: RecordedRuns) -> None:
    runs.submit(TWO, [], "Running", BY_THE_DAY, schedule="nightly")
    folder = runs.record(BY_THE_DAY, {})
    records.write(str(folder / "run.json"), without(json.loads((folder / "run.json").read_bytes()), "driver"))
    runs.cluster.objects.clear()
    assert runs.show(BY_THE_DAY)["reason"] == "lost: its Workflow is gone, and nobody saw how it ended"
    assert runs.toolkit("runs") == 0 and "failed" in runs.out


# --- what is not ours -------------------------------------------------------------------------------------------------


def test_a_workflow_that_is_not_ours_is_no_run(runs: RecordedRuns) -> None:
    # Given a Workflow of somebody else's, and one that took the name of a run of ours,
    runs.submit(TWO, BOTH)
    runs.record("run", ENDS, ended=True)
    theirs = {"spec": {}, "status": {"phase": "Running", "nodes": {"x": {"type": "Pod"}}}}
    for name in ("theirs", "run"):
        runs.cluster.put("apis/argoproj.io/v1alpha1", "workflows", {"metadata": {"name": name}, **theirs})
    # then the one is none, and the other's does not count.
    for command in ("show", "logs", "cancel", "catalog"):
        assert runs.toolkit(command, "theirs") == 2, command
        assert "there is no run 'theirs', neither here nor in the namespace lab" in runs.err
    assert runs.show()["status"] == "succeeded"
    assert runs.toolkit("runs", "--json") == 0
    assert [run["run_id"] for run in json.loads(runs.out)] == ["run"]


def labelled(name: str, **fields: Any) -> dict[str, Any]:
    """A Workflow that says that it is ours."""
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "toolkit"}, "creationTimestamp": "2026"}
    return {"metadata": {**metadata, **fields.pop("metadata", {})}, **fields}


STRANGE = {
    "empty": labelled("empty"),
    "part": labelled("part", metadata={"annotations": {"dev.toolkit/part": "first"}}),
    "No-Run-Has-This-Name": labelled("No-Run-Has-This-Name", status={"phase": "Succeeded"}),
    "volumes": labelled("volumes", spec={"volumes": [{"name": "toolkit-run"}]}, status={"phase": "Failed"}),
}
RECORDS = {"packed": "not base64", "zipped": "bm90IGd6aXA=", "json": "H4sIAAAAAAACAwMAAAAAAAAAAAA="}


def test_what_is_strange_on_the_cluster_hides_no_run(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.record("run", ENDS, ended=True)
    for workflow in STRANGE.values():
        runs.cluster.put("apis/argoproj.io/v1alpha1", "workflows", workflow)
    for name, packed in RECORDS.items():
        runs.cluster.put("apis/argoproj.io/v1alpha1", "workflows", labelled(name, status={"phase": "Failed"}))
        runs.cluster.put("api/v1", "configmaps", {"metadata": {"name": name}, "binaryData": {"run.json.gz": packed}})
    assert runs.toolkit("runs", "--json") == 0, runs.err
    assert [run["run_id"] for run in json.loads(runs.out)] == ["run"]
    for name in (*STRANGE, *RECORDS):
        assert runs.toolkit("show", name) == 2, name


def test_what_is_damaged_on_the_volume_hides_no_run(runs: RecordedRuns) -> None:
    runs.submit(TWO, BOTH)
    runs.record("run", ENDS, ended=True)
    good = json.loads((runs.log / "run" / "run.json").read_bytes())
    damaged = {
        "no-time": without(good, "started"),
        "no-plan": without(good, "plan"),
        "bad-plan": {**good, "plan": "{"},
        "half-a-plan": {**good, "plan": '{"steps": []}'},
        "only-an-id": {"run_id": "only-an-id"},
    }
    for name, record in damaged.items():
        (runs.log / name).mkdir()
        records.write(str(runs.log / name / "run.json"), {**record, "run_id": name})
    assert runs.toolkit("runs", "--json") == 0, runs.err
    check("runs", runs.out)
    assert "run" in [run["run_id"] for run in json.loads(runs.out)]
    for name in damaged:
        assert runs.toolkit("show", name) in (2, 3), name
        assert runs.err.count("\n") == 1 and "Traceback" not in runs.err


# --- keys that are missing --------------------------------------------------------------------------------------------


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {each: value for each, value in record.items() if each != key}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> LocalProject:
    """A project with a run."""
    found = LocalProject(tmp_path_factory.mktemp("project"))
    found.write(
        "functions.py", "def make():\n    open('a.txt', 'w').write('abc')\n    return 5\ndef use(x):\n    pass\n"
    )
    found.write(
        "pipeline.py",
        "import functions\nfrom toolkit import Catalog, Pipeline, PythonTask\n"
        "p = Pipeline(steps=[PythonTask(functions.make, returns=['x'], catalog=Catalog(put=['a.txt'])),"
        " PythonTask(functions.use, catalog=Catalog(get=['a.txt']))])\n",
    )
    assert found.run("pipeline.py", "--run-id", "run") == 0, found.err
    return found


def lacking(record: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The record without one of its keys; and the key. Of an end's values and files also without one of theirs."""
    for key, value in record.items():
        yield (*at, key), without(record, key)
        if key in ("returns", "catalog", "image", "source", "x") and isinstance(value, dict):
            for inner, changed in lacking(value, (*at, key)):
                yield inner, {**record, key: changed}


OF_A_STEP = ("begin.json", "end.json", "engine.json")


@pytest.mark.parametrize("name", ["run.json", "end.json", *(f"steps/make/1/{name}" for name in OF_A_STEP)])
def test_a_record_that_lacks_a_key_is_shown_or_refused_in_one_sentence(project: LocalProject, name: str) -> None:
    (folder,) = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/run")
    path = folder / name
    whole = path.read_bytes()
    try:
        for key, record in lacking(json.loads(whole)):
            records.write(str(path), record)
            for command in ("show",) if "/" in name else ("show", "runs", "catalog"):
                code = project.toolkit(command, *(["run"] if command != "runs" else []), "--json")
                assert code in (0, 2, 3) and project.err.count("\n") <= 1, (key, command, project.err)
                if code == 0:
                    check(command, project.out)
            # Nothing is left to run, and the run compared is the same one.
            for arguments in (["show", "run"], ["diff", "run", "run", "--no-bytes"], ["retry", "run"]):
                assert project.toolkit(*arguments) in (0, 2, 3), (key, arguments)
    finally:
        path.write_bytes(whole)
