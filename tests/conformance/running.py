"""Runs a case in one environment, and gathers all that can be seen of the run afterwards."""

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

if TYPE_CHECKING:
    from tests.support.workplace import Workplace

COMMAND_LIMIT = 600.0
"""Seconds after which a command is taken to hang and is ended; nothing is measured by it."""
_POLITE = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Seen:
    """What is known of one run.

    Attributes:
        run: `toolkit show --json`; None where there is no run. logs: `toolkit logs --json`.
        left: what still ran after the command had ended. pods: how many there were; None where that says nothing.
        labels: of each pod.
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
        """What each step wrote in its last attempt."""
        return {row["step"]: row["output"] for row in self.logs}


class Ask(NamedTuple):
    """A command that looks at what is there, and the project that it is asked in."""

    scratch: Scratch
    arguments: Sequence[str]


class Place:
    """One environment, for one case's project.

    Args:
        root: the project, which all environments share. folder: a private one. workplace: of the cluster, for argo.
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
        # Each command names the environment itself, but for a script, which has no options.
        environ["TOOLKIT_ENV"] = environment if case.script else None
        self.scratch = Scratch(root, environ)

    def run(self, pipeline: str, nth: int = 0) -> Seen:
        """Runs a pipeline of the case's to its end."""
        run_id = f"{self.case.name}-{self.environment}" + (f"-{nth}" if nth else "")
        result = self._command(pipeline, run_id)
        if self.case.mended:
            result = self._retry(run_id, result)
        seen = Seen(self.environment, run_id, result, left=self._left(run_id))
        seen.labels = [one["metadata"]["labels"] for one in self._pods]
        # A group of items has pods together, and what a run that goes on had done before has none.
        if self.environment == "argo" and not (self.case.mended or "pods_per_map" in self.case.config):
            seen.pods = len(self._pods)
        return seen

    def manifest(self, pipeline: str) -> Any:
        """What `toolkit compile` prints, read, but for the run's record, of which only the plan is kept."""
        result = self._finish(("compile", pipeline, "--run-id", self.case.name, *self.case.arguments))
        assert result.code == 0, result.err
        config_map, workflow = yaml.safe_load_all(result.out)
        record = json.loads(gzip.decompress(base64.b64decode(config_map["binaryData"].pop("run.json.gz"))))
        return {"objects": [config_map, workflow], "plan": json.loads(record["plan"])}

    def asks_of(self, seen: Seen) -> list[Ask]:
        """What is asked about a run once it is over."""
        where = ("--env", self.environment, "--json")
        show = Ask(self.scratch, ("show", seen.run_id, *where))
        if self.case.expect.nothing:
            # On a cluster it has been looked for itself, which needs no pod.
            return [] if self.environment == "argo" else [show]
        # The logs first: they bring the records along from a cluster, so that what comes then needs no pod.
        return [Ask(self.scratch, ("logs", seen.run_id, *where)), show]

    def take(self, seen: Seen, answers: Sequence[Result]) -> Iterator[str]:
        """Keeps the answers to what :meth:`asks_of` asks; yields what is wrong with them."""
        if self.case.expect.nothing:
            seen.run = {} if answers and answers[0].code == 0 else None
            return
        for command, one in zip(("logs", "show"), answers, strict=True):
            if one.code != 0:
                yield f"{self.environment}: toolkit {command} ends with {one.code}: {one.err}"
            elif command == "logs":
                seen.logs = json.loads(one.out)
            else:
                seen.run = json.loads(one.out)

    def diff_of(self, other: Seen, mine: Seen) -> Ask:
        """`toolkit diff --json` of two runs of this project."""
        # One of the two may be elsewhere, so it is not told where to look.
        anywhere = Scratch(self.root, {**self.scratch.environ, "TOOLKIT_ENV": None})
        return Ask(anywhere, ("diff", other.run_id, mine.run_id, "--json", "--no-bytes"))

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
        """Goes on with a run that failed, where it is."""
        assert failed.code == 1, f"{self.environment}: the run did not fail but ended with {failed.code}: {failed.err}"
        mended = Scratch(self.root, {**self.scratch.environ, **self.case.mended})
        return _finished(mended.start("retry", run_id, "--env", self.environment), f"retry {run_id}")

    def _wait_for(self, run_id: str, process: subprocess.Popen[str]) -> None:
        """Waits until the step has said so in its output, as `toolkit logs -f` shows it."""
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
        """What runs although the run is over; what is just ending gets a moment."""
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
            wanted = [
                "--filter",
                f"label=dev.toolkit.project={self.root}",
                "--filter",
                f"label=dev.toolkit.run={run_id}",
            ]
            listed = subprocess.run(
                ["docker", "ps", "-a", *wanted, "--format", "{{.Names}} {{.Status}}"],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            return listed.stdout.splitlines()
        assert self._workplace is not None
        if self.case.expect.nothing:
            there = self._workplace.kubectl("get", "workflows.argoproj.io,configmaps,pods", "-o", "name")
            return [one for one in there.split() if f"/{run_id}" in one]
        pods: Any = self._workplace.get("pods", "-l", f"workflows.argoproj.io/workflow={run_id}")["items"]
        self._pods = pods
        return [
            one["metadata"]["name"] for one in pods if one.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]


def ask(asks: Sequence[Ask], on_cluster: Sequence[tuple[Scratch, str]]) -> list[Result]:
    """The answers to several commands, one after the other, as :mod:`tests.conformance.asking` has them.

    Args:
        on_cluster: runs on a cluster, each with its project; their records are fetched first, by one pod for all of them.
    """
    if not asks:
        return []
    questions = [
        {"folder": str(one.scratch.root), "environ": one.scratch._environment(), "arguments": list(one.arguments)}
        for one in asks
    ]
    runs = [{"folder": str(scratch.root), "run": run_id} for scratch, run_id in on_cluster]
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.asking"],
        cwd=REPOSITORY,
        env=(on_cluster[0][0] if on_cluster else asks[0].scratch)._environment(),
        input=json.dumps({"runs": runs, "questions": questions}),
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return [Result(one["code"], one["out"], one["err"]) for one in json.loads(done.stdout)]


def _processes() -> Iterator[str]:
    """Working folder and command line of each process of this machine."""
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


def _finished(process: subprocess.Popen[str], what: str) -> Result:
    try:
        out, err = process.communicate(timeout=COMMAND_LIMIT)
    except subprocess.TimeoutExpired:
        # Politely first, so that it ends what it started.
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=_POLITE)
                break
        raise AssertionError(f"{what} did not end within {COMMAND_LIMIT:g} s: {err}") from None
    return Result(process.returncode, out, err)


# --- the same words -------------------------------------------------------------------------------------------------

_OWN = ("run_id", "environment", "started", "ended", "image", "context", "without_effect", "log")
"""What two runs can't have in common, by the tables of docs/sameness.md."""


def normalised(seen: Seen, root: Path) -> Any:
    """All that is seen of a run and must be the same in every environment."""
    return _normalised({"code": seen.result.code, "run": seen.run, "logs": seen.logs}, seen, root)


def _normalised(value: Any, seen: Seen, root: Path) -> Any:
    if isinstance(value, dict):
        return {key: _normalised(item, seen, root) for key, item in value.items() if key not in _OWN}
    if isinstance(value, list):
        return [_normalised(item, seen, root) for item in value]
    if isinstance(value, str):
        # A plain process works in a folder of its own, which stands for /workspace.
        own = re.sub(rf"{re.escape(str(root))}/\.toolkit/work/{seen.run_id}/[0-9a-f]+", "/workspace", value)
        return own.replace(str(root), "/workspace").replace(seen.run_id, "RUN")
    return value


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """The places in which two normalised documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                found.append(
                    f"{where}.{key} is {'not ' if key not in one else ''}there and {'not ' if key not in other else ''}here"
                )
            else:
                found += differences(one[key], other[key], f"{where}.{key}")
        return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for index, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{where}[{index}]")
        ]
    return [] if one == other else [f"{where}: {_short(one)} != {_short(other)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else f"{text[:300]} … {text[-300:]}"
