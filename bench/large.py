"""A changed line beside 300 MB of data, and the same without the data, in turn, with BuildKit's own COPY of the same files.

Target: the data adds nothing, within the noise: at most 1.15 of the build without it. A target that is missed is printed, and
nothing fails.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from bench.projects import console, project
from bench.turns import Side, environment, in_turn, run, seconds, show, show_ratio, show_times
from toolkit.build.environment.buildkit import find_build_client
from toolkit.engine import EngineApi

_FILES = 3
_SIZE = 100_000_000
"""Bytes of each file of data, which can't be compressed."""
_BOUND = 1.15


def main(pairs: int) -> None:
    """Prints the figures.

    Raises:
        Broken: a side did not run.
    """
    build = [console("toolkit"), "build"]
    with ExitStack() as stack:
        plain = stack.enter_context(project(1))
        beside = stack.enter_context(_with_data())
        counter = iter(range(1, 10_000))

        def change(root: Path) -> None:
            (root / "app.py").write_text(f"VALUE = {next(counter)}\n")

        def changed(root: Path) -> float:
            change(root)
            return seconds(build, root)

        first = {root: seconds(build, root) for root in (plain, beside)}
        sides = [
            Side("build, one changed line", lambda: changed(plain)),
            Side("build, one changed line beside 300 MB", lambda: changed(beside)),
            buildkit_side("BuildKit FROM + COPY, the same beside 300 MB", beside, build, lambda: change(beside)),
        ]
        in_turn(sides, 1)
        show("a changed line beside 300 MB of data", pairs)
        print(f"  the first build: {first[plain]:.1f} s, beside 300 MB {first[beside]:.1f} s", flush=True)
        figures = in_turn(sides, pairs)
        for side, times in zip(sides, figures, strict=True):
            show_times(side.name, times)
        show_ratio("with the data / without", figures[1], figures[0], _BOUND)
        show_ratio("with the data / BuildKit", figures[1], figures[2], None)


@contextmanager
def _with_data() -> Iterator[Path]:
    with project(1) as root:
        source = Random(1)
        (root / "data").mkdir()
        for number in range(_FILES):
            (root / "data" / f"part{number}.bin").write_bytes(source.randbytes(_SIZE))
        yield root


def buildkit_side(name: str, root: Path, build: list[str], change: Callable[[], None]) -> Side:
    """A rebuild without toolkit, of the same files on the same environment, with the engine's own cache.

    Args:
        build: the command that builds the project's image. change: changes a file.
    """
    api = EngineApi()
    image = run(build, root).strip()
    digest = (api.image(image) or {})["Config"]["Labels"]["dev.toolkit.environment"]
    below = next(entry["RepoTags"][0] for entry in api.json("/images/json") if entry["Id"] == digest)
    client = find_build_client(api.endpoint)
    # Outside of the project, so that it is in no image.
    dockerfile = root.parent / "Dockerfile"
    dockerfile.write_text(f"FROM {below}\nCOPY . /workspace\n")
    (root.parent / "Dockerfile.dockerignore").write_text(".toolkit\n")
    repository, numbers = image.rpartition(":")[0], itertools.count(1)
    variables = environment(**client.settings, PATH=os.environ["PATH"])

    def rebuild() -> float:
        change()
        tag = f"{repository}:buildkit-{next(numbers)}"
        command = [*client.command, "--quiet", "--file", str(dockerfile), "--tag", tag, str(root)]
        return seconds(command, root, variables)

    return Side(name, rebuild)
