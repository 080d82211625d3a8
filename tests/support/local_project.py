"""A project in a folder of the test's own, whose pipelines run as plain processes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.backends import driver, process
from toolkit.cli.main import run as command_line
from toolkit.config.load import load
from toolkit.model.pipeline import Pipeline
from toolkit.plan.plan import Plan
from toolkit.plan.planner import plan
from toolkit.run.describe import describe
from toolkit.run.patches import read_patches
from toolkit.run.reference import parse

_PIPELINE = "from functions import step\nfrom toolkit import Catalog, Pipeline, PythonTask\n"


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    # contextlib has this from Python 3.11 on.
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class LocalProject:
    """Calls the command line in a folder, in this process, which saves its start. The steps are processes of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = ""
        self.err = ""

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def toolkit(self, *argv: str) -> int:
        """Runs one command; its output is in ``out`` and ``err`` afterwards."""
        written, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(written, encoding="utf-8")
        with _working_in(self.root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command_line(argv)
            out.flush()
        self.out, self.err = written.getvalue().decode("utf-8", "replace"), err.getvalue()
        return code

    def run(self, pipeline: str, *options: str) -> int:
        return self.toolkit("run", pipeline, "--env", "process", *options)

    @contextlib.contextmanager
    def driven(self, run_id: str) -> Iterator[None]:
        """Makes this process the client of a run, as far as other commands can tell."""
        with _working_in(self.root):
            project = load(None, self.root)
        with driver.driving(project, run_id):
            yield

    def model(self, pipeline: str, patch: str | None = None) -> Pipeline:
        """The model of a pipeline, described in a process of its own as a run does.

        Args:
            patch: a file of patches.

        Raises:
            BadInput: the file has no pipeline, or one that is refused.
        """
        with _working_in(self.root):
            project = load(None, self.root)
            variables = process.environment(project, project.config.executor.config.environment, {})
            ask = process.process_describer(project, variables)
            patches, places = read_patches(Path(patch)) if patch is not None else ({}, {})
            return describe(project, parse(pipeline, self.root), ask, sys.executable, patches, places)

    def plan(self, pipeline: str, patch: str | None = None) -> Plan:
        """The plan of a pipeline, described as ``model`` does.

        Raises:
            BadInput: the file has no pipeline, or one that is refused.
        """
        described = self.model(pipeline, patch)
        with _working_in(self.root):
            project = load(None, self.root)
        return plan(described, project.config, parse(pipeline, self.root).import_roots(project))

    def show(self, command: str = "show", *options: str) -> Any:
        """The newest run as JSON."""
        code = self.toolkit(command, "--json", *options)
        assert code == 0, self.err
        return json.loads(self.out)

    def run_step(self, body: str, options: str = "") -> dict[str, Any]:
        """Runs one Python step whose module is ``body``, which defines ``step``; returns its last attempt."""
        self.write("functions.py", body)
        self.write("pipeline.py", f"{_PIPELINE}Pipeline(steps=[PythonTask(step, {options})]).execute()\n")
        return self._last(self.run("pipeline.py"))

    def run_shell(self, command: str, *options: str, returns: tuple[str, ...] = ()) -> dict[str, Any]:
        """Runs one shell step; returns its last attempt."""
        step = {"command_type": "shell", "command": command, "returns": list(returns)}
        self.write("pipeline.yaml", json.dumps({"dag": {"start_at": "step", "steps": {"step": step}}}))
        return self._last(self.run("pipeline.yaml", *options))

    def _last(self, code: int) -> dict[str, Any]:
        err = self.err
        match = re.search(r"^run (\S+) of", err, re.MULTILINE)
        assert match, err
        run = self.show()
        assert run["run_id"] == match[1]
        attempt: dict[str, Any] = run["steps"][0]["attempts"][-1]
        # However a step ends, the run, the step and the command agree.
        assert run["status"] == run["steps"][0]["status"] == attempt["status"]
        assert code == (0 if attempt["status"] == "succeeded" else 1), err
        assert bool(attempt["reason"]) == (attempt["status"] != "succeeded")
        assert (attempt["exit_code"] == 0) == (attempt["status"] == "succeeded")
        self.err = err
        return attempt

    def output(self) -> bytes:
        """The output.log of the newest run's first step."""
        return Path(self.show()["steps"][0]["attempts"][-1]["log"]).read_bytes()

    def volume(self) -> bytes:
        """The names and contents of all files on the volume."""
        parts = []
        for folder, folders, files in os.walk(self.root / ".toolkit" / "volumes"):
            parts += [os.fsencode(name) for name in (*folders, *files)]
            parts += [Path(folder, name).read_bytes() for name in files]
        return b"\0".join(parts)
