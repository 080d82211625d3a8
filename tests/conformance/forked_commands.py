"""Runs several `toolkit` commands with one start of Python: each is a fork of a process that has imported their modules.

    python -m tests.conformance.forked_commands <QUESTIONS >ANSWERS

Most of the time of a short command is spent on imports (half a second for a cluster), and the suite calls many commands after its
runs. The records of runs on a cluster are fetched first, by one pod for all of them, because each command would need its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTS = ("toolkit.__main__", "toolkit.cli.main", "toolkit.cli.show", "toolkit.cli.logs", "toolkit.cli.diff")
OF_A_CLUSTER = ("toolkit.runs.cluster_runs", "kubernetes.client")
"""Modules whose import reads the environment. So a question about a cluster has the environment that this process started with."""


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Runs one command in a process of its own; returns its exit code and both streams."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.chdir(question["folder"])
                os.environ.clear()
                os.environ.update(question["environ"])
                sys.argv = ["toolkit", *question["arguments"]]
                import_module("toolkit.__main__").main()
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return {"code": code, "out": texts[0], "err": texts[1]}


def fetch(runs: list[dict[str, str]]) -> None:
    """Fetches runs from one cluster, as their commands would, but through one pod: that of the first project."""
    from toolkit.config.load import load
    from toolkit.runs.find import RunSource, open_remote

    def open_project(folder: str) -> Any:
        os.chdir(folder)
        return open_remote(load(None, Path(folder)), RunSource("argo"), lambda sentence: None)

    with open_project(runs[0]["folder"]).reader(None) as pod:
        for run in runs:
            remote = open_project(run["folder"])
            # The pod is shared, so no run closes it.
            remote.reader = lambda record: nullcontext(pod)
            try:
                remote.run(run["run"], logs=True)
            except Exception as error:
                # The command about this run reports what is wrong.
                print(f"{run['run']}: {error}", file=sys.stderr)


def in_a_fork(function: Callable[[], None]) -> None:
    """Calls the function in a process of its own, because connections and threads do not survive later forks."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    """Answers the questions on standard input."""
    request = json.load(sys.stdin)
    for name in (*IMPORTS, *(OF_A_CLUSTER if request["runs"] else ())):
        import_module(name)
    if request["runs"]:
        in_a_fork(lambda: fetch(request["runs"]))
    json.dump([answer(question) for question in request["questions"]], sys.stdout)


if __name__ == "__main__":
    main()
