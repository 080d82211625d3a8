"""The run that a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note
from toolkit.runs.find import Found, Where, find, newest


def where_of(options: argparse.Namespace) -> Where:
    """Where the options say that the run is."""
    return Where(options.env, options.context, options.namespace)


def opened(options: argparse.Namespace, run_id: str | None, logs: bool = False) -> Found:
    """The run that a command is about: the one named, or the newest.

    Raises:
        BadInput: there is none. Infrastructure: the cluster can't be asked.
    """
    project = project_at(options.config, Path.cwd())
    if run_id is not None:
        return find(project, run_id, where_of(options), note, logs)
    return newest(project, where_of(options), note, logs)
