"""``toolkit fetch``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.output import note, print_json
from toolkit.cli.run_handle import open_run
from toolkit.report.view import catalog, view
from toolkit.runs.fetch import copy_files


def fetch(options: argparse.Namespace) -> int:
    """Copies files out of a run's catalog."""
    handle = open_run(options, options.run)
    folder = Path(options.to if options.to is not None else handle.run.id)
    rows = copy_files(handle, catalog(view(handle.log, handle.run)), options.keys, folder)
    if options.json:
        print_json([{**row, "file": str(folder / row["name"])} for row in rows])
    else:
        note(f"{len(rows)} file{'s' if len(rows) != 1 else ''} in {folder}")
    return 0
