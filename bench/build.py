"""`toolkit build` beside one raw `docker run` and BuildKit's own rebuild, in turn, with numpy and pandas in the lock.

Bounds: a build without changes takes at most 0.5 of a raw `docker run`. A build after one changed line takes at most 1.2 of it,
and at most 0.8 of BuildKit's `FROM env` + `COPY` with a warm cache. A bound that is missed is printed, and nothing fails.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from toolkit.build.environment.buildkit import find_build_client
from toolkit.engine import EngineApi

PAIRS = 7
BUILD = (sys.executable, "-m", "toolkit", "build")

_PYPROJECT = """\
[project]
name = "demo"
version = "1"
requires-python = ">=3.9"
dependencies = ["numpy", "pandas"]
"""


def main(build: Sequence[str] = BUILD, pairs: int = PAIRS) -> int:
    repository = f"toolkit-bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            _measure(Path(folder) / "project", repository, build, pairs)
        finally:
            _remove(repository)
    return 0


def _measure(root: Path, repository: str, build: Sequence[str], pairs: int) -> None:
    root.mkdir()
    (root / "pyproject.toml").write_text(_PYPROJECT)
    (root / "app.py").write_text("VALUE = 0\n")
    (root / "toolkit.yaml").write_text(f"executor:\n  type: local\n  config:\n    image: {repository}\n")
    subprocess.run(["uv", "lock", "-q"], cwd=root, check=True)

    def run_build() -> str:
        done = subprocess.run(
            [*build], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        )
        return done.stdout.strip()

    image = run_build()
    raw = EngineApi()
    digest = (raw.image(image) or {})["Config"]["Labels"]["dev.toolkit.environment"]
    environment = next(entry["RepoTags"][0] for entry in raw.json("/images/json") if entry["Id"] == digest)
    rebuild = _buildkit(root.parent / "buildkit", environment, repository)
    counter = iter(range(1, 1000))

    def docker_run() -> None:
        subprocess.run(["docker", "run", "--rm", image, "true"], check=True)

    def changed() -> None:
        (root / "app.py").write_text(f"VALUE = {next(counter)}\n")
        run_build()

    rebuild(next(counter))
    unchanged = _in_turn([run_build, docker_run], pairs)
    change = _in_turn([changed, docker_run, lambda: rebuild(next(counter))], pairs)
    print(f"{pairs} times in turn; seconds as median (least to most)")
    _print("toolkit build, unchanged", unchanged[0], ("docker run", unchanged[1], 0.5))
    _print(
        "toolkit build, one changed line",
        change[0],
        ("docker run", change[1], 1.2),
        ("BuildKit FROM + COPY", change[2], 0.8),
    )


def _buildkit(context: Path, environment: str, repository: str) -> Callable[[int], None]:
    """A rebuild without toolkit: a Dockerfile on the same environment image, with the engine's own cache."""
    client = find_build_client(EngineApi().endpoint)
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {environment}\nCOPY . /workspace\n")

    def rebuild(number: int) -> None:
        command = [*client.command, "--quiet", "--tag", f"{repository}:buildkit-{number}", str(context)]
        (context / "app.py").write_text(f"VALUE = {number}\n")
        subprocess.run(command, env=os.environ | client.settings, stdout=subprocess.DEVNULL, check=True)

    return rebuild


def _in_turn(actions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """The times of each action, in seconds. A first round, which is not counted, warms all caches."""
    times: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        for action, seconds in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            if number:
                seconds.append(time.perf_counter() - start)
    return times


def _print(name: str, own: list[float], *others: tuple[str, list[float], float]) -> None:
    print(f"{name}: {_spread(own)}")
    for other, seconds, bound in others:
        ratio = statistics.median(own) / statistics.median(seconds)
        ratios = sorted(first / second for first, second in zip(own, seconds, strict=True))
        print(
            f"  of {other} {_spread(seconds)}: {ratio:.2f} (pairs {ratios[0]:.2f} to {ratios[-1]:.2f}; bound {bound})"
        )


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def _remove(repository: str) -> None:
    raw = EngineApi()
    for image in raw.json("/images/json") or []:
        for tag in image.get("RepoTags") or []:
            if tag.startswith(f"{repository}:"):
                raw.call("DELETE", f"/images/{tag}?force=true")


if __name__ == "__main__":
    raise SystemExit(main())
