"""Chooses the environment of a run, runs it there and shows its progress, for the command line and for a script."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from toolkit import errors
from toolkit.backends.scheduler import Outcome
from toolkit.config.environment import choose_environment
from toolkit.errors import BadInput
from toolkit.report.progress import progress
from toolkit.run.on_this_machine import run_on_this_machine
from toolkit.run.request import Request

if TYPE_CHECKING:
    from toolkit.run.continuation import Continuation


def start(request: Request, option: str | None, continuation: Continuation | None = None) -> int:
    """Runs a pipeline and returns the exit code.

    Args:
        request: its environment is replaced by the chosen one, unless a run is resumed in its own.
        option: what ``--env`` says; None when it was not given. continuation: the run that is resumed.
    """
    if continuation is not None and option is None:
        environment, reason = request.environment, "the run's own"
    else:
        environment, reason = choose_environment(option, request.project.config)
    request = replace(request, environment=environment)
    if request.logs and request.detach:
        raise BadInput("--logs prints what the steps write until the run ends, which --detach does not wait for")
    with progress(request.logs, on_this_machine=environment != "argo") as reporter:
        reporter.note(f"environment: {environment} ({reason})")
        if environment == "argo":
            # Imported only here: of all imports the client library of Kubernetes takes longest.
            from toolkit.run.on_cluster import run_on_cluster

            outcome = run_on_cluster(request, reporter, continuation)
        else:
            if request.detach:
                check_detached(environment)
            outcome = run_on_this_machine(request, reporter, continuation)
    return exit_code(outcome) if outcome is not None else errors.SUCCEEDED


def check_detached(environment: str) -> None:
    """Refuses ``--detach`` in an environment whose runs end with their client.

    Raises:
        BadInput: the environment is another than ``argo``.
    """
    if environment != "argo":
        raise BadInput("--detach is for --env argo: the other environments need their client until the run ends")


def exit_code(outcome: Outcome) -> int:
    """The exit code that a run's outcome stands for."""
    if outcome.status == "succeeded":
        return errors.SUCCEEDED
    if outcome.status == "cancelled":
        return errors.CANCELLED
    return errors.INFRASTRUCTURE if outcome.fault else errors.STEP_FAILED
