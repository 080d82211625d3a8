"""The question to a lock's own tool, beside that tool called directly: what `toolkit build` adds to an export.

Bounds: an export takes at most 3 s once the tool is installed. A bound that is missed is printed, and nothing fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.turns import Broken
from toolkit.build.environment.base_image import find_base_image
from toolkit.build.environment.builder import ask_tool
from toolkit.build.environment.dependencies.exporters import read_tool_lock
from toolkit.build.environment.dependencies.found import Tool
from toolkit.data import data_path
from toolkit.engine import EngineApi

BOUND = 3.0
"""Seconds."""
EXAMPLES = Path(__file__).parent.parent / "examples" / "build"
_LOCKS: tuple[tuple[Tool, str], ...] = (("poetry", "poetry.lock"), ("pdm", "pdm.lock"), ("pipenv", "Pipfile.lock"))


def main(pairs: int) -> None:
    """Measures each tool.

    Raises:
        Broken: a tool could not be installed or asked.
    """
    print("\nexport: an export in a build, once the tool is installed, beside the tool called directly", flush=True)
    for tool, lock in _LOCKS:
        with tempfile.TemporaryDirectory() as folder:
            inside, direct = _sides(tool, lock, Path(folder))
            times = _in_turn(inside, direct, pairs)
        own, other = (sorted(side)[len(side) // 2] for side in times)
        worst = max(times[0])
        print(
            f"{tool}: {own:.2f} s (at most {worst:.2f}; bound {BOUND:.0f}), the tool alone {other:.2f} s, "
            f"so {own - other:+.2f} s{'' if own <= BOUND else '  MISSED'}",
            flush=True,
        )


def _sides(tool: Tool, lock: str, folder: Path) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """The two sides. Each is given a number, which makes its question a new one."""
    root = folder / "project"
    shutil.copytree(EXAMPLES / tool, root)
    declaring = root / ("Pipfile" if tool == "pipenv" else "pyproject.toml")
    # Else BuildKit answers from its cache what an earlier bench has asked.
    declared = f"{declaring.read_text()}\n# {os.urandom(8).hex()}"
    engine = EngineApi()
    base, image = find_base_image(engine, None)
    if image is None:
        raise Broken(f"the engine has no {base}: run `task setup`")
    environment = folder / "tool"
    for command in (
        ["uv", "venv", "--quiet", str(environment)],
        ["uv", "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), "--require-hashes",
         "-r", str(data_path(f"dockerfiles/tools/{tool}.txt"))],
    ):  # fmt: skip
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise Broken(f"{tool} could not be installed")

    def inside(number: int) -> None:
        declaring.write_text(f"{declared}\n# {number}\n")
        export = read_tool_lock(root, lock, tool, (), ())
        ask_tool(engine, export, base, str(image["Id"]), (), {}, folder / "build", lambda _sentence: None)

    def direct(number: int) -> None:
        declaring.write_text(f"{declared}\n# {number}\n")
        export = read_tool_lock(root, lock, tool, (), ())
        path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", export.command], cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Broken(f"{tool}: {done.stderr.strip()}")

    return inside, direct


def _in_turn(
    inside: Callable[[int], None], direct: Callable[[int], None], pairs: int
) -> tuple[list[float], list[float]]:
    """Seconds of both sides. A first round, which is not counted, installs the tool."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs + 1):
        for side, seconds in zip((inside, direct), times, strict=True):
            start = time.perf_counter()
            side(number)
            if number:
                seconds.append(time.perf_counter() - start)
    return times
