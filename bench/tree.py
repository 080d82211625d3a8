"""A project of 100,000 small files, 2,000 of them programs: `toolkit build` unchanged and with one changed file; and `git status`.

Targets: unchanged at most three times `git status` of the same tree, and with one changed program six times. A target that is
missed is printed, and nothing fails. What the builds spend their time on is printed as well.

A changed file of data has no target. With a graph driver, an engine unpacks its layer anew and all layers above it: half of the
data and all programs, on average. BuildKit's own COPY, which unpacks all files anew, is measured beside it once.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.large import buildkit_side
from bench.projects import console, project
from bench.turns import Side, in_turn, run, seconds, show, show_ratio, show_times

FILES = 100_000
PROGRAMS = 2_000
FOLDERS = 2_000
UNCHANGED = 3.0
CHANGED = 6.0
_IN_A_PACKAGE = 100
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-c", "gc.auto=0")
_BUILD = (console("toolkit"), "build")

_PARTS = """\
import json, sys, time
from functools import wraps

spent = {}
depth = []

def timed(name, function):
    @wraps(function)
    def call(*arguments, **options):
        began = time.perf_counter()
        depth.append(0.0)
        try:
            return function(*arguments, **options)
        finally:
            whole = time.perf_counter() - began
            spent[name] = spent.get(name, 0.0) + whole - depth.pop()
            if depth:
                depth[-1] += whole
    return call

def patch(name, module, *attributes):
    for attribute in attributes:
        setattr(module, attribute, timed(name, getattr(module, attribute)))

began = time.perf_counter()
from toolkit.report.streams import take_over
take_over()
from toolkit.cli import build as command, main
from toolkit.build.image import builder
from toolkit.build.code import index
from toolkit.engine import EngineApi
spent["imports"] = time.perf_counter() - began
patch("configuration", command, "project_at")
patch("dependencies", builder, "find_dependencies")
patch("walk, hashes", builder, "look_at")
patch("read and write the index", index, "_read", "_write")
patch("toolkit's own files", builder, "runtime_entries")
patch("record", builder, "read_build_record", "write_build_record")
patch("requests to the engine", EngineApi, "image", "json", "call")
if "changed" in sys.argv:
    from toolkit.build.image import assembly
    from toolkit.build.code import layer
    patch("the rest of the assembly", assembly, "assemble")
    patch("groups of files", assembly, "grouped", "_group_blobs")
    patch("archive", assembly, "write_code_layer")
    patch("load", assembly, "load_image")
    patch("kept for a delivery", assembly, "keep_contents")
began = time.perf_counter()
code = main.run(["build"])
spent["the rest"] = time.perf_counter() - began - sum(spent.values()) + spent["imports"]
print(json.dumps(spent), file=sys.stderr)
sys.exit(code)
"""


def main(pairs: int) -> None:
    """Both sides have the same files; git's are a repository of their own, so that none of its files are in the project."""
    with project() as root:
        _write_files(root)
        copy = root.parent / "repository"
        shutil.copytree(root, copy)
        _commit(copy)
        numbers = itertools.count(1)

        def change(kind: str) -> None:
            number = next(numbers)
            place = number * 7919 % PROGRAMS if kind == "program" else PROGRAMS + number * 7919 % (FILES - PROGRAMS)
            for folder in (root, copy):
                (folder / _file(place)).write_text(f"CHANGED = {number}\n")

        def changed_build(kind: str) -> float:
            change(kind)
            return seconds(_BUILD, root)

        def changed_status() -> float:
            change("program")
            taken = seconds([*_GIT, "status", "--porcelain"], copy)
            _commit(copy)
            return taken

        unchanged = [
            Side("toolkit build, unchanged", lambda: seconds(_BUILD, root)),
            Side("git status, unchanged", lambda: seconds([*_GIT, "status", "--porcelain"], copy)),
        ]
        changed = [
            Side("toolkit build, one changed program", lambda: changed_build("program")),
            Side("toolkit build, one changed file of data", lambda: changed_build("data")),
            Side("git status, one changed file", changed_status),
        ]
        first = seconds(_BUILD, root)
        in_turn(unchanged, 1)
        own, git = in_turn(unchanged, pairs)
        show(f"tree: {FILES:,} files, {PROGRAMS:,} of them programs, in {FOLDERS:,} folders", pairs)
        print(f"  the first build: {first:.1f} s", flush=True)
        show_times(unchanged[0].name, own)
        show_times(unchanged[1].name, git)
        show_ratio("unchanged / git status", own, git, UNCHANGED)
        _show_parts("of an unchanged build", [_parts(root, "unchanged") for _ in range(pairs)])
        program, data, git = in_turn(changed, pairs)
        for side, times in zip(changed, (program, data, git), strict=True):
            show_times(side.name, times)
        show_ratio("one changed program / git status", program, git, CHANGED)
        show_ratio("one changed file of data / git status", data, git, None)
        for kind in ("program", "data"):
            parts = []
            for _ in range(pairs):
                change(kind)
                parts.append(_parts(root, "changed"))
            _show_parts(f"of a build with one changed {'program' if kind == 'program' else 'file of data'}", parts)
        peer = buildkit_side("BuildKit FROM + COPY, one changed program", root, list(_BUILD), lambda: change("program"))
        peer.measure()  # it sends all files to its own store
        print(f"  {peer.name}, once: {peer.measure():.2f} s", flush=True)
        start = [seconds([sys.executable, "-c", "pass"], root) for _ in range(pairs)]
        show_times("Python's start", start)


def _file(number: int) -> Path:
    """The programs come first, in folders of their own."""
    folder, place = divmod(number, FILES // FOLDERS)
    package, module = divmod(folder, _IN_A_PACKAGE)
    if number < PROGRAMS:
        return Path("package", f"module_{folder:02}", f"part_{place:02}.py")
    return Path("data", f"set_{package:02}", f"day_{module:02}", f"sample_{place:02}.json")


def _write_files(root: Path) -> None:
    for number in range(FILES):
        file = root / _file(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"VALUE = {number}\n" if number < PROGRAMS else f'{{"value": {number}}}\n')


def _commit(repository: Path) -> None:
    """Commits all there is, and refreshes the index, when files are old enough for Git to believe their times."""
    author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    if not (repository / ".git").exists():
        run([*_GIT, "init", "--quiet"], repository)
    run([*_GIT, "add", "--all"], repository)
    run([*_GIT, *author, "commit", "--quiet", "--message", "bench"], repository)
    run([*_GIT, "update-index", "-q", "--refresh"], repository)


def _parts(root: Path, kind: str) -> dict[str, float]:
    """The seconds that the parts of one build take, measured inside of it."""
    out = root.parent / "parts"
    script = root.parent / "parts.py"
    script.write_text(_PARTS)
    run(["sh", "-c", f'"$0" "$1" {kind} 2> "$2"', sys.executable, str(script), str(out)], root)
    parts: dict[str, float] = json.loads(out.read_text().splitlines()[-1])
    return parts


def _show_parts(title: str, parts: Sequence[dict[str, float]]) -> None:
    print(f"  {title}, medians:", flush=True)
    for name in parts[0]:
        print(f"    {name:<42} {statistics.median(one.get(name, 0.0) for one in parts) * 1000:8.1f} ms", flush=True)
