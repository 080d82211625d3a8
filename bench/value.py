"""A returned value of 20 MB: what returning it adds to a plain process, beside json.dumps of the same value."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.projects import console, project
from bench.turns import Side, in_turn, run, seconds, show, show_ratio, show_times

BOUND = 2.0
_ROWS = 210_000
_MAKE = (
    "def rows():\n    return [{'id': n, 'name': f'person {n}', 'score': n / 7, 'ok': n % 2 == 0, 'tags': ['a', 'b']} "
    f"for n in range({_ROWS})]\n"
)
_PIPELINES = {
    "returned.py": "def step():\n    return rows()\n",
    "dropped.py": "def step():\n    rows()\n    return 0\n",
}
_HEAD = "from toolkit import Pipeline, PythonTask\n\n"
_TAIL = "\npipeline = Pipeline(steps=[PythonTask(step, returns=['value'])])\n"


def main(pairs: int) -> None:
    """What the return adds: a run whose step returns the value, less a run whose step makes it and returns a number."""
    with project() as root:
        for name, body in _PIPELINES.items():
            (root / name).write_text(_HEAD + _MAKE + "\n" + body + _TAIL)
        (root / "dumps.py").write_text(_MAKE + "import json, time\nvalue = rows()\nbegan = time.monotonic()\n"
                                       "json.dumps(value)\nprint(time.monotonic() - began)\n")  # fmt: skip
        sides = [_run(name, root) for name in _PIPELINES]
        sides.append(Side("json.dumps", lambda: float(run([sys.executable, "dumps.py"], root))))
        returned, dropped, dumps = in_turn(sides, pairs)
    added = [long - short for long, short in zip(returned, dropped, strict=True)]
    show("value: 20 MB from a step that is a plain process", pairs)
    for side, times in zip(sides, (returned, dropped, dumps), strict=True):
        show_times(side.name, times)
    show_times("what the return adds", added)
    show_ratio("what the return adds / json.dumps", added, dumps, BOUND)


def _run(name: str, root: Path) -> Side:
    return Side(f"toolkit run {name}", lambda: seconds([console("toolkit"), "run", name, "--env", "process"], root))
