"""``toolkit retry``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from toolkit.cli.arguments import pipeline_of, project_at
from toolkit.cli.output import note
from toolkit.run.continuation import Continuation
from toolkit.run.start import check_detached, start
from toolkit.runs.find import RunSource, find_run, open_remote
from toolkit.runs.retry import retry_request


def retry(options: argparse.Namespace) -> int:
    """Goes on with a run that failed; returns the exit code of its outcome."""
    project, reference = project_at(options.config, Path.cwd()), None
    if options.pipeline is not None:
        project, reference = pipeline_of(options)
    where = RunSource(None, options.context, options.namespace)
    found = find_run(project, options.run, where, note)
    request, environment = retry_request(project, found, reference, options.env, where)
    if options.detach:
        # Before it is moved.
        check_detached(environment)
    if environment == "argo" and found.remote is None:
        from toolkit.runs.move import push_run

        found = push_run(found, open_remote(project, RunSource(None, request.context, request.namespace), note), note)
    elif environment == "argo":
        from toolkit.runs.move import refresh_run

        found = refresh_run(found)
    elif found.remote is not None:
        from toolkit.runs.move import pull_run

        found = pull_run(found, note)
    # Where it is now, more may have become of it than was known here.
    request, _ = retry_request(project, found, reference, environment, where)
    request = replace(request, detach=options.detach)
    code = start(request, options.env, Continuation(found.run, options.changed_shape))
    if options.detach:
        print(request.run_id)
    return code
