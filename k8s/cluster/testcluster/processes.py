"""The node's processes: starting the node, finding it again later, ending it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .init import NodeSettings
from .places import Failed, logs, state

END_LIMIT = 20.0  # seconds for the kernel to end all processes of the node


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None when it has ended. Time and number identify a process of this boot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    # A zombie counts as ended.
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found


# --- what is recorded ---------------------------------------------------------------------------------------------------


def record_file() -> Path:
    return state() / "processes.json"


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file under a temporary name with its final mode, then rename it: no reader sees a part of it, or another mode."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def remember(pids: list[int]) -> None:
    recorded = {str(pid): start_time(pid) for pid in pids}
    write_whole(record_file(), json.dumps({"boot": boot_id(), "processes": recorded}))


def alive() -> list[int]:
    """The recorded processes that still run. After a reboot there are none, and a reused number does not count."""
    try:
        record = json.loads(record_file().read_text())
        if record["boot"] != boot_id():
            return []
        return [int(pid) for pid, started in record["processes"].items() if started and start_time(int(pid)) == started]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def ended_daemons() -> dict[str, str]:
    """Which of the node's daemons have ended, with what code."""
    folder = state() / "ended"
    try:
        return {path.name: path.read_text() for path in sorted(folder.iterdir())}
    except OSError:
        return {}


# --- starting -----------------------------------------------------------------------------------------------------------


class Node:
    """The node while it starts. If this process ends before `keep`, the node ends as well."""

    def __init__(self, settings: NodeSettings, descriptors: list[int], limit: float = 20.0) -> None:
        init = Path(__file__).with_name("init.py")
        self.log = logs() / "node.log"
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=slave"]
        with open(self.log, "wb") as log:
            self.outer = subprocess.Popen(
                # -I -S: process 1 needs the standard library alone, and none of the caller's Python settings.
                ["unshare", *namespaces, "--", sys.executable, "-I", "-S", str(init)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                pass_fds=descriptors,
                start_new_session=True,
            )
        # Recorded before its child is known, so that `down` can end it at any time.
        remember([self.outer.pid])
        self.send(settings)
        self.wait_until_ready(limit)
        remember([self.outer.pid, *children(self.outer.pid)])

    def wait_until_ready(self, limit: float) -> None:
        assert self.outer.stdout is not None
        os.set_blocking(self.outer.stdout.fileno(), False)
        end = time.monotonic() + limit
        while time.monotonic() < end and self.outer.poll() is None:
            if self.outer.stdout.read():
                return
            time.sleep(0.02)
        raise Failed(f"the node's namespaces could not be set up; see {self.log}")

    def send(self, order: Mapping[str, object]) -> None:
        assert self.outer.stdin is not None
        try:
            self.outer.stdin.write(json.dumps(order).encode() + b"\n")
            self.outer.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(f"the node's first process ended; see {self.log}") from error

    def start(self, name: str, command: list[str], descriptors: list[int] | None = None) -> None:
        self.send({"do": "start", "name": name, "command": command, "descriptors": descriptors or []})

    def keep(self) -> None:
        self.send({"do": "keep"})


def wait_until(event: str, limit: float, log: str, check: Callable[[], bool]) -> None:
    """Wait until a check is true.

    Args:
        event: what is waited for, in the past tense.
        limit: in seconds.
        log: the name of the log to look at.

    Raises:
        Failed: a daemon or the node has ended, or the limit is reached.
    """
    end = time.monotonic() + limit
    while not check():
        for name, code in ended_daemons().items():
            raise Failed(f"{name} ended with {code} before {event}; its log is {logs() / name}.log")
        if not alive():
            raise Failed(f"the node ended before {event}; see {logs() / 'node.log'}")
        if time.monotonic() > end:
            raise Failed(f"{event}: not within {limit:.0f} s; see {logs() / log}.log")
        time.sleep(0.1)


# --- ending -------------------------------------------------------------------------------------------------------------


def end_node() -> None:
    """End the recorded processes. With process 1, the kernel ends everything in the node's process namespace."""
    pids = alive()
    for pid in reversed(pids):  # process 1 first: its parent only waits for it
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + END_LIMIT
    while alive():
        if time.monotonic() > end:
            raise Failed(f"the node's process {pids[-1]} does not end")
        time.sleep(0.02)
