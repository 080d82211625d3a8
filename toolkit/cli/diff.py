"""``toolkit diff``: whether two runs are the same, according to their records."""

from __future__ import annotations

import argparse

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput, Infrastructure
from toolkit.report.diff import compare
from toolkit.report.diff_text import document, print_diff
from toolkit.report.facts import RunFacts, facts_of
from toolkit.report.view import status_of

DIFFERENT = 1
"""The exit code where they are not the same, as that of ``diff``."""


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
    handle = open_run(options, run_id)
    status = status_of(handle.log, handle.run)
    if status in ("running", "waiting"):
        state = "has not ended yet" if status == "running" else "has steps that have not run yet"
        raise BadInput(f"the run {run_id} {state}: runs can be compared once both have ended")
    view = handle.log.engine_view(handle.run)
    if view is not None:
        raise Infrastructure(
            f"the run {run_id} can't be compared, because only the cluster's word is known: {view.why}"
        )
    # To fetch a cluster's objects may take long, so the hashes that the runtime recorded are compared there.
    here = handle.remote is None and not handle.is_copy
    read = not options.no_bytes if here else options.fetch
    return facts_of(handle.log, handle.run, handle.catalog if read else None)
