"""The raw side: `docker run --rm` with what a step's container has, read off a container of a real run."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from bench.projects import toolkit_run
from bench.turns import Broken, environment, run

_PATIENCE = 600.0
_NOTHING = ("python3", "-c", "pass")


def docker_run(root: Path, steps: int) -> list[str]:
    """`docker run --rm … IMAGE python3 -c pass` with the image, user, init, limits, labels and network of a step.

    They are read off the engine while the chain of that length runs, which warms all caches as well; so the two sides
    stay alike whatever the program comes to set. Mounts, capabilities and log settings are left out: they cost the raw
    side nothing, then.

    Raises:
        Broken: the run failed, or none of its containers was seen.
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
        found = _container(warm, run_id)
        _, said = warm.communicate(timeout=_PATIENCE)
    finally:
        if warm.poll() is None:
            warm.terminate()
            warm.wait()
    if warm.returncode != 0:
        last = "\n".join(f"    {line}" for line in said.splitlines()[-15:])
        raise Broken(f"`{' '.join(command[1:5])}` ended with exit code {warm.returncode}\n{last}")
    if found is None:
        raise Broken("no container of the warm-up run was seen, so there is nothing to compare with")
    return ["docker", "run", "--rm", *_options(found), found["Config"]["Image"], *_NOTHING]


def _container(warm: subprocess.Popen[str], run_id: str) -> dict[str, Any] | None:
    listing = ["docker", "ps", "--quiet", "--filter", f"label=dev.toolkit.run={run_id}"]
    until = time.monotonic() + _PATIENCE
    while warm.poll() is None and time.monotonic() < until:
        for container in run(listing, Path.cwd()).split():
            try:
                inspected: dict[str, Any] = json.loads(run(["docker", "inspect", container], Path.cwd()))[0]
                return inspected
            except Broken:
                # It ended in between; there is a next one.
                continue
        time.sleep(0.05)
    return None


def _options(container: dict[str, Any]) -> list[str]:
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
        # Under another name of the same length: a run removes the containers of ours whose client is gone.
        options += ["--label", f"{name.replace('dev.toolkit.', 'dev.rawside.')}={value}"]
    return options
