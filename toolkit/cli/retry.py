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
    """Resumes a run that failed; returns the exit code of its outcome."""
    project, reference = project_at(options.config, Path.cwd()), None
    if options.pipeline is not None:
        project, reference = pipeline_of(options)
    source = RunSource(None, options.context, options.namespace)
    handle = find_run(project, options.run, source, note)
    request, environment = retry_request(project, handle, reference, options.env, source)
    if options.detach:
        # Checked before the run is moved.
        check_detached(environment)
    if environment == "argo" and handle.remote is None:
        from toolkit.runs.move import push_run

        remote = open_remote(project, RunSource(None, request.context, request.namespace), note)
        handle = push_run(handle, remote, note)
    elif environment == "argo":
        from toolkit.runs.move import refresh_run

        handle = refresh_run(handle)
    elif handle.remote is not None:
        from toolkit.runs.move import pull_run

        handle = pull_run(handle, note)
    # Its records in the place where it is now may say more than those that were found.
    request, _ = retry_request(project, handle, reference, environment, source)
    request = replace(request, detach=options.detach, explain=options.explain)
    code = start(request, options.env, Continuation(handle.run, options.changed_shape))
    if options.detach:
        print(request.run_id)
    return code
