"""Steps that go wrong in containers: each is reported as what it is, with the right exit code, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.scratch import LIMIT, Scratch, finish

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

SMALL = "executor: {type: local-container, config: {grace_period_in_seconds: 1, resources: {limits: {memory: 64Mi}}}}\n"
EAT = "x=[]\\nwhile True: x.append(b'x' * 10_000_000)"


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ("raise ValueError('no good')", 1, "ValueError: no good"),
        ("sys.exit(3)", 3, "sys.exit(3)"),
        ("os._exit(0)", 1, "ended with 0 before the function returned"),
        ("os._exit(5)", 5, "exit code 5"),
        ("os.kill(os.getpid(), 9)", 137, "killed by signal 9"),
        (f'exec("{EAT}")', 137, "out of memory"),
        (f'import subprocess; subprocess.run([sys.executable, "-c", "{EAT}"])', 137, "out of memory"),
        ("os.kill(os.getppid(), 9)", 137, "without its record"),
        ("return 1, 2, 3", 0, ""),
    ],
)
def test_how_a_step_ends(containers: Scratch, body: str, code: int, reason: str) -> None:
    containers.write({"toolkit.yaml": SMALL})
    containers.steps(only=body, never="pass")
    result = containers.toolkit("run", "pipeline.py")
    run = containers.show()
    attempt = run["steps"][0]["attempts"][0]
    assert result.code == (1 if code else 0), result.err
    assert attempt["exit_code"] == code
    assert reason in attempt["reason"]
    assert bool(attempt["reason"]) == bool(code)
    assert run["steps"][1]["status"] == ("skipped" if code else "succeeded")


def test_a_traceback_is_shown_as_it_is(containers: Scratch) -> None:
    containers.steps(only="raise KeyError('missing')")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 1
    assert 'File "/workspace/functions.py", line 4, in only' in result.err
    assert "/opt/toolkit" not in result.err
    exception = containers.show()["steps"][0]["attempts"][0]["exception"]
    assert exception["type"] == "KeyError"
    assert "in only" in exception["traceback"]


def test_output_of_any_size_and_any_bytes_is_kept(containers: Scratch) -> None:
    containers.steps(
        large="os.write(1, b'a' * 10_000_000)",
        binary="os.write(2, bytes(range(256)) * 100)",
    )
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    logs = {log.parent.parent.name: log.read_bytes() for log in containers.volume().rglob("output.log")}
    assert logs["large"] == b"a" * 10_000_000
    assert logs["binary"] == bytes(range(256)) * 100


def test_a_process_that_a_step_leaves_running_does_not_hold_up_the_run(containers: Scratch) -> None:
    containers.steps(only="import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_cancelling_lets_a_step_end_by_itself(containers: Scratch, first: signal.Signals) -> None:
    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {grace_period_in_seconds: 20}}\n"})
    containers.steps(
        polite="import signal; "
        "signal.signal(signal.SIGTERM, lambda *_: (print('good bye', flush=True), sys.exit(0))); "
        "print('ready', flush=True); time.sleep(1000)",
        never="pass",
    )
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    result = finish(process, first)
    assert result.code == 130, result.err
    run = containers.show()
    assert run["status"] == "cancelled"
    assert [step["status"] for step in run["steps"]] == ["cancelled", "skipped"]
    assert "good bye" in containers.toolkit("logs").out


def test_a_second_ctrl_c_kills(containers: Scratch) -> None:
    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {grace_period_in_seconds: 600}}\n"})
    containers.steps(
        deaf="import signal; signal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True)); "
        "print('ready', flush=True); time.sleep(1000)"
    )
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    process.send_signal(signal.SIGINT)
    # Two that a busy machine has not delivered yet become one.
    containers.wait_for_output("heard")
    result = finish(process, signal.SIGINT)
    assert result.code == 130, result.err
    assert containers.show()["steps"][0]["status"] == "cancelled"


def test_a_killed_client_leaves_nothing_running_and_its_run_is_lost(containers: Scratch) -> None:
    import docker

    containers.write({"toolkit.yaml": "executor: {type: local-container, config: {grace_period_in_seconds: 1}}\n"})
    containers.steps(slow="print('ready', flush=True); time.sleep(1000)", never="pass", nor="pass")
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    finish(process, signal.SIGKILL)
    client = docker.from_env()
    mine = {"label": f"dev.toolkit.project={containers.root}"}
    # Then the steps end by themselves, with nobody there to ask them to.
    containers.wait_for(lambda: not client.containers.list(filters={**mine, "status": "running"}))
    run = containers.show()
    assert run["status"] == "failed"
    assert "lost" in run["reason"]
    assert all(step["status"] not in ("running", "waiting") for step in run["steps"])
    # And the next run removes what is left of them.
    containers.steps(fine="pass")
    assert containers.toolkit("run", "pipeline.py").code == 0
    assert not client.containers.list(all=True, filters=mine)


ONCE = (
    "if os.path.exists('/mnt/begun'): return\n"
    "    open('/mnt/begun', 'w').close(); print('ready', flush=True); time.sleep(1000)"
)


def container_of(containers: Scratch, step: str) -> Any:
    import docker

    client = docker.from_env()
    labels = [f"dev.toolkit.project={containers.root}", f"dev.toolkit.step={step}"]
    # One that waits for its turn is started while the step before it runs.
    containers.wait_for(lambda: client.containers.list(filters={"label": labels}))
    [running] = client.containers.list(filters={"label": labels})
    return running


@pytest.mark.parametrize(("policy", "code", "attempts"), [("OnError", 0, 2), ("OnFailure", 3, 1)])
@pytest.mark.parametrize(
    ("act", "exit_code"),
    [
        (lambda container: container.stop(), 143),
        (lambda container: container.kill(), 137),
        (lambda container: container.kill("SIGTERM"), 143),
        (lambda container: container.remove(force=True), 137),
    ],
    ids=["stop", "kill", "term", "remove"],
)
def test_a_container_that_somebody_else_ends_has_not_failed_itself(
    containers: Scratch, act: Callable[[Any], None], exit_code: int, policy: str, code: int, attempts: int
) -> None:
    retry = f"{{limit: 2, retry_policy: {policy}}}"
    config = f"{{grace_period_in_seconds: 1, retry_strategy: {retry}}}"
    containers.write({"toolkit.yaml": f"executor: {{type: local-container, config: {config}}}\n"})
    containers.steps(slow=ONCE)
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    act(container_of(containers, "slow"))
    result = finish(process)
    assert result.code == code, result.err
    made = containers.show()["steps"][0]["attempts"]
    assert len(made) == attempts
    assert made[0]["exit_code"] == exit_code
    assert made[0]["reason"] in ("it was stopped from outside", "the container was removed by another program")


def test_a_container_that_somebody_else_stops_at_its_gate_has_not_failed_itself(containers: Scratch) -> None:
    # Given a step that runs, and the next one, whose container waits for its turn,
    containers.steps(
        first="print('ready', flush=True)\n    while not os.path.exists('/mnt/go'): time.sleep(0.1)", second="pass"
    )
    process = containers.start("run", "pipeline.py")
    containers.wait_for_output("ready")
    # when that one is stopped,
    container_of(containers, "second").stop()
    (containers.volume() / "go").touch()
    # then the run is no failure of the step's, nor cancelled.
    result = finish(process)
    assert result.code == 3, result.err
    assert "stopped from outside" in containers.show()["steps"][1]["attempts"][0]["reason"]


def test_a_step_that_signals_the_first_process_of_its_container_has_failed(containers: Scratch) -> None:
    config = "{retry_strategy: {limit: 2, retry_policy: OnFailure}}"
    containers.write({"toolkit.yaml": f"executor: {{type: local-container, config: {config}}}\n"})
    containers.steps(only=ONCE.replace("print('ready', flush=True)", "os.kill(1, 15)"))
    result = containers.toolkit("run", "pipeline.py")
    assert result.code == 0, result.err
    first, _ = containers.show()["steps"][0]["attempts"]
    assert (first["exit_code"], first["reason"]) == (143, "a process of the step sent a signal to end it")


def test_every_failure_of_many_short_runs_is_reported(containers: Scratch, pytestconfig: pytest.Config) -> None:
    """As many runs as it takes to see a race: a client that removed its containers too early missed 9 codes of 300."""
    # Given a step that ends at once: the shortest way for an exit code to be missed.
    containers.steps(only="sys.exit(3)")
    assert containers.toolkit("run", "pipeline.py").code == 1
    # When it runs often, two or three at once,
    times = 300 if pytestconfig.getoption("--tier") == "full" else 30
    codes = []
    waiting = [containers.start("run", "pipeline.py", "--run-id", f"n{number}") for number in range(3)]
    for number in range(3, times + 3):
        waiting[0].communicate(timeout=LIMIT)
        codes.append(waiting.pop(0).returncode)
        if number < times:
            waiting.append(containers.start("run", "pipeline.py", "--run-id", f"n{number}"))
    # then every failure is reported.
    assert codes == [1] * times


@pytest.mark.skipif(os.geteuid() != 0, reason="only the client of a root differs from its steps' user")
def test_a_run_that_was_cancelled_before_its_step_began_resumes(containers: Scratch) -> None:
    """The steps are of an ordinary user, and what their root's client wrote of the attempt is theirs to write in."""
    # Given an interpreter that does not start while there is a file on the volume,
    containers.steps(first="pass", last="print(os.getuid())")
    config = "executor: {type: local-container, config: {environment: {PYTHONPATH: /mnt/start}}}\n"
    containers.write({"toolkit.yaml": config})
    start = containers.volume() / "start"
    start.mkdir(parents=True)
    hold = start / "hold"
    hold.touch()
    waits = "open('/mnt/start/waits', 'w').close()\nwhile os.path.exists('/mnt/start/hold'): time.sleep(0.05)\n"
    (start / "sitecustomize.py").write_text(f"import os, time\n{waits}")
    for folder in (containers.volume(), start):
        folder.chmod(0o2777)
    # and a run that is cancelled meanwhile, before its first step began,
    process = containers.start("run", "pipeline.py", "--run-id", "r")
    containers.wait_for((start / "waits").exists)
    assert finish(process, signal.SIGINT).code == 130
    attempts = containers.show("r")["steps"][0]["attempts"]
    assert [attempt["started"] for attempt in attempts] == [None]
    hold.unlink()
    # when it resumes, then its next attempt can be written.
    resumed = containers.toolkit("retry", "r")
    assert resumed.code == 0, resumed.err
    assert [len(step["attempts"]) for step in containers.show("r")["steps"]] == [2, 1]
    assert containers.toolkit("logs", "r", "last").out == "1000\n"


def test_a_client_whose_files_nobody_else_may_read(containers: Scratch) -> None:
    containers.steps(first="pass")
    before = os.umask(0o077)
    try:
        result = containers.toolkit("run", "pipeline.py")
    finally:
        os.umask(before)
    assert result.code == 0, result.err


def test_a_step_that_rewrites_its_runs_record_runs_nothing_on_this_machine(containers: Scratch) -> None:
    # Given a step in a container that fails, and names another environment and another file in its run's record,
    source = "{'file': '.toolkit/volumes/toolkit/evil.py', 'name': None, 'nth': None, 'arguments': []}"
    containers.write(
        {
            "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n"
            "p = Pipeline(steps=[PythonTask(functions.only, returns=['user'])])\n",
            "functions.py": f"""\
import json, os

def only():
    if os.path.exists("/mnt/evil.py"):
        return os.getuid()
    with open("/mnt/evil.py", "w") as file:
        file.write("open({str(containers.root / "pwned")!r}, 'w').close()")
    with open("/mnt/run_log_store/r/run.json") as file:
        record = json.load(file)
    os.unlink("/mnt/run_log_store/r/run.json")
    with open("/mnt/run_log_store/r/run.json", "w") as file:
        json.dump({{**record, "environment": "process", "source": {source}}}, file)
    raise ValueError("not yet")
""",
        }
    )
    assert containers.toolkit("run", "pipeline.py", "--run-id", "r").code == 1
    # when it is retried, then it is the same pipeline in a container.
    resumed = containers.toolkit("retry", "r")
    assert resumed.code == 0, resumed.err
    assert not (containers.root / "pwned").exists()
    shown = containers.show("r")
    assert (shown["environment"], shown["parameters"]["user"]) == ("local", os.getuid() or 1000)
