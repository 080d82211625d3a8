"""All cases, a module for each theme. A new case is one more entry in a module's CASES."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases import (
    branches,
    cancelling,
    choices,
    endings,
    files,
    forms,
    handlers,
    loops,
    maps,
    nesting,
    notebooks,
    output,
    parameters,
    projects,
    refusals,
    retries,
    scopes,
    secrets,
    shell,
    steps,
    surroundings,
)

CASES: tuple[Case, ...] = (
    # Those with many steps first: the longest of them would else be waited for at the end.
    *steps.CASES,
    *branches.CASES,
    *maps.CASES,
    *choices.CASES,
    *loops.CASES,
    *handlers.CASES,
    *notebooks.CASES,
    *forms.CASES,
    *nesting.CASES,
    *scopes.CASES,
    *projects.CASES,
    *parameters.CASES,
    *files.CASES,
    *output.CASES,
    *shell.CASES,
    *surroundings.CASES,
    *secrets.CASES,
    *retries.CASES,
    *cancelling.CASES,
    *endings.CASES,
    *refusals.CASES,
)
