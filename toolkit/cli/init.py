"""``toolkit init``: a new project that runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.errors import BadInput, Infrastructure

_FUNCTIONS = '''\
"""Your own code: plain functions that do not import toolkit."""


def generate(count: int = 3):
    """Writes a file and returns a value. `toolkit run --param count=5` sets the argument."""
    with open("squares.csv", "w") as file:
        for number in range(count):
            file.write(f"{number},{number * number}\\n")
    return count


def report(rows):
    """Takes what `generate` returned as `rows`, and reads the file that it put into the catalog."""
    with open("squares.csv") as file:
        lines = file.readlines()
    print(f"{rows} rows, the last is {lines[-1].strip()}")
'''

_PIPELINE = '''\
"""The pipeline: which functions run in which order, what they return, and which files go from one to the next."""

from functions import generate, report
from toolkit import Catalog, Pipeline, PythonTask

pipeline = Pipeline(
    steps=[
        PythonTask(generate, returns=["rows"], catalog=Catalog(put=["squares.csv"])),
        PythonTask(report, catalog=Catalog(get=["squares.csv"])),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
'''

_CONFIG = """\
# Where and how the pipeline runs. The pipeline and your code stay the same, whatever is set here.
pipeline: pipeline.py # what `toolkit run` runs when it names no pipeline

executor:
  type: local-container # each step is a container on this machine; `toolkit run --env argo` takes a cluster instead
  config:
    persistent_volumes: # the steps' shared folder, here .toolkit/volumes/data; it holds the catalog and the run log
      - name: data
        mount_path: /mnt
    strict: true # shell steps run in `bash -euo pipefail`: a name that nothing sets, and a command that fails, end them

run_log_store:
  type: file-system
  config:
    log_folder: /mnt/run_log_store

catalog:
  type: file-system
  config:
    catalog_location: /mnt/catalog

secrets:
  type: env-secrets # environment variables of this machine, then the file .env
"""

_IGNORE = """\
.toolkit/
.env
.venv/
__pycache__/
"""

_FILES = {"functions.py": _FUNCTIONS, "pipeline.py": _PIPELINE, "toolkit.yaml": _CONFIG, ".gitignore": _IGNORE}


def init(options: argparse.Namespace) -> int:
    """Writes a small project. Files that exist already are never replaced.

    Raises:
        BadInput: the folder has a project already.
    """
    folder = Path(options.folder)
    existing = [name for name in _FILES if name != ".gitignore" and (folder / name).exists()]
    if existing:
        raise BadInput(
            f"{', '.join(existing)} {'exists' if len(existing) == 1 else 'exist'} already: choose another folder",
            str(folder),
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _FILES.items():
            if not (folder / name).exists():
                (folder / name).write_text(content)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be written: {error.strerror}") from None
    change_folder = "" if options.folder == "." else f"cd {options.folder} && "
    print(f"wrote {', '.join(_FILES)}\nnow: {change_folder}toolkit run")
    return 0
