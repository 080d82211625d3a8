"""A step beside 100,000 files: what the look at the files that it left adds to it, beside `find -cnewer` over the same files.

Target: the look adds at most three times what `find` takes, which is 0.3 s where it takes 0.1 s. A target that is missed is
printed, and nothing fails.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from bench.projects import chain_file, console, project
from bench.turns import Side, in_turn, run, seconds, show, show_ratio, show_times

FILES = 100_000
_IN_A_FOLDER = 1000
BOUND = 3.0
_NO_CATALOG = "catalog:\n  type: do-nothing\n"
"""What nothing could have kept is not looked for: so the same step runs without the look."""


def main(pairs: int) -> None:
    """The times are the step's own, by its records: from before the runtime reads the folder to after it has looked."""
    with project(1) as root:
        for number in range(FILES):
            folder = root / "data" / str(number // _IN_A_FOLDER)
            if number % _IN_A_FOLDER == 0:
                folder.mkdir(parents=True)
            (folder / f"{number}.txt").write_bytes(b"")
        (root / "without.yaml").write_text((root / "toolkit.yaml").read_text() + _NO_CATALOG)
        sides = [_step("toolkit.yaml", root), _step("without.yaml", root)]
        find = ["find", ".", "-type", "f", "-cnewer", "without.yaml"]
        sides.append(Side(" ".join(find[:2] + find[4:5]), lambda: seconds(find, root)))
        in_turn(sides, 1)
        looking, without, found = in_turn(sides, pairs)
    added = [more - less for more, less in zip(looking, without, strict=True)]
    show(f"look: a step in a container with {FILES:,} files in its folder", pairs)
    show_times("the step", looking)
    show_times("the step, whose catalog stores nothing", without)
    show_times(sides[2].name, found)
    show_times("what the look adds", added)
    show_ratio("what the look adds / find -cnewer", added, found, BOUND)


def _step(configuration: str, root: Path) -> Side:
    def measure() -> float:
        config = ["--config", configuration]
        run([console("toolkit"), "run", chain_file(1), "--env", "local", *config], root)
        shown = json.loads(run([console("toolkit"), "show", "--json", *config], root))
        attempt = shown["steps"][0]["attempts"][0]
        return (_time(attempt["ended"]) - _time(attempt["started"])).total_seconds()

    return Side(configuration, measure)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
