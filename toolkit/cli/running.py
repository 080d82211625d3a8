"""``toolkit run`` and ``toolkit compile``."""

from __future__ import annotations

import argparse
import os

from toolkit import names
from toolkit.cli.building import note
from toolkit.cli.loading import parameters_of, pipeline_of
from toolkit.run.request import Request
from toolkit.run.start import start


def run(options: argparse.Namespace) -> int:
    """Runs a pipeline; returns the exit code of its outcome."""
    request = _request(options)
    code = start(request, options.env)
    if options.detach:
        print(request.run_id)
    return code


def compile_(options: argparse.Namespace) -> int:
    """Prints the objects that a run on the cluster would create, alone, on standard output."""
    from toolkit.run.compiling import manifest

    print(manifest(_request(options), note), end="")
    return 0


def _request(options: argparse.Namespace) -> Request:
    project, reference = pipeline_of(options)
    run_id = options.run_id or os.environ.get("TOOLKIT_RUN_ID") or names.new_run_id()
    return Request(
        project,
        "argo",
        reference,
        parameters_of(options),
        names.run_id(run_id),
        options.tag,
        options.context,
        options.namespace,
        getattr(options, "detach", False),
    )
