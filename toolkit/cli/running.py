"""``toolkit run``."""

from __future__ import annotations

import argparse
import os

from toolkit import names
from toolkit.cli.loading import parameters_of, pipeline_of
from toolkit.run.start import start


def run(options: argparse.Namespace) -> int:
    """Runs a pipeline; returns the exit code of its outcome."""
    project, reference = pipeline_of(options)
    run_id = options.run_id or os.environ.get("TOOLKIT_RUN_ID") or None
    if run_id is not None:
        names.run_id(run_id)
    return start(project, reference, options.env, parameters_of(options), run_id, options.tag)
