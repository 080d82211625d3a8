"""A run that moves between this machine and a cluster, to and fro, whoever is killed in between.

The cluster has no Workflows here, and its pod is ``LocalReader``: the runtime's own answering process on this machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, cluster_at
from tests.support.reader import Killed, LocalReader, UntilKilled
from tests.support.volume_runs import attempt, files_of, go_on, make_run, run_record
from toolkit.backends import volumes
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.errors import BadInput, Infrastructure
from toolkit.run.records import continue_run
from toolkit.runs import move
from toolkit.runs.cluster_runs import ClusterRuns
from toolkit.runs.find import RunHandle, RunSource, find_run, local_log
from toolkit.runs.move import pull_run, push_run, refresh_run, where_moved
from toolkit.runtime.shared import records
from toolkit.runtime.shared.catalog import FileStore
from toolkit.runtime.step.run_record import WrongRun, publish_run


class OneCluster(ClusterRuns):
    """A cluster without Workflows, whose volume lies in a folder."""

    def __init__(self, lab: Lab, namespace: str = "lab") -> None:
        super().__init__(lab.project, cluster_at("https://one:6443", namespace), lambda sentence: None)
        self.pod: Any = LocalReader()
        self.cluster.find = lambda *_: None  # type: ignore[method-assign]

    @contextmanager
    def reader(self, record: Any) -> Iterator[Any]:  # type: ignore[override]
        """The pod."""
        yield self.pod


class Place:
    """A machine with a project, and the cluster that it uses."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab(root)
        self.there = self.lab.log / "r"
        self.catalog = volumes.host_path(self.lab.project, str(self.lab.volume / "catalog"))
        self.here = volumes.host_path(self.lab.project, str(self.lab.log)) / "r"
        self.said: list[str] = []

    def begin(self, run_log: Path, catalog: Path) -> None:
        """A run that failed, with an object of each kind."""
        store = FileStore(str(catalog))
        plan = {
            "steps": [
                {"path": one, "name": one, "type": "task", "catalog": {"store_copy": one == "a"}} for one in "ab"
            ],
            "scopes": {"": {"steps": ["a", "b"]}},
            "stores": {"catalog": str(self.lab.volume / "catalog")},
        }
        fields: dict[str, Any] = {"driver": None, "environment": "local", "context": {}, "plan": json.dumps(plan)}
        folder = make_run(run_log, "r", ended=False, **fields)
        at = attempt(folder, "a", "hello\n", ended=False)
        put, made = store.put_bytes(b"file" * 1000), store.put_bytes(b"pickle")
        returns = {"one": {"kind": "object", **made}, "two": {"kind": "json", "value": 1}}
        end = {"status": "succeeded", "catalog": {"put": [{"name": "x", **put}]}, "returns": returns}
        records.write(str(at / "end.json"), end)
        uncopied = {"status": "succeeded", "catalog": {"put": [{"name": "y", "sha256": "0" * 64, "size": 7}]}}
        records.write(str(attempt(folder, "b", "", ended=False) / "end.json"), uncopied)
        records.write(str(folder / "end.json"), {"status": "failed", "reason": "x"})

    def remote(self, pod: Any = None) -> OneCluster:
        """The cluster as a new command sees it."""
        remote = OneCluster(self.lab)
        remote.pod = pod or remote.pod
        return remote

    def local(self) -> RunHandle:
        """The run here."""
        log = local_log(self.lab.project)
        return RunHandle(self.lab.project, log, log.run("r"))

    def to_cluster(self, pod: Any = None) -> RunHandle:
        """One command that moves it there."""
        return push_run(self.local(), self.remote(pod), self.said.append)

    def to_here(self, pod: Any = None) -> RunHandle:
        """One command that moves it here."""
        remote = self.remote()
        found = RunHandle(self.lab.project, remote.log, remote.run("r"), remote)
        remote.pod = pod or remote.pod
        return pull_run(found, self.said.append)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine and a cluster without runs."""
    return Place(tmp_path)


def objects_of(catalog: Path) -> dict[str, bytes]:
    """The objects of a catalog."""
    return files_of(catalog / "objects")


def test_a_run_goes_to_the_cluster_and_back_any_number_of_times(place: Place) -> None:
    # Given a run that failed on this machine,
    place.begin(place.here.parent, place.catalog)
    before = files_of(place.here)
    for folder in (place.here, place.here / "steps", place.here / "steps" / "a"):
        folder.chmod(0o2775)
    # when it goes to the cluster, then all of it is there, with its objects, and here it is marked.
    assert where_moved(place.here) == ""
    found = place.to_cluster()
    assert found.remote is not None and found.run.end == {"status": "failed", "reason": "x"}
    assert files_of(place.there) == before and objects_of(place.lab.volume / "catalog") == objects_of(place.catalog)
    assert len(objects_of(place.catalog)) == 2
    assert where_moved(place.here) == "on the cluster lab, in the namespace lab"
    assert place.said == ["moving the run r to lab, namespace lab"]
    # It goes on there, and comes back with what is new:
    for number in (1, 3):
        go_on(place.there, number, "failed")
        attempt(place.there, "a", f"{number}", number=number + 1)
        back = place.to_here()
        assert back.remote is None and back.run.record["part"] == number
        assert where_moved(place.there) == f"on the machine {os.uname().nodename}, in {place.here.parent}"
        assert files_of(place.here) == {k: v for k, v in files_of(place.there).items() if k != "moved.json"}
        assert where_moved(place.here) == "" and (place.here / "steps/a/2/output.log").stat().st_mode & 0o777 == 0o664
        # and there again.
        go_on(place.here, number + 1, "failed")
        attempt(place.here, "a", "more\n", number=number + 2)
        found = place.to_cluster()
        assert found.run.record["part"] == number + 1 and not (place.there / "moved.json").exists()
        assert files_of(place.there) == {k: v for k, v in files_of(place.here).items() if k != "moved.json"}
    assert [one.name for one in place.lab.log.iterdir()] == ["r"]
    assert [one.name for one in place.here.parent.iterdir()] == ["r"]


def test_a_run_of_the_cluster_comes_here_and_goes_back(place: Place) -> None:
    place.begin(place.lab.log, place.lab.volume / "catalog")
    before = files_of(place.there)
    place.to_here()
    assert files_of(place.here) == before and len(objects_of(place.catalog)) == 2
    assert [run.id for run in local_log(place.lab.project).runs()] == ["r"]
    place.to_cluster()
    assert files_of(place.there) == before


@pytest.mark.parametrize("requests", range(6))
def test_a_client_that_was_killed_on_the_way_there_is_done_again(place: Place, requests: int) -> None:
    # Given a client that was killed after so many requests: before the mark, after it, with objects or all there,
    place.begin(place.here.parent, place.catalog)
    before = files_of(place.here)
    with pytest.raises(Killed):
        place.to_cluster(UntilKilled(requests))
    # then the run is in one place, and the same command finishes it.
    assert bool(where_moved(place.here)) == (requests > 0)
    found = place.to_cluster()
    assert found.remote is not None and files_of(place.there) == before
    assert objects_of(place.lab.volume / "catalog") == objects_of(place.catalog)
    # The way back is as open as ever.
    place.to_here()
    assert not where_moved(place.here) and where_moved(place.there)


@pytest.mark.parametrize("step", ["_copy_objects", "_add_files"])
def test_a_client_that_was_killed_on_the_way_back_is_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place.begin(place.here.parent, place.catalog)
    place.to_cluster()
    go_on(place.there, 1, "failed")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(move, step, killed)
        with pytest.raises(Killed):
            place.to_here()
    # Both are marked now, and each with the other: either direction finishes it.
    assert where_moved(place.here) and where_moved(place.there)
    place.to_cluster()
    assert where_moved(place.here) and not where_moved(place.there)
    place.to_here()
    assert not where_moved(place.here) and local_log(place.lab.project).run("r").record["part"] == 1


def test_what_has_gone_elsewhere_is_refused(place: Place) -> None:
    place.begin(place.here.parent, place.catalog)
    place.to_cluster()
    # Another namespace is another place.
    elsewhere = OneCluster(place.lab, "other")
    with pytest.raises(
        BadInput, match="the run r was moved: it is now on the cluster lab, in the namespace lab; resume it there"
    ):
        push_run(place.local(), elsewhere, place.said.append)
    # A run that is on the volume and has been taken by another machine,
    mark = {"version": 1, "to": {"host": "desk", "folder": "/home/log"}}
    (place.there / "moved.json").write_bytes(records.encode(mark))
    with pytest.raises(BadInput, match="was moved: it is now on the machine desk, in /home/log"):
        place.to_here()
    with pytest.raises(BadInput, match="was moved: it is now on the machine desk, in /home/log"):
        place.to_cluster()
    # and one that is in both places without a mark.
    (place.there / "moved.json").unlink()
    (place.here / "moved.json").unlink()
    with pytest.raises(BadInput, match="on this machine as well: `toolkit retry r --env local`"):
        place.to_here()
    with pytest.raises(BadInput, match="on the cluster as well: `toolkit retry r --env argo`"):
        place.to_cluster()
    assert not where_moved(place.here) and not where_moved(place.there)


def test_who_goes_on_there_learns_that_the_run_has_left_since(place: Place) -> None:
    # Given a run that this machine has whole, and therefore asks for no more,
    place.begin(place.lab.log, place.lab.volume / "catalog")
    remote = place.remote()
    remote.run("r", logs=True)
    assert remote.mirror.is_complete("r")
    found = RunHandle(place.lab.project, remote.log, remote.run("r"), remote)
    assert refresh_run(found).run.end == {"status": "failed", "reason": "x"} and remote.mirror.is_complete("r")
    # when another one has taken it, or this one,
    (place.there / "moved.json").write_bytes(records.encode({"to": {"host": "desk", "folder": "/log"}}))
    with pytest.raises(BadInput, match="was moved: it is now on the machine desk, in /log; resume it there"):
        refresh_run(found)
    (place.there / "moved.json").unlink()
    place.to_here()
    with pytest.raises(BadInput, match="was moved to this machine: `toolkit retry r --env local`"):
        refresh_run(found)


@pytest.mark.parametrize("variable", ["", "argo", "local"])
def test_whoever_asks_is_led_to_where_the_run_is(place: Place, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("TOOLKIT_ENV", variable)
    monkeypatch.setattr("toolkit.runs.find.open_remote", lambda *_: place.remote())

    def is_there(environment: str | None = None) -> bool:
        return find_run(place.lab.project, "r", RunSource(environment), place.said.append).remote is not None

    place.begin(place.here.parent, place.catalog)
    assert not is_there()
    # A client that is killed on its way leaves it here, to be brought there by the next one.
    with pytest.raises(Killed):
        place.to_cluster(UntilKilled(2))
    assert not is_there()
    place.to_cluster()
    assert is_there()
    # So does one on its way back.
    go_on(place.there, 1, "failed")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(move, "_add_files", lambda *_: UntilKilled(0).exec({}, print))
        place.to_here()
    place.to_here()
    assert not is_there() and is_there("argo") and not is_there("local")
    with pytest.raises(Killed):
        place.to_cluster(UntilKilled(2))
    assert where_moved(place.here) and where_moved(place.there) and not is_there()
    place.to_cluster()
    assert is_there() and not is_there("local")


def test_another_run_of_the_id_is_refused_before_anything_is_marked(place: Place) -> None:
    place.begin(place.here.parent, place.catalog)
    make_run(
        place.lab.log, "r", submission="theirs", driver=None, plan='{"steps":[],"scopes":{},"stores":{"catalog":null}}'
    )
    with pytest.raises(Infrastructure, match="the volume has another run r"):
        place.to_cluster()
    assert not where_moved(place.here)
    # Back from a cluster that was emptied meanwhile, and has given the id again.
    (place.here / "moved.json").write_bytes(
        records.encode({"to": {"context": "lab", "namespace": "lab", "claim": "claim"}})
    )
    with pytest.raises(BadInput, match="there is another run r on this machine"):
        place.to_here()
    assert where_moved(place.here) and not where_moved(place.there)


def test_a_run_that_began_while_it_was_looked_at_does_not_leave(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.begin(place.here.parent, place.catalog)
    found = place.local()
    go_on(place.here, 1)
    monkeypatch.setattr("toolkit.backends.driver.is_driven", lambda project: lambda record: True)
    with pytest.raises(BadInput, match="the run r is running"):
        push_run(found, place.remote(), place.said.append)
    assert not where_moved(place.here) and not place.there.exists()


def test_a_run_that_is_marked_does_not_go_on_where_it_was(place: Place) -> None:
    # Who looked before the mark was there sees it when it begins,
    place.begin(place.here.parent, place.catalog)
    place.to_cluster()
    before = files_of(place.here)
    with pytest.raises(BadInput, match="is being moved to a cluster"):
        continue_run(place.here, run_record("r"))
    assert files_of(place.here) == before and place.local().run.end is not None
    # also on the volume, in the first container that would publish the part.
    place.to_here()
    before = files_of(place.there)
    with pytest.raises(WrongRun, match="moved away from this volume"):
        publish_run(str(place.there), "r", run_record("r", part=1))
    assert files_of(place.there) == before


def test_two_commands_do_not_move_at_once(place: Place) -> None:
    place.begin(place.here.parent, place.catalog)

    class Meanwhile(LocalReader):
        """A second command comes while the first one asks."""

        def exec(self, request: Any, sink: Callable[[bytes], None]) -> None:
            with pytest.raises(BadInput, match="another command is moving a run"):
                place.to_cluster()
            super().exec(request, sink)

    place.to_cluster(Meanwhile())
    assert where_moved(place.here)


def test_a_mark_that_can_not_be_read_is_one_all_the_same(place: Place) -> None:
    place.begin(place.here.parent, place.catalog)
    for text in ("{half", "[]", "{}", '{"to": 7}'):
        (place.here / "moved.json").write_text(text)
        assert where_moved(place.here) == "in a place that its mark does not name"
        with pytest.raises(BadInput, match="was moved: it is now in a place"):
            place.to_cluster()


def test_another_machine_with_the_mirror_learns_that_the_run_came_back(place: Place, tmp_path: Path) -> None:
    place.begin(place.lab.log, place.lab.volume / "catalog")
    other = Mirror(place.lab.of("claim", str(place.lab.volume)), cluster_at("https://one:6443", "seen-elsewhere"))
    place.to_here()
    seen = other.sync(place.lab.pod, "r")
    assert where_moved(seen)
    place.to_cluster()
    other.sync(place.lab.pod, "r")
    assert not where_moved(seen)
