"""``toolkit run``."""

from __future__ import annotations

import argparse

from toolkit.cli.arguments import run_request
from toolkit.cli.output import print_run_id
from toolkit.run.start import start


def run(options: argparse.Namespace) -> int:
    """Runs a pipeline; returns the exit code of its outcome."""
    request = run_request(options)
    code = start(request, options.env)
    if options.detach:
        print_run_id(request)
    return code
