"""``toolkit compose``."""

from __future__ import annotations

import argparse

from toolkit.cli.arguments import parameters_of, pipeline_of
from toolkit.cli.output import note, print_file
from toolkit.run.compose import compose_file


def compose(options: argparse.Namespace) -> int:
    """Prints the Compose file, and nothing else, on standard output."""
    project, reference = pipeline_of(options)
    print_file(compose_file(project, reference, parameters_of(options), note, options.explain))
    return 0
