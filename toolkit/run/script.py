"""``python file.py`` that calls ``execute()``: the same run as ``toolkit run file.py``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from toolkit import names
from toolkit.config.load import load
from toolkit.report.ending import exit_code_of
from toolkit.report.streams import within_a_script
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
    parameters_files: Sequence[str],
) -> int:
    """Runs the pipeline whose ``execute()`` was called; returns the exit code.

    Args:
        file: absolute path of the script. nth: which call of ``execute()`` in it this is, from 0. arguments: the script's own.
    """
    environ = os.environ
    chosen_id = run_id or environ.get("TOOLKIT_RUN_ID") or None
    chosen_parameters = parameters_files or list(filter(None, [environ.get("TOOLKIT_PARAMETERS_FILE")]))

    def work() -> int:
        reference = PipelineReference(Path(file), nth=nth, arguments=tuple(arguments))
        project = load(Path(configuration_file) if configuration_file else None, reference.file.parent)
        if chosen_id is not None:
            names.run_id(chosen_id)
        given = parameters.read(list(map(Path, chosen_parameters)), [], environ)
        request = Request(
            project,
            "local",
            reference,
            given.values,
            chosen_id,
            tag or "",
            spellings=given.spellings,
            typed=given.typed,
            given=given,
        )
        return start(request, None)

    with within_a_script():
        return exit_code_of(work)
