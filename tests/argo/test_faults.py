"""Steps and pods that go wrong on a cluster: each is told as what it is, by every client, and nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import without_images
from tests.support.scratch import Result
from tests.support.session import SLEEP, Session
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

EAT = "x=[]\nwhile True: x.append(b'x' * 10_000_000)"
ONCE = f"""
if not os.path.exists('/mnt/been-here'):
    open('/mnt/been-here', 'w').close()
    {SLEEP}
"""


def delete_pod(session: Session, run_id: str) -> None:
    session.workplace.kubectl("delete", "pod", session.wait_for_output(run_id), "--wait=false")


def delete_pod_without_grace(session: Session, run_id: str) -> None:
    pod = session.wait_for_output(run_id)
    session.workplace.kubectl("delete", "pod", pod, "--wait=false", "--grace-period=0", "--force")


def evict_pod(session: Session, run_id: str) -> None:
    """As a node that is drained does it."""
    pod = session.wait_for_output(run_id)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": session.workplace.namespace},
    }
    path = f"/api/v1/namespaces/{session.workplace.namespace}/pods/{pod}/eviction"
    session.workplace.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))


def kill_first_process(session: Session, run_id: str) -> None:
    """As the kernel may do when a container takes more memory than it has; it takes all of the container's with it."""
    session.wait_for_output(run_id)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            first = re.search(r"^NSpid:.*\t1$", (folder / "status").read_text(), re.MULTILINE)
            environ = (folder / "environ").read_text("utf-8", "replace") if first else ""
        except OSError:  # it has ended, or is none of ours
            continue
        if "ARGO_CONTAINER_NAME=main" in environ and run_id in environ:
            os.kill(int(folder.name), signal.SIGKILL)
            return
    raise AssertionError(f"no process 1 of {run_id} on this machine")


def delete_workflow(session: Session, run_id: str) -> None:
    session.wait_for_output(run_id)
    session.workplace.kubectl("delete", "workflows.argoproj.io", run_id, "--wait=false")


@dataclass(frozen=True)
class Scene:
    """A step, and what is to come of it.

    Attributes:
        how: what the step does. code: the client's. exit_code: the last attempt's, or several that may be. reason: a part of
        its reason.
        act: what somebody does to the run meanwhile. core: why it is in the core tier; without a reason it is not.
    """

    how: str
    code: int
    exit_code: int | tuple[int | None, ...] | None
    reason: str
    config: str = "toolkit"
    act: Callable[[Session, str], None] | None = None
    attempts: int = 1
    core: str = ""


# How steps end by themselves the conformance suite has; here are those of which the cluster knows more than the records.
SCENES = {
    "raises": Scene("raise ValueError('no good')", 1, 1, "ValueError: no good"),
    "kills-its-runtime": Scene("os.kill(os.getppid(), 9)", 1, 137, "without its record"),
    "eats": Scene(EAT, 1, 137, "out of memory", "small"),
    "time-limit-deaf": Scene(
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}", 1, 137, "longer than its time limit of 3 s", "quick"
    ),
    "deleted": Scene(SLEEP, 3, 143, "deleted", act=delete_pod, core="a step that is lost with its pod"),
    # Whether it was one or the other is known only to a client that saw the pod before it was gone.
    # The signal may come before the kill; and Argo makes a pod again that was deleted before it was seen running.
    "deleted-at-once": Scene(SLEEP, 3, (None, 117, 143), "deleted", act=delete_pod_without_grace),
    "deleted-retried": Scene(
        ONCE, 0, 0, "", "on-error", act=delete_pod, attempts=2, core="a step that is lost with its pod runs again"
    ),
    "deleted-no-failure": Scene(SLEEP, 3, 143, "deleted", "on-failure", act=delete_pod),
    "ends-its-container": Scene("os.kill(1, 15); time.sleep(60)", 1, 143, "a process of the step", "on-error"),
    "evicted": Scene(SLEEP, 3, 143, "evicted", act=evict_pod, core="a step that is lost with its node"),
}


@dataclass(frozen=True)
class Seen:
    """What came of a scene: the client's end, and what `toolkit show --json` says of it afterwards."""

    result: Result
    shown: Result

    @property
    def run(self) -> dict[str, Any]:
        assert self.shown.code == 0, (self.shown.err, self.result.err)
        run: dict[str, Any] = json.loads(self.shown.out)
        return run

    @property
    def attempts(self) -> list[dict[str, Any]]:
        attempts: list[dict[str, Any]] = self.run["steps"][0]["attempts"]
        return attempts


@dataclass
class Ended:
    """All scenes, played.

    Attributes:
        left: pods that ran when all clients had ended. rows: `toolkit runs --json` of another client.
    """

    session: Session
    seen: dict[str, Seen] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("faults") / f"argo-faults-{os.urandom(2).hex()}"
    scratch = workplace.project(root)
    with without_images(root):
        yield Session(
            workplace,
            scratch,
            small={"resources": {"limits": {"memory": "64Mi"}}},
            quick={"max_step_duration_in_seconds": 3},
            **{
                name: {"retry_strategy": {"limit": 1, "retry_policy": policy}}
                for name, policy in (("on-error", "OnError"), ("on-failure", "OnFailure"))
            },
        )


@pytest.fixture(scope="module")
def ended(request: pytest.FixtureRequest, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Plays the scenes that are asked about, all at once."""
    session.deliver()
    all_of_it = Ended(session)
    chosen = [
        name for name in SCENES if any(item.name == f"test_how_a_step_ends[{name}]" for item in request.session.items)
    ]

    def play(name: str) -> None:
        scene = SCENES[name]
        process = session.start(name, scene.how, pipeline="two.py", config=scene.config)
        if scene.act is not None:
            scene.act(session, name)
        out, err = process.communicate(timeout=300)
        shown = session.scratch.toolkit("show", name, "--json")
        all_of_it.seen[name] = Seen(Result(process.returncode, out, err), shown)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(play, chosen))
    all_of_it.left = session.running()
    other = session.elsewhere(tmp_path_factory.mktemp("elsewhere")).toolkit("runs", "--json")
    assert other.code == 0, other.err
    all_of_it.rows = {row["run_id"]: row for row in json.loads(other.out)}
    return all_of_it


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.core(one.core)] if one.core else []) for name, one in SCENES.items()],
)
def test_how_a_step_ends(ended: Ended, name: str) -> None:
    scene, seen = SCENES[name], ended.seen[name]
    assert seen.result.code == scene.code, seen.result.err
    assert "Traceback" not in seen.result.err.replace('Traceback (most recent call last):\n      File "/workspace', "")
    last = seen.attempts[-1]
    assert [one["number"] for one in seen.attempts] == list(range(1, scene.attempts + 1))
    assert last["exit_code"] in (scene.exit_code if isinstance(scene.exit_code, tuple) else (scene.exit_code,))
    assert scene.reason in last["reason"]
    assert all(bool(one["reason"]) == (one["status"] != "succeeded") for one in seen.attempts)
    # The sentence that is recorded is the one that the client said.
    assert last["reason"].splitlines()[:1] == [] or last["reason"].splitlines()[0][:300] in seen.result.err
    failed = scene.code != 0
    assert seen.run["status"] == ("failed" if failed else "succeeded")
    assert [step["status"] for step in seen.run["steps"]] == (
        ["failed", "skipped"] if failed else ["succeeded", "succeeded"]
    )
    assert bool(seen.run["reason"]) == failed


@pytest.mark.core("what its steps had done would be lost")
def test_a_workflow_that_is_deleted(session: Session, tmp_path: Path) -> None:
    """Its pod has its grace period, and two clients look at the run afterwards: about 25 s."""
    process = session.start("cut-short", SLEEP, pipeline="two.py")
    delete_workflow(session, "cut-short")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 3, err
    assert "the Workflow cut-short was deleted while it ran" in err
    session.scratch.wait_for(lambda: not session.pods("cut-short"))
    for client in (session.scratch, session.elsewhere(tmp_path)):
        run = client.show("cut-short")
        assert run["status"] == "failed" and "its Workflow" in run["reason"]
        assert run["steps"][0]["status"] in ("failed", "cancelled") and run["steps"][1]["status"] == "skipped"
        assert run["steps"][0]["attempts"][0]["reason"]
    assert not [one for one in session.left() if "cut-short" in one]


@pytest.mark.core("a pod would never end")
def test_a_container_whose_first_process_is_killed(session: Session) -> None:
    """Then nothing in the container can say how it ended, and Argo's own container of the pod has to be told."""
    if session.workplace.folder is None:
        pytest.skip("the node is not on this machine")
    process = session.start("first-killed", SLEEP, pipeline="two.py")
    kill_first_process(session, "first-killed")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    run = session.scratch.show("first-killed")
    assert run["steps"][0]["attempts"][-1]["exit_code"] == 137
    assert "without its record" in run["steps"][0]["attempts"][-1]["reason"]
    assert session.running("first-killed") == []


def test_a_pod_deleted_when_its_end_is_recorded(session: Session, tmp_path: Path) -> None:
    if session.workplace.folder is None:
        pytest.skip("the folder behind the claim is not on this machine")
    end = session.workplace.folder / "run_log_store" / "too-late" / "steps" / "later" / "1" / "end.json"
    process = session.start("too-late", pipeline="two.py")
    pod = session.pod("too-late", "later")
    session.scratch.wait_for(end.exists)
    session.workplace.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
    _, err = process.communicate(timeout=300)
    # Which of the two the cluster saw first is open; that all say the same is not.
    runs = [session.scratch.show("too-late"), session.elsewhere(tmp_path).show("too-late")]
    for run in runs:
        last = run["steps"][1]
        if process.returncode == 0:
            assert run["status"] == last["status"] == "succeeded"
        else:
            assert process.returncode == 3, err
            assert run["status"] == last["status"] == "failed"
            assert last["attempts"][-1]["reason"] in err
            assert "pod deleted" in run["reason"] or "the pod was deleted" in run["reason"]


def test_another_client_sees_the_same(ended: Ended, tmp_path: Path) -> None:
    for name, seen in ended.seen.items():
        row = ended.rows[name]
        assert (row["status"], row["reason"]) == (seen.run["status"], seen.run["reason"]), name
    other = ended.session.elsewhere(tmp_path)
    for name in {"deleted-retried", "evicted"} & ended.seen.keys():
        theirs, ours = other.show(name), ended.seen[name].run
        for run in (theirs, ours):
            for step in run["steps"]:
                for attempt in step["attempts"]:
                    attempt.pop("log")
        assert theirs == ours


def test_nothing_is_left(ended: Ended, tmp_path: Path) -> None:
    assert ended.left == []
    ended.session.delete_workflows()
    # And what was seen of the runs stays, for a client that never saw them as well.
    rows = json.loads(ended.session.elsewhere(tmp_path).toolkit("runs", "--json").out)
    assert [row for row in rows if row["run_id"] in ended.rows] == list(ended.rows.values())


@pytest.fixture
def small_volume(own_workplace: Workplace) -> Iterator[Workplace]:
    """A workplace whose volume holds 1 MB; it is mounted where the node sees it, which has mounts of its own."""
    if own_workplace.folder is None:
        pytest.skip("the folder behind the claim is not on this machine")
    known = json.loads((own_workplace.cluster.kubeconfig.parent / "processes.json").read_text())["processes"]
    node = next(pid for pid in known if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid"))
    inside = ["nsenter", "--target", node, "--mount", "--pid"]
    folder = str(own_workplace.folder)
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=1m,mode=2777,gid=1000", "tmpfs", folder], check=True)
    yield own_workplace
    subprocess.run([*inside, "umount", "-l", folder], check=True)


@pytest.mark.core("a record or output that could not be written would be lost")
@pytest.mark.parametrize(
    "how", ["os.write(1, b'a' * 3_000_000)", "open('/mnt/large', 'wb').write(b'a' * 3_000_000)"], ids=["log", "file"]
)
def test_a_full_volume_is_no_success(small_volume: Workplace, tmp_path: Path, how: str) -> None:
    root = tmp_path / f"argo-full-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(small_volume, small_volume.project(root))
        result = one.run("full", how, pipeline="two.py")
        assert result.code in (1, 3), result.err
        assert "No space left on device" in result.err
        # Another client sees the same, though nothing of it could be recorded.
        run = one.elsewhere(tmp_path / "other").show("full")
        assert run["status"] == "failed"
        assert [step["status"] for step in run["steps"]] == ["failed", "skipped"]
        assert "No space left on device" in run["steps"][0]["attempts"][0]["reason"]
        assert one.running() == []
