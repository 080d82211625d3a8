"""Steps that only sleep, as a line and as a graph, in each environment: beside the sum of what they sleep, and its longest path.

The shape and the shares of the times are those of examples/graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.projects import console, project
from bench.turns import Side, in_turn, seconds, show, show_ratio, show_times

SHAPE: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "meters": (0.5, ()),
    "weather": (1.0, ()),
    "check": (0.5, ("meters",)),
    "lags": (0.5, ("meters",)),
    "degrees": (0.5, ("weather",)),
    "slow": (2.0, ("lags", "degrees")),
    "quick": (0.5, ("lags", "degrees")),
    "compare": (0.25, ("slow", "quick")),
    "report": (0.25, ("compare", "check")),
}
"""The seconds of each step, and the steps that it follows."""
BOUND = 1.1
"""The target: the graph's share of the line's time, beside the share that the shape allows."""
ORDERS = ("line", "graph")
_PIPELINE = """\
from functions import sleep

from toolkit import Pipeline, PythonTask

order = "{order}"
shape = {shape}
pipeline = Pipeline(
    name="shape",
    order=order,
    steps=[
        PythonTask(sleep, name, bind={{"time_in_seconds": {{"value": time}}}}, after=after if order == "graph" else None)
        for name, (time, after) in shape.items()
    ],
)
"""


def path_and_sum(shape: Mapping[str, tuple[float, Sequence[str]]]) -> tuple[float, float]:
    """The seconds of the longest path of a shape, whose steps are listed behind those that they follow, and of all of it."""
    ends: dict[str, float] = {}
    for name, (time, after) in shape.items():
        ends[name] = time + max((ends[earlier] for earlier in after), default=0.0)
    return max(ends.values()), sum(time for time, _ in shape.values())


def write(root: Path) -> None:
    """Adds both pipelines to a project."""
    functions = root / "functions.py"
    functions.write_text("import time\n\n\ndef sleep(time_in_seconds):\n    time.sleep(time_in_seconds)\n")
    for order in ORDERS:
        (root / f"{order}.py").write_text(_PIPELINE.format(order=order, shape=repr(dict(SHAPE))))


def main(pairs: int) -> None:
    """The whole command, as plain processes and as containers."""
    with project() as root:
        write(root)
        for environment, name in (("process", "plain processes"), ("local", "containers")):
            line, graph = (
                partial(seconds, [console("toolkit"), "run", f"{order}.py", "--env", environment], root)
                for order in ORDERS
            )
            measure(line, graph, name, pairs)


def measure(line: Callable[[], float], graph: Callable[[], float], name: str, pairs: int) -> None:
    """Measures both orders in turn, after a first run of each, which builds the image and describes the pipeline."""
    sides = [Side("toolkit run, the line", line), Side("toolkit run, the graph", graph)]
    in_turn(sides, 1)
    lines, graphs = in_turn(sides, pairs)
    path, whole = path_and_sum(SHAPE)
    show(f"graph: {len(SHAPE)} steps that sleep, as {name}", pairs)
    show_times(sides[0].name, lines)
    show_times(sides[1].name, graphs)
    show_ratio(f"the line / its sum of {whole:g} s", lines, [whole] * pairs, None)
    show_ratio(f"the graph / its longest path of {path:g} s", graphs, [path] * pairs, None)
    show_ratio(f"the graph / the line (its shape: {path / whole:.2f})", graphs, lines, BOUND * path / whole)
