"""``python file.py`` that calls ``execute()``: the same run as ``toolkit run file.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit import errors, names
from toolkit.config.load import load
from toolkit.run import parameters
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Request
from toolkit.run.start import start


def run_script(
    file: str,
    nth: int,
    arguments: list[str],
    configuration_file: str | None,
    run_id: str | None,
    tag: str | None,
    parameters_file: str | None,
) -> int:
    """Runs the pipeline whose ``execute()`` was called; returns the exit code.

    Args:
        file: absolute path of the script. nth: which call of ``execute()`` in it this is, from 0. arguments: the script's own.
    """
    environ = os.environ
    try:
        reference = PipelineReference(Path(file), nth=nth, arguments=tuple(arguments))
        project = load(Path(configuration_file) if configuration_file else None, reference.file.parent)
        run_id = run_id or environ.get("TOOLKIT_RUN_ID") or None
        if run_id is not None:
            names.run_id(run_id)
        parameters_file = parameters_file or environ.get("TOOLKIT_PARAMETERS_FILE")
        given = parameters.read(Path(parameters_file) if parameters_file else None, [], environ)
        sys.stdout.flush()
        request = Request(project, "local", reference, given.values, run_id, tag or "", spellings=given.spellings)
        return start(request, None)
    except errors.ToolkitError as error:
        print(f"toolkit: {error}", file=sys.stderr)
        return error.exit_code
