"""``toolkit retry``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from toolkit.cli.arguments import is_pipeline, lines_on_cluster, pipeline_of, project_at
from toolkit.cli.output import note, print_run_id
from toolkit.config.environment import choose_environment
from toolkit.run import parameters
from toolkit.run.continuation import Continuation
from toolkit.run.start import check_detached, start
from toolkit.runs.find import RunSource, find_run, newest_to_resume, open_remote
from toolkit.runs.retry import Named, check_resumable, keep_moved_request, retry_request


def retry(options: argparse.Namespace) -> int:
    """Resumes a run that failed; returns the exit code of its outcome."""
    if options.pipeline is None and options.run is not None and is_pipeline(options.run):
        # No run's id has a dot.
        options.run, options.pipeline = None, options.run
    project, reference = project_at(options.config, Path.cwd()), None
    if options.pipeline is not None:
        project, reference = pipeline_of(options)
    source = RunSource(None, options.context, options.namespace)
    given = parameters.read(list(map(Path, options.parameters)), options.param, {})
    named = Named(
        reference,
        options.pipeline,
        choose_environment(options.env, project.config)[0] if options.env is not None else None,
        given,
        options.tag,
        source,
        _other_options(options),
    )
    run_id = options.run
    if run_id is None:
        run_id = newest_to_resume(project, source, note).id
        note(f"resuming the run {run_id}, the newest that did not succeed")
    handle = find_run(project, run_id, source, note)
    request = retry_request(project, handle, named, note)
    environment = request.environment
    if options.detach:
        # Checked before the run is moved.
        check_detached(environment)
    if environment == "argo" and handle.remote is None:
        from toolkit.runs.move import push_run

        remote = open_remote(project, RunSource(None, request.context, request.namespace), note)
        handle = push_run(handle, remote, note)
        keep_moved_request(handle, request)
    elif environment == "argo":
        from toolkit.runs.move import refresh_run

        handle = refresh_run(handle)
    elif handle.remote is not None:
        from toolkit.runs.move import pull_run

        handle = pull_run(handle, note)
        keep_moved_request(handle, request)
    # Its records in the place where it is now may say more than those that were found.
    check_resumable(handle, environment)
    request = replace(
        request, detach=options.detach, explain=options.explain, logs=options.logs, lines_on_cluster=lines_on_cluster
    )
    code = start(request, options.env, Continuation(handle.run, options.changed_shape))
    if options.detach:
        print_run_id(request)
    return code


def _other_options(options: argparse.Namespace) -> list[str]:
    """The options that say nothing of the run, as typed."""
    given = [("--config", options.config), ("--context", options.context), ("--namespace", options.namespace)]
    words = [word for option, value in given if value is not None for word in (option, value)]
    switches = (("--changed-shape", options.changed_shape), ("--detach", options.detach))
    return words + [switch for switch, is_given in switches if is_given]
