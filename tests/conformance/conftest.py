"""The suite's namespace on a cluster, and its summary."""

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
    """A namespace for the session, with the secrets of all cases and a Service."""
    if os.environ.get("PYTEST_XDIST_WORKER") and not lifecycle.status()["up"]:
        pytest.fail(
            "with -n the cluster has to run already, because the first worker to end would stop it for the others"
        )
    cluster: Cluster = request.getfixturevalue("cluster")
    with made_namespace(cluster, f"conformance-{os.urandom(3).hex()}", restricted=True) as name:
        workplace = workplace_in(cluster, name, tmp_path_factory.mktemp("kube"))
        for case in CASES:
            if case.secrets or case.common:
                workplace.secret(case.secret_name, **case.secrets, **case.common)
        claim(cluster, name, "more")
        login = {".dockerconfigjson": '{"auths": {}}'}
        metadata = {"name": "conformance-registry", "namespace": name}
        kind = "kubernetes.io/dockerconfigjson"
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": login})
        # Because of it, Kubernetes would set seven environment variables in each pod.
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "conformance", "namespace": name},
                "spec": {"ports": [{"port": 80}]},
            }
        )
        yield workplace


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints where the cases ran, and the exemptions."""
    reports = [report for kind in ("passed", "failed", "error") for report in terminalreporter.getreports(kind)]
    ran = {report.nodeid for report in reports if "test_conformance.py::test_a_case_runs" in report.nodeid}
    cases = [case for case in CASES if any(f"[{case.name}]" in nodeid for nodeid in ran)]
    if not cases:
        return
    counts = Counter(name for case in cases for name in selected(terminalreporter.config, case))
    exempt = Counter(reason.name for case in cases for name, reason in case.exempt.items() if name in chosen())
    named = ", ".join(f"{name} {count}" for name, count in exempt.most_common()) or "none"
    terminalreporter.write_line(
        f"conformance: {len(cases)} cases ({', '.join(f'{name} {counts[name]}' for name in ENVIRONMENTS if counts[name])}),"
        f" {sum(exempt.values())} exemptions ({named})",
        bold=True,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Removes the test that runs cases on a cluster when there are none of them."""
    items[:] = [item for item in items if not item.name.startswith("test_a_case_runs[NOTSET")]
