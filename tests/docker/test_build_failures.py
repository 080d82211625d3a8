"""Environments that can't be built, on a real engine: the last line names the file and line at fault, and what to do."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builds import write_project
from toolkit.build.environment.causes import BUILD_SETTING
from toolkit.build.image.builder import build
from toolkit.config.load import load
from toolkit.engine import EngineApi
from toolkit.errors import ToolkitError

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CONFIGURATION = "executor:\n  config:\n    image: toolkit-test-failures\n"
LIVE = r"\r  installing the dependencies[^\r\n]*, \d+ s"
EXTENSION = "from setuptools import setup, Extension\nsetup(name='ext', version='1', ext_modules=[Extension('ext', ['ext.c'])])\n"


def failed(root: Path, files: dict[str, str]) -> tuple[ToolkitError, list[str]]:
    """The error of a build, and what was said before it."""
    write_project(root, {"toolkit.yaml": CONFIGURATION, "app.py": "", **files})
    said: list[str] = []
    with pytest.raises(ToolkitError) as raised:
        build(load(root / "toolkit.yaml", root, {}), report=said.append)
    return raised.value, said


def test_an_unknown_system_package_is_the_settings_fault(tmp_path: Path) -> None:
    configuration = f"{CONFIGURATION}build:\n  system_packages: [libgl1-mesa-glxx]\n"
    error, said = failed(tmp_path, {"toolkit.yaml": configuration, "requirements.txt": "six==1.16.0\n"})
    assert error.exit_code == 2
    assert str(error).startswith(
        f"{tmp_path / 'toolkit.yaml'}:5: build.system_packages: the base image's Debian has no libgl1-mesa-glxx"
    )
    assert "E: Unable to locate package libgl1-mesa-glxx" in said[-1]
    assert not [line for line in said if "RUN --mount" in line or "executor failed" in line]
    log = str(error).rpartition("the whole log: ")[2].rstrip(")")
    assert "Unable to locate" in Path(log).read_text()


@pytest.mark.full("each is a real build that fails, of 5 to 20 seconds")
@pytest.mark.parametrize(
    ("files", "line", "words"),
    [
        (
            {"requirements.txt": "six\npywin32==306\n"},
            2,
            "there is nothing of pywin32==306 for this platform, only for win32",
        ),
        ({"requirements.txt": "six\nnumpy==99.1\n"}, 2, "the package index has no such version of numpy==99.1"),
        ({"requirements.txt": "six\nnumpy>=2.5,<2.6\n"}, 2, "needs Python >=3.12, and the base image"),
        (
            {"requirements.txt": "six\nno-such-package-at-all\n"},
            2,
            "no-such-package-at-all does not exist on the package index",
        ),
        (
            {"requirements.txt": "netifaces==0.11.0\n"},
            1,
            f"there is no compiler: add to {BUILD_SETTING}: [gcc,",
        ),
        ({"requirements.txt": "requests==2.31.0\nurllib3<1.0\n"}, 2, "no versions fit together: "),
        (
            {"requirements.txt": "six==1.16.0 --hash=sha256:" + "0" * 64 + "\n"},
            1,
            "six==1.16.0 does not match its hash",
        ),
        (
            {"requirements.txt": "six\n./bad\n", "bad/setup.py": "raise RuntimeError('no luck')\n"},
            2,
            "./bad can't be built: RuntimeError: no luck",
        ),
        (
            {
                "toolkit.yaml": f"{CONFIGURATION}build:\n  system_packages: [gcc, libc6-dev]\n",
                "requirements.txt": "six\n./ext\n",
                "ext/setup.py": EXTENSION,
                "ext/ext.c": "#include <Python.h>\n",
            },
            None,
            f"the header Python.h is missing: add to {BUILD_SETTING}: [python3-dev]",
        ),
    ],
    ids=["platform", "version", "python", "name", "compiler", "conflict", "hash", "backend", "header"],
)
def test_what_cannot_be_installed_is_the_requirements_fault(
    tmp_path: Path, files: dict[str, str], line: int | None, words: str
) -> None:
    error, _ = failed(tmp_path, files)
    assert (error.exit_code, words in error.message) == (2, True), str(error)
    assert error.where == (f"requirements.txt:{line}" if line else "requirements.txt")


@pytest.mark.full("each is a real build that fails, and is tried again")
@pytest.mark.parametrize(
    "line", ["--index-url http://127.0.0.1:9/simple\nsix\n", "six @ git+https://127.0.0.1:9/six.git\n"]
)
def test_what_cannot_be_reached_is_the_networks_fault(tmp_path: Path, line: str) -> None:
    error, _ = failed(tmp_path, {"requirements.txt": line})
    assert error.exit_code == 3 and "can't be reached" in str(error)


@pytest.mark.full("a build that takes some seconds, so that there is something to see")
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_terminal_shows_what_is_done_and_is_left_clean(tmp_path: Path, interrupted: bool) -> None:
    # A name that is new each time, so that nothing is in a cache.
    setup = f"import time\ntime.sleep(4)\nfrom setuptools import setup\nsetup(name='slow-{os.urandom(4).hex()}', version='1')\n"
    files = {"toolkit.yaml": CONFIGURATION, "app.py": "", "requirements.txt": "six\n./slow\n", "slow/setup.py": setup}
    write_project(tmp_path, files)
    terminal, other = pty.openpty()
    build = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "build"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=other,
        env={**os.environ, "TERM": "xterm"}, text=True,
    )  # fmt: skip
    os.close(other)
    seen, sent = b"", False
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        seen += read
        if interrupted and not sent and re.search(LIVE, seen.decode("utf-8", "replace")):
            build.send_signal(signal.SIGINT)
            sent = True
    os.close(terminal)
    out, _ = build.communicate()
    lines = seen.decode().replace("\r\n", "\n").split("\n")
    assert re.search(LIVE, seen.decode())
    assert lines[-1].rpartition("\r")[2].strip() == ""
    if interrupted:
        assert (build.returncode, out) == (130, "")
    else:
        assert build.returncode == 0 and re.fullmatch(r"toolkit-test-failures:[0-9a-f]{16}\n", out)
        EngineApi().call("DELETE", f"/images/{out.strip()}?force=true")
