"""The ``process`` environment: each attempt is a plain process of this machine, run by the same runtime."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from toolkit.backends import volumes
from toolkit.backends.describer import TIME_LIMIT, Describer, parse_answer
from toolkit.backends.interpreter import interpreter, with_interpreter
from toolkit.backends.launcher import OnEnd, Verdict, gate_line
from toolkit.errors import BadInput
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.project import Project
from toolkit.runtime.shared.protocol import GATE_VARIABLE, PROCESS_VARIABLE, PROTOCOL

if TYPE_CHECKING:
    from toolkit.backends.debug_terminal import DebugTerminal
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse

PACKAGE = Path(__file__).resolve().parents[1]
MAIN = PACKAGE / "runtime" / "main.py"
WAIVED = ("image", "user", "limits", "read-only root")
"""What a plain process does not have; printed at the start of every run."""


def sdk_folder(project: Project) -> str:
    """A folder for the import path that holds the SDK's package alone, and nothing else of the client's own interpreter."""
    folder = project.state / "sdk"
    link = folder / "toolkit"
    folder.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or Path(os.readlink(link)) != PACKAGE:
        temporary = folder / f"toolkit.{os.getpid()}"
        temporary.symlink_to(PACKAGE)
        temporary.replace(link)
    return str(folder)


def environment(project: Project, settings: Mapping[str, str], places: Mapping[str, object]) -> dict[str, str]:
    """The environment variables of the runtime: this process's own, the configuration's, and one that holds the locations.

    Whatever PATH and VIRTUAL_ENV are there, those that steps get name the interpreter that runs them.

    Args:
        settings: the configuration's, for a step or for a description. The interpreter reads some of them when it starts.
        places: locations that differ from the default ones, by the names that ``runtime/shared/locations.py`` reads.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOOLKIT_")}
    locations: dict[str, object] = {
        "run": "",
        "work": str(project.root),
        "volumes": volumes.folders(project),
        "hidden": [],
        "mounts": {},
        "overlay": False,
    }
    locations.update(code=str(project.root), sdk=sdk_folder(project), **places)
    variables = {**inherited, "PYTHONHASHSEED": "0", **settings}
    return {
        **with_interpreter(variables, interpreter(project), project.state),
        PROCESS_VARIABLE: json.dumps(locations),
    }


def remove(folder: Path) -> None:
    """Removes a folder of a step's, also where the step, or an overlay of the kernel's, took its user's rights on a part of it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():
        folder.chmod(0o700)
        for above, folders, _ in os.walk(folder):
            for path in (os.path.join(above, name) for name in folders):
                if not os.path.islink(path):
                    try:
                        os.chmod(path, 0o700)
                    except OSError:
                        pass
        shutil.rmtree(folder, ignore_errors=True)


def process_describer(project: Project, environment: Mapping[str, str]) -> Describer:
    """A describer that starts a plain process of the project's own interpreter for each request.

    What the user's code writes in the project meanwhile ends with that process, as with a container, where the system lets it
    have mounts of its own.

    Args:
        environment: the process's variables, as of :func:`environment`.
    """
    python = interpreter(project)

    def describe(request: DescribeRequest) -> DescribeResponse:
        folder = project.state / "work" / f"describe-{os.urandom(8).hex()}"
        folder.mkdir(parents=True)
        command = [python, str(MAIN), "--describe", str(PROTOCOL), str(folder / "written")]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            output, stderr = process.communicate(json.dumps(request).encode() + b"\n", timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
            raise BadInput(f"the pipeline's file did not end within {spent:.0f} s while it was described") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            remove(folder)
        return parse_answer(process.returncode, output, stderr.decode("utf-8", "replace").strip(), python)

    return describe


class ProcessLauncher:
    """Starts attempts as processes.

    Args:
        places: locations of all steps, as of :func:`environment`. terminal: for debuggers; None where the run has none.
    """

    def __init__(
        self,
        project: Project,
        plan: Plan,
        run_id: str,
        places: Mapping[str, object],
        terminal: DebugTerminal | None = None,
    ) -> None:
        self.ahead = 2
        self._terminal = terminal
        self._project = project
        self._plan = plan
        self._run_id = run_id
        self._places = places
        self._python = interpreter(project)
        self._work = project.state / "work" / run_id

    def prepare(self, step: PlannedStep, attempt: int, ended: OnEnd) -> ProcessJob:
        work = self._work / os.urandom(8).hex()
        work.parent.mkdir(parents=True, exist_ok=True)
        places = {**self._places, "work": str(work)}
        link = None
        if self._terminal is not None:
            link, step_end = self._terminal.pair()
            places["terminal"] = step_end.fileno()
        settings = self._plan.settings_of(step).environment
        variables = {**environment(self._project, settings, places), GATE_VARIABLE: "stdin"}
        argv = [self._python, str(MAIN), str(PROTOCOL), self._run_id, step.path, str(attempt)]
        if self._terminal is None or link is None:
            return ProcessJob(step.path, attempt, argv, variables, work, ended)
        with step_end:
            job = ProcessJob(step.path, attempt, argv, variables, work, ended, step_end.fileno())
        self._terminal.serve(link, step.path)
        return job

    def held(self) -> float:
        return self._terminal.held() if self._terminal is not None else 0.0

    def close(self) -> None:
        remove(self._work)


class ProcessJob:
    """One process: started before its turn, released in its turn, waited for to its end."""

    def __init__(
        self,
        path: str,
        attempt: int,
        argv: list[str],
        variables: dict[str, str],
        work: Path,
        ended: OnEnd,
        *inherited: int,
    ) -> None:
        self.path = path
        self.attempt = attempt
        self._work = work
        self._ended = ended
        self._process = subprocess.Popen(
            argv,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C in the terminal is for the client alone, which then asks the steps to stop.
            start_new_session=True,
            pass_fds=inherited,
        )

    def name(self) -> str:
        return f"process {self._process.pid}"

    def release(self, secrets: Mapping[str, str]) -> None:
        threading.Thread(target=self._run, args=(gate_line(secrets),), daemon=True).start()

    def _run(self, line: bytes) -> None:
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None and self._process.stderr is not None
        try:
            stdin.write(line)
            stdin.flush()
        except OSError:
            # The process has ended already; its exit code says how.
            pass
        stderr = self._process.stderr.read()
        code = self._process.wait()
        self._close()
        # The exit code of a container: 128 and the number of the signal that ended it, which is negative here.
        exit_code = code if code >= 0 else 128 - code
        message = stderr[-4000:].decode("utf-8", "replace")
        self._ended(self, Verdict(exit_code, message=message, container=f"pid {self._process.pid}"), None)

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        for end in ("", ".private", ".upper", ".overlay"):
            remove(Path(f"{self._work}{end}"))

    def stop(self, kill: bool) -> None:
        # The supervisor stops its child's whole process group; a second SIGTERM makes it kill them at once.
        for _ in range(2 if kill else 1):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)

    def discard(self) -> None:
        """Closes the gate without its line, at which the runtime ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()
