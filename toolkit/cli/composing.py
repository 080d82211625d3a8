"""``toolkit compose``."""

from __future__ import annotations

import argparse

from toolkit.cli.building import note
from toolkit.cli.loading import parameters_of, pipeline_of
from toolkit.run.composing import compose_file


def compose(options: argparse.Namespace) -> int:
    """Prints the Compose file, alone, on standard output."""
    project, reference = pipeline_of(options)
    print(compose_file(project, reference, parameters_of(options), note), end="")
    return 0
