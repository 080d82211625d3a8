"""Runs each group of `task test` several times and prints a line for each. A test that fails in one of the rounds is flaky.

    python -m tests.support.rounds [ROUNDS] [WORD]      3 rounds by default; with WORD, only the groups whose command contains it

The groups are the commands of the task test:groups in Taskfile.yml. The output of a round that fails is kept in a file.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLOSING = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)


def groups() -> list[str]:
    """The groups' commands, as `task test` runs them."""
    task = yaml.safe_load((ROOT / "Taskfile.yml").read_text())["tasks"]["test:groups"]
    return [
        command.replace("{{.ON_CLUSTER}}", task["vars"]["ON_CLUSTER"]).replace("{{.TIER}}", "core")
        for command in task["cmds"]
    ]


def title(command: str) -> str:
    """A group's name: its folders."""
    return " ".join(dict.fromkeys(re.findall(r"tests/(\w+)", command)))


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    folder = Path(tempfile.mkdtemp(prefix="rounds-"))
    failed = 0
    for number in range(1, rounds + 1):
        for position, command in enumerate(groups()):
            if word not in command:
                continue
            log = folder / f"{number}-{position}.log"
            began = time.monotonic()
            with open(log, "w") as file:
                code = subprocess.run(["bash", "-ec", command], cwd=ROOT, stdout=file, stderr=file).returncode
            counts = ", ".join(CLOSING.findall(log.read_text())) or "no tests"
            where = f"  see {log}" if code else ""
            took = time.monotonic() - began
            print(f"round {number}  {title(command):22}  {took:4.0f} s  {counts}{where}", flush=True)
            failed += code != 0
    print(f"{failed} failed" if failed else "none failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
