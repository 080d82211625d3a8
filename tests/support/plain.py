"""Examples that come with the plain program which they were made of: its values and files, to compare a run with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.examples import EXAMPLES
from tests.support.scratch import Scratch

PROGRAMS = sorted(one.parent.name for one in EXAMPLES.glob("*/plain.sh"))


@dataclass
class PlainProgram:
    """What the program gave.

    Attributes:
        pipeline: the name of the pipeline's file, which has to give the same.
        values: what the pipeline's run has to return. folder: with the files that the program wrote.
    """

    pipeline: str
    values: dict[str, Any]
    folder: Path


def run_plain_program(example: Path, folder: Path) -> PlainProgram:
    """Runs the plain program of an example in ``folder``, with this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "plain.sh", str(folder)], cwd=example, env={**os.environ, "PATH": path}, check=True)
    [pipeline] = example.glob("pipeline.*")
    return PlainProgram(pipeline.name, json.loads((folder / "values.json").read_text()), folder)


def check_against(plain: PlainProgram, scratch: Scratch, run_id: str) -> None:
    """Checks that a run has the values of the plain program, and each file that it put the same bytes."""
    shown = scratch.show(run_id)
    assert {name: shown["parameters"].get(name) for name in plain.values} == plain.values
    fetched = plain.folder / f"fetched-{run_id}"
    result = scratch.toolkit("fetch", run_id, "--to", str(fetched))
    assert result.code == 0, result.err
    files = [path for path in fetched.rglob("*") if path.is_file() and path.suffix in (".csv", ".json")]
    assert files, result.err
    for path in files:
        [written] = [one for one in plain.folder.rglob(path.name) if fetched not in one.parents]
        assert path.read_bytes() == written.read_bytes(), path
