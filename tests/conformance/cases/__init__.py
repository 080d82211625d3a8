"""All cases, a module for each theme. A new case is one more entry in a module's CASES."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases import (
    cancelling,
    endings,
    files,
    output,
    parameters,
    projects,
    refusals,
    retries,
    secrets,
    shell,
    steps,
    surroundings,
)

CASES: tuple[Case, ...] = (
    *endings.CASES,
    *retries.CASES,
    *cancelling.CASES,
    *surroundings.CASES,
    *secrets.CASES,
    *parameters.CASES,
    *shell.CASES,
    *files.CASES,
    *output.CASES,
    *steps.CASES,
    *projects.CASES,
    *refusals.CASES,
)
