"""Runs a case in one environment, and collects all that is observed of the run."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.conformance.case import Case, Environment
from tests.support.scratch import Result, Scratch
from toolkit.backends.argo.workflow_status import workflow_nodes

if TYPE_CHECKING:
    from tests.support.workplace import Workplace

COMMAND_LIMIT = 600.0
"""Seconds after which a command is ended, because it hangs. It is no measurement."""
_GRACE_PERIOD = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class ObservedRun:
    """What is observed of one run.

    Attributes:
        run: the output of `toolkit show --json`; None when there is no run.
        logs: the output of `toolkit logs --json`.
        left: what still runs after the command has ended.
        pods: how many pods there were; None when the number is not checked.
        labels: the labels of each pod.
    """

    environment: Environment
    run_id: str
    result: Result
    run: dict[str, Any] | None = None
    logs: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    pods: int | None = None
    labels: list[dict[str, str]] = field(default_factory=list)

    def outputs(self) -> dict[str, str]:
        """The output of each step's last attempt."""
        return {row["step"]: row["output"] for row in self.logs}


class Query(NamedTuple):
    """A command that reads runs, and the project that it is called in."""

    scratch: Scratch
    arguments: Sequence[str]


class CaseEnvironment:
    """One environment, for the project of one case.

    Args:
        root: the project's folder, which all environments share.
        folder: a private folder.
        workplace: the namespace on the cluster, for argo alone.
    """

    def __init__(
        self, environment: Environment, case: Case, root: Path, folder: Path, workplace: Workplace | None
    ) -> None:
        self.environment = environment
        self.case = case
        self.root = root
        self._workplace = workplace
        self._pods: list[dict[str, Any]] = []
        environ: dict[str, str | None] = dict(case.environ)
        if workplace is not None:
            environ.update(workplace.project(root).environ)
        else:
            environ.update({**case.secrets, **case.common})
            environ["KUBECONFIG"] = str(folder / "none")
        if environment == "process":
            environ["CONFORMANCE_VOLUME"] = str(folder)
        # Each command names the environment as an option, except for a script, which has none.
        environ["TOOLKIT_ENV"] = environment if case.script else None
        self.scratch = Scratch(root, environ)

    def run(self, pipeline: str, nth: int = 0) -> ObservedRun:
        """Runs a pipeline of the case to its end."""
        run_id = f"{self.case.name}-{self.environment}" + (f"-{nth}" if nth else "")
        result = self._command(pipeline, run_id)
        if self.case.fix:
            result = self._retry(run_id, result)
        observed = ObservedRun(self.environment, run_id, result, left=self._left(run_id))
        observed.labels = [pod["metadata"]["labels"] for pod in self._pods]
        # Items of a group share a pod, and a run that resumes has no pod for what it had done before.
        if self.environment == "argo" and not (self.case.fix or "pods_per_map" in self.case.config):
            observed.pods = self._pods_made(run_id)
        return observed

    def _pods_made(self, run_id: str) -> int:
        """How many pods a run had, by its Workflow.

        The pods themselves would be too few: Argo deletes those of a run that is shut down which it has not yet seen running.
        """
        assert self._workplace is not None
        workflow = self._workplace.get("workflows.argoproj.io", run_id)
        nodes = [node for node in workflow_nodes(workflow).values() if node["type"] == "Pod"]
        # A node whose turn came after that has no pod, and ends in the instant in which it begins.
        return sum(bool(node.get("hostNodeName")) or node["startedAt"] != node["finishedAt"] for node in nodes)

    def manifest(self, pipeline: str) -> Any:
        """The objects that `toolkit compile` prints, and the plan in the run's record."""
        result = self._finish(("compile", pipeline, "--run-id", self.case.name, *self.case.arguments))
        assert result.code == 0, result.err
        config_map, workflow = yaml.safe_load_all(result.out)
        record = json.loads(gzip.decompress(base64.b64decode(config_map["binaryData"].pop("run.json.gz"))))
        return {"objects": [config_map, workflow], "plan": json.loads(record["plan"])}

    def queries_about(self, observed: ObservedRun) -> list[Query]:
        """The queries about a run that has ended."""
        where = ("--env", self.environment, "--json")
        show = Query(self.scratch, ("show", observed.run_id, *where))
        if self.case.expect.no_run:
            # On a cluster, _running has looked for its objects, which needs no pod.
            return [] if self.environment == "argo" else [show]
        # The logs first, because they fetch the records from a cluster as well, and later queries then need no pod.
        return [Query(self.scratch, ("logs", observed.run_id, *where)), show]

    def keep_answers(self, observed: ObservedRun, answers: Sequence[Result]) -> Iterator[str]:
        """Keeps the answers to :meth:`queries_about`; yields what is wrong with them."""
        if self.case.expect.no_run:
            observed.run = {} if answers and answers[0].code == 0 else None
            return
        for command, answer in zip(("logs", "show"), answers, strict=True):
            if answer.code != 0:
                yield f"{self.environment}: toolkit {command} ends with {answer.code}: {answer.err}"
            elif command == "logs":
                observed.logs = json.loads(answer.out)
            else:
                observed.run = json.loads(answer.out)

    def diff_query(self, other: ObservedRun, mine: ObservedRun) -> Query:
        """The query `toolkit diff --json` of two runs of this project."""
        # Without TOOLKIT_ENV, because one of the two runs may be in another environment.
        anywhere = Scratch(self.root, {**self.scratch.environ, "TOOLKIT_ENV": None})
        return Query(anywhere, ("diff", other.run_id, mine.run_id, "--json", "--no-bytes"))

    def _finish(self, arguments: Sequence[str]) -> Result:
        return _finished(self.scratch.start(*arguments), " ".join(arguments))

    def _command(self, pipeline: str, run_id: str) -> Result:
        if self.case.script:
            environ = {**self.scratch.environ, "TOOLKIT_RUN_ID": run_id}
            return _finished(_script(Scratch(self.root, environ), pipeline), pipeline)
        named = [pipeline] if pipeline else []
        process = self.scratch.start("run", *named, "--env", self.environment, "--run-id", run_id, *self.case.arguments)
        if self.case.cancel_at:
            self._wait_for(run_id, process)
            process.send_signal(signal.SIGTERM)
        return _finished(process, f"run {pipeline}")

    def _retry(self, run_id: str, failed: Result) -> Result:
        """Resumes a run that failed, in the same environment."""
        assert failed.code == 1, f"{self.environment}: the run did not fail but ended with {failed.code}: {failed.err}"
        fixed = Scratch(self.root, {**self.scratch.environ, **self.case.fix})
        return _finished(fixed.start("retry", run_id, "--env", self.environment), f"retry {run_id}")

    def _wait_for(self, run_id: str, process: subprocess.Popen[str]) -> None:
        """Waits until `toolkit logs -f` shows the text of ``cancel_at`` in a step's output."""
        until = time.monotonic() + COMMAND_LIMIT
        while process.poll() is None and time.monotonic() < until:
            follower = self.scratch.start("logs", run_id, "-f", "--env", self.environment)
            timer = threading.Timer(COMMAND_LIMIT, follower.kill)
            timer.start()
            try:
                assert follower.stdout is not None
                if any(self.case.cancel_at in line for line in follower.stdout):
                    return
            finally:
                timer.cancel()
                follower.kill()
                follower.communicate()
            time.sleep(0.3)

    # --- what is left -----------------------------------------------------------------------------------------------

    def _left(self, run_id: str) -> list[str]:
        """What still runs although the run has ended; it gets 10 s to end."""
        left: list[str] = []
        for _ in range(50):
            left = self._running(run_id)
            if not left:
                return []
            time.sleep(0.2)
        return left

    def _running(self, run_id: str) -> list[str]:
        if self.environment == "process":
            return [line for line in _processes() if str(self.root / ".toolkit" / "work" / run_id) in line]
        if self.environment == "local":
            filters = [
                "--filter",
                f"label=dev.toolkit.project={self.root}",
                "--filter",
                f"label=dev.toolkit.run={run_id}",
            ]
            listed = subprocess.run(
                ["docker", "ps", "-a", *filters, "--format", "{{.Names}} {{.Status}}"],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            return listed.stdout.splitlines()
        assert self._workplace is not None
        if self.case.expect.no_run:
            names = self._workplace.kubectl("get", "workflows.argoproj.io,configmaps,pods", "-o", "name")
            return [name for name in names.split() if f"/{run_id}" in name]
        pods: Any = self._workplace.get("pods", "-l", f"workflows.argoproj.io/workflow={run_id}")["items"]
        self._pods = pods
        return [
            pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]


def answers_to(queries: Sequence[Query], on_cluster: Sequence[tuple[Scratch, str]]) -> list[Result]:
    """The results of several commands, which :mod:`tests.conformance.forked_commands` runs one after the other.

    Args:
        on_cluster: runs on a cluster, each with its project. Their records are fetched first, by one pod for all of them.
    """
    if not queries:
        return []
    questions = [
        {"folder": str(query.scratch.root), "environ": query.scratch._environment(), "arguments": list(query.arguments)}
        for query in queries
    ]
    runs = [{"folder": str(scratch.root), "run": run_id} for scratch, run_id in on_cluster]
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.forked_commands"],
        cwd=REPOSITORY,
        env=(on_cluster[0][0] if on_cluster else queries[0].scratch)._environment(),
        input=json.dumps({"runs": runs, "questions": questions}),
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return [Result(answer["code"], answer["out"], answer["err"]) for answer in json.loads(done.stdout)]


def _processes() -> Iterator[str]:
    """The working folder and the command line of each process of this machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield f"{os.readlink(folder / 'cwd')} {(folder / 'cmdline').read_bytes().replace(bytes(1), b' ')!r}"


def _script(scratch: Scratch, pipeline: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, pipeline],
        cwd=scratch.root,
        env=scratch._environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _finished(process: subprocess.Popen[str], command: str) -> Result:
    try:
        out, err = process.communicate(timeout=COMMAND_LIMIT)
    except subprocess.TimeoutExpired:
        # SIGTERM first, so that it ends what it has started.
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=_GRACE_PERIOD)
                break
        raise AssertionError(f"{command} did not end within {COMMAND_LIMIT:g} s: {err}") from None
    return Result(process.returncode, out, err)


# --- the same words -------------------------------------------------------------------------------------------------

_OWN = ("run_id", "environment", "started", "ended", "image", "context", "without_effect", "log")
"""Keys that differ between two runs, by the tables of docs/sameness.md."""


def normalised(observed: ObservedRun, root: Path) -> Any:
    """What is observed of a run and must be the same in every environment."""
    return _normalised({"code": observed.result.code, "run": observed.run, "logs": observed.logs}, observed, root)


def _normalised(value: Any, observed: ObservedRun, root: Path) -> Any:
    if isinstance(value, dict):
        return {key: _normalised(item, observed, root) for key, item in value.items() if key not in _OWN}
    if isinstance(value, list):
        return [_normalised(item, observed, root) for item in value]
    if isinstance(value, str):
        # The working folder of a plain process takes the place of /workspace.
        own = re.sub(rf"{re.escape(str(root))}/\.toolkit/work/{observed.run_id}/[0-9a-f]+", "/workspace", value)
        return own.replace(str(root), "/workspace").replace(observed.run_id, "RUN")
    return value


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """The places in which two normalised documents differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        lines = []
        for key in sorted({*first, *second}):
            if key not in first or key not in second:
                lines.append(f"{where}.{key} is only in the {'second' if key not in first else 'first'}")
            else:
                lines += differences(first[key], second[key], f"{where}.{key}")
        return lines
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return [
            line
            for index, pair in enumerate(zip(first, second, strict=True))
            for line in differences(*pair, f"{where}[{index}]")
        ]
    return [] if first == second else [f"{where}: {_short(first)} != {_short(second)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else f"{text[:300]} … {text[-300:]}"
