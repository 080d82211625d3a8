"""``toolkit compile``."""

from __future__ import annotations

import argparse

from toolkit.cli.arguments import run_request
from toolkit.cli.output import note


def compile(options: argparse.Namespace) -> int:
    """Prints the objects that a run on the cluster would create, and nothing else, on standard output."""
    from toolkit.run.compile import compile_manifest

    print(compile_manifest(run_request(options), note), end="")
    return 0
