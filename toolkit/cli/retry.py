"""``toolkit retry``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from toolkit.cli.arguments import pipeline_of, project_at
from toolkit.cli.output import note
from toolkit.run.continuation import Going
from toolkit.run.start import check_detached, start
from toolkit.runs.find import Where, find, open_remote
from toolkit.runs.retry import request_of


def retry(options: argparse.Namespace) -> int:
    """Goes on with a run that failed; returns the exit code of its outcome."""
    project, reference = project_at(options.config, Path.cwd()), None
    if options.pipeline is not None:
        project, reference = pipeline_of(options)
    where = Where(None, options.context, options.namespace)
    found = find(project, options.run, where, note)
    request, environment = request_of(project, found, reference, options.env, where)
    if options.detach:
        # Before it is moved.
        check_detached(environment)
    if environment == "argo" and found.remote is None:
        from toolkit.runs.move import bring_there

        found = bring_there(found, open_remote(project, Where(None, request.context, request.namespace), note), note)
    elif environment == "argo":
        from toolkit.runs.move import still_there

        found = still_there(found)
    elif found.remote is not None:
        from toolkit.runs.move import bring_here

        found = bring_here(found, note)
    # Where it is now, more may have become of it than was known here.
    request, _ = request_of(project, found, reference, environment, where)
    request = replace(request, detach=options.detach)
    code = start(request, options.env, Going(found.run, options.changed_shape))
    if options.detach:
        print(request.run_id)
    return code
