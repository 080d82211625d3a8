"""A project of a test's own: its files, and commands that run in it as a user's would."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 300.0
"""Seconds after which a command fails the test, because it hangs. It is no measurement."""


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
        environ: environment variables that are added for every command; a variable with the value None is removed.
    """

    root: Path
    environ: dict[str, str | None] = field(default_factory=dict)

    def write(self, files: dict[str, str]) -> None:
        """Writes files, by their paths in the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def steps(self, **bodies: str) -> None:
        """Writes `pipeline.py` with one Python step for each function body, in order."""
        self.write(
            {
                "functions.py": "import os, sys, time\n\n"
                + "\n".join(f"def {name}():\n    {body}\n" for name, body in bodies.items()),
                "pipeline.py": "import functions\nfrom toolkit import Pipeline, PythonTask\n\np = Pipeline(steps=["
                + ", ".join(f"PythonTask(functions.{name})" for name in bodies)
                + "])\n",
            }
        )

    def on_terminal(self, *arguments: str, said: Sequence[tuple[bytes, bytes]] = ()) -> tuple[int, bytes]:
        """The exit code of a command on a terminal of its own, and all that is written to it.

        Args:
            said: texts that are waited for, in turn, each with what is typed then.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.root)
            os.execve(sys.executable, [sys.executable, "-m", "toolkit", *arguments], self._environment())
        shown, position, rest = b"", 0, list(said)
        # Less than the limit of a test, so that one that hangs tells what was shown.
        until = time.monotonic() + LIMIT / 2
        while True:
            assert time.monotonic() < until, shown.decode("utf-8", "replace")
            if select.select([terminal], [], [], 1.0)[0]:
                try:
                    data = os.read(terminal, 65536)
                except OSError:
                    break
                if not data:
                    break
                shown += data
            while rest and (found := shown.find(rest[0][0], position)) >= 0:
                position = found + len(rest[0][0])
                os.write(terminal, rest.pop(0)[1])
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert not rest, shown.decode("utf-8", "replace")
        return code, shown

    def _environment(self) -> dict[str, str]:
        # Variables of the shell that started the tests must not affect the command.
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
        """The output of `toolkit show --json` for the newest run, or for the one that is named."""
        result = self.toolkit("show", *arguments, "--json")
        assert result.code == 0, result.err
        document: dict[str, Any] = json.loads(result.out)
        return document

    def volume(self) -> Path:
        """The default volume's folder."""
        return self.root / ".toolkit" / "volumes" / "toolkit"

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Waits until ``condition()`` is true."""
        until = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.05)

    def wait_for_output(self, text: str) -> None:
        """Waits until a step's output on the volume contains ``text``."""
        self.wait_for(
            lambda: any(text in log.read_text("utf-8", "replace") for log in self.volume().rglob("output.log"))
        )


def finish(process: subprocess.Popen[str], *signals: signal.Signals) -> Result:
    """Sends signals, one second apart, and waits until the command ends."""
    for position, number in enumerate(signals):
        if position:
            # Equal signals that have not been delivered yet become one, which can happen on a busy machine.
            time.sleep(1.0)
        process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    return Result(process.returncode, out, err)
