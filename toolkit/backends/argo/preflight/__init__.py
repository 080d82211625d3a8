"""Checks before a submit whether a run can work on a cluster. Every error names the command that fixes it.

There are two halves: :func:`gather` asks the API server, many questions at once. :func:`judge`, which is pure, says what the
answers mean. What the current user may not see is unknown, and never an error: most users are not their cluster's admin.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.backends.argo.cluster import Cluster
from toolkit.backends.argo.preflight.facts import Account, Claim, Controllers, Denied, Facts, SecretKeys
from toolkit.backends.argo.preflight.judgement import judge
from toolkit.backends.argo.preflight.needs import (
    ACCOUNT_RIGHTS,
    SCHEDULE_RIGHTS,
    USER_RIGHTS,
    Finding,
    Needs,
    SimilarSteps,
    needs_of,
)
from toolkit.backends.argo.preflight.questions import gather
from toolkit.errors import BadInput, Infrastructure

__all__ = [
    "ACCOUNT_RIGHTS",
    "SCHEDULE_RIGHTS",
    "USER_RIGHTS",
    "Account",
    "Claim",
    "Controllers",
    "Denied",
    "Facts",
    "Finding",
    "Needs",
    "SecretKeys",
    "SimilarSteps",
    "check",
    "gather",
    "judge",
    "needs_of",
    "require",
]


def check(cluster: Cluster, needs: Needs) -> list[Finding]:
    """Asks the cluster and judges its answers. However much there is to ask, it takes as long as a few requests."""
    facts = gather(cluster, needs)
    return [facts] if isinstance(facts, Finding) else judge(facts, needs)


def require(findings: Iterable[Finding]) -> None:
    """Refuses a submit when there is an error among the findings.

    Raises:
        Infrastructure: the first of them with its remedy, and how many more there are.
        BadInput: the same, where the first is the user's own.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        first, more = errors[0], len(errors) - 1
        rest = f" ({more} more: `toolkit doctor --env argo` lists all)" if more else ""
        kind = BadInput if first.is_input else Infrastructure
        raise kind(f"{first.what}; to fix it: {first.remedy}{rest}")
