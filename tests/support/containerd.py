"""A containerd of a test's own, empty, which ends with the test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 60.0
_CONFIGURATION = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[ttrpc]
address = "{folder}/ttrpc.sock"
[debug]
address = ""
"""


@contextmanager
def containerd(folder: Path) -> Iterator[str]:
    """Starts it in a new folder; yields the path of its socket."""
    folder.mkdir()
    (folder / "config.toml").write_text(_CONFIGURATION.format(folder=folder))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(folder / "config.toml")], stdout=log, stderr=log)
    address = str(folder / "containerd.sock")
    try:
        until = time.monotonic() + _PATIENCE
        question = ["ctr", "--address", address, "--connect-timeout", "1s", "namespaces", "ls"]
        while subprocess.run(question, capture_output=True).returncode != 0:
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text(errors="replace")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()
