"""A project of a test's own: files, and the command line run in it as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 300.0
"""Seconds after which a command is taken to hang; nothing is measured by it."""


@dataclass
class Result:
    """A finished command: its exit code and both streams as text."""

    code: int
    out: str
    err: str


@dataclass
class Scratch:
    """A folder with a project in it.

    Attributes:
        environ: added to the environment of every command; None as a value takes a variable out.
    """

    root: Path
    environ: dict[str, str | None] = field(default_factory=dict)

    def write(self, files: dict[str, str]) -> None:
        """Files by their path in the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def steps(self, **bodies: str) -> None:
        """A pipeline of one python step for each function body, in order; `pipeline.py` is the file."""
        self.write(
            {
                "functions.py": "import os, sys, time\n\n"
                + "\n".join(f"def {name}():\n    {body}\n" for name, body in bodies.items()),
                "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n\np = Pipeline(steps=["
                + ", ".join(f"PythonTask(functions.{name})" for name in bodies)
                + "])\n",
            }
        )

    def _environment(self) -> dict[str, str]:
        # What a test's own shell has set must not choose for the command.
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("TOOLKIT_", "RUNNABLE_", "COMPOSE_"))
        }
        kept.update({key: value for key, value in self.environ.items() if value is not None})
        return {key: value for key, value in kept.items() if self.environ.get(key, "") is not None}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A `toolkit` command in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "toolkit", *arguments],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def toolkit(self, *arguments: str) -> Result:
        """A `toolkit` command, run to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=LIMIT)
        return Result(process.returncode, out, err)

    def show(self, *arguments: str) -> dict[str, Any]:
        """The newest run, or the one named, as `toolkit show --json` has it."""
        result = self.toolkit("show", *arguments, "--json")
        assert result.code == 0, result.err
        document: dict[str, Any] = json.loads(result.out)
        return document

    def volume(self) -> Path:
        """The default volume's folder."""
        return self.root / ".toolkit" / "volumes" / "toolkit"

    def wait_for(self, what: Callable[[], object]) -> None:
        """Waits until ``what`` is true."""
        until = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.05)

    def wait_for_output(self, text: str) -> None:
        """Waits until a step's output on the volume holds ``text``."""
        self.wait_for(
            lambda: any(text in log.read_text("utf-8", "replace") for log in self.volume().rglob("output.log"))
        )


def finish(process: subprocess.Popen[str], *signals: signal.Signals) -> Result:
    """Sends signals, a moment apart, and waits for the end."""
    for position, number in enumerate(signals):
        if position:
            # Signals of one kind that a busy machine has not delivered yet become one.
            time.sleep(1.0)
        process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    return Result(process.returncode, out, err)
