"""``toolkit cancel``."""

from __future__ import annotations

import argparse

from toolkit.cli.building import note
from toolkit.cli.showing import opened
from toolkit.run.cancelling import cancel_run


def cancel(options: argparse.Namespace) -> int:
    """Ends a run that is going on."""
    note(cancel_run(opened(options, options.run), options.kill))
    return 0
