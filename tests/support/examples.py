"""The examples' folder, and the example of the README as a test's own project."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.scratch import Scratch

EXAMPLES = Path(__file__).parents[2] / "examples"
GETTING_STARTED = EXAMPLES / "getting-started"


def copy_example(scratch: Scratch) -> None:
    """Copies getting-started into a project, with the secrets that it needs."""
    for file in GETTING_STARTED.iterdir():
        if file.is_file() and file.name != ".env":
            shutil.copy(file, scratch.root)
    scratch.write({".env": "secret_key=the-demo-key\nconnection_string=postgresql://demo@localhost/demo\n"})
