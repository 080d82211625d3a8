"""The same chain, run by the `local-container` executor of runnable, the peer.

It is installed from the package index into a virtual environment of its own, in a cache folder. Its image is built by the same
`toolkit build` from the same base image, so the two sides differ only in what runs the steps.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.chain import STEPS
from bench.projects import console, project, remove_images, toolkit_run
from bench.turns import Broken, Side, environment, in_turn, run, seconds, show, show_ratio, show_times

VERSION = "0.50.0"

CHAIN = """\
from functions import nothing
from runnable import Pipeline, PythonTask


def main():
    pipeline = Pipeline(steps=[PythonTask(name=f"step{{n}}", function=nothing) for n in range({steps})])
    pipeline.execute()
    return pipeline


if __name__ == "__main__":
    main()
"""
# Its faster run log, and a catalog that is never used.
_SETTINGS = """\
pipeline-executor:
  type: local-container
  config:
    docker_image: {image}
run-log-store:
  type: chunked-fs
catalog:
  type: file-system
"""


class Absent(Exception):
    """The peer can't be installed or built on this machine."""


def main(pairs: int) -> None:
    """The time of the whole command for each step, on both sides. Without the peer, it prints a line that says so."""
    try:
        python = install()
    except (Absent, Broken) as error:
        print(f"\npeer: skipped, because runnable {VERSION} can't be installed here: {error}", flush=True)
        return
    with project(STEPS) as root:
        try:
            with _project(root.parent / "peer") as (folder, variables):
                _compare(root, [python, "chain.py"], folder, variables, pairs)
        except Absent as error:
            print(f"\npeer: skipped, because an image with runnable {VERSION} can't be built here: {error}", flush=True)


def _compare(root: Path, command: list[str], folder: Path, variables: dict[str, str], pairs: int) -> None:
    own = Side(f"toolkit run, {STEPS} steps: a step", lambda: seconds(toolkit_run(STEPS, "local"), root, parts=STEPS))
    other = Side(f"runnable {VERSION} local-container: a step", lambda: seconds(command, folder, variables, STEPS))
    own.measure()
    other.measure()
    figures = in_turn([own, other], pairs)
    show(f"peer: the same {STEPS} steps as containers by runnable {VERSION}", pairs)
    show_times(own.name, figures[0])
    show_times(other.name, figures[1])
    show_ratio("a step / runnable's", figures[0], figures[1], None)


def install() -> str:
    """The interpreter of the peer's own virtual environment, which is made unless it exists.

    Raises:
        Absent: there is no uv.
        Broken: the release can't be installed.
    """
    own_uv = console("uv")
    uv = own_uv if os.access(own_uv, os.X_OK) else shutil.which("uv")
    if uv is None:
        raise Absent("there is no uv")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolkit-bench"
    version = ".".join(map(str, sys.version_info[:2]))
    folder = cache / f"runnable-{VERSION}-python{version}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # One that failed is removed, because a virtual environment can't be made elsewhere and moved here.
        try:
            run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], cache)
            python = str(folder / "bin" / "python")
            run([uv, "pip", "install", "--quiet", "--python", python, f"runnable[docker]=={VERSION}"], cache)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return str(folder / "bin" / "python")


@contextmanager
def _project(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The peer's project, and the environment variables of its command.

    Raises:
        Absent: its image can't be built.
    """
    repository = f"toolkit-bench-peer-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    (folder / "functions.py").write_text("def nothing():\n    pass\n")
    (folder / "chain.py").write_text(CHAIN.format(steps=STEPS))
    (folder / "requirements.txt").write_text(f"runnable=={VERSION}\n")
    (folder / "toolkit.yaml").write_text(f"executor:\n  type: local\n  config:\n    image: {repository}\n")
    # The image holds this file, and its steps read it, so it names the image before the build.
    (folder / "runnable.yaml").write_text(_SETTINGS.format(image=f"{repository}:peer"))
    try:
        try:
            image = run([console("toolkit"), "build"], folder).strip()
            run(["docker", "tag", image, f"{repository}:peer"], folder)
        except Broken as error:
            raise Absent(str(error)) from error
        yield folder, environment(RUNNABLE_CONFIGURATION_FILE="runnable.yaml")
    finally:
        remove_images(repository)
