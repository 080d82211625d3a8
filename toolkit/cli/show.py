"""``toolkit show``."""

from __future__ import annotations

import argparse

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import Infrastructure
from toolkit.report import text
from toolkit.report.view import view
from toolkit.runtime.shared.catalog import StoreFault


def show(options: argparse.Namespace) -> int:
    """Shows one run."""
    handle = open_run(options, options.run)
    try:
        document = view(handle.log, handle.run, whole=options.values)
    except StoreFault as error:
        raise Infrastructure(str(error)) from None
    if options.json:
        print_json(document)
    else:
        text.print_run(document)
    return 0
