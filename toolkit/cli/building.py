"""``toolkit build``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolkit.build.image import build as build_image
from toolkit.cli.loading import project_at


def note(sentence: str) -> None:
    """A sentence for the person at the terminal: on standard error, so that standard output is the result alone."""
    print(sentence, file=sys.stderr, flush=True)


def build(options: argparse.Namespace) -> int:
    """Builds the image and prints its reference, alone, on standard output."""
    project = project_at(options.config, Path.cwd())
    built = build_image(project, report=note, explain=options.explain)
    print(built.reference)
    return 0
