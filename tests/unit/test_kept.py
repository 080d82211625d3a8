"""What a command takes by the word of this machine or of the cluster, and never by a record that a step can write."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, cluster_at
from tests.support.volume_runs import make_run, run_record
from toolkit.config.settings import EnvironmentName
from toolkit.errors import BadInput, Infrastructure
from toolkit.run.kept import keep_place, keep_request, kept_request
from toolkit.runs import cancel, find
from toolkit.runs.cluster_runs import ClusterRuns
from toolkit.runs.find import RunHandle, RunSource, find_run
from toolkit.runs.retry import Named, retry_request
from toolkit.runtime.shared import records
from toolkit.store.reader import Run

PLAN = json.dumps(
    {"scopes": {}, "steps": [], "settings": [{"grace_period": 10**9}], "stores": {"catalog": "/mnt/../../.."}}
)
THEIRS: dict[str, Any] = {
    "plan": PLAN,
    "environment": "process",
    "source": {"file": "theirs.py", "name": None, "nth": None, "arguments": []},
    "context": {"context": "theirs", "namespace": "theirs"},
    "image": {"reference": "theirs@sha256:0", "digest": "", "identity": ""},
    "parameters": {"x": "theirs"},
    "tag": "theirs",
    "driver": {"workflow": "r"},
}
"""What a step wrote into the record of its run."""
OURS = {**THEIRS, "source": {**THEIRS["source"], "file": "p.py"}, "parameters": {"x": 1}, "tag": "mine"}
OURS = {**OURS, "environment": "argo", "context": {}, "image": {**THEIRS["image"], "reference": "ours@sha256:1"}}
SHORT = json.dumps({"stores": {}, "scopes": {}, "steps": [], "settings": [{"grace_period": 3}, {"grace_period": 7}]})


class Objects(ClusterRuns):
    """A cluster that has these objects, by kind and name."""

    def __init__(self, lab: Lab, objects: Mapping[tuple[str, str], Any] = {}) -> None:
        super().__init__(lab.project, cluster_at("https://one:6443"), lambda sentence: None)
        self.cluster.find = lambda *names: objects.get(names[1:])  # type: ignore

    def run(self, run_id: str, logs: bool = False, needs_volume: bool = False) -> Run:
        """A run as the mirror has it."""
        return self.log.run(run_id)

    def known_runs(self) -> list[Run]:
        """The runs of the mirror."""
        return self.log.runs()

    def _own_image(self) -> tuple[str, str]:
        return "built", "Never"

    def image(self, run_id: str | None) -> str:
        """The image of the pod that reads the volume."""
        return self.reader(run_id)._image


def config_map(record: Mapping[str, Any]) -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(records.encode(record))).decode()
    return {"binaryData": {"run.json.gz": packed}}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A cluster's volume with a run that failed, whose record a step has rewritten, and a mirror that has fetched it."""
    lab = Lab(tmp_path)
    folder = make_run(lab.log, "r", ended=False, **THEIRS)
    records.write(str(folder / "end.json"), {"version": 1, "status": "failed", "ended": "2026", "reason": ""})
    lab.mirror.sync(lab.pod, "r")
    for name in ("p.py", "theirs.py"):
        (tmp_path / name).touch()
    return lab


def handle_of(lab: Lab, remote: Objects) -> RunHandle:
    return RunHandle(lab.project, remote.log, remote.log.run("r"), remote)


def kept(lab: Lab) -> None:
    keep_request(lab.mirror.home, records.checked_run(run_record("r", **OURS)))


def test_the_pod_that_reads_a_volume_has_no_image_of_a_records(lab: Lab) -> None:
    assert Objects(lab).image("r") == Objects(lab).image(None) == "built"
    kept(lab)
    assert Objects(lab).image("r") == "ours@sha256:1"
    # The ConfigMap counts first: another machine may have resumed the run. The runs of a schedule share theirs.
    newer = {**OURS, "image": {**THEIRS["image"], "reference": "newer@sha256:2"}}
    workflow = {"spec": {"volumes": [{"name": "other"}, {"name": "toolkit-run", "configMap": {"name": "shared"}}]}}
    assert Objects(lab, {("configmaps", "r"): config_map(newer)}).image("r") == "newer@sha256:2"
    objects = {("workflows", "r"): workflow, ("configmaps", "shared"): config_map(newer)}
    assert Objects(lab, objects).image("r") == "newer@sha256:2"


@pytest.mark.parametrize("word", ["kept", "ConfigMap"])
def test_a_run_on_a_cluster_is_retried_by_what_is_kept_or_by_its_config_map(lab: Lab, word: str) -> None:
    if word == "kept":
        kept(lab)
    remote = Objects(lab, {("configmaps", "r"): config_map(OURS)} if word == "ConfigMap" else {})
    environments: tuple[EnvironmentName | None, ...] = (None, "local")
    for environment in environments:
        request = retry_request(lab.project, handle_of(lab, remote), Named(environment=environment))
        assert request.reference.file.name == "p.py" and request.environment == (environment or "argo")
        assert (request.parameters, request.tag) == ({"x": 1}, "mine")
        # Where it was found, under the name that this machine has for it.
        assert (request.context, request.namespace) == ("lab", "lab")


def test_a_run_that_this_machine_has_moved_there_is_retried_by_what_is_kept_here(lab: Lab) -> None:
    keep_request(lab.project.state, records.checked_run(run_record("r", **{**OURS, "environment": "local"})))
    request = retry_request(lab.project, handle_of(lab, Objects(lab)), Named())
    assert (request.reference.file.name, request.environment, request.parameters) == ("p.py", "argo", {"x": 1})


def test_a_run_on_a_cluster_of_which_nothing_is_known_asks_for_its_file(lab: Lab) -> None:
    with pytest.raises(
        BadInput, match=r"`toolkit retry r \S*theirs.py --env argo --tag theirs --param 'x=\"theirs\"'`"
    ):
        retry_request(lab.project, handle_of(lab, Objects(lab)), Named())


def test_a_cancel_waits_as_long_as_the_plan_that_was_submitted_says(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as long as a record says, which may be for ever."""
    waits: list[float] = []
    monkeypatch.setattr(cancel, "_wait", lambda has_ended, run_id, seconds: waits.append(seconds))
    monkeypatch.setattr("toolkit.backends.argo.shutdown.shut_down_run", lambda *_: None)
    for objects in ({}, {("configmaps", "r"): config_map({**OURS, "plan": SHORT})}):
        cancel._cancel_on_cluster(handle_of(lab, Objects(lab, objects)), kill=False, note=print)
    default = lab.project.config.executor.config.grace_period_in_seconds
    # Pods that Argo has forgotten get their grace period twice.
    assert waits[0] - waits[1] == 2 * (default - 7)


def test_the_cluster_that_a_command_asks_is_none_of_a_records(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, str | None]] = []

    def open_remote(project: Any, source: RunSource, note: Any) -> Objects:
        asked.append((source.context, source.namespace))
        return Objects(lab)

    monkeypatch.setattr(find, "open_remote", open_remote)
    # A run of the mirror is looked for on the mirror's cluster.
    assert find_run(lab.project, "r", RunSource(), print).remote is not None
    find.all_runs(lab.project, RunSource(), print)
    assert asked == [("lab", "lab")] * 2
    # A run that has the mark of one that was moved is looked for where this machine has moved it,
    del asked[:]
    here = make_run(find.local_log(lab.project)._folder, "here", **{**THEIRS, "driver": None})
    records.write(str(here / "moved.json"), {"to": {"context": "theirs", "namespace": "theirs", "claim": "claim"}})
    with pytest.raises(
        BadInput, match=r"where to is not kept on this machine: name the cluster \(--context, --namespace\)"
    ):
        find_run(lab.project, "here", RunSource(), print)
    assert find_run(lab.project, "here", RunSource("local"), print).remote is None and asked == []
    assert find_run(lab.project, "here", RunSource(None, "named", "named"), print).remote is None
    keep_place(lab.project.state, "here", {"context": "ours", "namespace": "ours"})
    find_run(lab.project, "here", RunSource(), print)
    assert asked == [("named", "named"), ("ours", "ours")]
    # and what can't be a run's id is looked for nowhere.
    for run_id in ("*", "..", "../cluster", ""):
        with pytest.raises(BadInput, match="there is no run"):
            find_run(lab.project, run_id, RunSource(), print)


def test_an_object_and_a_catalog_are_named_by_no_path(lab: Lab) -> None:
    remote = Objects(lab)
    for digest in ("../" * 20 + "etc/passwd", "0" * 63, "Z" * 64):
        with pytest.raises(Infrastructure, match="is no object's hash"):
            handle_of(lab, remote).catalog([digest])
    local = RunHandle(lab.project, remote.log, remote.log.run("r"))
    with pytest.raises(BadInput, match="lies on no volume"):
        local.catalog([])


def test_what_is_kept_of_another_run_of_the_id_does_not_count(tmp_path: Path) -> None:
    record = records.checked_run(run_record("r", **OURS))
    keep_request(tmp_path, record)
    assert (kept_request(tmp_path, record) or {}).get("tag") == "mine"
    assert kept_request(tmp_path, {**record, "started": "2027"}) is None
    assert kept_request(tmp_path, {**record, "run_id": "other"}) is None
    (tmp_path / "clients" / "r" / "request.json").write_text("{half")
    assert kept_request(tmp_path, record) is None
