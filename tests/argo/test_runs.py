"""Runs on a cluster as their users see them: what can't start and why, logs while they run, many at once, nothing besides."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import without_images
from tests.support.scratch import LIMIT, Result, Scratch
from tests.support.session import READY, Session
from tests.support.workplace import Workplace
from toolkit.backends.argo.volume.reader_pod import READER_LABEL

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

SOON = {"start_timeout_in_seconds": 20}
ABSENT_SECRET = {"environment_variable": "x", "secret_name": "absent", "secret_key": "absent-key"}
LATE_SECRET = {"environment_variable": "x", "secret_name": "late", "secret_key": "late-key"}
ABSENT_CLAIM = {"name": "absent", "mount_path": "/mnt"}


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("runs") / f"argo-runs-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(
            workplace,
            workplace.project(root),
            soon=SOON,
            nowhere={**SOON, "node_selector": {"no-such-label": "at-all"}},
            secret={**SOON, "secrets_from_k8s": [ABSENT_SECRET]},
            late={"secrets_from_k8s": [LATE_SECRET]},
            claim={**SOON, "persistent_volumes": [ABSENT_CLAIM]},
            account={**SOON, "service_account_name": "absent-account"},
            retrying={"retry_strategy": {"limit": 2}},
            often={"name": "often", "schedules": ["@every 5s"]},
        )
        one.deliver()
        yield one


# --- what does not start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("nowhere", "no-such-label=at-all"),
        ("secret", "there is no Secret absent"),
        ("claim", "there is no claim absent"),
        ("account", "there is no service account absent-account"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_submitted(session: Session, config: str, named: str) -> None:
    result = session.run(f"refused-{config}", config=config)
    assert result.code == 3, result.err
    assert named in result.err and "to fix it: " in result.err
    assert f"workflow.argoproj.io/refused-{config}" not in session.left()
    assert f"configmap/refused-{config}" not in session.left()


def other_image(reference: str) -> Callable[[str], str]:
    """A change of a manifest: the steps have another image."""

    def change(text: str) -> str:
        changed = []
        for line in text.splitlines():
            place, key, _ = line.partition("image: ")
            changed.append(f"{place}{key}{json.dumps(reference)}" if key and not place.strip() else line)
        return "\n".join(changed).replace("imagePullPolicy: Never", "imagePullPolicy: IfNotPresent") + "\n"

    return change


@dataclass(frozen=True)
class Stuck:
    """A run that kubectl submitted and whose pod can't start; parts of the sentence that says why."""

    reason: tuple[str, ...]
    config: str = "soon"
    change: Callable[[str], str] = lambda text: text


STUCK = {
    "stuck-nowhere": Stuck(("has not started within 20 s", "node"), "nowhere"),
    "stuck-secret": Stuck(("has not started", 'secret "absent" not found'), "secret"),
    "stuck-claim": Stuck(("has not started within 20 s", 'persistentvolumeclaim "absent" not found'), "claim"),
    "stuck-account": Stuck(("absent-account",), "account"),
    "stuck-name": Stuck(("has not started", "InvalidImageName"), change=other_image("Not A Name")),
    "stuck-image": Stuck(("has not started", "127.0.0.1:9/nothing:1"), change=other_image("127.0.0.1:9/nothing:1")),
}


@pytest.fixture(scope="module")
def stuck(session: Session, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Result, Result]]:
    """Of each: what following it said, and how this client and another show it."""
    other = session.elsewhere(tmp_path_factory.mktemp("elsewhere"))

    def play(name: str) -> tuple[str, tuple[Result, Result, Result]]:
        one = STUCK[name]
        session.apply(name, config=one.config, change=one.change)
        followed = session.run(name, pipeline="two.py", config=one.config)
        options = ("show", name, "--json", "--config", f"{one.config}.yaml")
        return name, (followed, session.scratch.toolkit(*options), other.toolkit(*options))

    with ThreadPoolExecutor(6) as pool:
        return dict(pool.map(play, STUCK))


@pytest.mark.parametrize("name", STUCK)
def test_a_pod_that_cannot_start_ends_the_run_with_the_reason(
    session: Session, stuck: dict[str, tuple[Result, Result, Result]], name: str
) -> None:
    followed, ours, theirs = stuck[name]
    assert followed.code == 3, followed.err
    assert "Traceback" not in followed.err
    shown = []
    for one in (ours, theirs):
        assert one.code == 0, one.err
        run = json.loads(one.out)
        assert run["status"] == "failed"
        assert [step["status"] for step in run["steps"]] == ["failed", "skipped"]
        reasons = [run["reason"], *(attempt["reason"] for attempt in run["steps"][0]["attempts"])]
        assert all(part in reason for part in STUCK[name].reason for reason in reasons), reasons
        shown.append((run["status"], reasons, run["ended"]))
    assert shown[0] == shown[1]
    assert all(part in followed.err for part in STUCK[name].reason), followed.err
    assert session.running(name) == []


def test_an_image_that_no_node_has(session: Session, tmp_path: Path) -> None:
    root = tmp_path / f"argo-unloaded-{os.urandom(2).hex()}"
    with without_images(root):
        never = Session(session.workplace, session.workplace.project(root))
        if session.workplace.cluster.foreign:
            pytest.skip("there images go to a registry")
        never.apply(
            "unloaded", change=lambda text: text.replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never")
        )
        result = never.run("unloaded", pipeline="two.py")
        assert result.code == 3, result.err
        assert "ErrImageNeverPull" in result.err and root.name in result.err


def test_a_secret_that_comes_while_its_pod_waits_is_in_time(session: Session) -> None:
    """The kubelet looks for a missing Secret again only now and then: up to a minute."""
    session.apply("late", "print(len(os.environ['x']))", config="late")
    process = session.start("late", "print(len(os.environ['x']))", pipeline="two.py", config="late")
    assert process.stderr is not None
    for line in process.stderr:
        if "has not started" in line and "late" in line:
            break
    session.workplace.secret("late", **{"late-key": "12345"})
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert session.scratch.toolkit("logs", "late", "only", "--config", "late.yaml").out == "5\n"


# --- the volume -------------------------------------------------------------------------------------------------------


def test_a_volume_that_the_user_cannot_write(own_workplace: Workplace, tmp_path: Path) -> None:
    if own_workplace.folder is None or os.geteuid() != 0:
        pytest.skip("the folder behind the claim is not on this machine")
    folder = own_workplace.folder / "run_log_store"
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    root = tmp_path / f"argo-unwritable-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(own_workplace, own_workplace.project(root))
        result = one.run("unwritable", pipeline="two.py")
        assert result.code == 3, result.err
        assert "/mnt/run_log_store" in result.err and "Permission denied" in result.err
        shown = one.scratch.toolkit("show", "unwritable", "--json")
        assert shown.code == 0, shown.err
        run = json.loads(shown.out)
        attempt = run["steps"][0]["attempts"][0]
        assert attempt["exit_code"] == 117 and "Permission denied" in attempt["reason"]
        assert one.running() == []


@pytest.mark.core("another run's records could be overwritten")
def test_a_run_id_that_another_run_has_on_the_volume(session: Session, tmp_path: Path) -> None:
    """Three clients start or look at runs one after the other: about 25 s."""
    # Given a run whose Workflow is gone.
    assert session.run("taken", "print('the first')").code == 0
    before = session.scratch.show("taken")
    session.workplace.kubectl("delete", "workflows.argoproj.io", "taken")
    # When it is started again, from here and by a client that does not know of it.
    again = session.run("taken", "print('the first')")
    assert again.code == 2 and "there is a run taken already" in again.err
    other = session.elsewhere(tmp_path)
    started = other.toolkit(*session.command("taken", "print('the second')"))
    # Then neither touches what is there.
    assert started.code == 3, started.err
    assert "the run id taken is another run's on this volume: choose another --run-id" in started.err
    third = session.elsewhere(tmp_path / "third").show("taken")
    assert (third["status"], third["reason"]) == ("succeeded", "")
    assert third["steps"][0]["attempts"][0]["exit_code"] == 0
    assert session.scratch.show("taken") == before
    assert session.scratch.toolkit("logs", "taken", "only").out == "the first\n"


@pytest.mark.parametrize(
    "seen", [pytest.param(False, marks=pytest.mark.core("a run could be lost with its Workflow")), True]
)
def test_a_run_is_there_when_its_workflow_is_gone(session: Session, tmp_path: Path, seen: bool) -> None:
    session.scratch.write(
        {
            "keep.py": "def only(how: str):\n    exec(how)\n    return {'thing'}\n",
            "put.py": "from toolkit import Pipeline, PythonTask, Catalog, pickled\nimport keep\np = Pipeline(steps=["
            "PythonTask(keep.only, returns=[pickled('thing')], catalog=Catalog(put=['made.txt']))])\n",
        }
    )
    how = "print('hello', flush=True); open('made.txt', 'w').write('made')"
    run_id = f"gone-{'seen' if seen else 'unseen'}"
    assert session.run(run_id, how, pipeline="put.py").code == 0
    if seen:
        session.scratch.show(run_id)
    session.workplace.kubectl("delete", "workflows.argoproj.io", run_id)
    other = session.elsewhere(tmp_path)
    (tmp_path / "temporary").mkdir()
    other.environ["TMPDIR"] = str(tmp_path / "temporary")
    rows = {row["run_id"]: row for row in json.loads(other.toolkit("runs", "--json").out)}
    assert (rows[run_id]["status"], rows[run_id]["reason"]) == ("succeeded", "")
    assert other.toolkit("logs", run_id, "only").out == "hello\n"
    assert other.show(run_id)["status"] == "succeeded"
    assert other.toolkit("fetch", run_id, "--to", "got").code == 0
    assert (other.root / "got" / "made.txt").read_text() == "made"
    assert pickle.loads((other.root / "got" / "thing.pkl").read_bytes()) == {"thing"}
    assert "thing" in other.toolkit("catalog", run_id, "--get", "thing").out
    # The requests and the web sockets of these commands had the kubeconfig's key from memory.
    assert list((tmp_path / "temporary").iterdir()) == []


# --- a schedule, and who may only read ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduled(session: Session) -> Iterator[str]:
    """The id of a run that a schedule started, which has succeeded."""
    how = json.dumps("print('hello', flush=True)")
    compiled = session.scratch.toolkit("compile", "one.py", "--config", "often.yaml", "--param", f"how={how}")
    assert compiled.code == 0, compiled.err
    session.workplace.kubectl("create", "-f", "-", text=compiled.out)
    label = ("-l", "dev.toolkit/schedule=often")

    def first() -> dict[str, Any] | None:
        items = session.workplace.get("workflows", *label)["items"]
        return items[0] if items else None

    try:
        session.scratch.wait_for(first)
    finally:
        session.workplace.kubectl("delete", "cronworkflow", "often", "--cascade=orphan")
    session.scratch.wait_for(lambda: (first() or {}).get("status", {}).get("phase") == "Succeeded")
    workflow = first()
    assert workflow is not None
    yield workflow["metadata"]["name"]
    session.workplace.kubectl("delete", "configmap", *label)


@pytest.mark.core("the setting schedules; one run of a schedule could hide all others")
def test_a_run_of_a_schedule_is_like_any_other(session: Session, scheduled: str, tmp_path: Path) -> None:
    """A run of a schedule, and two looks at the volume: about 25 s."""
    assert scheduled.startswith("often-") and len(scheduled) <= 40
    other = session.elsewhere(tmp_path)
    options = ("--config", "often.yaml")
    logs = other.toolkit("logs", scheduled, "only", *options)
    assert logs.out == "hello\n", logs.err
    shown = other.show(scheduled, *options)
    assert [step["status"] for step in shown["steps"]] == ["succeeded"]
    assert other.toolkit("show", scheduled, *options).code == 0
    listed = other.toolkit("runs", "--json", *options)
    assert {run["run_id"]: run["status"] for run in json.loads(listed.out)}[scheduled] == "succeeded"
    same = other.toolkit("diff", scheduled, scheduled, *options)
    assert same.code == 0 and "are the same" in same.out, same.err
    for command, refusal in (("retry", "has succeeded"), ("cancel", "has ended (succeeded)")):
        refused = other.toolkit(command, scheduled, *options)
        assert refused.code == 2 and refusal in refused.err, refused.err


@pytest.mark.core("a success could be shown as a failure; no pod of its own")
def test_who_may_only_read_is_told_what_the_cluster_knows(session: Session, scheduled: str, tmp_path: Path) -> None:
    other = session.elsewhere(tmp_path)
    other.environ["KUBECONFIG"] = str(session.workplace.reader(tmp_path))
    before = session.pods()
    shown = other.show(scheduled)
    assert shown["status"] == "succeeded"
    assert [step["status"] for step in shown["steps"]] == ["succeeded"]
    assert all("output_parameters" in step["attempts"][0]["unknown"] for step in shown["steps"])
    table = other.toolkit("show", scheduled)
    assert table.code == 0 and "failed" not in table.out
    assert table.err.count("\n") == 1 and "(it takes the rights create, get and delete on pods)" in table.err
    listed = other.toolkit("runs", "--json")
    assert {run["run_id"]: run["status"] for run in json.loads(listed.out)}[scheduled] == "succeeded"
    logs = other.toolkit("logs", scheduled, "only")
    assert (logs.code, logs.out) == (0, "hello\n"), logs.err
    for command in (["catalog", scheduled], ["fetch", scheduled], ["diff", scheduled, scheduled]):
        refused = other.toolkit(*command)
        assert refused.code == 3 and refused.out == "", command
    assert len(session.pods()) == len(before)


# --- logs -------------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_run_are_shown_as_they_come(session: Session) -> None:
    """By the client that has submitted it, and by another one."""
    how = f"""
print('{READY}', flush=True)
while not os.path.exists('/mnt/lines'): time.sleep(0.1)
print('no end of line', end='')
"""
    client = session.scratch.start(*session.command("lines", how), "--logs")
    assert client.stderr is not None
    told: list[str] = []
    while not told or told[-1] != f"only | {READY}\n":
        told.append(client.stderr.readline())
        assert told[-1], told
    follower = session.scratch.start("logs", "lines", "-f")
    assert follower.stdout is not None and follower.stdout.readline() == f"only | {READY}\n"
    if session.workplace.folder is not None:
        (session.workplace.folder / "lines").touch()
    else:
        session.workplace.kubectl("exec", session.pod("lines", "only"), "-c", "main", "--", "touch", "/mnt/lines")
    for command in (client, follower):
        out, err = command.communicate(timeout=LIMIT)
        assert command.returncode == 0, err
        # Each line once.
        assert (out + err).count("only | no end of line\n") == 1 and READY not in out + err


@pytest.mark.core("output could be lost")
def test_logs_are_followed_to_the_byte(session: Session, tmp_path: Path) -> None:
    """20 MB are written while they are followed, and read again when the pod is gone: about 20 s.

    In the same run, two readers leave: that of a client, which goes on to the run's end, and that of a log, which ends quietly.
    """
    how = f"""
print('{READY}', flush=True)
while not os.path.exists('/mnt/go-on'): time.sleep(0.1)
for _ in range(20): os.write(1, b'x' * 999_999 + b'\\n')
os.write(2, bytes(range(256)) + b'no end of line')
"""
    started = session.scratch.toolkit(*session.command("bytes", how), "--detach")
    assert started.code == 0 and started.out == "bytes\n"
    again = session.scratch_command(*session.command("bytes", how))
    place: dict[str, Any] = {"cwd": session.scratch.root, "env": session.scratch._environment()}
    client = subprocess.Popen(["bash", "-o", "pipefail", "-c", '"$@" 2>&1 | head -1', "bash", *again], **place)
    with open("/dev/full", "wb") as full:
        detached = subprocess.run([*again, "--detach"], **place, stdout=full, stderr=subprocess.PIPE, text=True)
    assert detached.returncode == 3
    assert "toolkit: the run bytes was submitted, but its id can't be printed" in detached.stderr
    with open(tmp_path / "followed", "wb") as target:
        follower = subprocess.Popen(
            session.scratch_command("logs", "bytes", "only", "-f"),
            cwd=session.scratch.root,
            env=session.scratch._environment(),
            stdout=target,
            stderr=subprocess.PIPE,
        )
        session.scratch.wait_for(lambda: READY in (tmp_path / "followed").read_text("utf-8", "replace"))
        assert session.scratch.show("bytes")["status"] == "running"
        session.wait_for_output("bytes")
        pod = session.pod("bytes", "only")
        readers = session.workplace.get("pods", "-l", READER_LABEL)["items"]
        short = subprocess.Popen(
            session.scratch_command("logs", "bytes", "only", "-f"),
            **place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert short.stdout is not None and short.stderr is not None
        assert short.stdout.readline() == READY.encode() + b"\n"
        short.stdout.close()
        assert (short.wait(LIMIT), short.stderr.read()) == (141, b"")
        assert len(session.workplace.get("pods", "-l", READER_LABEL)["items"]) == len(readers)
        if session.workplace.folder is not None:
            (session.workplace.folder / "go-on").touch()
        else:
            session.workplace.kubectl("exec", pod, "-c", "main", "--", "touch", "/mnt/go-on")
        _, err = follower.communicate(timeout=LIMIT)
    assert follower.returncode == 0, err
    assert client.wait(LIMIT) == 0
    wanted = READY.encode() + b"\n" + (b"x" * 999_999 + b"\n") * 20 + bytes(range(256)) + b"no end of line"
    # A terminal's next prompt is to begin on a line of its own.
    assert (tmp_path / "followed").read_bytes() == wanted + b"\n"
    # Each look at the run is a pod, and the cluster is asked without one.
    session.workplace.kubectl("wait", "workflows.argoproj.io/bytes", "--for=jsonpath={.status.phase}=Succeeded")
    assert session.scratch.show("bytes")["status"] == "succeeded"
    # And when the pod is gone.
    session.workplace.kubectl("delete", "pod", pod)
    after = subprocess.run(
        session.scratch_command("logs", "bytes", "only"),
        cwd=session.elsewhere(tmp_path).root,
        env=session.scratch._environment(),
        capture_output=True,
        timeout=LIMIT,
    )
    assert after.stdout == wanted + b"\n", after.stderr


# --- what is on the cluster -------------------------------------------------------------------------------------------


def test_the_pods_are_the_attempts_and_no_other(session: Session, tmp_path: Path) -> None:
    """Four pods, one after the other: about 25 s."""
    session.scratch.write(
        {
            "many.py": "import functions\nfrom toolkit import Pipeline, PythonTask, Stub\n"
            "p = Pipeline(steps=[Stub('before'), PythonTask(functions.only), Stub('between'), "
            "PythonTask(functions.later, name='last'), Stub('after')])\n"
        }
    )
    flag = "/mnt/attempts-of-watched"
    how = f"open({flag!r}, 'a').write('.')\nif len(open({flag!r}).read()) < 3: raise ValueError('not yet')"
    with open(tmp_path / "watched", "w") as target:
        cluster = session.workplace.cluster.raw()
        options = ("-n", session.workplace.namespace, "get", "pods", "-w", "--output-watch-events", "-o", "json")
        watch = subprocess.Popen(cluster.command(*options), stdout=target)
        try:
            result = session.run("watched", how, pipeline="many.py", config="retrying")
            assert result.code == 0, result.err
            run_pods = {pod["metadata"]["name"] for pod in session.pods("watched")}

            def added() -> set[str]:
                return {
                    event["object"]["metadata"]["name"]
                    for event in documents((tmp_path / "watched").read_text())
                    if event["object"]["metadata"].get("labels", {}).get("workflows.argoproj.io/workflow")
                    in (None, "watched")
                }

            def readers() -> set[str]:
                """What reads the records once the run has ended."""
                return {name for name in added() if name.startswith("toolkit-reader-")}

            # What the watch tells last is there when this is.
            session.scratch.wait_for(lambda: run_pods <= added())
        finally:
            watch.terminate()
            watch.wait()
    run = session.scratch.show("watched")
    counts = {step["path"]: len(step["attempts"]) for step in run["steps"]}
    assert counts == {"before": 0, "only": 3, "between": 0, "last": 1, "after": 0}
    assert len(run_pods) == 4
    assert added() - readers() == run_pods and len(readers()) <= 1


def documents(text: str) -> list[dict[str, Any]]:
    """JSON documents one after another; one that is cut off is left out."""
    found, position, decoder = [], 0, json.JSONDecoder()
    while position < len(text):
        try:
            one, position = decoder.raw_decode(text, position)
        except ValueError:
            break
        found.append(one)
        while position < len(text) and text[position].isspace():
            position += 1
    return found


def test_20_runs_at_once(session: Session, tmp_path: Path) -> None:
    """20 pods and 20 clients at once: about a minute."""
    session.scratch.write(
        {
            "numbered.py": "import numbers_of\nfrom toolkit import Pipeline, PythonTask\n"
            "p = Pipeline(steps=[PythonTask(numbers_of.squared, returns=['square'])])\n",
            "numbers_of.py": "def squared(number: int):\n    print(number)\n    return number * number\n",
        }
    )
    began = time.monotonic()
    started = [
        session.scratch.start("run", "numbered.py", "--run-id", f"of-20-{number}", "--param", f"number={number}")
        for number in range(20)
    ]
    ended = [process.communicate(timeout=LIMIT) for process in started]
    print(f"20 runs in {time.monotonic() - began:.0f} s")
    assert [process.returncode for process in started] == [0] * 20, [err for _, err in ended]
    other = session.elsewhere(tmp_path)
    rows = {row["run_id"]: row["status"] for row in json.loads(other.toolkit("runs", "--json").out)}
    assert {rows[f"of-20-{number}"] for number in range(20)} == {"succeeded"}
    squares = {}
    with ThreadPoolExecutor(4) as pool:
        for run in pool.map(other.show, [f"of-20-{number}" for number in range(0, 20, 4)]):
            squares[run["run_id"]] = run["parameters"]["square"]
    assert squares == {f"of-20-{number}": number * number for number in range(0, 20, 4)}


def test_a_cluster_that_does_not_answer(session: Session, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "away",
                "contexts": [{"name": "away", "context": {"cluster": "away", "user": "away"}}],
                "clusters": [{"name": "away", "cluster": {"server": "https://127.0.0.1:9"}}],
                "users": [{"name": "away", "user": {"token": "none"}}],
            }
        )
    )
    away = Scratch(session.scratch.root, {**session.scratch.environ, "KUBECONFIG": str(config)})
    for command in (["run", "one.py", "--param", "how=pass"], ["runs"], ["show", "no-such-run"]):
        result = away.toolkit(*command)
        assert result.code == 3, (command, result.err)
        assert "https://127.0.0.1:9 does not answer" in result.err
        assert "Traceback" not in result.err


def test_nothing_is_left(session: Session) -> None:
    """The last test of this file: no pod of any run or reader, and with the Workflows all else goes."""
    session.scratch.wait_for(lambda: not session.running())
    session.delete_workflows()
    assert session.left() == []
