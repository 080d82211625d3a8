"""``toolkit runs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note, print_json
from toolkit.cli.run_handle import run_source
from toolkit.report import text
from toolkit.report.view import summary
from toolkit.runs.find import all_runs


def runs(options: argparse.Namespace) -> int:
    """Lists the runs, the newest last."""
    project = project_at(options.config, Path.cwd())
    rows = [summary(handle.log, handle.run) for handle in all_runs(project, run_source(options), note)]
    rows = [row for row in rows if options.tag is None or row["tag"] == options.tag]
    if options.json:
        print_json(rows)
    else:
        text.print_runs(rows)
    return 0
