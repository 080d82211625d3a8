"""The run that a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note
from toolkit.runs.find import RunHandle, RunSource, find_run, newest_run


def run_source(options: argparse.Namespace) -> RunSource:
    """Where the options say that runs are looked for."""
    return RunSource(options.env, options.context, options.namespace)


def open_run(options: argparse.Namespace, run_id: str | None, logs: bool = False) -> RunHandle:
    """The run that a command is about: the one of that id, or the newest where the id is None.

    Raises:
        BadInput: there is none. Infrastructure: the cluster can't be asked.
    """
    project = project_at(options.config, Path.cwd())
    if run_id is not None:
        return find_run(project, run_id, run_source(options), note, logs)
    return newest_run(project, run_source(options), note, logs)
