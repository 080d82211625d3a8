"""The project of a bench: a no-op function, chains of it, a configuration, and images of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.turns import environment

_FUNCTIONS = "def nothing():\n    pass\n"

_CHAIN = """\
from functions import nothing

from toolkit import Pipeline, PythonTask

pipeline = Pipeline(name="chain", steps=[PythonTask(name=f"step-{{n}}", function=nothing) for n in range({steps})])
"""

# A limit is set so that both sides have one; a no-op step stays far below it.
_SETTINGS = """\
executor:
  type: local
  config:
    image: {repository}
    resources:
      limits:
        memory: 256Mi
"""


def console(name: str) -> str:
    """A console script of the installation that is measured: the one of this interpreter."""
    return str(Path(sys.executable).parent / name)


def chain_file(steps: int) -> str:
    return f"chain_{steps}.py"


@contextmanager
def project(*lengths: int) -> Iterator[Path]:
    """A project with a chain of each length in :func:`chain_file`. Its folder and its images are removed at the end."""
    repository = f"toolkit-bench-{uuid.uuid4().hex[:8]}"
    # Files of steps may belong to another user. A folder that can't be removed must not hide the figures.
    with tempfile.TemporaryDirectory(prefix="toolkit-bench-", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "project"
        root.mkdir(mode=0o755)
        root.parent.chmod(0o755)
        (root / "functions.py").write_text(_FUNCTIONS)
        for steps in lengths:
            (root / chain_file(steps)).write_text(_CHAIN.format(steps=steps))
        (root / "toolkit.yaml").write_text(_SETTINGS.format(repository=repository))
        try:
            yield root
        finally:
            remove_images(repository)


def toolkit_run(steps: int, name: str) -> list[str]:
    """The whole command that runs the chain of this length in an environment."""
    return [console("toolkit"), "run", chain_file(steps), "--env", name]


def remove_images(repository: str) -> None:
    """Removes this repository's images; a failure to do so is no finding of a bench."""
    listed = subprocess.run(
        ["docker", "images", "--quiet", "--no-trunc", repository], capture_output=True, text=True, env=environment()
    )
    images = sorted(set(listed.stdout.split()))
    if images:
        subprocess.run(["docker", "rmi", "--force", *images], capture_output=True, env=environment())
