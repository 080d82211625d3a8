"""The code of the pages in docs/ runs as the pages say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.pages import write_files


def test_the_example_of_the_page_on_testing_passes(tmp_path: Path) -> None:
    assert write_files(tmp_path, "testing.md", "An example with pytest")[-1] == "tests/test_pipeline.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr
