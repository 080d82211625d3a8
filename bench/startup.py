"""Without a container: `--env process` and `toolkit --help` beside bare Python of the same interpreter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.projects import console, project, toolkit_run
from bench.turns import Side, in_turn, seconds, show, show_difference, show_ratio, show_times

STEPS = 100
STEP_BOUND = 3.0
HELP_BOUND = 4.0
DATA_STEPS = 10
DATA = 1_000_000_000
DATA_BOUND = 0.2
_REPEATED = 20
"""How many runs make one figure of a short command."""


def main_process(pairs: int) -> None:
    """What one more step adds to a chain, and the time of the whole command for each step, which includes the start."""
    with project(1, STEPS) as root:
        bare = _bare(root)
        chain, one_step = (_whole(steps, root) for steps in (STEPS, 1))
        one_step.measure()
        whole, single, floor = in_turn([chain, one_step, bare], pairs)
    added = [(long - short) / (STEPS - 1) for long, short in zip(whole, single, strict=True)]
    share = [long / STEPS for long in whole]
    show(f"process: {STEPS} steps as plain processes of the same interpreter", pairs)
    show_times(bare.name, floor)
    show_times(chain.name, whole)
    show_times(one_step.name, single)
    show_times(f"what a step adds: ({STEPS} steps - 1 step) / {STEPS - 1}", added)
    show_times(f"a step's share: {STEPS} steps / {STEPS}", share)
    show_ratio("what a step adds / bare Python", added, floor, STEP_BOUND)
    show_ratio("a step's share / bare Python", share, floor, STEP_BOUND)


def main_data(pairs: int) -> None:
    """What 1 GB of files in the project adds to a step. Where the file system can't share them, it is the time of a copy."""
    with project(DATA_STEPS) as root, project(DATA_STEPS) as other:
        for number in range(10):
            with open(root / f"data-{number}.bin", "wb") as file:
                for _ in range(DATA // 10_000_000):
                    file.write(b"x" * 1_000_000)
        sides = [
            Side(f"toolkit run, {DATA_STEPS} steps {what}: a step", partial(_each_step, folder))
            for what, folder in (("beside 1 GB", root), ("beside no data", other))
        ]
        figures = in_turn(sides, pairs)
    show(f"data: {DATA_STEPS} steps as plain processes in a project with 1 GB of data", pairs)
    for side, times in zip(sides, figures, strict=True):
        show_times(side.name, times)
    show_difference("what 1 GB adds to a step", figures[0], figures[1], DATA_BOUND)


def _each_step(root: Path) -> float:
    return seconds(toolkit_run(DATA_STEPS, "process"), root, parts=DATA_STEPS)


def main_help(pairs: int) -> None:
    """The console script's `--help`."""
    with project() as root:
        own = _repeated("toolkit --help", [console("toolkit"), "--help"], root)
        bare = _bare(root)
        own.measure()
        figures = in_turn([own, bare], pairs)
    show("help: the console script beside bare Python", pairs)
    show_times(own.name, figures[0])
    show_times(bare.name, figures[1])
    show_ratio("toolkit --help / bare Python", figures[0], figures[1], HELP_BOUND)


def _bare(root: Path) -> Side:
    return _repeated("python3 -c pass", [sys.executable, "-c", "pass"], root)


def _repeated(name: str, command: Sequence[str], root: Path) -> Side:
    return Side(name, lambda: sum(seconds(command, root) for _ in range(_REPEATED)) / _REPEATED)


def _whole(steps: int, root: Path) -> Side:
    count = f"{steps} steps" if steps > 1 else "1 step"
    return Side(f"toolkit run, {count}: all of it", lambda: seconds(toolkit_run(steps, "process"), root))
