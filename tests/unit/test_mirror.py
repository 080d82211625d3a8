"""The mirror of a volume: what is fetched, how often, and what a hostile or broken answer may do.

The pod is ``LocalReader``: the runtime's own answering process on this machine, without the cluster between them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, cluster_at
from tests.support.reader import LocalReader
from tests.support.volume_runs import attempt, files_of, go_on, make_run, run_record
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.reader import BrokenConnection
from toolkit.errors import BadInput, Infrastructure
from toolkit.runtime.server.answer import AnswerWriter
from toolkit.runtime.shared import records, volume_protocol
from toolkit.runtime.shared.catalog import FileStore, StoreFault
from toolkit.store.reader import NoRun, RunLog
from toolkit.store.writer import write_end, write_engine


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A project with an empty volume."""
    return Lab(tmp_path)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_last_and_ended_ones_are_asked_for_once(lab: Lab) -> None:
    make_run(lab.log, "b-1", started_again=1)
    make_run(lab.log, "a-2", ended=False, started="2026-01-03T00:00:00.000Z")
    first = lab.mirror.runs(lab.pod)
    assert [one["run"]["run_id"] for one in first] == ["b-1", "a-2"]
    assert [one["end"] and one["end"]["status"] for one in first] == ["succeeded", None]
    # The second time the ended one is only named,
    assert lab.mirror.runs(lab.pod) == first
    assert list(lab.pod.asked[1]["have"]) == ["b-1"] and lab.pod.sent[1] < lab.pod.sent[0]
    # and one that has gone from the volume is listed no more.
    os.rename(lab.log / "b-1", lab.root / "gone")
    assert [one["run"]["run_id"] for one in lab.mirror.runs(lab.pod)] == ["a-2"]
    lab.mirror.runs(lab.pod)
    assert lab.pod.asked[-1]["have"] == {}


# --- records --------------------------------------------------------------------------------------------------------


def test_a_synced_run_is_the_same_files_and_reads_like_any_other(lab: Lab) -> None:
    folder = make_run(lab.log, "r", {"a": "hello\n", "map/0/b": os.urandom(8).hex(), "map/1/b": ""})
    here = lab.mirror.sync(lab.pod, "r")
    assert here == lab.mirror.run_folder("r") and files_of(here) == files_of(folder)
    log = RunLog(lab.mirror.run_log, lambda record: False)
    run = log.run("r")
    assert [run.id for run in log.runs()] == ["r"]
    assert [one.status for one in log.attempts(run, "map/0/b")] == ["succeeded"]
    assert log.output(log.attempts(run, "a")[0]).read_text() == "hello\n"


def test_a_growing_run_is_fetched_in_parts_and_nothing_twice(lab: Lab) -> None:
    # Given a run that goes on while it is looked at,
    folder = make_run(lab.log, "r", {"a": "done\n"}, ended=False)
    going = attempt(folder, "b", "one\n", ended=False)
    here = lab.mirror.sync(lab.pod, "r")
    assert not lab.mirror.is_complete("r") and files_of(here) == files_of(folder)
    before = {path: path.stat().st_ino for path in here.rglob("*") if path.is_file()}
    # when its log grows and it ends,
    with open(going / "output.log", "a") as file:
        file.write("two\n")
    lab.mirror.sync(lab.pod, "r")
    records.write(str(going / "end.json"), {"status": "succeeded", "exit_code": 0})
    lab.mirror.sync(lab.pod, "r")
    assert not lab.mirror.is_complete("r")
    records.write(str(folder / "end.json"), {"status": "succeeded", "ended": "2026"})
    lab.mirror.sync(lab.pod, "r")
    # then all of it is here, what was here was not written again, and no pod is needed any more.
    assert files_of(here) == files_of(folder)
    assert {path: path.stat().st_ino for path in before} == before
    assert lab.mirror.is_complete("r")
    # A sync more brings nothing.
    lab.mirror.sync(lab.pod, "r")
    assert lab.pod.sent[-1] < 150
    lab.mirror.forget("r")
    assert not lab.mirror.is_complete("r")


def test_a_run_that_was_fetched_in_part_is_not_complete(lab: Lab) -> None:
    folder = make_run(lab.log, "r", {"a": "x", "b": "y"})
    here = lab.mirror.sync(lab.pod, "r", logs=False)
    assert not lab.mirror.is_complete("r") and not list(here.rglob("output.log"))
    # All that a run is shown by is there.
    assert lab.mirror.is_complete("r", logs=False)
    lab.mirror.sync(lab.pod, "r", steps=["a"])
    assert not lab.mirror.is_complete("r") and len(list(here.rglob("output.log"))) == 1
    lab.mirror.sync(lab.pod, "r")
    assert lab.mirror.is_complete("r") and files_of(here) == files_of(folder)


def test_another_run_of_the_same_id_replaces_the_one_before(lab: Lab) -> None:
    # Given a run here, whose claim was emptied and whose id was then given again,
    make_run(lab.log, "r", {"a": "old", "gone": "old"}, submission="first")
    here = lab.mirror.sync(lab.pod, "r")
    os.rename(lab.log / "r", lab.root / "gone")
    folder = make_run(lab.log, "r", {"a": "new"}, submission="second", ended=False)
    # when it is looked at, then nothing of the first one is left.
    lab.mirror.sync(lab.pod, "r")
    assert files_of(here) == files_of(folder) and not lab.mirror.is_complete("r")


def test_a_log_that_has_become_another_is_replaced(lab: Lab) -> None:
    folder = make_run(lab.log, "r", ended=False)
    going = attempt(folder, "a", "a long first try\n", ended=False)
    here = lab.mirror.sync(lab.pod, "r")
    (going / "output.log").write_text("short\n")
    lab.mirror.sync(lab.pod, "r")
    assert (here / "steps" / "a" / "1" / "output.log").read_text() == "short\n"


@pytest.mark.parametrize("run_id", ["none", "../volume/log/r", "", "R"])
def test_a_run_that_does_not_exist_is_none(lab: Lab, run_id: str) -> None:
    make_run(lab.log, "r")
    with pytest.raises(NoRun):
        lab.mirror.sync(lab.pod, run_id)
    assert not lab.mirror.run_log.exists()


def _sync_again_and_again(root: Path, times: int) -> None:
    lab = Lab(root)
    for _ in range(times):
        lab.mirror.sync(lab.pod, "r")


def test_two_processes_may_sync_one_run_while_it_grows(lab: Lab) -> None:
    folder = make_run(lab.log, "r", ended=False)
    going = attempt(folder, "a", "", ended=False)
    spawned = multiprocessing.get_context("spawn")
    processes = [spawned.Process(target=_sync_again_and_again, args=(lab.root, 4)) for _ in range(2)]
    for process in processes:
        process.start()
    number = 0
    while any(process.is_alive() for process in processes):
        with open(going / "output.log", "a") as file:
            file.write("".join(f"line {number + more}\n" for more in range(1000)))
        number += 1000
        attempt(folder, f"step {number}", "x")
        time.sleep(0.01)
    assert [process.exitcode for process in processes] == [0, 0]
    here = lab.mirror.sync(lab.pod, "r")
    assert files_of(here) == files_of(folder)


def test_a_run_that_went_on_is_fetched_and_complete_with_its_newest_end(lab: Lab) -> None:
    # Given a run that is here whole and goes on on the cluster,
    folder = make_run(lab.log, "r", {"a": "x"})
    here = lab.mirror.sync(lab.pod, "r")
    assert lab.mirror.is_complete("r")
    part = go_on(folder, 1)
    attempt(folder, "a", "again", number=2)
    # then this machine can't know; once it is told, the run goes on here as well,
    assert lab.mirror.is_complete("r")
    lab.mirror.sync(lab.pod, "r")
    assert not lab.mirror.is_complete("r") and files_of(here) == files_of(folder)
    assert RunLog(lab.mirror.run_log, lambda record: True).run("r").active
    # until its new end is here, too.
    records.write(str(part / "end.json"), {"status": "succeeded"})
    lab.mirror.sync(lab.pod, "r")
    assert lab.mirror.is_complete("r") and files_of(here) == files_of(folder)
    run = RunLog(lab.mirror.run_log, lambda record: False).run("r")
    assert run.record["part"] == 1 and run.end == {"status": "succeeded"}
    # What this machine begins itself is not complete either.
    go_on(here, 2)
    lab.mirror.sync(lab.pod, "r")
    assert not lab.mirror.is_complete("r")


def test_a_part_that_this_machine_began_and_saw_end_is_published(lab: Lab) -> None:
    folder = make_run(lab.log, "r", {"a": "x"})
    here = lab.mirror.sync(lab.pod, "r")
    go_on(here, 1, "failed")
    assert lab.mirror.publish(lab.pod, "r") == ["continued/1/run.json", "continued/1/end.json"]
    assert files_of(folder) == files_of(here)


@pytest.mark.parametrize("left", [1, 300])
def test_no_end_is_here_before_the_answer_was_whole(lab: Lab, left: int) -> None:
    folder = make_run(lab.log, "r", {"a": os.urandom(200_000).hex()})
    go_on(folder, 1, "failed")
    with pytest.raises(BrokenConnection, match="cut off"):
        lab.mirror.sync(LocalReader(cut=lambda data: data[:-left]), "r")
    here = files_of(lab.mirror.run_folder("r"))
    assert "continued/1/run.json" in here and "end.json" not in here and "continued/1/end.json" not in here
    assert not [path for path in here if path.endswith(".tmp")]


def test_a_listing_that_an_older_version_kept_is_fetched_again(lab: Lab) -> None:
    make_run(lab.log, "r")
    first = lab.mirror.runs(lab.pod)
    (listed,) = (lab.root / ".toolkit" / "cluster").glob("*/listing/r")
    document = json.loads(listed.read_bytes())
    document["end_size"] = 65
    del document["mark"]
    listed.write_text(json.dumps(document))
    assert lab.mirror.runs(lab.pod) == first and lab.pod.asked[-1]["have"] == {}
    lab.mirror.runs(lab.pod)
    assert list(lab.pod.asked[-1]["have"]) == ["r"]


def test_a_run_is_marked_as_moved_once_and_the_mark_goes_when_it_has_come_back(lab: Lab) -> None:
    folder = make_run(lab.log, "r", {"a": "x"})
    here = lab.mirror.sync(lab.pod, "r")
    mine: dict[str, object] = {"to": {"host": "a", "folder": "/x"}}
    theirs = {"to": {"host": "b", "folder": "/x"}}
    assert lab.mirror.mark_moved(lab.pod, "r", mine) == mine
    assert lab.mirror.mark_moved(lab.pod, "r", theirs) == mine
    assert files_of(here) == files_of(folder)
    # It is another's in the meantime, whose mark has the same size.
    (folder / "moved.json").write_bytes(records.encode(theirs))
    lab.mirror.sync(lab.pod, "r")
    assert json.loads((here / "moved.json").read_bytes()) == theirs
    # Back again: this machine's stale mark is neither kept nor published.
    (folder / "moved.json").unlink()
    assert lab.mirror.publish(lab.pod, "r") == []
    lab.mirror.sync(lab.pod, "r")
    assert not (folder / "moved.json").exists() and not (here / "moved.json").exists()


# --- what clients write ---------------------------------------------------------------------------------------------


def test_what_only_this_machine_saw_is_published_and_replaces_nothing(lab: Lab) -> None:
    # Given a run whose follower has written here what the engine said, and another client that was quicker with one,
    folder = make_run(lab.log, "r", {"a": "x"}, ended=False, submission="one")
    write_engine(folder, "a", 1, {"exit_code": 0, "message": "another"})
    here = lab.mirror.run_folder("r")
    here.mkdir(parents=True)
    records.write(str(here / "run.json"), run_record("r", submission="one"))
    write_engine(here, "a", 1, {"exit_code": 0, "message": "me"})
    write_engine(here, "never began", 1, {"exit_code": 137})
    write_end(here, {"status": "failed"})
    # when it pushes,
    written = lab.mirror.publish(lab.pod, "r")
    # then the volume has what it lacked, and what it had.
    assert written == ["steps/never%20began/1/engine.json", "end.json"]
    assert json.loads((folder / "steps" / "a" / "1" / "engine.json").read_bytes())["message"] == "another"
    assert json.loads((folder / "end.json").read_bytes()) == {"status": "failed"}
    assert lab.mirror.publish(lab.pod, "r") == []
    # The run is complete when the rest was fetched.
    assert not lab.mirror.is_complete("r")
    lab.mirror.sync(lab.pod, "r")
    assert lab.mirror.is_complete("r")


def test_a_run_of_which_no_pod_ever_began_can_be_pushed(lab: Lab) -> None:
    here = lab.mirror.run_folder("r")
    here.mkdir(parents=True)
    records.write(str(here / "run.json"), run_record("r"))
    write_end(here, {"status": "failed", "reason": "no node"})
    assert lab.mirror.publish(lab.pod, "r") == ["run.json", "end.json"]
    assert files_of(lab.log / "r") == files_of(here)
    with pytest.raises(NoRun):
        lab.mirror.publish(lab.pod, "unknown")


def test_many_verdicts_are_pushed_in_several_requests_and_the_end_comes_last(lab: Lab) -> None:
    here = lab.mirror.run_folder("r")
    here.mkdir(parents=True)
    records.write(str(here / "run.json"), run_record("r"))
    for number in range(60):
        write_engine(here, f"s{number}", 1, {"exit_code": 0, "message": "x" * 200_000})
    write_end(here, {"status": "failed"})
    lab.mirror.publish(lab.pod, "r")
    assert len(lab.pod.asked) == 3 and "end.json" in lab.pod.asked[-1]["files"]
    assert files_of(lab.log / "r") == files_of(here)


def test_a_push_does_not_go_into_another_run_of_the_same_id(lab: Lab) -> None:
    make_run(lab.log, "r", ended=False, submission="theirs")
    here = lab.mirror.run_folder("r")
    here.mkdir(parents=True)
    records.write(str(here / "run.json"), run_record("r", submission="mine"))
    write_end(here, {"status": "failed"})
    with pytest.raises(Infrastructure, match="the volume has another run r"):
        lab.mirror.publish(lab.pod, "r")
    assert not (lab.log / "r" / "end.json").exists()


# --- objects --------------------------------------------------------------------------------------------------------


def test_an_object_is_fetched_once_and_the_store_reads_it(lab: Lab) -> None:
    content = os.urandom(2_000_000)
    digest = lab.store.put_bytes(content)["sha256"]
    seen: list[tuple[int, int, float]] = []
    path = lab.mirror.object(lab.pod, digest, lambda *told: seen.append(told))
    assert path.read_bytes() == content and path.stat().st_mode & 0o077 == 0
    assert seen[-1][:2] == (2_000_000, 2_000_000) and seen[-1][2] > 0
    assert lab.mirror.object(lab.pod, digest) == path and len(lab.pod.asked) == 1
    assert FileStore(str(lab.mirror.catalog)).get_bytes(digest) == content


def test_what_the_catalog_lacks_keeps_nothing_else_from_coming(lab: Lab) -> None:
    good = [lab.store.put_bytes(data)["sha256"] for data in (b"one", b"two")]
    bad = lab.store.put_bytes(b"three")["sha256"]
    (lab.volume / "catalog" / "objects" / bad[:2] / bad).write_bytes(b"other")
    with pytest.raises(StoreFault, match=r"is not in the catalog .* \(and 1 more\)"):
        lab.mirror.objects(lab.pod, [good[0], "0" * 64, bad, good[1]])
    assert lab.mirror.catalog is not None
    assert sorted(hashlib.sha256(data).hexdigest() for data in files_of(lab.mirror.catalog).values()) == sorted(good)
    with pytest.raises(StoreFault, match="damaged"):
        lab.mirror.object(lab.pod, bad)
    with pytest.raises(StoreFault, match="no object's hash"):
        lab.mirror.object(lab.pod, "../../etc/passwd")


# --- broken and hostile answers -------------------------------------------------------------------------------------


class Spoken:
    """A pod that says what a test has it say."""

    def __init__(self, *items: tuple[Mapping[str, Any], bytes], raw: bytes | None = None) -> None:
        reader, writer = os.pipe()
        if raw is None:
            answer = AnswerWriter(writer)
            for fields, data in items:
                answer.item(data, **dict(fields))
            answer.end()
        os.close(writer)
        with open(reader, "rb") as file:
            self.data = file.read() if raw is None else raw

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """The same answer to whatever is asked."""
        sink(self.data)


def everything_in(root: Path) -> set[str]:
    """All that there is below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize(
    "path",
    [
        "../../../../escaped",
        "/tmp/escaped",
        "steps/../../escaped/1/end.json",
        "steps/a/1/../1/end.json",
        "steps//1/end.json",
        "steps/a/1/other.json",
        "steps/a/1/.end.json.0.tmp",
        "steps/a.b/1/end.json",
        "steps/a/one/end.json",
        "plan.json",
        "",
        "steps/" + "a" * 300 + "/1/end.json",
        "steps/" + "a/" * 300 + "1/end.json",
        "steps/a\0/1/end.json",
        "steps/a\n/1/end.json",
        "continued/1/../../../end.json",
        "continued/x/end.json",
        "continued/1/output.log",
        7,
        None,
    ],
)
def test_a_name_that_no_file_of_a_run_has_is_not_written(lab: Lab, path: Any) -> None:
    before = everything_in(lab.root)
    pod = Spoken(({"item": "file", "path": path, "offset": 0}, b"hostile"))
    with pytest.raises(Infrastructure, match="can't be understood"):
        lab.mirror.sync(pod, "r")
    assert everything_in(lab.root) == before


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"item": "file", "path": "run.json", "offset": 5}, b"x"),
        ({"item": "file", "path": "run.json", "offset": -5}, b"x"),
        ({"item": "file", "path": "steps/a/1/output.log", "offset": 1 << 60}, b"x"),
        ({"item": "file", "path": "run.json", "offset": 0, "size": -1}, b""),
        ({"item": "file", "path": "run.json", "offset": 0, "size": "7"}, b""),
        ({"item": "records", "size": 4}, b"data"),
    ],
)
def test_a_size_or_a_place_that_can_not_be_is_refused(lab: Lab, fields: dict[str, Any], data: bytes) -> None:
    with pytest.raises(Infrastructure, match="can't be understood"):
        lab.mirror.sync(Spoken((fields, data)), "r")
    assert not [path for path in lab.mirror.run_log.rglob("*") if path.is_file() and path.stat().st_size]


def test_an_object_that_was_not_asked_for_is_refused(lab: Lab) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(Infrastructure, match="an object"):
        lab.mirror.object(Spoken(({"item": "object", "sha256": other}, b"other")), "0" * 64)
    with pytest.raises(Infrastructure, match="is not in it"):
        lab.mirror.object(Spoken(), "0" * 64)
    # More than the disk has is not begun.
    huge = Spoken(({"item": "object", "sha256": other, "size": 1 << 60}, b""))
    with pytest.raises(Infrastructure, match="bytes free"):
        lab.mirror.object(huge, other)
    assert lab.mirror.catalog is not None and not files_of(lab.mirror.catalog)


@pytest.mark.parametrize(
    "raw",
    [
        b"x" * 100_000,
        volume_protocol.MAGIC + b"Q\0\0\0\1x",
        volume_protocol.MAGIC + b"P\xff\xff\xff\xff",
        volume_protocol.MAGIC + volume_protocol.BLOCK_HEAD.pack(b"P", 4) + b"[]\n\n",
        volume_protocol.MAGIC + volume_protocol.BLOCK_HEAD.pack(b"P", 9) + b'{"size":\n',
        volume_protocol.MAGIC + (volume_protocol.BLOCK_HEAD.pack(b"P", 200_000) + b"x" * 200_000) * 2,
    ],
)
def test_what_is_no_answer_is_an_error_in_one_sentence(lab: Lab, raw: bytes) -> None:
    with pytest.raises(Infrastructure, match="is its image of this version"):
        lab.mirror.sync(Spoken(raw=raw), "r")


def test_a_block_that_unpacks_to_more_than_a_block_is_refused(lab: Lab) -> None:
    import zlib

    packed = zlib.compress(b"x" * 5_000_000, 9)
    with pytest.raises(Infrastructure, match="can't be understood"):
        lab.mirror.sync(
            Spoken(raw=volume_protocol.MAGIC + volume_protocol.BLOCK_HEAD.pack(b"Z", len(packed)) + packed), "r"
        )


def test_an_answer_that_is_cut_off_is_asked_for_again_and_what_came_whole_is_kept(lab: Lab) -> None:
    # Given a connection that loses the end of the first two answers,
    folder = make_run(lab.log, "r", {f"s{number}": os.urandom(20_000).hex() for number in range(20)})
    answers = 0

    def cut(data: bytes) -> bytes:
        nonlocal answers
        answers += 1
        return data[: len(data) * 2 // 3] if answers < 3 else data

    pod = LocalReader(cut=cut)
    # when the run is synced, then all of it comes, each answer being shorter than the one before.
    here = lab.mirror.sync(pod, "r")
    assert files_of(here) == files_of(folder) and lab.mirror.is_complete("r")
    assert pod.sent[0] > pod.sent[1] and len(pod.sent) == 3


def test_an_answer_that_is_cut_off_every_time_is_an_error_and_no_verdict(lab: Lab) -> None:
    make_run(lab.log, "r", {"a": "x" * 50_000})
    pod = LocalReader(cut=lambda data: data[:-1])
    with pytest.raises(BrokenConnection, match="cut off"):
        lab.mirror.sync(pod, "r")
    assert len(pod.asked) == 3 and not lab.mirror.is_complete("r")
    assert not (lab.mirror.run_folder("r") / "end.json").exists()
    digest = lab.store.put_bytes(os.urandom(1_000_000))["sha256"]
    with pytest.raises(BrokenConnection, match="cut off"):
        lab.mirror.object(LocalReader(cut=lambda data: data[:-400_000]), digest)
    assert not [path for path in everything_in(lab.root / ".toolkit") if path.endswith(".tmp") or "incoming/" in path]


# --- where it lies --------------------------------------------------------------------------------------------------


def test_each_cluster_namespace_and_claim_has_its_own_and_nobody_else_reads_it(lab: Lab, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("first")
    one = cluster_at("https://one:6443", authority=authority)
    places = {
        Mirror(lab.project, one).run_log,
        Mirror(lab.project, cluster_at("https://two:6443", authority=authority)).run_log,
        Mirror(lab.project, cluster_at("https://one:6443", "other", authority)).run_log,
        Mirror(lab.of("other", str(lab.volume)), one).run_log,
    }
    # A test cluster made anew has the old one's address, and another authority.
    authority.write_text("second")
    places.add(Mirror(lab.project, one).run_log)
    assert len(places) == 5
    assert (lab.root / ".toolkit" / "cluster").stat().st_mode & 0o777 == 0o700


def test_the_claims_are_those_of_run_log_and_catalog(lab: Lab) -> None:
    assert lab.mirror.claims == (("claim", str(lab.volume)),)
    without = Mirror(lab.of("claim", str(lab.volume), "do-nothing"), cluster_at("https://one:6443"))
    assert without.catalog is None
    with pytest.raises(StoreFault, match="do-nothing"):
        without.object(lab.pod, "0" * 64)
    with pytest.raises(BadInput, match="lies on no volume"):
        Mirror(lab.of("claim", "/elsewhere"), cluster_at("https://one:6443"))
