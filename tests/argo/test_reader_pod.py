"""The pod that reads a claim, on a real cluster: what it answers, what it says when it can't, and that none is left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.engine import without_images
from toolkit.backends.argo.cluster import Cluster, Forbidden, connect
from toolkit.backends.argo.volume import upload
from toolkit.backends.argo.volume.mirror import Mirror
from toolkit.backends.argo.volume.reader import BrokenConnection
from toolkit.backends.argo.volume.reader_pod import READER_LABEL, ReaderPod
from toolkit.config.settings import (
    Build,
    CatalogStore,
    Config,
    Executor,
    ExecutorConfig,
    PersistentVolume,
    RunLogStore,
    Secrets,
)
from toolkit.errors import Infrastructure
from toolkit.project import Project
from toolkit.runtime.shared import records
from toolkit.runtime.shared.catalog import FileStore
from toolkit.store.reader import NoRun

if TYPE_CHECKING:
    from tests.support.workplace import Workplace
    from toolkit.runtime.shared.documents import RunPlace

pytestmark = pytest.mark.argo

CLAIM = "toolkit"
MOUNT = "/mnt/volume"
USER = 1234
"""Neither root nor whoever made the volume."""
LARGE = 100_000_000


@dataclass
class Place:
    """A namespace, an image with the runtime, and a way to lay files on the claim as a step does."""

    workplace: Workplace
    image: str
    pull_policy: str

    def connect(self, kubeconfig: Path | None = None) -> Cluster:
        """The cluster as a kubeconfig's user sees it."""
        before = os.environ.get("KUBECONFIG")
        os.environ["KUBECONFIG"] = str(kubeconfig or self.workplace.kubeconfig)
        try:
            return connect(None, None)
        finally:
            if before is None:
                del os.environ["KUBECONFIG"]
            else:
                os.environ["KUBECONFIG"] = before

    def options(self, **changes: Any) -> dict[str, Any]:
        """What a reader pod is made with."""
        options: dict[str, Any] = {
            "image": self.image,
            "pull_policy": self.pull_policy,
            "claims": [(CLAIM, MOUNT)],
            "user": USER,
            "service_account": "toolkit-runner",
        }
        return {**options, **changes}

    def pod(self, cluster: Cluster | None = None, **changes: Any) -> ReaderPod:
        """A reader pod, not made yet."""
        return ReaderPod(cluster or self.connect(), **self.options(**changes))

    def mirror(self, root: Path) -> Mirror:
        """The mirror of a project without anything in it."""
        config = Config(
            Executor(config=ExecutorConfig(persistent_volumes=(PersistentVolume(CLAIM, MOUNT),))),
            RunLogStore(log_folder=f"{MOUNT}/log"),
            CatalogStore(catalog_location=f"{MOUNT}/catalog"),
            Secrets(),
            Build(),
        )
        return Mirror(Project(root, root, config), self.connect())

    def lay(self, pod: ReaderPod, files: Mapping[str, bytes]) -> None:
        """Writes files on the claim, as the steps' user and by kubectl, which knows nothing of ours."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        code = f"import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall({MOUNT!r})"
        command = [self.workplace.cluster.kubectl, "--kubeconfig", str(self.workplace.kubeconfig)]
        command += ["exec", "-i", pod.name, "--", "python3", "-c", code]
        subprocess.run(command, input=packed.getvalue(), check=True, timeout=120, stdout=-3)

    def pods(self) -> dict[str, str]:
        """The reader pods that there are, with their phases."""
        found = self.connect().list("api/v1", "pods", labels=READER_LABEL)["items"]
        return {one["metadata"]["name"]: one["status"]["phase"] for one in found}

    def wait_for(self, what: Callable[[], object], seconds: float = 60.0) -> None:
        """Waits until ``what`` is true."""
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, f"it did not happen; pods: {self.pods()}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def place(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where the tests' pods go."""
    root = tmp_path_factory.mktemp("reader") / f"reader-{os.urandom(3).hex()}"
    scratch = workplace.project(root)
    scratch.steps(nothing="pass")
    where = ["--push"] if workplace.cluster.foreign else ["--load", "--node", str(workplace.cluster.containerd)]
    with without_images(root):
        built = scratch.toolkit("build", *where)
        assert built.code == 0, built.err
        yield Place(workplace, built.out.strip(), "IfNotPresent" if workplace.cluster.foreign else "Never")


def run_files(run_id: str, steps: Mapping[str, bytes], ended: bool = True) -> dict[str, bytes]:
    """The files of a run: for each step what it wrote."""
    record = {"version": 1, "run_id": run_id, "started": "2026-01-02T03:04:05.678Z", "plan": '{"steps":[]}'}
    files = {"run.json": records.encode(record)}
    for step, output in steps.items():
        files[f"steps/{step}/1/begin.json"] = records.encode({"started": "2026"})
        files[f"steps/{step}/1/output.log"] = output
        files[f"steps/{step}/1/end.json"] = records.encode({"status": "succeeded", "exit_code": 0})
    if ended:
        files["end.json"] = records.encode({"status": "succeeded", "ended": "2026"})
    return {f"log/{run_id}/{name}": data for name, data in files.items()}


def below(folder: Path, prefix: str) -> dict[str, bytes]:
    """All files below a folder."""
    return {f"{prefix}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.core("records or files could come incomplete")
def test_a_run_and_its_objects_come_whole_and_are_then_there_without_a_pod(place: Place, tmp_path: Path) -> None:
    # Given a run and a large object on a claim,
    files = run_files("whole", {"a": b"hello\n", "map/0/b": os.urandom(300_000), "%C3%A4": b""})
    content = os.urandom(LARGE // 2) + b"x" * (LARGE // 2)
    digest = hashlib.sha256(content).hexdigest()
    mirror = place.mirror(tmp_path)
    told: list[tuple[int, int, float]] = []
    with place.pod() as pod:
        # in a volume on which there has never been anything,
        assert mirror.runs(pod) == [] or all(one["run"]["run_id"] != "whole" for one in mirror.runs(pod))
        with pytest.raises(NoRun):
            mirror.sync(pod, "whole")
        place.lay(pod, {**files, f"catalog/objects/{digest[:2]}/{digest}": content})
        # when they are fetched,
        assert "whole" in [one["run"]["run_id"] for one in mirror.runs(pod)]
        folder = mirror.sync(pod, "whole")
        path = mirror.object(pod, digest, lambda *one: told.append(one))
        name = pod.name
    # then they are the same,
    assert below(folder, "log/whole") == files and mirror.is_complete("whole")
    assert path.read_bytes() == content and told[-1][:2] == (LARGE, LARGE)
    assert FileStore(str(mirror.catalog)).get_bytes(digest) == content
    # and the pod is gone; what is here needs none.
    assert name not in place.pods()
    with place.pod() as none:
        assert mirror.object(none, digest) == path and none.name == ""


@pytest.mark.core("what a client alone saw would be lost")
def test_what_only_the_client_saw_is_published_with_the_volumes_group(place: Place, tmp_path: Path) -> None:
    mirror = place.mirror(tmp_path)
    here = mirror.run_folder("pushed")
    (here / "steps" / "a" / "1").mkdir(parents=True)
    for name, data in run_files("pushed", {}).items():
        (here / name.rpartition("/")[2]).write_bytes(data)
    # Longer than one message of the web socket, and than what is sent as it is.
    verdict = {"exit_code": 1, "message": os.urandom(100_000).hex()}
    records.write(str(here / "steps" / "a" / "1" / "engine.json"), verdict)
    with place.pod() as pod:
        assert mirror.publish(pod, "pushed") == ["run.json", "steps/a/1/engine.json", "end.json"]
        assert mirror.publish(pod, "pushed") == []
        code = f"import os; s = os.stat('{MOUNT}/log/pushed/end.json'); print(s.st_uid, s.st_gid, oct(s.st_mode))"
        said = place.workplace.kubectl("exec", pod.name, "--", "python3", "-c", code)
        other = place.mirror(tmp_path / "other")
        assert below(other.sync(pod, "pushed"), "x") == below(here, "x")
    assert said.split() == [str(USER), "1000", "0o100664"]


# --- a pod that goes ------------------------------------------------------------------------------------------------


@pytest.mark.core("an answer could be cut off")
def test_a_pod_that_goes_while_it_answers_is_made_again(place: Place, tmp_path: Path) -> None:
    content = os.urandom(LARGE // 2)
    digest = hashlib.sha256(content).hexdigest()
    mirror = place.mirror(tmp_path)
    cluster = place.connect()
    with place.pod(cluster) as pod:
        mirror.runs(pod)
        place.lay(pod, {f"catalog/objects/{digest[:2]}/{digest}": content})
        first = pod.name
        removed: list[str] = []

        def remove(done: int, announced: int, rate: float) -> None:
            if not removed:
                removed.append(pod.name)
                cluster.delete("api/v1", "pods", pod.name, grace=1)
                # Nothing is read meanwhile, so the answer can't have come whole before its program is gone.
                place.wait_for(lambda: first not in place.pods())

        assert mirror.object(pod, digest, remove).read_bytes() == content
        assert removed == [first] and pod.name != first
    assert first not in place.pods() and pod.name == ""


def test_a_pod_waits_as_long_as_it_is_asked_and_ends_when_it_is_not(place: Place, tmp_path: Path) -> None:
    """The pod waits 12 s for requests, which come for longer than that: about 35 s."""
    mirror = place.mirror(tmp_path)
    with place.pod(idle_limit=12) as pod:
        mirror.runs(pod)
        first = pod.name
        # Requests that come now and then keep it,
        for _ in range(5):
            time.sleep(3.0)
            mirror.runs(pod)
        assert pod.name == first
        # without them it ends by itself, and the next request has another one made.
        place.wait_for(lambda: place.pods().get(first) == "Succeeded")
        mirror.runs(pod)
        assert pod.name != first
    assert first not in place.pods()


def test_an_answer_that_takes_longer_than_the_pod_waits_is_not_cut_off(place: Place) -> None:
    size = 0

    def slow(data: bytes) -> None:
        nonlocal size
        size += len(data)
        time.sleep(len(data) / len(content) * 8.0)

    content = os.urandom(40_000_000)
    digest = hashlib.sha256(content).hexdigest()
    with place.pod() as pod:
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/none"}, lambda data: None)
        place.lay(pod, {f"catalog/objects/{digest[:2]}/{digest}": content})
    with place.pod(idle_limit=3) as pod:
        pod.start()
        name, began = pod.name, time.monotonic()
        pod.exec({"do": "objects", "catalog": f"{MOUNT}/catalog", "objects": [digest]}, slow)
        assert pod.name == name and time.monotonic() - began > 6 and size > len(content)


def test_an_answer_that_stops_coming_is_not_waited_for(place: Place) -> None:
    content = os.urandom(80_000_000)
    digest = hashlib.sha256(content).hexdigest()
    stopped = threading.Event()
    code = """
        import os, signal
        for name in os.listdir("/proc"):
            if name.isdigit() and b"--store" in open(f"/proc/{name}/cmdline", "rb").read().split(b"\\0"):
                os.kill(int(name), signal.SIGSTOP)
    """

    def stop(data: bytes) -> None:
        if not stopped.is_set():
            stopped.set()
            place.workplace.kubectl("exec", pod.name, "--", "python3", "-c", textwrap.dedent(code))

    with place.pod(silence_limit=5.0) as pod:
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/none"}, lambda data: None)
        place.lay(pod, {f"catalog/objects/{digest[:2]}/{digest}": content})
        with pytest.raises(Infrastructure, match="said nothing for 5 s"):
            pod.exec({"do": "objects", "catalog": f"{MOUNT}/catalog", "objects": [digest]}, stop)


# --- a pod that does not start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"claims": [("no-such-claim", MOUNT)]}, r'"no-such-claim" not found'),
        ({"image": "example.invalid/none:1", "pull_policy": "Never"}, "ErrImageNeverPull"),
        ({"image": "NOT AN IMAGE"}, "InvalidImageName"),
        ({"node_selector": {"no-such": "node"}, "start_limit": 3.0}, "did not start within 3 s.*no node takes it"),
        ({"user": 0}, "can't be created.*violates PodSecurity"),
        ({"service_account": "no-such-account"}, "can't be created.*no-such-account"),
    ],
    ids=["claim", "image", "image name", "node", "standard", "account"],
)
def test_a_pod_that_can_not_start_says_why_in_one_sentence(place: Place, changes: dict[str, Any], reason: str) -> None:
    before = place.pods()
    with place.pod(**changes) as pod, pytest.raises(Infrastructure, match=reason) as caught:
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)
    # What can't come right by itself is not waited for until the limit.
    assert "within 60 s" not in str(caught.value)
    assert place.connect().namespace in str(caught.value) and "\n" not in str(caught.value)
    assert place.pods() == before


def test_an_image_without_the_runtime_is_told_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pod whose program is not in its image (here: by another name of it),
    monkeypatch.setattr("toolkit.backends.argo.volume.reader_pod.RUNTIME_MAIN", "/opt/no-such/main.py")
    with place.pod() as pod, pytest.raises(Infrastructure, match=r"did not start .*exit code 2"):
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)


def test_a_runtime_of_another_protocol_is_told_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.backends.argo.volume.reader_pod.PROTOCOL", 999)
    with place.pod() as pod, pytest.raises(Infrastructure, match=r"did not start .*called with protocol 999"):
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)


# --- rights ---------------------------------------------------------------------------------------------------------


def test_the_rights_that_a_user_is_given_are_enough(place: Place, tmp_path: Path) -> None:
    mine = place.connect(place.workplace.account(tmp_path, "ann", role="toolkit-user"))
    mirror = place.mirror(tmp_path)
    with place.pod(mine) as pod:
        mirror.runs(pod)
        name = pod.name
    assert name not in place.pods()


def test_a_missing_right_is_named(place: Place, tmp_path: Path) -> None:
    before = place.pods()
    nothing = place.connect(place.workplace.account(tmp_path, "nobody"))
    with place.pod(nothing) as pod, pytest.raises(Forbidden, match=r"rights create, get and delete on pods\)"):
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)
    half = place.connect(place.workplace.account(tmp_path, "half", "create,get,delete of pods"))
    with place.pod(half) as pod, pytest.raises(Forbidden, match=r"rights get and create on pods/exec"):
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)
    assert place.pods() == before


# --- a client that goes ---------------------------------------------------------------------------------------------

CLIENT = """
import json, sys, time
from pathlib import Path
from toolkit.backends.argo.cluster import connect
from toolkit.backends.argo.volume.reader_pod import ReaderPod

options, request = json.loads(sys.argv[1])
with ReaderPod(connect(None, None), **options) as pod:
    pod.start()
    print(pod.name, flush=True)
    if request:
        pod.exec(request, lambda data: None)
        print("answered", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def client(place: Place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts clients that hold a reader pod."""
    started: list[subprocess.Popen[str]] = []

    def start(asks: bool, **changes: Any) -> subprocess.Popen[str]:
        request = {"do": "runs", "run_log": f"{MOUNT}/log"} if asks else None
        arguments = json.dumps([place.options(**changes), request])
        environment = {**os.environ, "KUBECONFIG": str(place.workplace.kubeconfig)}
        command = [sys.executable, "-c", CLIENT, arguments]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("asks", [True, False], ids=["while it runs", "while it starts"])
def test_a_client_that_is_told_to_end_leaves_no_pod(
    place: Place, client: Callable[..., subprocess.Popen[str]], number: signal.Signals, asks: bool
) -> None:
    process = client(asks)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert name in place.pods()
    if asks:
        assert process.stdout.readline() == "answered\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    assert name not in place.pods()


def test_what_a_killed_client_leaves_ends_by_itself_and_is_removed_by_the_next(
    place: Place, client: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = client(True, idle_limit=3)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert process.stdout.readline() == "answered\n"
    process.kill()
    place.wait_for(lambda: place.pods()[name] == "Succeeded", 30)
    with place.pod() as pod:
        place.mirror(tmp_path).runs(pod)
    assert name not in place.pods()


def test_many_clients_at_once_each_have_their_own(place: Place, tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            with place.pod(cluster) as pod:
                place.mirror(tmp_path / str(number)).runs(pod)
        except BaseException as error:
            failed.append(error)

    cluster = place.connect()
    for number in range(4):
        (tmp_path / str(number)).mkdir()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and not place.pods()


def test_a_cluster_that_has_gone_is_one_sentence(place: Place, tmp_path: Path) -> None:
    config = yaml.safe_load(place.workplace.kubeconfig.read_text())
    for one in config["clusters"]:
        one["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    with place.pod(place.connect(tmp_path / "kubeconfig")) as pod, pytest.raises(Infrastructure) as caught:
        pod.exec({"do": "runs", "run_log": f"{MOUNT}/log"}, lambda data: None)
    assert "does not answer" in str(caught.value) and not isinstance(caught.value, BrokenConnection)


@pytest.mark.core("a run that moves could arrive incomplete")
def test_a_run_and_its_objects_go_to_the_claim_in_pieces(place: Place, tmp_path: Path) -> None:
    # Given a run of this machine with an object and a log of many pieces, and many small objects,
    source = tmp_path / "log" / "brought"
    for name, data in run_files("brought", {"a": b"hello\n", "map/0/b": os.urandom(20_000_000), "empty": b""}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    store = FileStore(str(tmp_path / "mine"))
    digests = [store.put_bytes(data)["sha256"] for data in (os.urandom(LARGE // 2), *map(os.urandom, [50] * 300))]
    mirror = place.mirror(tmp_path)
    origin: RunPlace = {"host": "laptop", "folder": "/log"}
    with place.pod() as pod:
        # when it goes to the claim,
        assert sorted(upload.push_objects(mirror, pod, tmp_path / "mine", digests)) == sorted(digests)
        upload.push_run(mirror, pod, source, origin)
        # then all of it is there as the pod's user can read it,
        assert below(mirror.sync(pod, "brought"), "x") == below(source, "x") and mirror.is_complete("brought")
        mirror.objects(pod, digests)
        assert upload.push_objects(mirror, pod, tmp_path / "mine", digests) == []
        # and a run that has its id and is another one is refused.
        (source / "run.json").write_bytes(records.encode({"run_id": "brought", "started": "another"}))
        with pytest.raises(Infrastructure, match="the volume has another run brought"):
            upload.push_run(mirror, pod, source, origin)
    assert FileStore(str(mirror.catalog)).get_bytes(digests[0]) == store.get_bytes(digests[0])
