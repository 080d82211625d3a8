"""Which environments the suite runs in, what it needs of them, and the count at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from testcluster import lifecycle
from tests.conformance.case import ENVIRONMENTS, Environment
from tests.conformance.cases import CASES
from tests.support.cluster import Cluster
from tests.support.cluster import cluster as cluster
from tests.support.cluster import namespace as made_namespace
from tests.support.workplace import Workplace, workplace_in

CHOICE = "TOOLKIT_CONFORMANCE"
"""Names the environments to run in, with commas; all of them when it is not set."""


def chosen() -> tuple[Environment, ...]:
    """The environments to run in."""
    named = [one.strip() for one in os.environ.get(CHOICE, "").split(",") if one.strip()]
    unknown = set(named) - set(ENVIRONMENTS)
    if unknown:
        raise pytest.UsageError(f"{CHOICE} names {', '.join(sorted(unknown))}: it takes {', '.join(ENVIRONMENTS)}")
    return tuple(one for one in ENVIRONMENTS if one in named or not named)


@pytest.fixture(scope="session")
def environments() -> tuple[Environment, ...]:
    """The environments to run in."""
    return chosen()


@pytest.fixture(scope="session")
def workplace(
    request: pytest.FixtureRequest, environments: tuple[Environment, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace | None]:
    """A namespace for the whole session, with the secrets of all cases and a Service; None without argo."""
    if "argo" not in environments:
        yield None
        return
    if os.environ.get("PYTEST_XDIST_WORKER") and not lifecycle.status()["up"]:
        pytest.fail("with -n the cluster has to run already: the first worker to end would take it from the others")
    cluster: Cluster = request.getfixturevalue("cluster")
    with made_namespace(cluster, f"conformance-{os.urandom(3).hex()}", restricted=True) as name:
        made = workplace_in(cluster, name, tmp_path_factory.mktemp("kube"))
        for case in CASES:
            if case.secrets or case.common:
                made.secret(case.secret_name, **case.secrets, **case.common)
        # Kubernetes would tell each pod of it by seven variables.
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "conformance", "namespace": name},
                "spec": {"ports": [{"port": 80}]},
            }
        )
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says where the cases ran, and what was excused."""
    reports = [one for kind in ("passed", "failed", "error") for one in terminalreporter.getreports(kind)]
    if not any("tests/conformance/test_conformance.py" in one.nodeid for one in reports):
        return
    environments = chosen()
    exempt = Counter(one.exempt[env].name for one in CASES for env in environments if env in one.exempt)
    ran = ", ".join(f"{env} {sum(env not in one.exempt for one in CASES)}" for env in environments)
    named = ", ".join(f"{name} {count}" for name, count in exempt.most_common()) or "none"
    terminalreporter.write_line(
        f"conformance: {len(CASES)} cases ({ran}), {sum(exempt.values())} exemptions ({named})", bold=True
    )
