"""What the suite needs of a cluster, and the count at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from testcluster import lifecycle
from tests.conformance.case import ENVIRONMENTS
from tests.conformance.cases import CASES
from tests.conformance.environments import chosen, groups, selected
from tests.support.cluster import Cluster, claim
from tests.support.cluster import cluster as cluster
from tests.support.cluster import namespace as made_namespace
from tests.support.groups import CASES as CASES_ON_CLUSTER
from tests.support.workplace import Workplace, workplace_in


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES_ON_CLUSTER] = groups(config)


@pytest.fixture(scope="session")
def workplace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A namespace for the whole session, with the secrets of all cases and a Service."""
    if os.environ.get("PYTEST_XDIST_WORKER") and not lifecycle.status()["up"]:
        pytest.fail("with -n the cluster has to run already: the first worker to end would take it from the others")
    cluster: Cluster = request.getfixturevalue("cluster")
    with made_namespace(cluster, f"conformance-{os.urandom(3).hex()}", restricted=True) as name:
        made = workplace_in(cluster, name, tmp_path_factory.mktemp("kube"))
        for case in CASES:
            if case.secrets or case.common:
                made.secret(case.secret_name, **case.secrets, **case.common)
        claim(cluster, name, "more")
        login = {".dockerconfigjson": '{"auths": {}}'}
        metadata = {"name": "conformance-registry", "namespace": name}
        kind = "kubernetes.io/dockerconfigjson"
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": login})
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
    ran = {one.nodeid for one in reports if "test_conformance.py::test_a_case_runs" in one.nodeid}
    cases = [case for case in CASES if any(f"[{case.name}]" in nodeid for nodeid in ran)]
    if not cases:
        return
    where = Counter(env for case in cases for env in selected(terminalreporter.config, case))
    exempt = Counter(one.name for case in cases for env, one in case.exempt.items() if env in chosen())
    named = ", ".join(f"{name} {count}" for name, count in exempt.most_common()) or "none"
    terminalreporter.write_line(
        f"conformance: {len(cases)} cases ({', '.join(f'{env} {where[env]}' for env in ENVIRONMENTS if where[env])}),"
        f" {sum(exempt.values())} exemptions ({named})",
        bold=True,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a case on a cluster there is none that has to run before it is looked at."""
    items[:] = [item for item in items if not item.name.startswith("test_a_case_runs[NOTSET")]
