"""What a description costs where the pipeline's file imports a large library: kept, and made anew for each run.

Both sides are `toolkit compile`, which builds, describes and plans, and starts no step. Beside them one raw `docker run` imports
the same library in the same image.
"""

from __future__ import annotations

from bench.projects import console, project
from bench.turns import Side, in_turn, run, seconds, show, show_ratio, show_times

KEPT_BOUND = 0.6
COMPUTED_BOUND = 2.0
"""The client's own start and the engine's API come on top of the import."""

_PYPROJECT = """\
[project]
name = "demo"
version = "1"
requires-python = ">=3.9"
dependencies = ["numpy", "pandas"]
"""
_KEPT = """\
import pandas as pd

from toolkit import Pipeline, PythonTask


def load(frame: pd.DataFrame = None):
    return frame


pipeline = Pipeline(steps=[PythonTask(load, name=f"load-{n}") for n in range(3)])
"""
_COMPUTED = "import datetime\n" + _KEPT.replace('f"load-{n}"', 'f"load-{n}-{datetime.date.today()}"')


def main(pairs: int) -> None:
    """A description that is kept, and one that is made anew, beside a container that imports the library."""
    with project() as root:
        (root / "pyproject.toml").write_text(_PYPROJECT)
        (root / "kept.py").write_text(_KEPT)
        (root / "computed.py").write_text(_COMPUTED)
        run(["uv", "lock", "-q"], root)
        image = run([console("toolkit"), "build"], root).strip()
        kept = Side("toolkit compile, kept", lambda: seconds([console("toolkit"), "compile", "kept.py"], root))
        computed = Side("toolkit compile, anew", lambda: seconds([console("toolkit"), "compile", "computed.py"], root))
        imports = ["docker", "run", "--rm", "--network", "none", image, "python3", "-c", "import pandas"]
        raw = Side("docker run … python3 -c 'import pandas'", lambda: seconds(imports, root))
        kept.measure()
        computed.measure()
        figures = in_turn([kept, computed, raw], pairs)
    show("describe: a file that imports pandas", pairs)
    for side, times in zip((kept, computed, raw), figures, strict=True):
        show_times(side.name, times)
    show_ratio("kept / docker run", figures[0], figures[2], KEPT_BOUND)
    show_ratio("anew / docker run", figures[1], figures[2], COMPUTED_BOUND)
