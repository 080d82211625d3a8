"""Several `toolkit` commands for one start of Python: each is a fork of a process that has imported what they need, no more.

    python -m tests.conformance.asking <QUESTIONS >ANSWERS

Most of what a short command takes is imports, half a second of them for a cluster, and the suite asks many after its runs. Of runs
on a cluster the records are fetched first, by one pod for all of them; a command that does it for its own run has a pod of its own.
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
"""Whose import looks at the environment: a question about a cluster has the environment that this was started in."""


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """One command in a process of its own: its exit code and both streams."""
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
    """Fetches runs from one cluster as their commands would, but through one pod, which is that of the first project."""
    from toolkit.config.load import load
    from toolkit.runs.find import RunSource, open_remote

    def opened(folder: str) -> Any:
        os.chdir(folder)
        return open_remote(load(None, Path(folder)), RunSource("argo"), lambda sentence: None)

    with opened(runs[0]["folder"]).reader(None) as pod:
        for one in runs:
            remote = opened(one["folder"])
            # Whoever leaves it does not end it.
            remote.reader = lambda record: nullcontext(pod)
            try:
                remote.run(one["run"], logs=True)
            except Exception as error:
                # The command that asks for it says what is wrong.
                print(f"{one['run']}: {error}", file=sys.stderr)


def in_a_fork(do: Callable[[], None]) -> None:
    """Calls it in a process of its own, since connections and threads don't outlive a fork."""
    child = os.fork()
    if child == 0:
        try:
            do()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    """Answers what standard input asks."""
    asked = json.load(sys.stdin)
    for name in (*IMPORTS, *(OF_A_CLUSTER if asked["runs"] else ())):
        import_module(name)
    if asked["runs"]:
        in_a_fork(lambda: fetch(asked["runs"]))
    json.dump([answer(one) for one in asked["questions"]], sys.stdout)


if __name__ == "__main__":
    main()
