"""``toolkit cancel``."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note
from toolkit.cli.run_handle import open_run, run_source
from toolkit.runs.cancel import cancel_run
from toolkit.runs.find import one_that_goes_on


def cancel(options: argparse.Namespace) -> int:
    """Cancels a run that is active: the one that is named, or the only one that was started from here."""
    run_id = options.run
    if run_id is None:
        run_id = one_that_goes_on(project_at(options.config, Path.cwd()), run_source(options), note)
        note(f"cancelling the run {run_id}, the one that goes on")
    note(cancel_run(open_run(options, run_id), options.kill, note))
    return 0
