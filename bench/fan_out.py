"""A map of no-op items as containers beside raw `docker run` on as many workers, with the client's memory and the records' size."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.projects import console, project
from bench.raw import docker_run
from bench.turns import Broken, Side, environment, in_turn, seconds, show, show_ratio, show_times

ITEMS = 1000
BOUND = 1.0
MEMORY_BOUND = 150e6
RECORD_BOUND = 2000.0
_WARM = 2
_MAP = """\
from functions import nothing

from toolkit import Map, Pipeline, PythonTask

pipeline = Pipeline(
    name="fan-out",
    steps=[Map("items", branch=Pipeline(steps=[PythonTask(name="one", function=nothing)]), iterate_on="all", iterate_as="item")],
)
"""


def main(pairs: int) -> None:
    """The whole command, beside as many raw runs as the map has items, with one worker for each processor.

    Raises:
        Broken: a side did not run.
    """
    workers = os.cpu_count() or 1
    with project(_WARM) as root:
        (root / "fan_out.py").write_text(_MAP)
        raw = docker_run(root, _WARM)
        _whole(root, _WARM)
        memory: list[float] = []
        sizes: list[float] = []
        own = Side(f"toolkit run, a map of {ITEMS}", lambda: _measured(root, memory, sizes))
        other = Side(f"docker run --rm, {ITEMS} on {workers} workers", lambda: _parallel(raw, root, workers))
        figures = in_turn([own, other], pairs)
    show(f"fan-out: {ITEMS} items, {workers} workers", pairs)
    show_times(own.name, figures[0])
    show_times(other.name, figures[1])
    show_ratio("a map / raw runs side by side", figures[0], figures[1], BOUND)
    _show_bound("the client's memory", max(memory) / 1e6, MEMORY_BOUND / 1e6, "MB")
    _show_bound("the run log, a step", max(sizes), RECORD_BOUND, "bytes")


def _show_bound(name: str, value: float, bound: float, unit: str) -> None:
    print(
        f"  {name:<44} {value:.0f} {unit}  target under {bound:g}: {'met' if value < bound else 'MISSED'}", flush=True
    )


def _command(items: int, run_id: str) -> list[str]:
    listed = json.dumps(list(range(items)))
    return [console("toolkit"), "run", "fan_out.py", "--env", "local", "--run-id", run_id, "--param", f"all={listed}"]


def _whole(root: Path, items: int) -> None:
    seconds(_command(items, f"warm-{os.urandom(3).hex()}"), root)


def _measured(root: Path, memory: list[float], sizes: list[float]) -> float:
    """Runs the map once; adds the client's peak memory to ``memory``, and the bytes of records for each item to ``sizes``."""
    run_id = f"fan-{os.urandom(3).hex()}"
    began = time.monotonic()
    process = subprocess.Popen(
        _command(ITEMS, run_id), cwd=root, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Broken(f"the map ended with {process.returncode}\n{errors[-2000:].decode(errors='replace')}")
    memory.append(usage.ru_maxrss * (1024 if sys.platform != "darwin" else 1))
    [folder] = [record.parent for record in (root / ".toolkit" / "volumes").rglob(f"{run_id}/run.json")]
    sizes.append(sum(file.stat().st_size for file in (folder / "steps").rglob("*") if file.is_file()) / ITEMS)
    return taken


def _parallel(raw: list[str], root: Path, workers: int) -> float:
    def run_item(_: int) -> float:
        return seconds(raw, root)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(run_item, range(ITEMS)))
    return time.monotonic() - began
