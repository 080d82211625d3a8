"""``toolkit retry``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from toolkit.cli.building import note
from toolkit.cli.loading import pipeline_of, project_at
from toolkit.run.found import Where, find, open_remote
from toolkit.run.retry import Going, request_of
from toolkit.run.start import check_detached, start


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
        from toolkit.run.moving import bring_there

        found = bring_there(found, open_remote(project, Where(None, request.context, request.namespace), note), note)
    elif environment == "argo":
        from toolkit.run.moving import still_there

        found = still_there(found)
    elif found.remote is not None:
        from toolkit.run.moving import bring_here

        found = bring_here(found, note)
    # Where it is now, more may have become of it than was known here.
    request, _ = request_of(project, found, reference, environment, where)
    request = replace(request, detach=options.detach)
    code = start(request, options.env, Going(found.run, options.changed_shape))
    if options.detach:
        print(request.run_id)
    return code
