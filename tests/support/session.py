"""A user's session on a cluster: a project whose step runs the code in its parameter, and what its runs have on the cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.scratch import Result, Scratch
from tests.support.workplace import Workplace

READY = "ready"
SLEEP = f"print('{READY}', flush=True); time.sleep(1000)"
"""A step that waits, so that a test can act while it runs."""

FILES = {
    "functions.py": """\
import os, signal, subprocess, sys, time

def only(how: str):
    exec(how, globals())

def later(then: str = "pass"):
    exec(then, globals())
""",
    "one.py": """\
import functions
from toolkit import Pipeline, PythonTask

p = Pipeline(steps=[PythonTask(functions.only)])
""",
    "two.py": """\
import functions
from toolkit import Pipeline, PythonTask

p = Pipeline(steps=[PythonTask(functions.only), PythonTask(functions.later)])
""",
    "dated.py": """\
import time

import functions
from toolkit import Pipeline, PythonTask

p = Pipeline(steps=[PythonTask(functions.only), PythonTask(functions.later, name=f"later-{time.time_ns()}")])
""",
}


class Session:
    """A project and its runs in a workplace.

    Args:
        settings: for the name of each further configuration file, its executor.config.
    """

    def __init__(self, workplace: Workplace, scratch: Scratch, **settings: dict[str, Any]) -> None:
        self.workplace = workplace
        self.scratch = scratch
        scratch.write(FILES)
        self.configure("toolkit", {})
        for name, config in settings.items():
            self.configure(name, config)

    def configure(self, name: str, config: dict[str, Any]) -> None:
        """Writes a configuration file: the common settings, and ``config``."""
        executor = {"type": "argo", "config": {"grace_period_in_seconds": 2, **config}}
        self.scratch.write({f"{name}.yaml": json.dumps({"executor": executor})})

    def deliver(self) -> None:
        """Delivers the image once, so that runs side by side do not each deliver it."""
        cluster = self.workplace.cluster
        options = ("--push",) if cluster.foreign else ("--load", "--node", str(cluster.containerd))
        built = self.scratch.toolkit("build", *options)
        assert built.code == 0, built.err

    def elsewhere(self, folder: Path) -> Scratch:
        """A copy of the project for another client, without the local state of its runs."""
        root = folder / self.scratch.root.name
        shutil.copytree(self.scratch.root, root, ignore=shutil.ignore_patterns(".toolkit"))
        return Scratch(root, dict(self.scratch.environ))

    # --- the command line -------------------------------------------------------------------------------------------

    def start(
        self, run_id: str, how: str = "pass", *options: str, pipeline: str = "one.py", config: str = "toolkit"
    ) -> subprocess.Popen[str]:
        """Starts `toolkit run` in the background."""
        return self.scratch.start(*self.command(run_id, how, pipeline, config), *options)

    def run(
        self, run_id: str, how: str = "pass", *options: str, pipeline: str = "one.py", config: str = "toolkit"
    ) -> Result:
        """Runs `toolkit run` to its end."""
        return self.scratch.toolkit(*self.command(run_id, how, pipeline, config), *options)

    @staticmethod
    def scratch_command(*arguments: str) -> list[str]:
        """A `toolkit` command whose output is bytes."""
        return [sys.executable, "-m", "toolkit", *arguments]

    @staticmethod
    def command(run_id: str, how: str, pipeline: str = "one.py", config: str = "toolkit") -> list[str]:
        return ["run", pipeline, "--config", f"{config}.yaml", "--run-id", run_id, "--param", f"how={json.dumps(how)}"]

    def apply(
        self,
        run_id: str,
        how: str = "pass",
        pipeline: str = "two.py",
        config: str = "toolkit",
        change: Callable[[str], str] = lambda text: text,
    ) -> None:
        """Submits a run with kubectl, which checks nothing before.

        Args:
            change: changes the manifest.
        """
        compiled = self.scratch.toolkit("compile", *self.command(run_id, how, pipeline, config)[1:])
        assert compiled.code == 0, compiled.err
        self.workplace.kubectl("create", "-f", "-", text=change(compiled.out))

    # --- the cluster ------------------------------------------------------------------------------------------------

    def pods(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """The pods of a run, or all pods of the namespace."""
        labels = [] if run_id is None else ["-l", f"workflows.argoproj.io/workflow={run_id}"]
        items: Any = self.workplace.get("pods", *labels)["items"]
        return list(items)

    def running(self, run_id: str | None = None) -> list[str]:
        """The name and phase of each pod that has not ended."""
        return [
            f"{pod['metadata']['name']} {pod['status']['phase']}"
            for pod in self.pods(run_id)
            if pod["status"]["phase"] not in ("Succeeded", "Failed")
        ]

    def pod(self, run_id: str, task: str, attempt: int = 1) -> str:
        """Waits for the pod of an attempt; returns its name."""
        names: list[str] = []

        def look() -> bool:
            names[:] = [
                pod["metadata"]["name"]
                for pod in self.pods(run_id)
                if pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"].partition("(")[0]
                == f"{run_id}.{task}"
                and pod["metadata"]["annotations"]["dev.toolkit/attempt"] == str(attempt)
            ]
            return bool(names)

        self.scratch.wait_for(look)
        return names[0]

    def wait_for_output(self, run_id: str, text: str = READY, task: str = "only", attempt: int = 1) -> str:
        """Waits until an attempt has written ``text``; returns the name of its pod."""
        pod = self.pod(run_id, task, attempt)

        def look() -> bool:
            if self.workplace.folder is not None:
                log = self.workplace.folder / "run_log_store" / run_id / "steps" / task / str(attempt) / "output.log"
                return log.exists() and text in log.read_text("utf-8", "replace")
            where = ("-n", self.workplace.namespace)
            return text in self.workplace.cluster.run(*where, "logs", pod, "-c", "main").stdout

        self.scratch.wait_for(look)
        return pod

    def delete_workflows(self) -> None:
        """Deletes all Workflows, and waits until the objects that they own are removed."""
        self.workplace.kubectl("delete", "workflows.argoproj.io", "--all", "--wait=false")
        self.scratch.wait_for(lambda: not self.left())

    def left(self) -> list[str]:
        """The names of all Workflows, ConfigMaps and pods in the namespace."""
        listed = self.workplace.kubectl("get", "workflows,configmaps,pods", "-o", "name").split()
        return [name for name in listed if name != "configmap/kube-root-ca.crt"]


def is_ended(process: subprocess.Popen[str]) -> Callable[[], bool]:
    """A condition that is true when a command has ended."""
    return lambda: process.poll() is not None
