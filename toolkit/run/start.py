"""Starts a run in the environment that is chosen, and shows it: the one way for the command line and for a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit import errors
from toolkit.backends.scheduler import Outcome
from toolkit.config.environment import choose_environment
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.run.execute import execute
from toolkit.run.progress import progress
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Request


def start(
    project: Project,
    reference: PipelineReference,
    option: str | None,
    parameters: Mapping[str, Any],
    run_id: str | None,
    tag: str,
) -> int:
    """Runs a pipeline and returns the exit code.

    Args:
        option: what ``--env`` says; None when it was not given.
    """
    environment, why = choose_environment(option, project.config)
    with progress() as reporter:
        reporter.note(f"environment: {environment} ({why})")
        if environment == "argo":
            raise BadInput("this version runs pipelines with --env local and --env process; argo is still to come")
        outcome = execute(Request(project, environment, reference, parameters, run_id, tag), reporter)
    return exit_code(outcome)


def exit_code(outcome: Outcome) -> int:
    """The exit code that a run's outcome stands for."""
    if outcome.status == "succeeded":
        return errors.SUCCEEDED
    if outcome.status == "cancelled":
        return errors.CANCELLED
    return errors.INFRASTRUCTURE if outcome.fault else errors.STEP_FAILED
