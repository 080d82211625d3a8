"""The raw side: `docker run --rm` with the options of a step's container, which are read from a container of a real run."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from bench.projects import toolkit_run
from bench.turns import Broken, environment, run

EngineObject = dict[str, Any]
"""An object of the Docker engine, as its API has it in JSON."""

_PATIENCE = 600.0
_NOTHING = ("python3", "-c", "pass")


def docker_run(root: Path, steps: int) -> list[str]:
    """`docker run --rm … IMAGE python3 -c pass` with the image, user, init, limits, labels and network of a step.

    They are read from the engine while the chain of that length runs, so the two sides stay alike when toolkit changes its
    options. That run warms all caches. Mounts, capabilities and log settings are left out, in favour of the raw side.

    Raises:
        Broken: the run failed, or the engine listed none of its containers.
    """
    run_id = f"bench-{uuid.uuid4().hex[:12]}"
    command = [*toolkit_run(steps, "local"), "--run-id", run_id]
    warm = subprocess.Popen(
        command,
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        container = _inspect_container(warm, run_id)
        _, errors = warm.communicate(timeout=_PATIENCE)
    finally:
        if warm.poll() is None:
            warm.terminate()
            warm.wait()
    if warm.returncode != 0:
        last = "\n".join(f"    {line}" for line in errors.splitlines()[-15:])
        raise Broken(f"`{' '.join(command[1:5])}` ended with exit code {warm.returncode}\n{last}")
    if container is None:
        raise Broken("no container of the warm-up run was seen, so there is nothing to compare with")
    return ["docker", "run", "--rm", *_options(container), container["Config"]["Image"], *_NOTHING]


def _inspect_container(warm: subprocess.Popen[str], run_id: str) -> EngineObject | None:
    """One of the run's containers as the engine describes it; None when the run ended before one was listed."""
    listing = ["docker", "ps", "--quiet", "--filter", f"label=dev.toolkit.run={run_id}"]
    until = time.monotonic() + _PATIENCE
    while warm.poll() is None and time.monotonic() < until:
        for container_id in run(listing, Path.cwd()).split():
            try:
                inspected: EngineObject = json.loads(run(["docker", "inspect", container_id], Path.cwd()))[0]
                return inspected
            except Broken:
                # It has ended since it was listed; the run makes others.
                continue
        time.sleep(0.05)
    return None


def _options(container: EngineObject) -> list[str]:
    host, config = container["HostConfig"], container["Config"]
    options = ["--user", config["User"], "--network", host["NetworkMode"]]
    if host.get("Init"):
        options.append("--init")
    for option, key in (("--pids-limit", "PidsLimit"), ("--memory", "Memory"), ("--memory-swap", "MemorySwap")):
        if host.get(key):
            options += [option, str(host[key])]
    if host.get("NanoCpus"):
        options += ["--cpus", str(host["NanoCpus"] / 1e9)]
    for name, value in sorted((config.get("Labels") or {}).items()):
        # Under another name of the same length, because a run removes containers of toolkit whose client has ended.
        options += ["--label", f"{name.replace('dev.toolkit.', 'dev.rawside.')}={value}"]
    return options
