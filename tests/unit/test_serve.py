"""What answers about a volume, run as it is in a pod: the runtime's own files in a process of their own, asked over its streams.

``LocalReader`` asks it; tests/argo/test_reader_pod.py has a real pod.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.reader import MAIN, LocalReader, ask
from tests.support.volume_runs import attempt, go_on, make_run, run_record
from toolkit.backends.argo.volume.answer import AnswerStream, DocumentSink
from toolkit.backends.argo.volume.reader import request_line
from toolkit.errors import Infrastructure
from toolkit.runtime.shared import layout, records, run_files, volume_protocol
from toolkit.runtime.shared.catalog import FileStore
from toolkit.runtime.shared.protocol import FAULT, PROTOCOL


def records_of(run_log: Path, run_id: str, **fields: Any) -> dict[str, Any]:
    """A request for a run's records."""
    return {"do": "records", "run_log": str(run_log), "run": run_id, **fields}


def paths(items: list[tuple[dict[str, Any], bytes]]) -> list[str]:
    """The files of an answer, in its order."""
    return [fields["path"] for fields, _ in items if fields.get("item") == "file"]


# --- runs -----------------------------------------------------------------------------------------------------------


def test_runs_come_without_their_plans_and_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path, "a-1", tag="x")
    make_run(tmp_path, "b-2", ended=False)
    make_run(tmp_path, "damaged")
    (tmp_path / "damaged" / "run.json").write_text('{"half')
    (tmp_path / "begun").mkdir()
    (tmp_path / "A file").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "a-1")
    items = ask({"do": "runs", "run_log": str(tmp_path)})
    documents = {fields["run"]: json.loads(data) for fields, data in items}
    assert set(documents) == {"a-1", "b-2"}
    assert documents["a-1"]["run"]["tag"] == "x" and "plan" not in documents["a-1"]["run"]
    assert documents["a-1"]["end"]["status"] == "succeeded" and documents["b-2"]["end"] is None


def test_a_run_that_the_client_has_is_only_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a-1")
    make_run(tmp_path, "b-2", ended=False)
    have = {"a-1": f"0:{(folder / 'end.json').stat().st_size}", "b-2": None}
    items = ask({"do": "runs", "run_log": str(tmp_path), "have": have})
    assert items[0] == ({"item": "run", "run": "a-1", "kept": True, "size": 0}, b"")
    assert "kept" not in items[1][0]


def test_a_run_log_that_is_not_there_yet_has_no_runs(tmp_path: Path) -> None:
    assert ask({"do": "runs", "run_log": str(tmp_path / "none")}) == []


# --- records --------------------------------------------------------------------------------------------------------


def test_all_files_of_a_run_come_and_each_verdict_after_what_it_is_about(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r", {"a": "hello\n", "map/0/ä b": "x" * 5})
    store = Path(layout.attempt_folder(str(folder), "a", 1))
    records.write(str(store / "engine.json"), {"exit_code": 0})
    records.write(str(store / "reduced.json"), {"reduced": {}})
    (store / "values.jsonl").write_text('["a large value"]\n')
    (store / ".values.tmp").write_text("half")
    (store / "end.json.7.tmp").write_text("half")
    (store / "other.txt").write_text("not a record")
    items = ask(records_of(tmp_path, "r"))
    assert items[0][0] == {"item": "records", "new": True, "part": 0, "ended": True, "moved": False, "size": 0}
    assert paths(items) == [
        "run.json",
        "steps/a/1/begin.json",
        "steps/a/1/output.log",
        "steps/a/1/values.jsonl",
        "steps/a/1/end.json",
        "steps/a/1/reduced.json",
        "steps/a/1/engine.json",
        "steps/map/0/%C3%A4%20b/1/begin.json",
        "steps/map/0/%C3%A4%20b/1/output.log",
        "steps/map/0/%C3%A4%20b/1/end.json",
        "end.json",
    ]
    assert all(data == (folder / fields["path"]).read_bytes() for fields, data in items[1:])


def test_only_what_the_client_has_not_comes_and_a_log_from_where_it_ended(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r", {"a": "hello\n"}, ended=False)
    attempt(folder, "b", "first second", ended=False)
    identity = run_files.run_identity(run_record("r"))
    have = {"run.json": 1, "steps/a/1/begin.json": 1, "steps/a/1/output.log": 6, "steps/a/1/end.json": 1}
    have.update({"steps/b/1/begin.json": 1, "steps/b/1/output.log": 6})
    items = ask(records_of(tmp_path, "r", identity=identity, have=have))
    assert items == [
        ({"item": "records", "new": False, "part": 0, "ended": False, "moved": False, "size": 0}, b""),
        ({"item": "file", "path": "steps/b/1/output.log", "offset": 6, "size": 6}, b"second"),
    ]


def test_a_log_that_is_shorter_than_the_clients_comes_whole(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "new\n"})
    have = {"steps/a/1/output.log": 100}
    items = ask(records_of(tmp_path, "r", identity=run_files.run_identity(run_record("r")), have=have))
    assert [data for fields, data in items if fields.get("path") == "steps/a/1/output.log"] == [b"new\n"]


def test_another_run_of_the_same_id_comes_whole(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "x"}, submission="second")
    have = {"run.json": 1, "steps/a/1/begin.json": 1, "steps/a/1/output.log": 1, "steps/a/1/end.json": 1}
    items = ask(
        records_of(tmp_path, "r", identity=run_files.run_identity(run_record("r", submission="first")), have=have)
    )
    assert items[0][0]["new"] is True and len(paths(items)) == 5


def test_logs_and_steps_can_be_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "x", "a b": "y", "ab": "z"})
    found = paths(ask(records_of(tmp_path, "r", logs=False, steps=["a b", "gone"])))
    assert found == ["run.json", "steps/a%20b/1/begin.json", "steps/a%20b/1/end.json", "end.json"]


def test_a_run_that_does_not_exist_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    for run in ("none", "begun"):
        with pytest.raises(Infrastructure, match="no-run"):
            ask(records_of(tmp_path, run))
    with pytest.raises(Infrastructure, match="no-run"):
        ask(records_of(tmp_path / "nowhere", "none"))


def test_no_link_is_followed_and_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    # Given a volume on which a step's code has laid links to what is not the run's, and a pipe that nobody writes,
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "end.json").write_text("secret")
    folder = make_run(tmp_path / "log", "r", {"a": "x"})
    (folder / "steps" / "out").symlink_to(tmp_path / "secret")
    there = folder / "steps" / "b" / "1"
    there.mkdir(parents=True)
    (there / "end.json").symlink_to(tmp_path / "secret" / "end.json")
    (there / "output.log").symlink_to("/etc/passwd")
    os.mkfifo(there / "begin.json")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(there, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/engine.json")
        os.close(here)
    # when it is asked for,
    items = ask(records_of(tmp_path / "log", "r"))
    # then there is nothing of it in the answer.
    assert [path for path in paths(items) if "/b/" in path or "/out/" in path] == []
    # And the run itself may not be a link either.
    (tmp_path / "log" / "linked").symlink_to(folder)
    with pytest.raises(Infrastructure, match="no-run"):
        ask(records_of(tmp_path / "log", "linked"))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"do": "records", "run_log": "/x", "run": "../../etc"}, "no run id"),
        ({"do": "records", "run_log": "relative", "run": "r"}, "no absolute path"),
        ({"do": "objects", "catalog": "/tmp", "objects": ["../../etc/passwd"]}, "no object's hash"),
        (
            {"do": "write", "run_log": "/x", "run": "r", "identity": "", "files": {"../x": ""}},
            "no record that a client",
        ),
        ({"do": "nothing"}, "can't be understood"),
        ({}, "can't be understood"),
        ({"do": "records", "run_log": 7, "run": "r"}, "can't be understood"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_a_sentence(request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(Infrastructure, match=reason):
        ask(request_)


@pytest.mark.parametrize("line", [b"", b"{", b"!!!\n", b"[]\n", b"eJw=\n"])
def test_a_line_that_is_no_request_is_refused_with_a_sentence(line: bytes) -> None:
    done = subprocess.run([sys.executable, MAIN, "--store", str(PROTOCOL)], input=line, capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    with pytest.raises(Infrastructure, match="request"):
        AnswerStream(DocumentSink()).feed(done.stdout)


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, MAIN, "--store", "999"], input=b"{}\n", capture_output=True, timeout=60)
    assert done.returncode == FAULT and b"protocol 999" in done.stderr and not done.stdout


def test_a_volume_that_can_not_be_read_is_told_of_and_is_never_an_answer(tmp_path: Path) -> None:
    (tmp_path / "run_log").write_text("a file")
    with pytest.raises(Infrastructure, match=r"toolkit runtime: .*run_log: Not a directory"):
        ask({"do": "runs", "run_log": str(tmp_path / "run_log")})


# --- a run that went on ---------------------------------------------------------------------------------------------


def test_a_run_that_went_on_is_listed_as_it_was_the_last_time(tmp_path: Path) -> None:
    # Given a run that the client knows with its first end,
    folder = make_run(tmp_path, "r")
    size = (folder / "end.json").stat().st_size
    have = {"r": f"0:{size}"}
    assert ask({"do": "runs", "run_log": str(tmp_path), "have": have})[0][0]["kept"] is True
    # which goes on: then it is told of again, first without an end,
    part = go_on(folder, 1)
    listed = json.loads(ask({"do": "runs", "run_log": str(tmp_path), "have": have})[0][1])
    assert listed["run"]["part"] == 1 and listed["end"] is None and listed["mark"] is None
    # and then with one of the very size that the first one had. A folder without a record is no part (yet).
    (folder / "continued" / "2").mkdir()
    (folder / "continued" / "x").mkdir()
    (part / "end.json").write_bytes((folder / "end.json").read_bytes())
    listed = json.loads(ask({"do": "runs", "run_log": str(tmp_path), "have": have})[0][1])
    assert listed["end"] and listed["mark"] == f"1:{size}"
    assert ask({"do": "runs", "run_log": str(tmp_path), "have": {"r": listed["mark"]}})[0][0]["kept"] is True


def test_the_parts_of_a_run_come_and_the_newest_end_last(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r", {"a": "x"})
    for number in (1, 2, 10):
        go_on(folder, number, "failed")
    items = ask(records_of(tmp_path, "r"))
    assert items[0][0]["part"] == 10 and items[0][0]["ended"] is True
    found = paths(items)
    assert found[0] == "run.json" and found[-1] == "continued/10/end.json"
    # No end comes before the record of the part that goes on after it.
    assert found.index("continued/10/run.json") < found.index("end.json")
    assert len(found) == 5 + 6 and all(data == (folder / one["path"]).read_bytes() for one, data in items[1:])
    # What the client has is not sent again; an end of its own that is not the published one is.
    have = {path: (folder / path).stat().st_size for path in found}
    identity = run_files.run_identity(run_record("r"))
    assert paths(ask(records_of(tmp_path, "r", identity=identity, have=have))) == []
    have["continued/2/end.json"] += 1
    assert paths(ask(records_of(tmp_path, "r", identity=identity, have=have))) == ["continued/2/end.json"]
    # While it goes on, it has not ended.
    go_on(folder, 11)
    assert ask(records_of(tmp_path, "r", identity=identity))[0][0]["ended"] is False


def test_where_a_run_has_moved_is_told_every_time(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r")
    (folder / "moved.json").write_text("{}")
    fields = {"identity": run_files.run_identity(run_record("r")), "have": {"moved.json": 2, "end.json": 65}}
    items = ask(records_of(tmp_path, "r", **fields))
    assert items[0][0]["moved"] is True and "moved.json" in paths(items)


# --- objects --------------------------------------------------------------------------------------------------------


def test_objects_come_whole_whether_they_shrink_or_not(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    contents = [b"", b"x" * 3_000_000, os.urandom(3_000_000), b"y\n"]
    digests = [store.put_bytes(data)["sha256"] for data in contents]
    reader = LocalReader()
    items = ask({"do": "objects", "catalog": str(tmp_path), "objects": [*digests, "0" * 64]}, reader)
    assert [data for _, data in items] == [*contents, b""]
    assert items[-1][0]["missing"] is True
    assert reader.sent[0] < 3_100_000


def test_a_catalog_that_is_not_there_yet_has_no_objects(tmp_path: Path) -> None:
    items = ask({"do": "objects", "catalog": str(tmp_path / "none"), "objects": ["0" * 64]})
    assert items[0][0]["missing"] is True


def test_a_large_object_takes_no_memory(tmp_path: Path) -> None:
    # Given an object of 400 MB (of which the disk has none),
    digest = "a" * 64
    (tmp_path / "objects" / "aa").mkdir(parents=True)
    with open(tmp_path / "objects" / "aa" / digest, "wb") as file:
        file.truncate(400_000_000)
    # when it is read in a process that may have 150 MB,
    limited = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20));"
    limited += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    request = request_line({"do": "objects", "catalog": str(tmp_path), "objects": [digest]})
    command = [sys.executable, "-c", limited, str(MAIN), "--store", str(PROTOCOL)]
    done = subprocess.run(command, input=request, capture_output=True, timeout=120)
    # then all of it comes.
    assert done.returncode == 0, done.stderr
    counted = _Counted()
    stream = AnswerStream(counted)
    stream.feed(done.stdout)
    assert stream.whole and counted.size == 400_000_000


class _Counted(DocumentSink):
    """Counts instead of keeping."""

    size = 0

    def begin(self, fields: Mapping[str, Any], size: int) -> None:
        pass

    def data(self, data: bytes) -> None:
        self.size += len(data)

    def end(self) -> None:
        pass


# --- writing --------------------------------------------------------------------------------------------------------


def write(run_log: Path, files: dict[str, str], submission: str = "one") -> list[str]:
    """A request to write; what was written."""
    identity = run_files.run_identity(run_record("r", submission=submission))
    request = {"do": "write", "run_log": str(run_log), "run": "r", "identity": identity, "files": files}
    written: list[str] = json.loads(ask(request)[0][1])
    return written


def test_records_of_the_client_are_published_once(tmp_path: Path) -> None:
    # Given no run log at all, when a client writes what it has of a run,
    run_log = tmp_path / "deep" / "log"
    engine = "steps/a/1/engine.json"
    files = {
        "end.json": '{"status":"failed"}',
        engine: '{"exit_code":1}',
        "run.json": json.dumps(run_record("r", submission="one")),
    }
    assert write(run_log, files) == ["run.json", engine, "end.json"]
    # then the run is there, writable for the group,
    assert (run_log / "r" / "end.json").read_text() == files["end.json"]
    assert (run_log / "r" / "steps" / "a" / "1" / "engine.json").stat().st_mode & 0o777 == 0o664
    assert (run_log / "r" / "steps" / "a").stat().st_mode & 0o775 == 0o775
    assert (run_log / "r").stat().st_mode & 0o7777 == 0o2775
    # nothing else is left beside it,
    assert not [path for path in run_log.rglob("*") if path.name.endswith(".tmp")]
    # and a second client's verdict replaces nothing.
    assert write(run_log, {"end.json": '{"status":"succeeded"}', engine: "{}"}) == []
    assert (run_log / "r" / "end.json").read_text() == files["end.json"]


def test_of_many_clients_at_once_exactly_one_writes(tmp_path: Path) -> None:
    make_run(tmp_path, "r", submission="one", ended=False)
    identity = run_files.run_identity(run_record("r", submission="one"))
    command = [sys.executable, str(MAIN), "--store", str(PROTOCOL)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    for number, process in enumerate(processes):
        files = {"end.json": json.dumps({"by": number, "filler": "x" * 10_000})}
        request = {"do": "write", "run_log": str(tmp_path), "run": "r", "identity": identity, "files": files}
        assert process.stdin is not None
        process.stdin.write(request_line(request))
        process.stdin.close()
    said = [process.stdout.read() if process.stdout else b"" for process in processes]
    assert all(process.wait(60) == 0 for process in processes)
    writers = [number for number, answer in enumerate(said) if b'["end.json"]' in answer]
    assert writers == [json.loads((tmp_path / "r" / "end.json").read_bytes())["by"]]


def test_a_part_is_published_in_an_order_in_which_it_can_be_read(tmp_path: Path) -> None:
    make_run(tmp_path, "r", submission="one")
    files = {"continued/2/end.json": "{}", "continued/1/end.json": "{}", "end.json": "{}"}
    files.update({"continued/2/run.json": "{}", "continued/1/run.json": "{}", "steps/b/1/engine.json": "{}"})
    assert write(tmp_path, files) == [
        "continued/1/run.json",
        "continued/2/run.json",
        "steps/b/1/engine.json",
        "continued/1/end.json",
        "continued/2/end.json",
    ]
    assert write(tmp_path, files) == []
    with pytest.raises(Infrastructure, match="the volume has another run r"):
        write(tmp_path, {"continued/3/run.json": "{}"}, submission="two")
    (tmp_path / "r" / "run.json").unlink()
    with pytest.raises(Infrastructure, match="no-run"):
        write(tmp_path, {"continued/3/run.json": "{}"})


@pytest.mark.parametrize(
    "path",
    [
        "steps/a/1/end.json",
        "steps/a/1/begin.json",
        "steps/a/engine.json",
        "steps/../1/engine.json",
        "other.json",
        "continued/0/run.json",
        "continued/01/end.json",
        "continued/../run.json",
        "continued/1/moved.json",
        "continued/1/x/run.json",
        "continued/1234567890/run.json",
    ],
)
def test_a_client_writes_no_record_of_the_runtimes(tmp_path: Path, path: str) -> None:
    make_run(tmp_path, "r", submission="one")
    with pytest.raises(Infrastructure, match="no record that a client writes"):
        write(tmp_path, {path: "{}"})


def test_nothing_is_written_through_a_link_or_into_another_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "log", "r", submission="one")
    (tmp_path / "elsewhere" / "1").mkdir(parents=True)
    (folder / "steps" / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Infrastructure, match="no folder on the volume"):
        write(tmp_path / "log", {"steps/out/1/engine.json": "{}"})
    with pytest.raises(Infrastructure, match="the volume has another run r"):
        write(tmp_path / "log", {"steps/a/1/engine.json": "{}"}, submission="two")
    assert not list(tmp_path.rglob("engine.json"))


def test_a_run_that_is_not_there_is_not_made_by_its_end(tmp_path: Path) -> None:
    with pytest.raises(Infrastructure, match="no-run"):
        write(tmp_path, {"end.json": "{}"})
    assert not list(tmp_path.iterdir())


# --- the answer's form ----------------------------------------------------------------------------------------------


def test_what_something_else_prints_before_an_answer_is_no_part_of_it(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "x"})
    items = ask(records_of(tmp_path, "r"), LocalReader(cut=lambda data: b"a greeting\n" + data))
    assert len(paths(items)) == 5


def test_an_answer_that_lacks_any_of_its_bytes_is_never_taken_for_whole(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "x" * 300})
    kept: list[bytes] = []
    LocalReader().exec(records_of(tmp_path, "r"), kept.append)
    data = b"".join(kept)
    for cut in [*range(0, len(data), 7), len(data) - 1]:
        stream = AnswerStream(DocumentSink())
        stream.feed(data[:cut])
        assert not stream.whole
    for broken in range(len(volume_protocol.MAGIC), len(data), 11):
        stream = AnswerStream(DocumentSink())
        try:
            stream.feed(data[:broken] + bytes([data[broken] ^ 0x55]) + data[broken + 1 :])
        except Infrastructure:
            continue
        assert not stream.whole


def test_an_answer_taken_byte_by_byte_is_the_same(tmp_path: Path) -> None:
    make_run(tmp_path, "r", {"a": "x" * 300})
    kept: list[bytes] = []
    LocalReader().exec(records_of(tmp_path, "r"), kept.append)
    documents = DocumentSink()
    stream = AnswerStream(documents)
    for byte in b"".join(kept):
        stream.feed(bytes([byte]))
    assert stream.whole and len(documents.items) == 6


# --- waiting --------------------------------------------------------------------------------------------------------


ALONE = """\
import os, sys
from toolkit.runtime.server import service
os.listdir = lambda _: sys.argv[1].split()
service.main(["main.py", "--serve", *sys.argv[2:]])
"""


def serving(seconds: str, *beside: int) -> subprocess.Popen[bytes]:
    """The pod's process; a signal that it is sent before it listens is kept for it.

    Args:
        beside: the other processes that it sees. In a pod there are the pod's alone, here those of every other test.
    """
    signals = {signal.SIGUSR1, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        return subprocess.Popen([sys.executable, "-c", ALONE, " ".join(map(str, beside)), str(PROTOCOL), seconds])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.skipif(sys.platform != "linux", reason="it runs in containers only")
def test_the_pods_process_ends_by_itself_after_the_last_request() -> None:
    # Given one that waits two seconds, which hears of a request before they are over,
    process = serving("2")
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    heard = time.monotonic()
    # then it ends two seconds after that, with success,
    assert process.wait(60) == 0
    assert time.monotonic() - heard > 1.9
    # and at once when it is told to.
    process = serving("1000")
    process.terminate()
    assert process.wait(60) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="it runs in containers only")
def test_the_pods_process_does_not_end_while_it_answers() -> None:
    asked = subprocess.Popen([sys.executable, MAIN, "--store", str(PROTOCOL)], stdin=subprocess.PIPE)
    waiting = serving("0.3", asked.pid)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)
        asked.kill()
        asked.wait()
        assert waiting.wait(60) == 0
    finally:
        asked.kill()
        waiting.kill()
        asked.communicate()
        waiting.wait()
