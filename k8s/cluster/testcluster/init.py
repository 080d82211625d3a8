"""Process 1 of the node. It runs alone, in mount, process and network namespaces that were just made for it.

Whatever the node starts is a descendant of this process, so that its end is the end of them all: of daemons, containers
and their shims, of mounts, bridges, rules and network namespaces. Nothing of that can be left behind.

The first line on standard input is its settings. Each further one starts a daemon, until one says that the start went
well; the end of the input before that means that `up` was killed, and ends the node.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(*command: str, descriptors: tuple[int, ...] = ()) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=descriptors)


def hide(folder: str, keep: list[str]) -> None:
    """Put an empty folder over one of the machine's, because some paths in it can't be set; `keep` stays to be seen."""
    below = sorted(path for path in keep if Path(folder) in Path(path).parents and os.path.exists(path))
    opened = [(path, os.open(path, os.O_PATH)) for path in below]
    run("mount", "-t", "tmpfs", "-o", "mode=755", "toolkit-cluster", folder)
    for path, descriptor in opened:
        os.makedirs(path, exist_ok=True)
        # By descriptor, and not made canonical: the path alone leads into the empty folder by now.
        run("mount", "-c", "--rbind", f"/proc/self/fd/{descriptor}", path, descriptors=(descriptor,))
        os.close(descriptor)


def set_up(settings: dict[str, Any]) -> None:
    for folder in settings["cgroups"]:
        (Path(folder) / "cgroup.procs").write_text("0")  # this process, and with it all that it starts
    # Containers may ask that mounts on the node reach them; it all ends at this namespace.
    run("mount", "--make-rshared", "/")
    for folder in settings["hide"]:
        hide(folder, settings["keep"])
    for folder in settings["in_memory"]:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "toolkit-cluster", folder)
    os.environ.update(settings["environment"])
    # The kubelet wants these to have certain values and would set them for the whole machine.
    for name, value in settings["sysctls"].items():
        path = Path("/proc/sys") / name
        if path.exists():
            stand_in = Path(settings["state"]) / "sysctl" / name.replace("/", ".")
            stand_in.parent.mkdir(exist_ok=True)
            stand_in.write_text(f"{value}\n")
            run("mount", "--bind", str(stand_in), str(path))
    for command in settings["network"]:
        run(*command)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # this namespace's own


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
        """Wait for all that ended: our own, and what containers' shims left to process 1."""
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
    # Unbuffered: what follows the first line is read from the descriptor itself.
    with open(0, "rb", buffering=0, closefd=False) as orders:
        settings = json.loads(orders.readline())
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
                sys.exit(1)  # nobody is left who would say that the start went well
        daemons.reap()


if __name__ == "__main__":
    main()
