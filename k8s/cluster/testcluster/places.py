"""The cluster's folders, files and locks, its messages, and its one error."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CONTEXT = "toolkit-test"
NODE = "toolkit-node"

HERE = Path(__file__).resolve().parents[1]  # k8s/cluster
GO = HERE / "go"
ARGO_SETTINGS = HERE.parent / "argo"


class Failed(Exception):
    """The command failed. The message is one sentence that says why, and where to look."""


def say(text: str) -> None:
    """Prints one step on standard error; standard output is for the results of `status --json` and `build`."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def base_folder(variable: str, default: str) -> Path:
    """toolkit's folder below one of the XDG base folders."""
    return Path(os.environ.get(variable) or Path.home() / default).absolute() / "toolkit"


def cache() -> Path:
    """The folder of the built programs, which all checkouts share."""
    return base_folder("XDG_CACHE_HOME", ".cache") / "cluster"


def state() -> Path:
    """The folder of the cluster's state; without a cluster it does not exist."""
    return base_folder("XDG_STATE_HOME", ".local/state") / "cluster"


def kubeconfig() -> Path:
    return state() / "kubeconfig"


def logs() -> Path:
    return state() / "logs"


def containerd_socket() -> Path:
    return state() / "containerd.sock"


def volumes() -> Path:
    return state() / "volumes"


def cgroup() -> str:
    """The name of the node's cgroup, which is another for each state folder."""
    return f"toolkit-cluster-{hashlib.sha256(str(state()).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def alone(lock: Path, waiting: str) -> Iterator[None]:
    """Hold the lock; print ``waiting`` when another process has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def state_lock() -> Path:
    """The lock of the state folder. It lies beside the folder, because `down` removes the folder while it holds the lock."""
    return state().with_name("cluster.lock")
