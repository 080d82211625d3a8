"""``toolkit show``."""

from __future__ import annotations

import argparse

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.report import text
from toolkit.report.view import view


def show(options: argparse.Namespace) -> int:
    """Shows one run."""
    handle = open_run(options, options.run)
    document = view(handle.log, handle.run)
    if options.json:
        print_json(document)
    else:
        text.print_run(document)
    return 0
