"""Cancelling and leaving a run on a cluster: signals, another terminal, clients that are killed or lose the cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.engine import without_images
from tests.support.scratch import LIMIT, Result, Scratch, finish
from tests.support.session import READY, SLEEP, Session
from tests.support.workplace import Workplace
from toolkit.backends.argo.workflow_status import workflow_nodes

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

POLITE = (
    "signal.signal(signal.SIGTERM, lambda *_: (print('good bye', flush=True), sys.exit(0)));"
    f"print('{READY}', flush=True); time.sleep(1000)"
)
COUNTS = (
    "told = []; signal.signal(signal.SIGTERM, lambda number, _: told.append(number));"
    f"print('{READY}', flush=True);"
    "[time.sleep(0.1) for _ in iter(lambda: told, [])]; print('told to end', flush=True);"
    "time.sleep(4); print('told', len(told), 'in all', flush=True); sys.exit(0)"
)
"""Takes its time to end, as a step does that saves its work."""
DEAF = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("cancel") / f"argo-cancel-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(
            workplace,
            workplace.project(root),
            usual={"grace_period_in_seconds": 10},
            patient={"grace_period_in_seconds": 600},
            short={"max_workflow_duration_in_seconds": 25},
            nowhere={"node_selector": {"no-such-label": "at-all"}},
        )
        one.deliver()
        yield one


def is_cancelled(session: Session, run_id: str, result: Result) -> dict[str, Any]:
    """That the run ended as cancelled, for this client and for another; the run."""
    assert result.code == 130, result.err
    run = session.scratch.show(run_id)
    assert run["status"] == "cancelled"
    assert [step["status"] for step in run["steps"]] in (["cancelled", "skipped"], ["skipped", "skipped"])
    session.scratch.wait_for(lambda: not session.running(run_id))
    return run


@pytest.mark.parametrize(
    ("how", "config", "signals"),
    [
        (POLITE, "toolkit", [signal.SIGINT]),
        (SLEEP, "toolkit", [signal.SIGTERM]),
        (DEAF, "toolkit", [signal.SIGTERM]),
        (DEAF, "patient", [signal.SIGINT, signal.SIGINT]),
    ],
    ids=["polite", "sigterm", "deaf", "twice"],
)
def test_a_signal_cancels(
    session: Session, request: pytest.FixtureRequest, how: str, config: str, signals: list[signal.Signals]
) -> None:
    run_id = request.node.callspec.id
    process = session.start(run_id, how, pipeline="two.py", config=config)
    session.wait_for_output(run_id)
    result = finish(process, *signals)
    is_cancelled(session, run_id, result)
    if how is POLITE:
        assert "good bye" in session.scratch.toolkit("logs", run_id).out


def signal_as_the_controller_does(session: Session, pod: str, number: int) -> None:
    """Runs the pod's own command for it; the controller runs it again when it thinks that the first was not heeded."""
    found = session.workplace.kubectl("get", "pod", pod, "-o", "yaml")
    command = json.loads(yaml.safe_load(found)["metadata"]["annotations"]["workflows.argoproj.io/kill-cmd-main"])
    argv = [part % number if "%d" in part else part for part in command]
    session.workplace.kubectl("exec", pod, "-c", "main", "--", *argv)


def test_a_step_is_told_to_end_once_however_often_the_controller_tells_its_container(session: Session) -> None:
    process = session.start("counts", COUNTS, config="patient")
    pod = session.wait_for_output("counts")
    signal_as_the_controller_does(session, pod, signal.SIGTERM)
    session.wait_for_output("counts", "told to end")
    signal_as_the_controller_does(session, pod, signal.SIGTERM)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0, err
    assert "told 1 in all" in session.scratch.toolkit("logs", "counts").out


def test_the_controllers_kill_leaves_nothing_of_a_step(session: Session) -> None:
    process = session.start("killed", f"os.fork(); {DEAF}", config="patient")
    pod = session.wait_for_output("killed")
    signal_as_the_controller_does(session, pod, signal.SIGKILL)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, err
    assert session.scratch.show("killed")["steps"][0]["attempts"][0]["exit_code"] == 137
    session.scratch.wait_for(lambda: not session.running("killed"))


def test_a_third_signal_leaves_and_says_what_is_there(session: Session) -> None:
    process = session.start("left", DEAF, pipeline="two.py", config="patient")
    pod = session.wait_for_output("left")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        # Signals of one kind that come too fast are one.
        time.sleep(1.0)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert "the Workflow left" in err or "cancelled" in err
    session.workplace.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")


@pytest.mark.parametrize("options", [[], ["--kill"]], ids=["asked", "killed"])
def test_another_terminal_cancels(session: Session, tmp_path: Path, options: list[str]) -> None:
    run_id = "by-other" + "-kill" * len(options)
    process = session.start(run_id, SLEEP, pipeline="two.py", config="patient" if options else "toolkit")
    session.wait_for_output(run_id)
    other = session.elsewhere(tmp_path)
    told = other.toolkit("cancel", run_id, *options)
    assert told.code == 0, told.err
    assert f"the run {run_id} is cancelled" in told.err
    out, err = process.communicate(timeout=LIMIT)
    ours = is_cancelled(session, run_id, Result(process.returncode, out, err))
    theirs = other.show(run_id)
    assert (theirs["status"], theirs["reason"]) == (ours["status"], ours["reason"])
    again = other.toolkit("cancel", run_id)
    assert again.code == 2 and "has ended (cancelled)" in again.err


@pytest.mark.core("a retry could be ended by what is left of the run before it")
def test_a_run_is_retried_right_after_it_was_cancelled(session: Session) -> None:
    """The second attempt is there when Argo sends the signals that it still has for the first one's pod: about 35 s."""
    how = (
        "again = os.path.exists('/mnt/at-once'); open('/mnt/at-once', 'w').close();"
        f"print('{READY}', flush=True); time.sleep(15 if again else 1000)"
    )
    process = session.start("at-once", how, config="usual")
    session.wait_for_output("at-once")
    assert session.scratch.toolkit("cancel", "at-once").code == 0
    assert finish(process).code == 130
    retried = session.scratch.toolkit("retry", "at-once")
    assert retried.code == 0, retried.err
    attempts = session.scratch.show("at-once")["steps"][0]["attempts"]
    assert [each["exit_code"] for each in attempts] == [143, 0]


def test_a_pod_that_argo_forgets_is_deleted(session: Session) -> None:
    """The client waits for the grace period of 2 s and 10 s more: about 25 s."""
    # Given a pod that Argo has seen running, and in which its command to stop the step does nothing,
    session.apply("forgotten", SLEEP, change=lambda text: text.replace('\\"%d\\"', '\\"0\\"'))
    process = session.start("forgotten", SLEEP, pipeline="two.py")
    pod = session.wait_for_output("forgotten")
    session.scratch.wait_for(
        lambda: any(
            node["type"] == "Pod" and node["phase"] == "Running"
            for node in workflow_nodes(session.workplace.get("workflows.argoproj.io", "forgotten")).values()
        )
    )
    # when its run is cancelled,
    result = finish(process, signal.SIGINT)
    # then the client ends it, and the run is cancelled all the same.
    is_cancelled(session, "forgotten", result)
    assert f"so they are deleted: {pod}" in result.err


def test_a_run_that_waits_for_a_node_is_cancelled(session: Session) -> None:
    session.apply("pending", SLEEP, config="nowhere")
    process = session.start("pending", SLEEP, pipeline="two.py", config="nowhere")
    session.pod("pending", "only")
    told = session.scratch.toolkit("cancel", "pending")
    assert told.code == 0, told.err
    out, err = process.communicate(timeout=LIMIT)
    is_cancelled(session, "pending", Result(process.returncode, out, err))


def test_a_run_that_takes_too_long_is_ended(session: Session, tmp_path: Path) -> None:
    """The limit is 25 s, so that the first pod has started by then."""
    result = session.run("too-long", SLEEP, pipeline="two.py", config="short")
    assert result.code == 1, result.err
    assert "the run took longer than its time limit of 25 s" in result.err
    run = session.scratch.show("too-long")
    assert (run["status"], run["reason"]) == ("failed", "the run took longer than its time limit of 25 s")
    assert run["steps"][0]["attempts"][0]["reason"]
    assert run["steps"][1]["status"] == "skipped"
    theirs = session.elsewhere(tmp_path).show("too-long")
    assert (theirs["status"], theirs["reason"]) == (run["status"], run["reason"])


# --- clients that go --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGKILL, marks=pytest.mark.core("a run whose client is killed could be lost")), signal.SIGHUP],
)
def test_a_run_outlives_its_client_and_is_taken_up_again(session: Session, number: signal.Signals) -> None:
    """The step lasts 8 s, so that it outlives its client: about 25 s in all.

    Its pipeline is another one each time that it is described. The run keeps the one that it was submitted with.
    """
    run_id = f"outlives-{number.name.lower()}"
    how = f"print('{READY}', flush=True); time.sleep(8); sys.exit(7)"
    process = session.start(run_id, how, pipeline="dated.py")
    session.wait_for_output(run_id)
    process.send_signal(number)
    process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    refused = session.run(run_id, "print('something else')", pipeline="dated.py")
    assert refused.code == 2 and "choose another --run-id" in refused.err
    again = session.run(run_id, how, pipeline="dated.py")
    assert again.code == 1, again.err
    assert "is on the cluster already: following it" in again.err
    assert "sys.exit(7)" in again.err
    assert session.scratch.show(run_id)["steps"][0]["attempts"][0]["exit_code"] == 7
    assert len(session.pods(run_id)) == 1


def test_a_run_that_kubectl_submitted_is_followed(session: Session) -> None:
    session.apply("applied", "print('by kubectl')")
    result = session.run("applied", "print('by kubectl')", pipeline="two.py")
    assert result.code == 0, result.err
    assert session.scratch.toolkit("logs", "applied", "only").out == "by kubectl\n"


@pytest.mark.core("half a run could be left")
def test_a_client_killed_anywhere_leaves_a_run_that_is_whole_or_none(
    session: Session, pytestconfig: pytest.Config
) -> None:
    """As many clients as there are moments at which they are killed, each followed by another: up to a minute."""
    times = 8 if pytestconfig.getoption("--tier") == "full" else 3

    def play(number: int) -> tuple[str, Result]:
        run_id = f"anywhere-{number}"
        process = session.start(run_id, "print('done')", "--detach")
        # Until it says what it is about to do, nothing is on the cluster.
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("loaded") or line.startswith("pushed"):
                break
        time.sleep(0.8 * number / times)
        process.kill()
        process.communicate(timeout=LIMIT)
        return run_id, session.run(run_id, "print('done')")

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(play, range(times)))
    assert [result.code for _, result in ended] == [0] * times, [result.err for _, result in ended if result.code]
    owned = session.workplace.get("configmaps", "-l", "app.kubernetes.io/managed-by=toolkit")["items"]
    assert isinstance(owned, list)
    assert all(one["metadata"].get("ownerReferences") for one in owned)


def test_what_a_killed_client_left_before_its_workflow_is_taken_over(session: Session) -> None:
    session.workplace.kubectl("create", "configmap", "leftover", "--from-literal=plan=none")
    result = session.run("leftover", "print('done')")
    assert result.code == 0, result.err


class Proxy:
    """A way to the API server that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.open: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        listener.listen()
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        assert self.listener is not None
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self.open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._move, args=(one, other), daemon=True).start()

    @staticmethod
    def _move(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def through_proxy(session: Session, tmp_path: Path) -> Iterator[tuple[Scratch, Proxy]]:
    """The session's project as a client that reaches the cluster through a proxy."""
    config = yaml.safe_load(session.workplace.kubeconfig.read_text())
    address = urlsplit(config["clusters"][0]["cluster"]["server"])
    assert address.hostname is not None
    proxy = Proxy(address.hostname, address.port or 443)
    for one in config["clusters"]:
        one["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        one["cluster"]["tls-server-name"] = address.hostname
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    yield Scratch(session.scratch.root, {**session.scratch.environ, "KUBECONFIG": str(kubeconfig)}), proxy
    proxy.stop()


@pytest.mark.core("the end of a run could be missed")
def test_a_cluster_that_is_away_for_a_while_is_followed_again(
    session: Session, through_proxy: tuple[Scratch, Proxy]
) -> None:
    """Both steps end while the cluster is away, which the client then finds out: about 25 s."""
    scratch, proxy = through_proxy
    how = f"print('{READY}', flush=True); time.sleep(6)"
    process = scratch.start(*session.command("cut-off", how, "two.py"))
    session.wait_for_output("cut-off")
    proxy.stop()
    session.scratch.wait_for(lambda: not session.running("cut-off") and len(session.pods("cut-off")) == 2)
    assert process.poll() is None
    listed = scratch.toolkit("runs", "--json")
    assert "Traceback" not in listed.err
    proxy.start()
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert [step["status"] for step in session.scratch.show("cut-off")["steps"]] == ["succeeded", "succeeded"]


def test_nothing_is_left(session: Session) -> None:
    """The last test of this file: no pod of any run or reader, and with the Workflows all else goes."""
    session.scratch.wait_for(lambda: not session.running())
    session.delete_workflows()
    assert session.left() == []
