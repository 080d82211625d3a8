"""What a client brings to the volume: objects in pieces, a whole run at once, and nothing over what is there.

The pod is ``LocalReader``: the runtime's own answering process on this machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.lab import Lab
from tests.support.reader import MAIN, Killed, LocalReader, UntilKilled, ask
from tests.support.volume_runs import attempt, files_of, go_on, make_run, run_record
from toolkit.backends.argo.volume import pieces, upload
from toolkit.backends.argo.volume.answer import AnswerStream, DocumentSink
from toolkit.backends.argo.volume.reader import request_line
from toolkit.errors import BadInput, Infrastructure
from toolkit.runtime.shared import run_files
from toolkit.runtime.shared.catalog import FileStore
from toolkit.runtime.shared.protocol import PROTOCOL

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunPlace

ORIGIN: RunPlace = {"host": "laptop", "folder": "/home/log"}
TOKEN = "0123456789abcdef"


class Deaf(LocalReader):
    """A pod that does what it is asked and whose first answer to each request is lost."""

    def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
        """One request."""
        lost = not self.asked or self.asked[-1] != dict(request)
        super().exec(request, (lambda data: None) if lost else sink)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A project with an empty volume."""
    return Lab(tmp_path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a thousand bytes, so that little is much."""
    monkeypatch.setattr(pieces.batches, "__defaults__", (1000,))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """The catalog of this machine."""
    return FileStore(str(tmp_path / "mine"))


def piece(name: str, data: bytes, offset: int = 0, size: int | None = None) -> dict[str, Any]:
    """A piece of a file as a request has it."""
    return {
        "name": name,
        "offset": offset,
        "size": len(data) if size is None else size,
        "data": base64.b64encode(data).decode(),
    }


def put(catalog: Path, *pieces: dict[str, Any], token: str = TOKEN, first: bool = True) -> None:
    """A request to put pieces of objects."""
    request = {"do": "put", "catalog": str(catalog), "token": token, "first": first, "pieces": list(pieces)}
    ask({**request, "last": True})


def bring(run_log: Path, *pieces: dict[str, Any], run: str = "r", **fields: Any) -> None:
    """A request to bring pieces of a run's files."""
    known = {"identity": run_files.run_identity(run_record(run)), "origin": ORIGIN, "token": TOKEN, "first": True}
    known.update({"last": True, "whole": True, **fields})
    ask({"do": "bring", "run_log": str(run_log), "run": run, "pieces": list(pieces), **known})


# --- objects --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_objects_go_to_the_volume_in_pieces_and_once(lab: Lab, store: FileStore, tmp_path: Path) -> None:
    # Given objects of all sizes here, one of which the volume has, and one that was put without a copy,
    contents = [b"", b"a", b"b" * 999, os.urandom(1000), os.urandom(7777), b"c" * 3000, b"on both"]
    digests = [store.put_bytes(data)["sha256"] for data in contents]
    lab.store.put_bytes(b"on both")
    inode = next((lab.volume / "catalog").rglob(digests[-1])).stat().st_ino
    told: list[tuple[int, int, float]] = []
    # when they are put there,
    sent = upload.push_objects(
        lab.mirror, lab.pod, tmp_path / "mine", [*digests, "0" * 64], lambda *one: told.append(one)
    )
    # then all are there, the one that was is as it was, and nothing else is.
    total = sum(map(len, contents[:-1]))
    assert sorted(sent) == sorted(digests[:-1]) and told[-1][:2] == (total, total)
    assert [lab.store.get_bytes(one) for one in digests] == contents
    assert next((lab.volume / "catalog").rglob(digests[-1])).stat().st_ino == inode
    assert not list((lab.volume / "catalog" / "incoming").iterdir())
    assert max(len(request_line(one)) for one in lab.pod.asked) < 3000 and len(lab.pod.asked) > 10
    # The steps' group may write what was made.
    there = lab.volume / "catalog" / "objects" / digests[3][:2]
    assert there.stat().st_mode & 0o7777 == 0o2775 and (there / digests[3]).stat().st_mode & 0o777 == 0o664
    # A second time nothing is sent.
    asked = len(lab.pod.asked)
    assert (
        upload.push_objects(lab.mirror, lab.pod, tmp_path / "mine", digests) == [] and len(lab.pod.asked) == asked + 1
    )


@pytest.mark.usefixtures("small")
def test_a_request_whose_answer_was_lost_is_asked_again(lab: Lab, store: FileStore, tmp_path: Path) -> None:
    digests = [store.put_bytes(data)["sha256"] for data in (os.urandom(3500), b"small")]
    source = make_run(tmp_path / "log", "r", {"a": os.urandom(2000).hex()})
    upload.push_objects(lab.mirror, Deaf(), tmp_path / "mine", digests)
    assert len([lab.store.get_bytes(one) for one in digests]) == 2
    upload.push_run(lab.mirror, Deaf(), source, ORIGIN)
    assert files_of(lab.log / "r") == files_of(source)


@pytest.mark.usefixtures("small")
def test_what_a_killed_client_left_of_an_object_is_removed(lab: Lab, store: FileStore, tmp_path: Path) -> None:
    # Given a client that was killed in the middle of an object,
    digest = store.put_bytes(os.urandom(3500))["sha256"]
    with pytest.raises(Killed):
        upload.push_objects(lab.mirror, UntilKilled(3), tmp_path / "mine", [digest])
    incoming = lab.volume / "catalog" / "incoming"
    (left,) = incoming.iterdir()
    other = incoming / "node-7-0123"
    other.write_text("a step's, of whatever age")
    # when another one puts it at once, then the first one might still be at it;
    upload.push_objects(lab.mirror, lab.pod, tmp_path / "mine", [digest])
    assert left.exists() and lab.store.get_bytes(digest)
    # an hour later it is not.
    for path in (left, other):
        os.utime(path, (time.time() - 4000, time.time() - 4000))
    upload.push_objects(lab.mirror, lab.pod, tmp_path / "mine", [store.put_bytes(b"next")["sha256"]])
    assert list(incoming.iterdir()) == [other]


@pytest.mark.usefixtures("small")
def test_an_object_with_another_content_gets_no_name(lab: Lab, store: FileStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"x" * 2500)["sha256"]
    (tmp_path / "mine" / "objects" / digest[:2] / digest).write_bytes(b"y" * 2500)
    with pytest.raises(Infrastructure, match=f"the content of the object {digest} has another hash"):
        upload.push_objects(lab.mirror, lab.pod, tmp_path / "mine", [digest])
    assert not files_of(lab.volume)


def test_two_clients_put_one_object_at_once(lab: Lab, store: FileStore, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    digest = store.put_bytes(content)["sha256"]
    half = len(content) // 2
    catalog = lab.volume / "catalog"
    put(catalog, piece(digest, content[:half], size=len(content)), token="a" * 16)
    put(catalog, piece(digest, content[:half], size=len(content)), token="b" * 16)
    put(catalog, piece(digest, content[half:], half, len(content)), token="a" * 16, first=False)
    put(catalog, piece(digest, content[half:], half, len(content)), token="b" * 16, first=False)
    assert lab.store.get_bytes(digest) == content and not list((catalog / "incoming").iterdir())


def test_a_piece_without_what_came_before_is_refused(lab: Lab) -> None:
    digest = hashlib.sha256(b"two").hexdigest()
    with pytest.raises(Infrastructure, match="no longer on the volume"):
        put(lab.volume / "catalog", piece(digest, b"wo", 1, 3))
    with pytest.raises(Infrastructure, match="no longer on the volume"):
        put(lab.volume / "catalog", piece(digest, b"wo", -1, 3))
    for bad in ("../../x", "0" * 63, "A" * 64, ""):
        with pytest.raises(Infrastructure, match="no object's hash"):
            put(lab.volume / "catalog", piece(bad, b"x"))
    with pytest.raises(Infrastructure, match="no token"):
        put(lab.volume / "catalog", piece(digest, b"two"), token="../../../x")
    with pytest.raises(Infrastructure, match="can't be understood"):
        put(lab.volume / "catalog", {**piece(digest, b"two"), "data": "!!"})


def test_no_object_is_written_through_a_link(lab: Lab, tmp_path: Path) -> None:
    # Given a volume on which a step's code has laid links where an object would go,
    content = b"two"
    digest = hashlib.sha256(content).hexdigest()
    catalog, outside = lab.volume / "catalog", tmp_path / "outside"
    (catalog / "incoming").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("precious")
    temporary = catalog / "incoming" / f"brought-{TOKEN}-{digest}"
    temporary.symlink_to(outside / "file")
    with pytest.raises(Infrastructure, match="can't be written"):
        put(catalog, piece(digest, content))
    (catalog / "objects" / digest[:2]).rmdir()
    (catalog / "objects" / digest[:2]).symlink_to(outside)
    with pytest.raises(Infrastructure, match="is no folder on the volume"):
        put(catalog, piece(digest, content), token="f" * 16)
    # then nothing has come out of it.
    assert files_of(outside) == {"file": b"precious"}


def limited(request: dict[str, Any], size: int) -> None:
    """Asks a process that may write files of so many bytes only, as on a disk that is full."""
    code = "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
    code += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", code, str(MAIN), "--store", str(PROTOCOL)]
    done = subprocess.run(command, input=request_line(request), capture_output=True, timeout=60, check=True)
    AnswerStream(DocumentSink()).feed(done.stdout)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(lab: Lab) -> None:
    data = os.urandom(100_000)
    digest = hashlib.sha256(data).hexdigest()
    catalog = lab.volume / "catalog"
    request = {"do": "put", "catalog": str(catalog), "token": TOKEN, "first": True, "pieces": [piece(digest, data)]}
    with pytest.raises(Infrastructure, match=f"^the catalog {catalog} can't be written: File too large$"):
        limited(request, 50_000)
    of_run = {"run": "r", "identity": run_files.run_identity(run_record("r")), "origin": ORIGIN, "first": True}
    request = {"do": "bring", "run_log": str(lab.log), "token": TOKEN, **of_run, "last": False}
    request["pieces"] = [piece("steps/a/1/output.log", data)]
    with pytest.raises(Infrastructure, match=f"^the run log {lab.log} can't be written: File too large$"):
        limited(request, 50_000)
    assert not files_of(lab.volume) and not list(lab.log.iterdir())


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_a_run_appears_on_the_volume_as_a_whole(lab: Lab, tmp_path: Path) -> None:
    # Given a run of this machine with several parts and a long log,
    source = make_run(tmp_path / "log", "r", {"a": "hello\n", "map/0/ä b": os.urandom(3000).hex(), "empty": ""})
    go_on(source, 1, "failed")
    attempt(source, "a", "again", number=2, ended=False)
    expected = files_of(source)
    (source / "moved.json").write_text("{}")
    (source / "steps" / "a" / "1" / ".x.tmp").write_text("half")
    (source / "other").write_text("no file of a run's")
    # when it comes, then it is not there in part at any time,
    seen = []

    class Watched(LocalReader):
        def exec(self, request: Mapping[str, Any], sink: Callable[[bytes], None]) -> None:
            seen.append((lab.log / "r").exists())
            assert ask({"do": "runs", "run_log": str(lab.log)}) == []
            super().exec(request, sink)

    pod = Watched()
    assert upload.arrival(lab.mirror, pod, source, ORIGIN).state == "absent"
    upload.push_run(lab.mirror, pod, source, ORIGIN)
    assert len(seen) > 5 and not any(seen)
    # and afterwards it is, whole, and nothing else is left; the steps' group may write in it.
    assert files_of(lab.log / "r") == expected and [one.name for one in lab.log.iterdir()] == ["r"]
    modes = {path.stat().st_mode & 0o7777 for path in (lab.log / "r").rglob("*") if path.is_dir()}
    assert modes == {0o2775} and (lab.log / "r").stat().st_mode & 0o7777 == 0o2775
    assert (lab.log / "r" / "run.json").stat().st_mode & 0o777 == 0o664
    here = lab.mirror.sync(lab.pod, "r")
    assert files_of(here) == expected and lab.mirror.is_complete("r")
    # It is there now, and stays as it is.
    assert upload.arrival(lab.mirror, lab.pod, source, ORIGIN).state == "there"
    attempt(source, "new", "x")
    upload.push_run(lab.mirror, lab.pod, source, ORIGIN)
    assert files_of(lab.log / "r") == expected


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("requests", [1, 2, 4])
def test_half_a_run_is_removed_by_the_next_client(lab: Lab, tmp_path: Path, requests: int) -> None:
    source = make_run(tmp_path / "log", "r", {"a": os.urandom(3000).hex()})
    with pytest.raises(Killed):
        upload.push_run(lab.mirror, UntilKilled(requests), source, ORIGIN)
    assert not (lab.log / "r").exists()
    upload.push_run(lab.mirror, lab.pod, source, ORIGIN)
    assert files_of(lab.log / "r") == files_of(source) and [one.name for one in lab.log.iterdir()] == ["r"]


def test_what_was_left_of_another_run_goes_after_an_hour(lab: Lab, tmp_path: Path) -> None:
    source = make_run(tmp_path / "log", "r")
    record = piece("run.json", b"{}")
    for run in ("old", "r-2"):
        bring(lab.log, record, run=run, last=False)
    old = lab.log / f".coming.old.{TOKEN}"
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    upload.push_run(lab.mirror, lab.pod, source, ORIGIN)
    assert {one.name for one in lab.log.iterdir()} == {"r", f".coming.r-2.{TOKEN}"}


def test_of_two_clients_that_bring_one_run_no_mixture_comes(lab: Lab) -> None:
    # Given a client that has brought a part of a run, and a second one that begins with it,
    record = piece("run.json", json.dumps(run_record("r")).encode())
    bring(lab.log, record, last=False, token="a" * 16)
    bring(lab.log, record, last=False, token="b" * 16)
    # then the first one can't finish, and the second one can.
    with pytest.raises(Infrastructure, match="another client pushes the run r at the same time"):
        bring(lab.log, piece("steps/a/1/begin.json", b"{}"), first=False, token="a" * 16)
    assert not (lab.log / "r").exists()
    bring(lab.log, first=False, token="b" * 16)
    assert list(files_of(lab.log / "r")) == ["run.json"] and (lab.log / "r" / "steps").is_dir()


def test_a_run_whose_id_another_has_is_refused(lab: Lab, tmp_path: Path) -> None:
    source = make_run(tmp_path / "log", "r", submission="mine")
    there = make_run(lab.log, "r", submission="theirs")
    before = files_of(there)
    for attempted in (upload.arrival, upload.push_run):
        with pytest.raises(Infrastructure, match="the volume has another run r"):
            attempted(lab.mirror, lab.pod, source, ORIGIN)
    assert files_of(there) == before
    (there / "run.json").unlink()
    with pytest.raises(Infrastructure, match="a folder of the run r without its record"):
        upload.arrival(lab.mirror, lab.pod, source, ORIGIN)


def test_a_run_that_comes_back_gets_what_it_lacks_and_loses_its_mark_last(lab: Lab, tmp_path: Path) -> None:
    # Given a run that went from the volume to this machine and on there,
    there = make_run(lab.log, "r", {"a": "cluster's"}, ended=True)
    source = make_run(tmp_path / "log", "r", {"a": "local's"})
    (there / "moved.json").write_text(json.dumps({"to": ORIGIN}))
    go_on(source, 1, "failed")
    (attempt(source, "b", "new\n") / "values.jsonl").write_text('["a large value"]\n')
    # when it comes back, then nothing is replaced,
    found = upload.arrival(lab.mirror, lab.pod, source, ORIGIN)
    assert found.state == "returns" and found.have["steps/a/1/output.log"] == len("cluster's")
    # (killed before the end, the mark is there still and nothing else is)
    with pytest.raises(Killed):
        upload.push_run(lab.mirror, UntilKilled(1), source, ORIGIN)
    assert (there / "moved.json").exists() and "continued/1/run.json" not in files_of(there)
    upload.push_run(lab.mirror, lab.pod, source, ORIGIN)
    expected = {**files_of(source), "steps/a/1/output.log": b"cluster's"}
    assert files_of(there) == expected and [one.name for one in lab.log.iterdir()] == ["r"]
    # and one that has gone elsewhere is refused.
    (there / "moved.json").write_text(json.dumps({"to": {"host": "other", "folder": "/x"}}))
    found = upload.arrival(lab.mirror, lab.pod, source, ORIGIN)
    assert (found.state, found.to) == ("elsewhere", {"host": "other", "folder": "/x"})
    with pytest.raises(BadInput, match="was moved elsewhere"):
        upload.push_run(lab.mirror, lab.pod, source, ORIGIN)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "steps/../../x/1/end.json", "moved.json", "steps/a/1/x.json", "", "continued/0/run.json"]
)
def test_what_is_no_file_of_a_run_is_not_brought(lab: Lab, path: str) -> None:
    with pytest.raises(Infrastructure, match="no file of a run's"):
        bring(lab.log, piece(path, b"x"), last=False)
    assert not [one for one in lab.volume.rglob("*") if one.is_file()]


def test_nothing_is_brought_through_a_link_nor_without_its_record(lab: Lab, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    # Given links that a step's code has laid in what comes, and in the run that it comes back to,
    record = piece("run.json", json.dumps(run_record("r")).encode())
    bring(lab.log, record, last=False)
    coming = lab.log / f".coming.r.{TOKEN}"
    (coming / "steps").symlink_to(outside)
    (coming / "end.json").symlink_to(outside / "made")
    with pytest.raises(Infrastructure, match="no folder on the volume"):
        bring(lab.log, piece("steps/a/1/begin.json", b"{}"), first=False, last=False)
    with pytest.raises(Infrastructure, match="can't be written"):
        bring(lab.log, piece("end.json", b"{}"), first=False, last=False)
    there = make_run(lab.log, "s")
    (there / "moved.json").write_text(json.dumps({"to": ORIGIN}))
    (there / "continued").symlink_to(outside)
    with pytest.raises(Infrastructure, match="no folder on the volume"):
        bring(lab.log, piece("continued/1/run.json", b"{}"), run="s", whole=False)
    assert not list(outside.iterdir()) and (there / "moved.json").exists()
    # A run without its record, or with another's, does not come.
    with pytest.raises(Infrastructure, match="was removed from the volume while it was pushed"):
        bring(lab.log, piece("end.json", b"{}"))
    with pytest.raises(Infrastructure, match="was removed from the volume while it was pushed"):
        bring(lab.log, piece("run.json", b"{}"))
    with pytest.raises(Infrastructure, match="was removed from the volume while it was pushed"):
        bring(lab.log, record, whole=False)
    assert not (lab.log / "r").exists()
