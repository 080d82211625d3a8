"""A chain of no-op python steps as containers: beside raw `docker run`, and beside a chain ten times as long."""

from __future__ import annotations

from pathlib import Path

from bench.projects import project, toolkit_run
from bench.raw import docker_run
from bench.turns import Side, in_turn, seconds, show, show_ratio, show_times

STEPS = 20
LONG = 200
RAW_BOUND = 0.7
LONG_BOUND = 12.0


def main(pairs: int) -> None:
    """The time of the whole command for each step, beside as many raw runs as the chain has steps."""
    with project(STEPS) as root:
        raw = docker_run(root, STEPS)
        own = Side(
            f"toolkit run, {STEPS} steps: a step", lambda: seconds(toolkit_run(STEPS, "local"), root, parts=STEPS)
        )
        other = Side("docker run --rm", lambda: sum(seconds(raw, root) for _ in range(STEPS)) / STEPS)
        figures = in_turn([own, other], pairs)
    show(f"chain: {STEPS} steps as containers beside {STEPS} raw runs", pairs)
    show_times(own.name, figures[0])
    show_times(other.name, figures[1])
    show_ratio("a step / docker run", figures[0], figures[1], RAW_BOUND)


def main_long(pairs: int) -> None:
    """The time of a chain of ten times as many steps."""
    with project(STEPS, LONG) as root:
        sides = [_whole(steps, root) for steps in (LONG, STEPS)]
        for side in sides[::-1]:
            side.measure()  # builds the image and describes both pipelines
        figures = in_turn(sides, pairs)
    show(f"chain-{LONG}: {LONG} steps beside {STEPS}, as containers", pairs)
    for side, times in zip(sides, figures, strict=True):
        show_times(side.name, times)
    show_ratio(f"{LONG} steps / {STEPS} steps", figures[0], figures[1], LONG_BOUND)


def _whole(steps: int, root: Path) -> Side:
    return Side(f"toolkit run, {steps} steps: all of it", lambda: seconds(toolkit_run(steps, "local"), root))
