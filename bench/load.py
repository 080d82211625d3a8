"""`toolkit build --load` into a containerd of the bench's own, beside one raw `docker run` and the plain build, in turn.

Target: after one changed line, loading the image into a node adds at most 0.5 of a raw `docker run` to the build. A target that
is missed is printed, and nothing fails.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.projects import console, project
from bench.turns import Broken, Side, environment, in_turn, run, seconds, show, show_ratio, show_times

_PATIENCE = 30.0
_ADDED = 0.5

_CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[ttrpc]
address = "{folder}/ttrpc.sock"
[debug]
address = ""
"""


def main(pairs: int) -> None:
    """Prints the figures.

    Raises:
        Broken: a side did not run, or there is no containerd, which needs root.
    """
    with node() as address, project(1) as root:
        (root / "app.py").write_text("VALUE = 0\n")
        build = [console("toolkit"), "build"]
        load = [*build, "--load", "--node", address]
        image = run(load, root).strip()
        counter = iter(range(1, 10_000))

        def changed(command: list[str]) -> float:
            (root / "app.py").write_text(f"VALUE = {next(counter)}\n")
            return seconds(command, root)

        raw = Side("docker run --rm IMAGE true", lambda: seconds(["docker", "run", "--rm", image, "true"], root))
        built = Side("build, one changed line", lambda: changed(build))
        loaded = Side("build --load, one changed line", lambda: changed(load))
        sides = [raw, built, loaded]
        in_turn(sides, 1)
        show("build --load into a containerd node", pairs)
        figures = in_turn(sides, pairs)
        run(load, root)
        figures.append([seconds(load, root) for _ in range(pairs)])
        for name, times in zip([*(side.name for side in sides), "build --load, unchanged"], figures, strict=True):
            show_times(name, times)
        show_ratio("build --load / docker run", figures[2], figures[0], None)
        base = statistics.median(figures[1])
        show_ratio("what --load adds / docker run", [time - base for time in figures[2]], figures[0], _ADDED)


@contextmanager
def node() -> Iterator[str]:
    """An empty containerd; yields the path of its socket.

    Raises:
        Broken: it can't be started.
    """
    program = shutil.which("containerd")
    if program is None or shutil.which("ctr") is None or os.geteuid() != 0:
        raise Broken("a containerd of the bench's own needs containerd, ctr and root")
    with tempfile.TemporaryDirectory(prefix="toolkit-node-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "config.toml").write_text(_CONTAINERD.format(folder=folder))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "--config", str(folder / "config.toml")], stdout=log, stderr=log, env=environment()
            )
        address = str(folder / "containerd.sock")
        try:
            _wait(process, address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    question = ["ctr", "--address", address, "--connect-timeout", "1s", "namespaces", "ls"]
    while subprocess.run(question, capture_output=True).returncode != 0:
        if process.poll() is not None or time.monotonic() > until:
            raise Broken(f"containerd does not start: {log.read_text(errors='replace')[-400:]}")
        time.sleep(0.1)
