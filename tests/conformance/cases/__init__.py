"""All cases, in a module for each theme. A new case is an entry of its module's CASES."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases import (
    branches,
    cancelling,
    choices,
    endings,
    exits,
    files,
    forms,
    graphs,
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
    # Cases with many steps come first, so that the suite does not wait for one of them at its end.
    *steps.CASES,
    *branches.CASES,
    *maps.CASES,
    *choices.CASES,
    *loops.CASES,
    *handlers.CASES,
    *exits.CASES,
    *notebooks.CASES,
    *graphs.CASES,
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
