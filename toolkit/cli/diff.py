"""``toolkit diff``: whether two runs are the same, out of their records."""

from __future__ import annotations

import argparse

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput
from toolkit.report.diff import compare
from toolkit.report.diff_text import document, print_diff
from toolkit.report.facts import RunFacts, facts_of
from toolkit.report.view import status_of

DIFFERENT = 1
"""The exit code where they are not the same, as of ``diff``."""


def diff(options: argparse.Namespace) -> int:
    """Compares two runs that have ended."""
    a, b = (_facts(run_id, options) for run_id in (options.a, options.b))
    compared = document(a, b, compare(a, b))
    if options.json:
        print_json(compared)
    else:
        print_diff(compared, options.all)
    return 0 if compared["same"] else DIFFERENT


def _facts(run_id: str, options: argparse.Namespace) -> RunFacts:
    found = open_run(options, run_id)
    status = status_of(found.log, found.run)
    if status in ("running", "waiting"):
        what = "has not ended yet" if status == "running" else "has steps that have not run yet"
        raise BadInput(f"the run {run_id} {what}: runs can be compared once both have ended")
    # A cluster's objects may be larger than anybody wants to wait for: there the hashes that the runtime recorded are compared.
    read = not options.no_bytes if found.remote is None else options.fetch
    return facts_of(found.log, found.run, found.catalog if read else None)
