"""``toolkit compile``."""

from __future__ import annotations

import argparse

from toolkit.cli.arguments import _request
from toolkit.cli.output import note


def compile(options: argparse.Namespace) -> int:
    """Prints the objects that a run on the cluster would create, alone, on standard output."""
    from toolkit.run.compile import manifest

    print(manifest(_request(options), note), end="")
    return 0
