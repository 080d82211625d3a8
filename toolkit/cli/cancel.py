"""``toolkit cancel``."""

from __future__ import annotations

import argparse

from toolkit.cli.output import note
from toolkit.cli.run_handle import open_run
from toolkit.runs.cancel import cancel_run


def cancel(options: argparse.Namespace) -> int:
    """Cancels a run that is active."""
    note(cancel_run(open_run(options, options.run), options.kill, note))
    return 0
