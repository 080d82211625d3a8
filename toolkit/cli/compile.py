"""``toolkit compile``."""

from __future__ import annotations

import argparse

from toolkit.cli.arguments import run_request
from toolkit.cli.output import note, print_file


def compile(options: argparse.Namespace) -> int:
    """Prints the objects that a run on the cluster would create, and nothing else, on standard output."""
    from toolkit.run.compile import compile_manifest

    print_file(compile_manifest(run_request(options), note))
    return 0
