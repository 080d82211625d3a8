"""``toolkit compose``."""

from __future__ import annotations

import argparse
import os

from toolkit.cli.arguments import parameters_of, pipeline_of
from toolkit.cli.output import note, print_file
from toolkit.run.compose import compose_file


def compose(options: argparse.Namespace) -> int:
    """Prints the Compose file, and nothing else, on standard output."""
    project, reference = pipeline_of(options)
    text = compose_file(project, reference, parameters_of(options), note, options.explain)
    if not os.path.samefile(project.home, os.curdir):
        folder = os.path.relpath(project.home)
        note(f"note: the file belongs in {folder}, the folder of the configuration: its paths are relative to that")
    print_file(text)
    return 0
