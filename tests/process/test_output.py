"""Output that can't be written, as plain processes: a run is what it is all the same, and half a result is no success."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.scratch import LIMIT, Scratch

TOOLKIT = [sys.executable, "-m", "toolkit"]
FULL = "standard output can't be written: No space left on device"
FILES = {
    "functions.py": """\
import os, time

def good():
    print("out ✓ " + "x" * 200_000)
    with open("made.txt", "w") as file:
        file.write("y" * 200_000)
    return "é✓" * 100_000

def bad():
    print("last words")
    raise KeyError("bad")

def quiet():
    print("begun", flush=True)
    time.sleep(1000)
""",
    "pipeline.py": """\
import functions
from toolkit import Catalog, Pipeline, PythonTask

good = Pipeline(steps=[PythonTask(functions.good, returns=["x"], catalog=Catalog(put=["made.txt"]))])
bad = Pipeline(steps=[PythonTask(functions.good, returns=["x"]), PythonTask(functions.bad)])
quiet = Pipeline(steps=[PythonTask(functions.quiet)])
""",
    "script.py": """\
import pipeline, sys

if __name__ == "__main__":
    print("the script's own words")
    getattr(pipeline, sys.argv[1]).execute()
""",
}


def project_in(root: Path) -> Scratch:
    # Whether Python writes at once must not matter, and whoever runs the tests may have set it.
    project = Scratch(root, {"TOOLKIT_ENV": "process", "PYTHONUNBUFFERED": None})
    project.write(FILES)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Scratch:
    return project_in(tmp_path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """A project with a run that has succeeded, ``one``, and its like, ``two``; its output does not fit into a pipe."""
    project = project_in(tmp_path_factory.mktemp("ran"))
    for name in ("one", "two"):
        assert project.toolkit("run", "pipeline.py:good", "--run-id", name).code == 0
    return project


# --- where output goes that nobody gets -------------------------------------------------------------------------------


@contextmanager
def full() -> Iterator[int]:
    """A disk that is full."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def left() -> Iterator[int]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def leaves() -> Iterator[int]:
    """A pipe whose reader leaves when it has read a line, as ``head -1`` does."""
    reader, writer = os.pipe()
    head = subprocess.Popen(["head", "-1"], stdin=reader, stdout=subprocess.DEVNULL)
    os.close(reader)
    yield writer
    os.close(writer)
    head.wait(LIMIT)


@contextmanager
def hung_up() -> Iterator[int]:
    """A terminal that is gone."""
    terminal, descriptor = pty.openpty()
    os.close(terminal)
    yield descriptor
    os.close(descriptor)


Nowhere = Callable[[], Any]


def called(
    project: Scratch, command: list[str], out: int, err: int, closed: tuple[int, ...] = (), **environ: str
) -> int:
    """The exit code of a command. Descriptors that are ``closed`` are so when it starts."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    process = subprocess.Popen(
        command,
        cwd=project.root,
        env={**project._environment(), **environ},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        preexec_fn=close,
    )
    return process.wait(LIMIT)


def newest(project: Scratch) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(project.toolkit("runs", "--json").out)[-1]
    return run


# --- a run ------------------------------------------------------------------------------------------------------------

HOW: dict[str, Callable[[str], list[str]]] = {
    "run": lambda name: [*TOOLKIT, "run", f"pipeline.py:{name}"],
    "script": lambda name: [sys.executable, "script.py", name],
}


@pytest.mark.parametrize("nowhere", [full, left, leaves, hung_up])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("pipeline", "code", "status"), [("good", 0, "succeeded"), ("bad", 1, "failed")])
def test_a_run_goes_on_to_its_own_end_whoever_reads(
    project: Scratch, how: str, nowhere: Nowhere, pipeline: str, code: int, status: str
) -> None:
    with nowhere() as out:
        assert called(project, HOW[how](pipeline), out, out) == code
    run = newest(project)
    assert run["status"] == status
    assert "client" not in run["reason"]


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("how", HOW)
def test_a_run_whose_streams_are_closed_writes_into_no_other_file(
    project: Scratch, how: str, closed: tuple[int, ...]
) -> None:
    assert called(project, HOW[how]("bad"), subprocess.DEVNULL, subprocess.DEVNULL, closed) == 1
    run = newest(project)
    assert run["status"] == "failed" and "KeyError" in run["reason"]
    for file in project.root.rglob("*"):
        # The first words of every command, which would be in the file that has the number of a closed stream.
        assert not file.is_file() or b"(because " not in file.read_bytes(), file


def test_a_retry_goes_on_too(project: Scratch) -> None:
    assert project.toolkit("run", "pipeline.py:bad", "--run-id", "again").code == 1
    project.write({"functions.py": FILES["functions.py"].replace('raise KeyError("bad")', "pass")})
    with left() as out:
        assert called(project, [*TOOLKIT, "retry", "again"], out, out) == 0
    assert newest(project)["status"] == "succeeded"


def test_a_pipe_does_not_hide_that_a_run_failed(project: Scratch) -> None:
    shell = ["bash", "-c", f"set -o pipefail; {' '.join(TOOLKIT)} run pipeline.py:bad 2>&1 | head -1"]
    assert called(project, shell, subprocess.DEVNULL, subprocess.DEVNULL) == 1


@pytest.mark.parametrize("nowhere", [full, left])
def test_a_run_that_nobody_reads_is_cancelled(project: Scratch, nowhere: Nowhere) -> None:
    with nowhere() as out:
        process = subprocess.Popen(
            [*TOOLKIT, "run", "pipeline.py:quiet"], cwd=project.root, env=project._environment(), stdout=out, stderr=out
        )
    project.wait_for_output("begun")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 130
    assert newest(project)["status"] == "cancelled"


def filled(writer: int) -> None:
    """Fills a pipe."""
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 1024)
    os.set_blocking(writer, True)


@contextmanager
def unread() -> Iterator[int]:
    """A pipe that is full, and whose reader stays."""
    reader, writer = os.pipe()
    filled(writer)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("nowhere", [full, left, unread])
def test_a_third_signal_ends_the_client_at_once(project: Scratch, nowhere: Nowhere) -> None:
    program = """
import signal
from toolkit.backends.scheduler import Cancel
from toolkit.run.signals import cancel_on_signals

with cancel_on_signals(Cancel(), [signal.SIGTERM], lambda: "all"):
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
"""
    with nowhere() as err:
        assert called(project, [sys.executable, "-c", program], subprocess.DEVNULL, err) == 130


def test_a_reader_that_stays_and_does_not_read_does_not_keep_a_run_from_being_cancelled(project: Scratch) -> None:
    # Given a run whose output fits into its pipe no more,
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    process = subprocess.Popen(
        [*TOOLKIT, "run", "pipeline.py:quiet"], cwd=project.root, env=project._environment(), stderr=writer
    )
    project.wait_for_output("begun")
    filled(writer)
    # when it is cancelled, then it ends.
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 130
    assert newest(project)["status"] == "cancelled"
    os.close(reader)
    os.close(writer)


def test_a_hang_up_that_is_ignored_does_not_cancel_a_run(project: Scratch) -> None:
    with full() as out:
        process = subprocess.Popen(
            ["nohup", *TOOLKIT, "run", "pipeline.py:quiet"],
            cwd=project.root,
            env=project._environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    project.wait_for_output("begun")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 130


# --- the live line ----------------------------------------------------------------------------------------------------


class Terminal:
    """A terminal that a command's streams are, and what the command has written to it so far."""

    def __init__(self, project: Scratch, command: list[str], **environ: str) -> None:
        self._master, descriptor = pty.openpty()
        self.written = b""
        self.process = subprocess.Popen(
            command,
            cwd=project.root,
            env={**project._environment(), "TERM": "xterm", **environ},
            stdin=descriptor,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        os.close(descriptor)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 1 << 16):
                self.written += data
        except OSError:
            pass

    def go_away(self) -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self._master)
        os.close(nothing)
        # It is open until the read that waits for the next picture of the live line has ended.
        self._reading.join(LIMIT)


def test_a_terminal_that_goes_away_does_not_end_a_run(project: Scratch) -> None:
    go_on = project.root / "go-on"
    project.write(
        {
            "functions.py": FILES["functions.py"].replace(
                "time.sleep(1000)", f"\n    while not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
            )
        }
    )
    terminal = Terminal(project, [*TOOLKIT, "run", "pipeline.py:quiet"])
    project.wait_for_output("begun")
    # The live line is there, and goes with the terminal.
    project.wait_for(lambda: b"quiet (1 of 1)" in terminal.written)
    terminal.go_away()
    go_on.touch()
    assert terminal.process.wait(LIMIT) == 0
    assert newest(project)["status"] == "succeeded"


@pytest.mark.parametrize(
    "broken",
    [
        "raise ImportError('no rich')",
        "class Console:\n    def __init__(self, **_): raise ValueError('no console')",
        "class Console:\n    def __init__(self, **_): pass\n    def print(self, *_, **__): raise ValueError('no print')",
        "class Console:\n    def __init__(self, **_): pass\n    def print(self, text, **_): print(text)\n"
        "    def status(self, _): raise ValueError('no status')",
    ],
)
def test_where_the_live_line_fails_the_plain_lines_remain(project: Scratch, tmp_path: Path, broken: str) -> None:
    rich = tmp_path / "broken" / "rich"
    rich.mkdir(parents=True)
    (rich / "__init__.py").touch()
    (rich / "console.py").write_text(broken)
    terminal = Terminal(project, [*TOOLKIT, "run", "pipeline.py:bad"], PYTHONPATH=str(rich.parent))
    assert terminal.process.wait(LIMIT) == 1
    project.wait_for(lambda: b"toolkit show" in terminal.written)
    for told in (b"environment: process", b"good  ok", b"bad   FAILED", b"last words", b" failed in "):
        assert told in terminal.written
    assert b"Traceback (most recent call last):\r\n  File" not in terminal.written.replace(b"    Traceback", b"")


# --- the id of a run that is not followed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nowhere", "code", "told"),
    [(left, 0, ""), (full, 3, f"toolkit: the run one was submitted, but its id can't be printed: {FULL}\n")],
)
def test_the_id_of_a_run_that_goes_on_without_its_client(
    project: Scratch, nowhere: Nowhere, code: int, told: str, tmp_path: Path
) -> None:
    program = """
import sys
from types import SimpleNamespace
from toolkit.cli.output import print_run_id
from toolkit.report.ending import exit_code_of
from toolkit.report.streams import take_over

take_over()
sys.exit(exit_code_of(lambda: print_run_id(SimpleNamespace(run_id="one")) or 0))
"""
    with nowhere() as out, open(tmp_path / "err", "wb") as err:
        assert called(project, [sys.executable, "-c", program], out, err.fileno()) == code
    assert (tmp_path / "err").read_text() == told


# --- a result ---------------------------------------------------------------------------------------------------------

RESULTS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "without a command": [],
    "init": ["init", "new"],
    "runs": ["runs"],
    "runs --json": ["runs", "--json"],
    "show": ["show", "one"],
    "show --json": ["show", "one", "--json"],
    "logs": ["logs", "one"],
    "logs -f": ["logs", "one", "-f"],
    "logs --json": ["logs", "one", "--json"],
    "catalog": ["catalog", "one"],
    "catalog --json": ["catalog", "one", "--json"],
    "catalog --get": ["catalog", "one", "--get", "made.txt"],
    "fetch --json": ["fetch", "one", "--to", "fetched", "--json"],
    "diff": ["diff", "one", "two"],
    "diff --json": ["diff", "one", "two", "--json"],
    "doctor": ["doctor"],
    "doctor --json": ["doctor", "--json"],
    "doctor --manifests": ["doctor", "--manifests", "all"],
}


@pytest.fixture(params=RESULTS)
def result(request: pytest.FixtureRequest, ran: Scratch) -> Iterator[list[str]]:
    yield [*TOOLKIT, *RESULTS[request.param]]
    if request.param == "init":
        for file in (ran.root / "new").iterdir():
            file.unlink()


def test_a_result_that_a_full_disk_does_not_take_is_a_fault(ran: Scratch, result: list[str], tmp_path: Path) -> None:
    with full() as out, open(tmp_path / "err", "wb") as err:
        assert called(ran, result, out, err.fileno()) == 3
    sentence = (tmp_path / "err").read_text().splitlines()
    assert [line for line in sentence if "environment: process" not in line] == [f"toolkit: {FULL}"]


def test_a_result_whose_reader_leaves_is_a_quiet_end(ran: Scratch, result: list[str], tmp_path: Path) -> None:
    with left() as out, open(tmp_path / "err", "wb") as err:
        assert called(ran, result, out, err.fileno()) == 141
    assert "toolkit:" not in (tmp_path / "err").read_text() and "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize("nowhere", [full, left])
def test_nobody_need_read_standard_error(ran: Scratch, nowhere: Nowhere) -> None:
    with nowhere() as err:
        for arguments, code in (["show", "one"], 0), (["show", "absent"], 2), (["fetch", "one", "--to", "fetched"], 0):
            assert called(ran, [*TOOLKIT, *arguments], subprocess.DEVNULL, err) == code
        with full() as out:
            assert called(ran, [*TOOLKIT, "show", "one"], out, err) == 3


def test_a_result_that_is_cut_off_in_the_middle_is_a_fault(ran: Scratch, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    with open(tmp_path / "out", "wb") as out:
        ended = subprocess.run(
            [*TOOLKIT, "logs", "one"],
            cwd=ran.root,
            env=ran._environment(),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
    assert (ended.returncode, ended.stderr) == (3, "toolkit: standard output can't be written: File too large\n")


@pytest.mark.parametrize("arguments", [["show", "one"], ["show", "one", "--json"], ["logs", "one"]])
def test_a_result_without_a_stream_is_a_fault(ran: Scratch, arguments: list[str], tmp_path: Path) -> None:
    with open(tmp_path / "err", "wb") as err:
        assert called(ran, [*TOOLKIT, *arguments], subprocess.DEVNULL, err.fileno(), closed=(0, 1)) == 3
    assert (tmp_path / "err").read_text() == "toolkit: standard output can't be written: Bad file descriptor\n"


@pytest.mark.parametrize(
    "arguments", [["show", "one", "--json", "--values"], ["logs", "one"], ["catalog", "one", "--get", "made.txt"]]
)
def test_a_reader_that_takes_its_time_gets_the_whole_of_it(ran: Scratch, arguments: list[str]) -> None:
    whole = subprocess.run([*TOOLKIT, *arguments], cwd=ran.root, env=ran._environment(), stdout=subprocess.PIPE).stdout
    reader, writer = os.pipe()
    # As node and others leave the pipe that they share with a program.
    os.set_blocking(writer, False)
    process = subprocess.Popen([*TOOLKIT, *arguments], cwd=ran.root, env=ran._environment(), stdout=writer)
    os.close(writer)
    time.sleep(0.5)
    got = b""
    while data := os.read(reader, 1 << 16):
        got += data
    assert process.wait(LIMIT) == 0
    assert got == whole and len(got) > 1 << 16
    os.close(reader)


def test_a_log_that_is_followed_ends_when_its_reader_leaves_though_the_step_is_silent(project: Scratch) -> None:
    run = project.start("run", "pipeline.py:quiet")
    project.wait_for_output("begun")
    reader, writer = os.pipe()
    logs = subprocess.Popen(
        [*TOOLKIT, "logs", "-f"], cwd=project.root, env=project._environment(), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    with open(reader) as lines:
        assert lines.readline() == "quiet | begun\n"
    assert logs.communicate(timeout=LIMIT)[1] == b""
    assert logs.returncode == 141
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=LIMIT)


# --- characters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict"])
def test_any_text_is_printed_in_any_locale(project: Scratch, encoding: str) -> None:
    # Given names and values that the locale's encoding does not have, and one that no encoding has,
    project.write(
        {
            "odd.yaml": "dag:\n  start_at: é🎉\n  steps:\n    é🎉:\n      type: task\n      command_type: python\n"
            "      command: odd.odd\n      returns: [x]\n",
            "odd.py": "import sys\ndef odd():\n    sys.stdout.buffer.write('é🎉'.encode())\n"
            "    return ['é🎉', chr(0xd83c)]\n",
        }
    )
    assert project.toolkit("run", "odd.yaml", "--tag", "é🎉").code == 0
    plain = project.show()
    project.environ["PYTHONIOENCODING"] = encoding
    # when they are printed, then nothing fails, and JSON says the same.
    assert project.show() == plain
    for command in (["run", "odd.yaml"], ["show"], ["runs"], ["logs"], ["logs", "--json"], ["show", "é🎉"]):
        result = project.toolkit(*command)
        assert result.code == (2 if command == ["show", "é🎉"] else 0), result.err
        assert "Traceback" not in result.err
