"""Process 1 of the node. It runs as a program, in mount, process and network namespaces that were just made for it.

Everything that the node starts is a descendant of this process. When it ends, the kernel ends daemons, containers and their
shims, and removes their mounts, bridges, rules and network namespaces. Nothing can be left behind.

The first line on standard input holds its settings. Each further line is an order: to start a daemon, or to keep the node. When
the input ends before the order to keep it, `up` was killed, and the node ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypedDict


class NodeSettings(TypedDict):
    """What process 1 needs to know of the node.

    Keys:
        state, logs, ended: folders: of all state, of the daemons' logs, and of the exit codes of daemons that ended.
        cgroups: the cgroups that process 1 joins.
        hide: folders of the machine over which an empty one is mounted; paths in ``keep`` stay visible.
        in_memory: folders that are kept in memory.
        environment: environment variables of the daemons.
        sysctls: values of the kernel that the kubelet must find, below /proc/sys.
        network: commands that make the node's network.
    """

    state: str
    logs: str
    ended: str
    cgroups: list[str]
    hide: list[str]
    keep: list[str]
    in_memory: list[str]
    environment: dict[str, str]
    sysctls: dict[str, int]
    network: list[list[str]]


def run(*command: str, descriptors: tuple[int, ...] = ()) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=descriptors)


def hide(folder: str, keep: list[str]) -> None:
    """Mount an empty folder over one of the machine's, because programs have paths in it compiled in; `keep` stays visible."""
    visible = sorted(path for path in keep if Path(folder) in Path(path).parents and os.path.exists(path))
    opened = [(path, os.open(path, os.O_PATH)) for path in visible]
    run("mount", "-t", "tmpfs", "-o", "mode=755", "toolkit-cluster", folder)
    for path, descriptor in opened:
        os.makedirs(path, exist_ok=True)
        # By descriptor, because the path now leads into the empty folder. -c keeps mount from resolving it.
        run("mount", "-c", "--rbind", f"/proc/self/fd/{descriptor}", path, descriptors=(descriptor,))
        os.close(descriptor)


def set_up(settings: NodeSettings) -> None:
    for folder in settings["cgroups"]:
        (Path(folder) / "cgroup.procs").write_text("0")  # this process, and all that it starts
    # Containers may ask for mounts of the node to be propagated to them. The propagation ends at this namespace.
    run("mount", "--make-rshared", "/")
    for folder in settings["hide"]:
        hide(folder, settings["keep"])
    for folder in settings["in_memory"]:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "toolkit-cluster", folder)
    os.environ.update(settings["environment"])
    # The kubelet requires certain values here, and would set them for the whole machine.
    for name, value in settings["sysctls"].items():
        path = Path("/proc/sys") / name
        if path.exists():
            stand_in = Path(settings["state"]) / "sysctl" / name.replace("/", ".")
            stand_in.parent.mkdir(exist_ok=True)
            stand_in.write_text(f"{value}\n")
            run("mount", "--bind", str(stand_in), str(path))
    for command in settings["network"]:
        run(*command)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # of this network namespace alone


class Daemons:
    def __init__(self, logs: Path, ended: Path) -> None:
        self.logs = logs
        self.ended = ended
        self.running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def start(self, name: str, command: list[str], descriptors: list[int]) -> None:
        with open(self.logs / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=descriptors,
                start_new_session=True,
            )
        self.running[process.pid] = (name, process)
        for descriptor in descriptors:
            os.close(descriptor)

    def reap(self) -> None:
        """Wait for all processes that have ended: the daemons, and orphans of containers' shims."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.running:
                name, process = self.running.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                (self.ended / name).write_text(str(process.returncode))


def main() -> None:
    wakeup, alarm = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(alarm, False)
    # Unbuffered, because the lines after the first are read from the descriptor.
    with open(0, "rb", buffering=0, closefd=False) as orders:
        settings: NodeSettings = json.loads(orders.readline())
    set_up(settings)
    daemons = Daemons(Path(settings["logs"]), Path(settings["ended"]))
    signal.set_wakeup_fd(alarm)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print("ready", flush=True)

    pending = b""
    sources = [wakeup, 0]
    while True:
        for source in select.select(sources, [], [])[0]:
            if source == wakeup:
                os.read(wakeup, 512)
                continue
            piece = os.read(0, 65536)
            pending += piece
            *lines, pending = pending.split(b"\n")
            for line in lines:
                order = json.loads(line)
                if order["do"] == "keep":
                    sources.remove(0)
                else:
                    daemons.start(order["name"], order["command"], order["descriptors"])
            if not piece and 0 in sources:
                sys.exit(1)  # `up` has ended without an order to keep the node
        daemons.reap()


if __name__ == "__main__":
    main()
