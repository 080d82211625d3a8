"""``toolkit runs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note, print_file, print_json
from toolkit.cli.run_handle import run_source
from toolkit.report import runs_table, text
from toolkit.report.view import summary
from toolkit.runs.find import RunHandle, all_runs, with_records
from toolkit.runtime.shared.catalog import StoreFault
from toolkit.store.reader import DamagedRun


def runs(options: argparse.Namespace) -> int:
    """Lists the runs, the newest last, or with values of them side by side."""
    columns = runs_table.parse_columns(options.table) if options.table is not None else ()
    project = project_at(options.config, Path.cwd())
    handles = all_runs(project, run_source(options), note)
    handles = [handle for handle in handles if options.tag is None or handle.run.record["tag"] == options.tag]
    if columns:
        rows = runs_table.table([_values(handle) for handle in with_records(handles)], columns)
    else:
        rows = [summary(handle.log, handle.run) for handle in handles]
    if options.sort is not None:
        rows = runs_table.sort(rows, columns, options.sort)
    if options.json:
        print_json(rows)
    elif options.csv:
        print_file(runs_table.to_csv(rows, columns))
    elif columns:
        text.print_values(rows, columns)
    else:
        text.print_runs(rows)
    return 0


def _values(handle: RunHandle) -> runs_table.TabledRun:
    try:
        return runs_table.run_values(handle.log, handle.run)
    except (DamagedRun, StoreFault) as error:
        # One run that can't be read must not keep the others from being shown.
        note(f"the values of the run {handle.run.id} can't be read: {error}")
        return runs_table.TabledRun(summary(handle.log, handle.run), {}, frozenset())
